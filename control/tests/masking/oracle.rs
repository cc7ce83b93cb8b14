//! What a reader of the documents would expect: a plain list of trips, as the answers to their creation and the
//! business's own orders say. Searched from end to end; nothing of the program's own logic is used.
//!
//! [`trips`] is what orders do, [`numbers`] who may be given which number, [`calls`] what becomes of a call.

mod calls;
mod numbers;
mod trips;

use std::collections::{BTreeMap, BTreeSet};

use control::city::NumberState;
use control::name::{Role, TripId};
use control::number::PoolNumber;
use serde_json::Value;

use crate::people::{Caller, Phone};

pub use calls::{Call, Verdict};
pub use numbers::Choice;
pub use trips::{Refused, may_call};

/// Everything that is known.
pub struct Oracle {
    pub now: i64,
    pub trips: Vec<Trip>,
    /// Who had (pool number, handset) last: trip and party.
    keys: BTreeMap<(PoolNumber, usize), (usize, usize)>,
    /// Handsets that are kept apart.
    apart: BTreeSet<[usize; 2]>,
    pub cities: Vec<City>,
    intents: Vec<Intent>,
    tries: Tries,
    /// Calls that were let through and whose offer has not come: trip, and when.
    awaited: BTreeMap<u32, (usize, i64)>,
}

/// A city's pool.
#[derive(Default)]
pub struct City {
    pub numbers: BTreeMap<PoolNumber, NumberState>,
    pub neighbours: Vec<usize>,
    pub cooling: u32,
}

/// A trip, from its creation for ever.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Trip {
    pub id: TripId,
    pub city: usize,
    /// The request.
    pub content: Value,
    /// Each party's phones as they were asked for.
    pub asked: [Vec<Phone>; 2],
    /// Each party's phones; none when it was erased.
    pub people: [Vec<Phone>; 2],
    pub roles: [Role; 2],
    pub dials: [PoolNumber; 2],
    pub pins: [String; 2],
    pub expires: i64,
    pub ends_by: i64,
    pub closed: Option<i64>,
    pub lives: i64,
    pub grace: i64,
    pub cooling: i64,
    pub sliding: bool,
    pub callers: [bool; 2],
    pub record: bool,
    pub max_calls: Option<u32>,
    /// Calls let through while there was a limit, and all calls let through.
    pub counted: u32,
    pub calls: u32,
    /// A later trip was given what this party dials.
    pub lost: [bool; 2],
    /// Nothing is left of it: a sweep came after its end, or its id was used again.
    pub purged: bool,
    /// The process knows it without asking the store.
    pub loaded: bool,
}

/// Where a trip stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Active,
    Grace,
    Cooling,
    Over,
}

/// A call that is awaited from an unknown number, or that came.
struct Intent {
    number: PoolNumber,
    trip: usize,
    party: usize,
    until: i64,
    /// The call that used it up.
    call: Option<u32>,
}

/// Wrong PINs.
#[derive(Default)]
struct Tries {
    /// How many in a row, and until when they count.
    callers: BTreeMap<(PoolNumber, Caller), (u32, i64)>,
    recent: BTreeMap<PoolNumber, Vec<i64>>,
    numbers: BTreeMap<PoolNumber, i64>,
    /// The clock went back: how long locks last is no longer foretold.
    vague: bool,
}

impl Trip {
    pub fn ends(&self) -> i64 {
        self.closed.unwrap_or(i64::MAX).min(self.expires)
    }

    /// From when on its numbers are tombstones.
    pub fn cools(&self) -> i64 {
        self.ends() + self.grace
    }

    /// Until when its numbers are held.
    pub fn until(&self) -> i64 {
        self.cools() + self.cooling
    }

    pub fn phase(&self, now: i64) -> Phase {
        if self.closed.is_none() && now < self.expires {
            Phase::Active
        } else if now < self.cools() {
            Phase::Grace
        } else if now < self.until() {
            Phase::Cooling
        } else {
            Phase::Over
        }
    }

    /// Until it runs out and its grace is over, unless it was closed, or one of its numbers went to another trip.
    pub fn connects(&self, now: i64) -> bool {
        self.closed.is_none() && now < self.expires + self.grace && self.lost == [false; 2]
    }

    fn has(&self, party: usize, handset: usize) -> bool {
        self.people[party].iter().any(|phone| phone.handset == handset)
    }
}

impl Oracle {
    pub fn new(now: i64, cities: Vec<City>) -> Self {
        Self {
            now,
            trips: Vec::new(),
            keys: BTreeMap::new(),
            apart: BTreeSet::new(),
            cities,
            intents: Vec::new(),
            tries: Tries::default(),
            awaited: BTreeMap::new(),
        }
    }

    /// The trip that is `back` trips older than the newest.
    pub fn pick(&self, back: u8) -> Option<usize> {
        let newest = self.trips.len().checked_sub(1)?;
        Some(newest.saturating_sub(usize::from(back)))
    }

    /// The trip that has the id of `trip` now.
    pub fn current(&self, trip: usize) -> usize {
        let id = &self.trips[trip].id;
        self.trips.iter().rposition(|other| other.id == *id).unwrap_or(trip)
    }

    /// Whether the store has the trip, and something is left of it.
    pub fn is_there(&self, trip: usize) -> bool {
        !self.trips[trip].purged && self.now < self.trips[trip].until()
    }

    pub fn blocked(&self, trip: usize) -> bool {
        let [first, second] = &self.trips[trip].people;
        first.iter().any(|a| second.iter().any(|b| self.apart.contains(&pair(a.handset, b.handset))))
    }

    /// The clock is set.
    pub fn set_clock(&mut self, now: i64) {
        if now < self.now {
            self.tries.vague |= self.tries.any(self.now);
            self.awaited.clear();
        }
        self.now = now;
    }

    /// Whether a lock may hold that no one foretells.
    pub fn is_vague(&self) -> bool {
        self.tries.vague
    }

    /// What is over is erased.
    pub fn sweep(&mut self) {
        for trip in &mut self.trips {
            if trip.until() <= self.now {
                trip.purged = true;
                trip.loaded = false;
            }
        }
    }

    /// The process starts again.
    pub fn restart(&mut self) {
        for trip in &mut self.trips {
            trip.loaded = !trip.purged && self.now < trip.until();
        }
        self.intents.clear();
        self.tries = Tries::default();
    }

    /// (Pool number, handset) of trips that connect: no two of them are the same.
    pub fn check_unique(&self) -> anyhow::Result<()> {
        let mut seen = BTreeMap::new();
        for (index, trip) in self.trips.iter().enumerate().filter(|(_, trip)| !trip.purged) {
            for (dial, people) in trip.dials.iter().zip(&trip.people).filter(|_| trip.connects(self.now)) {
                for phone in people {
                    let other = seen.insert((*dial, phone.handset), index);
                    anyhow::ensure!(
                        other.is_none_or(|other| other == index),
                        "{} and {} share {dial} and a party",
                        trip.id,
                        self.trips[other.unwrap_or(index)].id
                    );
                }
            }
        }
        Ok(())
    }
}

fn pair(a: usize, b: usize) -> [usize; 2] {
    [a.min(b), a.max(b)]
}
