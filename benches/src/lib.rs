//! What is measured is under `benches/`; what came of it, with the commands and the failures, in `RESULTS.md`.
//! Here is what a bench thinks, tested without running one.
#![forbid(unsafe_code)]

pub mod proc;
pub mod rounds;
pub mod steady;
