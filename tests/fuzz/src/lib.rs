//! Entry points for fuzzers: bytes as they come from outside, through the very code that takes them in the three
//! processes. Each panics when what comes out is not what it must be; bytes that are refused are fine.
//!
//! Three ways to run them: `cargo test -p fuzz` (the stored corpus, and some seconds of mutations of it), any fuzzer
//! that calls a function, or cargo-fuzz, which needs no nightly compiler for it:
//!
//! ```sh
//! mkdir -p target/fuzz/packet  # what it finds interesting; what breaks something belongs into the corpus, as a test
//! cargo fuzz run --fuzz-dir tests/fuzz --features libfuzzer -s none packet target/fuzz/packet tests/fuzz/corpus/packet
//! ```
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "panics are how an entry point reports; its callers are fuzzers"
)]

mod media;
mod signalling;

pub use media::{packet, rtcp};
pub use signalling::{ng, sdp, wire};

/// An entry point and its name, which is the name of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// Every entry point.
pub const TARGETS: [Target; 5] =
    [("packet", packet), ("rtcp", rtcp), ("sdp", sdp), ("ng", ng), ("wire", wire)];
