//! What was decided for a SIP Call-ID, kept until the NG offer with the same Call-ID has come.
//!
//! Written by HTTP (`POST /v1/route`), read by the calls half. Bounded in time and in number.
//! Call-IDs may hold numbers, so entries are found by a keyed pseudonym and the text is not kept.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::moment::Moment;
use crate::name::{City, Role, TripId};
use crate::secret::Keys;

/// Seconds that a decision is remembered: longer than a proxy takes from its question to its offer.
pub const KEPT_SECONDS: i64 = 180;

/// Decisions remembered at most; beyond that the oldest goes.
pub const KEPT_MOST: usize = 65_536;

/// What was decided for a Call-ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The call connects; its offer inherits this.
    Connect(Routed),
    /// The call was refused; an offer with its Call-ID must be refused too.
    Reject {
        /// The reason's name, as in metrics and in the route reply.
        reason: &'static str,
    },
}

/// What an offer inherits from its route decision. Holds no number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// The trip that lets the two parties talk.
    pub trip: TripId,
    /// The trip's city.
    pub city: City,
    /// Role of the party that calls.
    pub caller_role: Role,
    /// Role of the party that is called.
    pub callee_role: Role,
    /// Whether the call is recorded.
    pub record: bool,
    /// Longest duration of the call, in seconds from its answer.
    pub max_seconds: u32,
}

/// Decisions by Call-ID. Cheap to share: `Arc<RouteBook>`.
#[derive(Debug)]
pub struct RouteBook {
    keys: Arc<Keys>,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_call: HashMap<[u8; 16], Entry>,
    /// Oldest first. A Call-ID decided again has its older line skipped by `serial`.
    by_age: VecDeque<([u8; 16], u64)>,
    serial: u64,
}

#[derive(Debug)]
struct Entry {
    outcome: Outcome,
    until: Moment,
    serial: u64,
}

impl RouteBook {
    /// An empty book; `keys` make the pseudonyms.
    pub fn new(keys: Arc<Keys>) -> Self {
        Self { keys, entries: Mutex::default() }
    }

    /// Remembers a decision; a later one for the same Call-ID takes its place.
    pub fn remember(&self, sip_call_id: &str, outcome: Outcome, now: Moment) {
        let key = self.key(sip_call_id);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.expire(now);
        entries.serial += 1;
        let serial = entries.serial;
        entries.by_call.insert(key, Entry { outcome, until: now.plus(KEPT_SECONDS), serial });
        entries.by_age.push_back((key, serial));
    }

    /// What was decided for this Call-ID in the last [`KEPT_SECONDS`], if anything was.
    pub fn routed(&self, sip_call_id: &str, now: Moment) -> Option<Outcome> {
        let key = self.key(sip_call_id);
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.by_call.get(&key).filter(|entry| now < entry.until).map(|entry| entry.outcome.clone())
    }

    fn key(&self, sip_call_id: &str) -> [u8; 16] {
        self.keys.pseudonym("route", sip_call_id)
    }
}

impl Entries {
    fn expire(&mut self, now: Moment) {
        while let Some(&(key, serial)) = self.by_age.front() {
            let current = self.by_call.get(&key).filter(|entry| entry.serial == serial);
            if current.is_some_and(|entry| now < entry.until) && self.by_age.len() < KEPT_MOST {
                return;
            }
            if current.is_some() {
                self.by_call.remove(&key);
            }
            self.by_age.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> RouteBook {
        let state = tempfile::tempdir().unwrap();
        RouteBook::new(Arc::new(Keys::open_or_make(state.path()).unwrap()))
    }

    const NOW: Moment = Moment::from_unix(1_000);

    #[test]
    fn a_decision_is_found_until_it_expires_and_the_last_one_counts() {
        let book = book();
        book.remember("a@b", Outcome::Reject { reason: "no_trip" }, NOW);
        book.remember("a@b", Outcome::Reject { reason: "withheld" }, NOW.plus(10));
        assert_eq!(book.routed("a@b", NOW.plus(10)), Some(Outcome::Reject { reason: "withheld" }));
        assert_eq!(book.routed("A@b", NOW), None);
        assert!(book.routed("a@b", NOW.plus(9 + KEPT_SECONDS)).is_some());
        assert_eq!(book.routed("a@b", NOW.plus(10 + KEPT_SECONDS)), None);
        book.remember("other", Outcome::Reject { reason: "no_trip" }, NOW.plus(10 + KEPT_SECONDS));
        assert_eq!(book.entries.lock().unwrap().by_call.len(), 1);
    }

    #[test]
    fn the_book_is_bounded_and_forgets_the_oldest() {
        let book = book();
        for n in 0..KEPT_MOST + 10 {
            book.remember(&n.to_string(), Outcome::Reject { reason: "no_trip" }, NOW);
        }
        assert_eq!(book.entries.lock().unwrap().by_call.len(), KEPT_MOST);
        assert!(book.routed("9", NOW).is_none() && book.routed("10", NOW).is_some());
    }
}
