//! Trips: what a business asks for, what it gets, and the life of a trip as a function of time.
//!
//! Pure. [`life`] is when a trip connects, [`party`] who is in it, [`request`] what is asked for and refused, [`change`]
//! what may become of it, [`view`] what the API shows.

pub mod change;
pub mod life;
pub mod party;
pub mod request;
pub mod view;

pub use change::{Amendment, Change, Unchanged};
pub use life::{Life, TripState};
pub use party::{Party, Phones, Pin};
pub use request::{BadTrip, TripOrder, TripRequest};

use std::num::{NonZeroU16, NonZeroU32};

use crate::moment::Moment;
use crate::name::{City, TripId};

/// A trip as control holds it in memory. There may be millions: it is kept small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trip {
    /// The business's key.
    pub id: TripId,
    /// Whose policy it follows, and whose pool its numbers come from first.
    pub city: City,
    /// The store's change number at which it last changed.
    pub version: u64,
    /// Its times.
    pub life: Life,
    /// Both parties.
    pub parties: [Party; 2],
    /// What its calls may be.
    pub rules: Rules,
    /// Calls begun so far, as the store knows it (kept for trips that have a limit).
    pub calls: u32,
    /// Its parties must not talk to each other any more.
    pub blocked: bool,
    /// For each party: its (pool number, party) has passed to a later trip.
    pub lost: [bool; 2],
}

/// What the calls of a trip may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whether calls are recorded.
    pub record: bool,
    /// Which party may call the other.
    pub callers: [bool; 2],
    /// Longest call, in seconds from its answer.
    pub max_seconds: u32,
    /// Longest ringing, in seconds; the proxy's own when none.
    pub ring_seconds: Option<NonZeroU16>,
    /// Most calls in all; any number when none.
    pub max_calls: Option<NonZeroU32>,
}

impl Trip {
    /// The party at `index` (0 or 1) and the other one.
    pub fn sides(&self, index: usize) -> (&Party, &Party) {
        let [first, second] = &self.parties;
        if index == 0 { (first, second) } else { (second, first) }
    }

    /// Whether a new call connects at `now`, as far as time is concerned. A trip that has handed on a key is over: a
    /// party that calls back would reach somebody else.
    pub fn connects(&self, now: Moment) -> bool {
        self.life.connects(now) && !self.handed_on()
    }

    /// Whether a number of it has passed to a later trip, be it of the same two people or not.
    pub fn handed_on(&self) -> bool {
        self.lost != [false; 2]
    }
}

#[cfg(test)]
mod tests;
