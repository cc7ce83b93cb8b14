//! The operating system: the only place beside the tap ring with `unsafe` code.

#[cfg(feature = "lanes")]
pub mod address;
#[cfg(feature = "xdp")]
pub mod bpf;
#[cfg(feature = "lanes")]
pub mod clock;
#[cfg(feature = "xdp")]
pub mod interfaces;
#[cfg(feature = "lanes")]
pub mod limits;
#[cfg(feature = "tap")]
pub mod memory;
#[cfg(feature = "lanes")]
pub mod mmsg;
#[cfg(feature = "lanes")]
pub mod prefetch;
pub mod rights;
#[cfg(feature = "lanes")]
pub mod socket;
#[cfg(feature = "lanes")]
pub mod stamps;
pub mod unix;
#[cfg(feature = "lanes")]
pub mod uring;
