//! For cargo-fuzz; the crate says how.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::ng(bytes));
