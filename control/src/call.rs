//! Live calls, programmed into the relay.
//!
//! [`Calls`] is what the NG server and HTTP hold. Inside, [`state`] and its neighbours ([`mod@line`], [`dialogue`],
//! [`draft`], [`fence`], [`means`], [`label`]) are pure: a message and a time in, the call's next state and what to ask the relay out.
//! [`desk`] runs requests, one at a time per call, and lets a new state count only when the relay has taken it, so
//! that a refusal changes nothing; [`pause`] pauses recordings, [`dtmf`] keeps keys from the other party and tells of them. [`registry`] holds the calls, [`link`] keeps the connection to the relay,
//! rebuilds the registry from it, and ends calls that are overdue.
//!
//! SIP Call-IDs and tags stay in here (sealed in the blob that the relay keeps) and never go to a log.

#![allow(clippy::similar_names, reason = "caller and callee, rtp and rtcp: the words of the field")]

pub mod desk;
mod dialogue;
mod draft;
pub mod dtmf;
mod fence;
mod label;
mod line;
mod link;
mod live;
mod means;
mod pause;
mod registry;
mod report;
mod sound;
mod state;

pub use desk::Calls;
