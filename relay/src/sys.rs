//! The operating system: the only place beside the tap ring with `unsafe` code.

pub mod unix;
