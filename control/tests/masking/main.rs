//! The masking half as one thing, over a real store, with the clock in the test's hands.
//!
//! [`crossings`] are ways in which wires could have crossed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod crossings;
mod held_back;
mod site;
