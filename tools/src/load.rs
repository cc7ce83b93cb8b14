//! `bauta load`: calls for a relay, and what becomes of every packet.

pub mod traffic;
