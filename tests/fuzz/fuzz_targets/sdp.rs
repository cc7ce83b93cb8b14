//! `cargo fuzz run --fuzz-dir tests/fuzz --features libfuzzer -s none sdp`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::sdp(bytes));
