//! The programming protocol: how control tells the relay which calls to forward.
//!
//! A stream socket at `STATE/run/relay.sock`; each direction carries [frames](wire): a length (u32, little
//! endian), then one postcard-encoded [`Frame`](message::Frame). The first request must be
//! [`Hello`](message::Request::Hello). One client at a time: a second one is refused and told so. The relay keeps
//! forwarding whatever happens to the connection.

pub mod client;
mod figures;
mod media;
pub mod message;
pub mod wire;

pub use client::Client;
