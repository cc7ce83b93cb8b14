//! `bauta-recorder`: entry point.
fn main() {}
