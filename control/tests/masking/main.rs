//! The masking half as one thing, over a real store, with the clock in the test's hands.
//!
//! [`model`] drives it at random beside a plain list of trips ([`oracle`]); [`allocation`] makes trips from many
//! processes at once; [`pins`] is what a stranger may try.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod allocation;
mod crossings;
mod held_back;
mod model;
mod oracle;
mod people;
mod pins;
mod site;
mod steps;
