//! What was decided for a SIP Call-ID, kept until the NG offer with the same Call-ID has come.
//!
//! Written by HTTP (`POST /v1/route`), read by the calls half. Bounded in time and in number.
//! Call-IDs may hold numbers, so entries are found by a keyed pseudonym and the text is not kept. A decision opens
//! one call: its first offer uses it up, so that what comes after the end of that call opens nothing. Every
//! decision is in the [`Journal`] before it is answered: a control that is killed goes on with it.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::journal::{Journal, Line, What};
use crate::moment::Moment;
use crate::name::{City, Role, TripId};
use crate::secret::Keys;

/// Seconds that a decision is remembered: longer than a proxy takes from its question to its offer.
pub const KEPT_SECONDS: i64 = 180;

/// Decisions remembered at most; beyond that the oldest goes.
pub const KEPT_MOST: usize = 65_536;

/// Seconds that a call which control ended by itself is remembered: as long as the longest call may last.
pub const ENDED_SECONDS: i64 = 86_400;

/// Calls ended by control remembered at most; beyond that the oldest goes.
const ENDED_MOST: usize = 262_144;

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// What an offer without a live call may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Open the call that was decided.
    Opens(Routed),
    /// Nothing: the decision was to refuse.
    Refused,
    /// Nothing: the decision's call has been, or control ended the call.
    Spent,
    /// Nothing is known of it.
    Unknown,
}

/// Decisions by Call-ID. Cheap to share: `Arc<RouteBook>`.
#[derive(Debug)]
pub struct RouteBook {
    keys: Arc<Keys>,
    entries: Mutex<Entries>,
}

#[derive(Debug)]
struct Entries {
    decided: Aged<Decided>,
    /// Calls that control ended by itself.
    ended: Aged<()>,
    journal: Option<Journal>,
}

#[derive(Debug)]
struct Decided {
    outcome: Outcome,
    stage: Stage,
}

/// How far a decision to connect has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No offer has come.
    Fresh,
    /// It has opened its call.
    Used,
    /// The proxy gave that call up before it was answered, and may try elsewhere.
    Released,
}

type Key = [u8; 16];

impl RouteBook {
    /// An empty book in memory alone; `keys` make the pseudonyms.
    pub fn new(keys: Arc<Keys>) -> Self {
        let entries = Entries {
            decided: Aged::new(KEPT_SECONDS, KEPT_MOST),
            ended: Aged::new(ENDED_SECONDS, ENDED_MOST),
            journal: None,
        };
        Self { keys, entries: Mutex::new(entries) }
    }

    /// A book that goes on where the one before it, on the same state directory, was killed.
    pub fn open(state: &Path, keys: Arc<Keys>, now: Moment) -> std::io::Result<Self> {
        let book = Self::new(Arc::clone(&keys));
        let mut entries = book.lock();
        let journal = Journal::open(state, keys, now, |line| entries.replay(line, now))?;
        entries.journal = Some(journal);
        drop(entries);
        Ok(book)
    }

    /// Remembers a decision; a later one for the same Call-ID takes its place.
    pub fn remember(&self, sip_call_id: &str, outcome: Outcome, now: Moment) {
        let key = self.pseudonym(sip_call_id);
        let mut entries = self.lock();
        entries.note(key, What::from(&outcome), now);
        entries.decided.insert(key, Decided { outcome, stage: Stage::Fresh }, now, now);
    }

    /// The trip whose call with this Call-ID was let through, while its offer has not come.
    pub fn awaits_offer(&self, sip_call_id: &str, now: Moment) -> Option<TripId> {
        match self.claim(sip_call_id, true, now) {
            Claim::Opens(routed) => Some(routed.trip),
            Claim::Refused | Claim::Spent | Claim::Unknown => None,
        }
    }

    /// What an offer with this Call-ID may do, there being no live call with it. `in_dialog`: the offer has a tag of
    /// the other side, so its dialog began before.
    pub fn claim(&self, sip_call_id: &str, in_dialog: bool, now: Moment) -> Claim {
        let key = self.pseudonym(sip_call_id);
        let entries = self.lock();
        let ended = entries.ended.get(&key, now).is_some();
        match entries.decided.get(&key, now) {
            Some(Decided { outcome: Outcome::Reject { .. }, .. }) => Claim::Refused,
            Some(Decided { outcome: Outcome::Connect(routed), stage }) => match stage {
                Stage::Fresh => Claim::Opens(routed.clone()),
                Stage::Released if !in_dialog && !ended => Claim::Opens(routed.clone()),
                Stage::Used | Stage::Released => Claim::Spent,
            },
            None if ended => Claim::Spent,
            None => Claim::Unknown,
        }
    }

    /// The decision has opened its call.
    pub fn used(&self, sip_call_id: &str, now: Moment) {
        self.lock().step(self.pseudonym(sip_call_id), Stage::Used, now);
    }

    /// The proxy gave the call up before it was answered: a first offer may open it again, for another destination.
    pub fn released(&self, sip_call_id: &str, now: Moment) {
        self.lock().step(self.pseudonym(sip_call_id), Stage::Released, now);
    }

    /// Control ended the call by itself: nothing opens it again, unless it is decided anew.
    pub fn ended(&self, sip_call_id: &str, now: Moment) {
        self.lock().ended.insert(self.pseudonym(sip_call_id), (), now, now);
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stand-in for a Call-ID, which may hold a number.
    pub fn pseudonym(&self, sip_call_id: &str) -> Key {
        self.keys.pseudonym("route", sip_call_id)
    }
}

impl Entries {
    fn note(&mut self, call: Key, what: What, now: Moment) {
        if let Some(journal) = &mut self.journal {
            journal.append(&Line { at: now.unix(), call, what }, now);
        }
    }

    fn step(&mut self, key: Key, stage: Stage, now: Moment) {
        let Some(decided) = self.decided.get_mut(&key).filter(|d| d.stage != stage) else { return };
        decided.stage = stage;
        self.note(key, if stage == Stage::Used { What::Used } else { What::Released }, now);
    }

    fn replay(&mut self, Line { at, call, what }: Line, now: Moment) {
        let at = Moment::from_unix(at);
        let stage = match what {
            What::Used => Stage::Used,
            What::Released => Stage::Released,
            What::Connect(_) | What::Reject(_) => {
                // A clock that was set back must not let a decision live for ever.
                if let Some(outcome) = what.outcome().filter(|_| at <= now.plus(KEPT_SECONDS)) {
                    self.decided.insert(call, Decided { outcome, stage: Stage::Fresh }, at, now);
                }
                return;
            }
        };
        if let Some(decided) = self.decided.get_mut(&call) {
            decided.stage = stage;
        }
    }
}

/// Values that are forgotten by age, and the oldest first when there are too many.
#[derive(Debug)]
struct Aged<V> {
    span: i64,
    most: usize,
    by_call: HashMap<Key, Dated<V>>,
    /// Oldest first. A Call-ID that came again has its older line skipped by `serial`.
    by_age: VecDeque<(Key, u64)>,
    serial: u64,
}

#[derive(Debug)]
struct Dated<V> {
    value: V,
    until: Moment,
    serial: u64,
}

impl<V> Aged<V> {
    fn new(span: i64, most: usize) -> Self {
        Self { span, most, by_call: HashMap::new(), by_age: VecDeque::new(), serial: 0 }
    }

    fn insert(&mut self, key: Key, value: V, at: Moment, now: Moment) {
        self.expire(now);
        self.serial += 1;
        let (until, serial) = (at.plus(self.span), self.serial);
        self.by_call.insert(key, Dated { value, until, serial });
        self.by_age.push_back((key, serial));
    }

    fn get(&self, key: &Key, now: Moment) -> Option<&V> {
        self.by_call.get(key).filter(|dated| now < dated.until).map(|dated| &dated.value)
    }

    fn get_mut(&mut self, key: &Key) -> Option<&mut V> {
        self.by_call.get_mut(key).map(|dated| &mut dated.value)
    }

    fn expire(&mut self, now: Moment) {
        while let Some(&(key, serial)) = self.by_age.front() {
            let current = self.by_call.get(&key).filter(|dated| dated.serial == serial);
            if current.is_some_and(|dated| now < dated.until) && self.by_age.len() < self.most {
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
    use std::io::Write;

    use super::super::journal::JOURNAL;
    use super::*;

    const NOW: Moment = Moment::from_unix(1_000_000);
    const LATER: Moment = NOW.plus(10);

    fn keys(state: &tempfile::TempDir) -> Arc<Keys> {
        Arc::new(Keys::open_or_make(state.path()).unwrap())
    }

    fn book() -> RouteBook {
        RouteBook::new(keys(&tempfile::tempdir().unwrap()))
    }

    fn rejected() -> Outcome {
        Outcome::Reject { reason: "no_trip" }
    }

    fn routed(trip: &str) -> Routed {
        Routed {
            trip: TripId::new(trip).unwrap(),
            city: City::new("london").unwrap(),
            caller_role: Role::new("driver").unwrap(),
            callee_role: Role::new("passenger").unwrap(),
            record: true,
            max_seconds: 60,
        }
    }

    fn connect() -> Outcome {
        Outcome::Connect(routed("T-1"))
    }

    #[test]
    fn a_decision_is_found_until_it_expires_and_the_last_one_counts() {
        let book = book();
        book.remember("a@b", rejected(), NOW);
        book.remember("a@b", connect(), LATER);
        assert_eq!(book.claim("a@b", false, LATER), Claim::Opens(routed("T-1")));
        assert_eq!(book.claim("A@b", false, NOW), Claim::Unknown);
        assert_ne!(book.claim("a@b", false, LATER.plus(KEPT_SECONDS - 1)), Claim::Unknown);
        assert_eq!(book.claim("a@b", false, LATER.plus(KEPT_SECONDS)), Claim::Unknown);
        book.remember("other", rejected(), LATER.plus(KEPT_SECONDS));
        assert_eq!(book.lock().decided.by_call.len(), 1);
    }

    #[test]
    fn the_book_is_bounded_and_forgets_the_oldest() {
        let book = book();
        for n in 0..KEPT_MOST + 10 {
            book.remember(&n.to_string(), rejected(), NOW);
        }
        assert_eq!(book.lock().decided.by_call.len(), KEPT_MOST);
        assert_eq!(book.claim("9", false, NOW), Claim::Unknown);
        assert_eq!(book.claim("10", false, NOW), Claim::Refused);
    }

    #[test]
    fn a_decision_opens_one_call() {
        let book = book();
        book.remember("a", connect(), NOW);
        assert_eq!(book.claim("a", true, NOW), Claim::Opens(routed("T-1")), "the callee may offer first");
        book.used("a", NOW);
        assert_eq!(book.claim("a", false, NOW), Claim::Spent);
        book.released("a", NOW);
        assert_eq!(
            book.claim("a", true, NOW),
            Claim::Spent,
            "what is in a dialog is of the call that has been"
        );
        assert_eq!(book.claim("a", false, NOW), Claim::Opens(routed("T-1")));
        book.ended("a", NOW);
        assert_eq!(book.claim("a", false, NOW), Claim::Spent);
        assert_eq!(book.claim("a", false, NOW.plus(ENDED_SECONDS - 1)), Claim::Spent);
        assert_eq!(book.claim("a", false, NOW.plus(ENDED_SECONDS)), Claim::Unknown);
        book.remember("a", connect(), NOW);
        assert_eq!(book.claim("a", false, NOW), Claim::Opens(routed("T-1")), "it was decided anew");
    }

    #[test]
    fn a_new_book_goes_on_with_the_journal_of_one_that_was_killed() {
        let state = tempfile::tempdir().unwrap();
        let keys = keys(&state);
        let open = |now| RouteBook::open(state.path(), Arc::clone(&keys), now).unwrap();
        let book = open(NOW);
        for call in ["+447700900001@old", "used", "released", "connects"] {
            book.remember(call, connect(), if call.ends_with("old") { NOW } else { LATER });
        }
        book.used("used", LATER);
        book.used("released", LATER);
        book.released("released", LATER);
        book.remember("rejected", rejected(), LATER);
        // Killed in the middle of a write.
        let path = state.path().join(JOURNAL);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"0102").unwrap();

        let then = NOW.plus(KEPT_SECONDS);
        let claims = |book: &RouteBook| {
            ["+447700900001@old", "used", "released", "rejected", "connects"]
                .map(|c| book.claim(c, false, then))
        };
        let opens = || Claim::Opens(routed("T-1"));
        assert_eq!(claims(&open(then)), [Claim::Unknown, Claim::Spent, opens(), Claim::Refused, opens()]);
        // What is appended behind the torn line is read.
        open(then).remember("more", connect(), then);
        assert_eq!(open(then).claim("more", false, then), opens());

        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("900001") && !text.contains("T-1") && !text.contains("no_trip"));
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}
