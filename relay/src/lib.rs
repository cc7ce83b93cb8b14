//! The media relay: forwards RTP between the two legs of a call, and taps recorded calls.
//!
//! Knows rows, packets and rings; knows nothing of SIP, SDP, trips or audio. `control` programs it through
//! `program`, `recorder` reads it through `tap`; both take this crate without its default feature `lanes`.

pub mod call;
#[cfg(feature = "lanes")]
pub mod cap;
#[cfg(feature = "lanes")]
pub mod classify;
#[cfg(feature = "lanes")]
pub mod drop_reason;
#[cfg(feature = "lanes")]
pub mod dtmf;
#[cfg(feature = "lanes")]
pub mod engine;
#[cfg(feature = "lanes")]
pub mod handover;
#[cfg(feature = "lanes")]
pub mod interface;
#[cfg(feature = "lanes")]
pub mod lane;
#[cfg(feature = "lanes")]
pub mod load;
#[cfg(feature = "lanes")]
pub mod options;
#[cfg(feature = "lanes")]
pub mod packet;
#[cfg(feature = "lanes")]
pub mod ports;
#[cfg(feature = "program")]
pub mod program;
#[cfg(feature = "lanes")]
pub mod quality;
#[cfg(feature = "lanes")]
pub mod rewrite;
#[cfg(feature = "lanes")]
pub mod row;
#[cfg(feature = "lanes")]
pub mod server;
pub mod settings;
#[cfg(feature = "lanes")]
pub mod source;
#[cfg(feature = "tap")]
pub mod sys;
#[cfg(feature = "lanes")]
pub mod table;
#[cfg(feature = "tap")]
pub mod tap;
#[cfg(feature = "lanes")]
pub mod worker;
