//! What is measured is under `benches/`; what came of it, with the commands and the failures, in `RESULTS.md`.
#![forbid(unsafe_code)]
