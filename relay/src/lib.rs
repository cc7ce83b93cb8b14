//! The media relay: forwards RTP between the two legs of a call, and taps recorded calls.
//!
//! Knows rows, packets and rings; knows nothing of SIP, SDP, trips or audio. `control` programs it through
//! `program`, `recorder` reads it through `tap`; both take this crate without its default feature `lanes`.

pub mod call;
#[cfg(feature = "program")]
pub mod program;
pub mod settings;
#[cfg(feature = "tap")]
pub mod sys;
#[cfg(feature = "tap")]
pub mod tap;
