//! Route decisions: who may reach whom, and what the other half may know of it.
//!
//! [`book`] remembers decisions by SIP Call-ID for the NG offer that follows.

pub mod book;

pub use book::{Outcome, RouteBook, Routed};
