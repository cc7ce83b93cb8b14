//! The NG protocol over real UDP, against a relay that speaks the real wire format and keeps every request.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]
#![allow(clippy::needless_pass_by_value, reason = "JSON is written where it is sent")]

mod calls;
mod dtmf;
mod fake_relay;
mod figures;
mod load;
mod media;
mod protocol;
mod recording;
mod restart;
mod site;
