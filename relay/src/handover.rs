//! Hot upgrade: a new relay process takes over everything that the running one has, and no packet is lost.
//!
//! The running relay listens at `run/upgrade.sock` ([`Keeper`], on a thread of its own); a new one started with
//! `--take-over` connects to it ([`Offer`]). In order:
//!
//! | new | old |
//! |---|---|
//! | `Hello`: which state it understands | `Welcome`: listening sockets, tap rings, how many workers; or `Refused` |
//! | makes workers and lanes, maps rings; `Prepared` | takes no more commands, stops its lanes; `State` |
//! | builds rows and books | `Sockets`, one batch after the other |
//! | `Taken` for each; `Ready` | is done for good: `Go`, and ends |
//! | receives | |
//!
//! While neither receives, datagrams wait in the sockets. Until `Go` is sent the old one can go on as if nothing had
//! been: it does when the new one ends, says anything else, or takes longer than [`send::STILL`].

pub mod link;
pub mod receive;
#[cfg_attr(not(feature = "xdp"), path = "handover/no_revive.rs")]
pub mod revive;
pub mod send;

use std::io::ErrorKind;

pub use link::Welcome;
pub use receive::{Offer, Taken};
pub use send::{Freeze, Frozen, Keeper};

/// What the state looks like. To be raised whenever the shape or meaning of anything in [`link::State`] changes: a relay
/// takes over only what it understands.
pub const STATE_VERSION: u32 = 3;

/// This process, as logs tell it.
pub fn name() -> String {
    format!("relay {} (process {})", env!("CARGO_PKG_VERSION"), std::process::id())
}

/// Why a relay was not taken over. The old one goes on then, unless it is what ended.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// Nothing to take over.
    #[error("no relay that could be taken over at {path}: {cause}")]
    NoRelay {
        /// The socket.
        path: String,
        /// What connecting said.
        cause: std::io::Error,
    },
    /// The other one said why not.
    #[error("{0}")]
    Refused(String),
    /// The connection broke.
    #[error("the other relay is gone: {0}")]
    Gone(std::io::Error),
    /// Waiting took too long.
    #[error("the other relay does not answer in time")]
    Silent,
    /// Something else was said than is expected here.
    #[error("the other relay says something that is not understood: {0}")]
    Alien(&'static str),
    /// What there is cannot be handed over, or not be built.
    #[error("{0}")]
    Impossible(String),
}

impl From<std::io::Error> for HandoverError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::Silent,
            _ => Self::Gone(error),
        }
    }
}
