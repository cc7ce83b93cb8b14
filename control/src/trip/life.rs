//! The times of a trip, and its states: active, grace, cooling, purged.
//!
//! A trip runs out (`expires_at`) or is closed. In grace it can be reopened, and a trip that ran out still connects;
//! one that was closed does not. Cooling answers that the trip has ended, and keeps its numbers from its parties.

use serde::{Deserialize, Serialize};

use crate::moment::Moment;

/// Where a trip stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TripState {
    /// Calls connect.
    Active,
    /// Past its end. Calls still connect when the trip ran out of time; they do not when it was closed.
    Grace,
    /// Its numbers are still held; a call hears that the trip has ended.
    Cooling,
    /// Nothing of it is left but history.
    Purged,
}

impl TripState {
    /// Every state, in the order of a trip's life.
    pub const ALL: [Self; 4] = [Self::Active, Self::Grace, Self::Cooling, Self::Purged];

    /// The name as in the API and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Grace => "grace",
            Self::Cooling => "cooling",
            Self::Purged => "purged",
        }
    }
}

/// The times that decide a trip's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// When it was created.
    pub created_at: Moment,
    /// When it runs out.
    pub expires_at: Moment,
    /// Its absolute end: nothing carries `expires_at` past it.
    pub ends_by: Moment,
    /// When it was closed, if it was.
    pub closed_at: Option<Moment>,
    /// Seconds that it was asked to live, from its creation or from an extension.
    pub lives: u32,
    /// Seconds from its end to cooling.
    pub grace: u32,
    /// Seconds from there until its numbers are free.
    pub cooling: u32,
    /// Each call that connects lets it live for `lives` seconds from then on.
    pub sliding: bool,
}

/// Why a trip's times do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Over {
    /// It does not connect any more.
    #[error("it has ended; make a new one")]
    Ended,
    /// It would live past its absolute end.
    #[error("that is past its absolute end, {0}")]
    PastEnd(Moment),
}

impl Life {
    /// When the trip ended or will end.
    pub fn ends_at(&self) -> Moment {
        self.closed_at.map_or(self.expires_at, |closed| closed.min(self.expires_at))
    }

    /// When cooling begins.
    pub fn cools_at(&self) -> Moment {
        self.ends_at().plus(self.grace.into())
    }

    /// Until when its (pool number, party) keys are held.
    pub fn held_until(&self) -> Moment {
        self.cools_at().plus(self.cooling.into())
    }

    /// The state at `now`. A trip that was closed stays closed when the clock goes back to a time before.
    pub fn state(&self, now: Moment) -> TripState {
        if now < self.ends_at() && self.closed_at.is_none() {
            TripState::Active
        } else if now < self.cools_at() {
            TripState::Grace
        } else if now < self.held_until() {
            TripState::Cooling
        } else {
            TripState::Purged
        }
    }

    /// Whether a new call connects at `now`: while active, and in grace unless the trip was closed.
    pub fn connects(&self, now: Moment) -> bool {
        match self.state(now) {
            TripState::Active => true,
            TripState::Grace => self.closed_at.is_none(),
            TripState::Cooling | TripState::Purged => false,
        }
    }

    /// Closed at `now`; a life that is closed stays as it is.
    #[must_use]
    pub fn closed(self, now: Moment) -> Self {
        Self { closed_at: self.closed_at.or(Some(now)), ..self }
    }

    /// Ended at `now` as if time had run out: calls connect in grace.
    #[must_use]
    pub fn run_out(self, now: Moment) -> Self {
        Self { expires_at: self.expires_at.min(now), ..self }
    }

    /// Closed at `now` without any grace; what is left of a grace under way is cut off.
    #[must_use]
    pub fn cancelled(self, now: Moment) -> Self {
        let closed = self.closed(now);
        let passed = now.unix().saturating_sub(closed.ends_at().unix()).max(0);
        Self { grace: closed.grace.min(u32::try_from(passed).unwrap_or(u32::MAX)), ..closed }
    }

    /// Runs out `lives` seconds after `now`. What does not connect any more must not come back unseen.
    pub fn extended(self, lives: u32, now: Moment) -> Result<Self, Over> {
        if !self.connects(now) {
            return Err(Over::Ended);
        }
        self.running_out(lives, now)
    }

    /// As if it had not ended: active for `lives` seconds from `now`, or for as long as it was made for and its absolute
    /// end lets it. Out of grace alone; an active trip stays as it is.
    pub fn reopened(self, lives: Option<u32>, now: Moment) -> Result<Self, Over> {
        match self.state(now) {
            TripState::Active => Ok(self),
            TripState::Grace => {
                let open = Self { closed_at: None, ..self };
                match lives {
                    None if now < self.ends_by => {
                        Ok(Self { expires_at: now.plus(self.lives.into()).min(self.ends_by), ..open })
                    }
                    lives => open.running_out(lives.unwrap_or(self.lives), now),
                }
            }
            TripState::Cooling | TripState::Purged => Err(Over::Ended),
        }
    }

    fn running_out(self, lives: u32, now: Moment) -> Result<Self, Over> {
        let expires_at = now.plus(lives.into());
        if expires_at > self.ends_by {
            return Err(Over::PastEnd(self.ends_by));
        }
        Ok(Self { expires_at, lives, ..self })
    }

    /// When it runs out after a call that connects at `now`; none when that changes little or nothing. "Little" is a
    /// thirty-second of its life: not every call of a busy trip is worth a write. A call in grace makes no trip active
    /// again.
    pub fn slid(&self, now: Moment) -> Option<Moment> {
        let later = now.plus(self.lives.into()).min(self.ends_by);
        let worth = self.expires_at.plus(i64::from(self.lives / 32).max(1));
        (self.sliding && self.state(now) == TripState::Active && later >= worth).then_some(later)
    }
}
