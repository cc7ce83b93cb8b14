//! bauta.
fn main() {}
