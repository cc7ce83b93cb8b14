//! What the NG server counts, for `/metrics`. Labels come from closed sets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::NgError;
use super::message::Command;
use crate::metrics::{Kind, Text};

const REQUESTS: &str = "bauta_ng_requests_total";
const ERRORS: &str = "bauta_ng_errors_total";
const DROPPED: &str = "bauta_ng_dropped_total";

/// The counters.
#[derive(Debug, Default)]
pub struct Counts {
    requests: [AtomicU64; Command::ALL.len()],
    errors: Mutex<BTreeMap<&'static str, u64>>,
    dropped: [AtomicU64; Dropped::ALL.len()],
    duplicates: AtomicU64,
}

/// Why a datagram got no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// Its source is not in a network that is answered.
    Source,
    /// It has no cookie in printable ASCII, so nobody could match the reply.
    NoCookie,
    /// Too many requests are being worked on.
    Overload,
}

impl Dropped {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Source, "source"), (Self::NoCookie, "no_cookie"), (Self::Overload, "overload")];
}

impl Counts {
    /// A request that was run.
    pub fn request(&self, command: Command) {
        bump(self.requests.get(command as usize));
    }

    /// A request that got an error.
    pub fn error(&self, error: &NgError) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        *errors.entry(error.label()).or_default() += 1;
    }

    /// A datagram without a reply; returns how many there were with this one.
    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped.get(why as usize).map_or(0, |count| count.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// A request that came again.
    pub fn duplicate(&self) {
        bump(Some(&self.duplicates));
    }

    /// Writes the families.
    pub fn write(&self, text: &mut Text) {
        text.family(REQUESTS, Kind::Counter, "NG requests that were run, by command.");
        for (command, count) in Command::ALL.iter().zip(&self.requests) {
            text.sample(REQUESTS, &[("command", command.label())], count.load(Ordering::Relaxed));
        }
        text.family(ERRORS, Kind::Counter, "NG requests that were answered with an error, by reason.");
        for (reason, count) in &*self.errors.lock().unwrap_or_else(PoisonError::into_inner) {
            text.sample(ERRORS, &[("reason", reason)], count);
        }
        text.family(DROPPED, Kind::Counter, "NG datagrams that got no reply, by reason.");
        for ((_, reason), count) in Dropped::ALL.iter().zip(&self.dropped) {
            text.sample(DROPPED, &[("reason", reason)], count.load(Ordering::Relaxed));
        }
        let duplicates = self.duplicates.load(Ordering::Relaxed);
        let help = "NG requests that came again and were answered from the cache.";
        text.single("bauta_ng_duplicates_total", Kind::Counter, help, duplicates);
    }
}

fn bump(count: Option<&AtomicU64>) {
    if let Some(count) = count {
        count.fetch_add(1, Ordering::Relaxed);
    }
}
