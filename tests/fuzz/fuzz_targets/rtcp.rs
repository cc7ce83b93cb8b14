//! `cargo fuzz run --fuzz-dir tests/fuzz --features libfuzzer -s none rtcp`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::rtcp(bytes));
