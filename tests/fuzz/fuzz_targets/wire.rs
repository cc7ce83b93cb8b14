//! `cargo fuzz run --fuzz-dir tests/fuzz --features libfuzzer -s none wire`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::wire(bytes));
