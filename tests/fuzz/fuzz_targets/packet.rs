//! `cargo fuzz run --fuzz-dir tests/fuzz --features libfuzzer -s none packet`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::packet(bytes));
