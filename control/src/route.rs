//! Route decisions: who may reach whom, and what the other half may know of it.
//!
//! [`decide`] decides, [`document`] writes the answer, [`book`] remembers it by SIP Call-ID for the NG offer
//! that follows, [`journal`] keeps it over a restart, [`Tally`] counts.

pub mod book;
pub mod decide;
pub mod document;
pub mod intents;
mod journal;
pub mod tries;

pub use book::{Claim, Outcome, RouteBook, Routed};
pub use decide::{Asked, Connect, Decision, Question, Reason};

use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::{Kind, Text};

/// Decisions by outcome.
#[derive(Debug, Default)]
pub struct Tally {
    connected: AtomicU64,
    rejected: [AtomicU64; Reason::ALL.len()],
}

impl Tally {
    /// Counts a decision.
    pub fn count(&self, decision: &Decision) {
        let counter = match decision {
            Decision::Connect(_) => Some(&self.connected),
            Decision::Reject(reason) => self.rejected.get(*reason as usize),
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes the counters.
    pub fn write(&self, text: &mut Text) {
        const NAME: &str = "bauta_route_decisions_total";
        let connected = self.connected.load(Ordering::Relaxed);
        text.family(NAME, Kind::Counter, "Route decisions by outcome; every reason but none is a refusal.")
            .sample(NAME, &[("decision", "connect"), ("reason", "none")], connected);
        for (reason, count) in Reason::ALL.iter().zip(&self.rejected) {
            let labels = [("decision", "reject"), ("reason", reason.as_str())];
            text.sample(NAME, &labels, count.load(Ordering::Relaxed));
        }
    }
}
