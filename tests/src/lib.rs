//! Whole-process tests: what they stand on.
//!
//! A test starts the three processes of a POP ([`pop`]), a real SIP proxy ([`kamailio`]) and real phones
//! ([`sipp`]) on loopback ports of its own ([`ports`]), or on two hosts ([`namespaces`]), captures what is on the wire ([`capture`]), and judges
//! the archive by the eyes of others ([`archive`], [`audio`]) and both parties' sides by [`leak`].
//!
//! Everything a test starts ends with it ([`process`]), also when it panics; every wait has a condition and a
//! deadline ([`deadline`]). Panics are this crate's way to report: the caller is a test.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a harness reports by panicking; its callers are tests"
)]
#![allow(clippy::similar_names, reason = "caller and callee are the field's words")]

pub mod archive;
pub mod audio;
pub mod capture;
pub mod deadline;
pub mod http;
pub mod kamailio;
pub mod leak;
pub mod namespaces;
pub mod ng;
pub mod phone;
pub mod pins;
pub mod pop;
pub mod ports;
pub mod process;
pub mod programs;
pub mod raw;
pub mod rtp;
pub mod sipp;
pub mod speech;
pub mod stage;
pub mod trip;
