//! The NG protocol over real UDP, against a relay that speaks the real wire format and keeps every request.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod calls;
mod fake_relay;
mod protocol;
mod recording;
mod restart;
mod site;
