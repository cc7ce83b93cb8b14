//! The recorder: turns the tap of every recorded call into an archive that can settle a dispute.
//!
//! Without its default feature `capture` this crate is what control and `bauta` share with the recorder:
//! the [`label`] that control puts on a call and the way archives are named, described and verified.

#![forbid(unsafe_code)]

pub mod label;
