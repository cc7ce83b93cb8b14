//! How a trip changes after it was made. Pure: the store applies a change to what it holds, inside its transaction.

use std::num::{NonZeroU16, NonZeroU32};

use serde::Deserialize;

use super::life::Over;
use super::{Rules, Trip, TripState};
use crate::city::{BadCity, LONGEST_SECONDS, within};
use crate::moment::Moment;
use crate::name::Role;

/// A change that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Another end, other rules.
    Amend(Amendment),
    /// No call connects from now on; within grace it can be reopened. Closing a closed trip changes nothing.
    Close,
    /// It ends now as if it had run out of time: calls connect in grace.
    RunOut,
    /// No call connects from now on, and there is no grace.
    Cancel,
    /// Out of grace it becomes active again.
    Reopen {
        /// For so many seconds; as long as it was made for when none.
        lives: Option<u32>,
    },
    /// A call was let through.
    Called {
        /// The calls of the trip so far, this one included.
        calls: u32,
        /// When the trip runs out because of it.
        expires_at: Option<Moment>,
    },
}

/// `PATCH /v1/trips/{trip}`: what is given changes, the rest stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amendment {
    /// Seconds from now until it runs out.
    pub expires_in: Option<u32>,
    /// Whether calls are recorded from the next one on.
    pub record: Option<bool>,
    /// Roles that may call the other.
    pub callers: Option<Vec<Role>>,
    /// Longest call in seconds.
    pub max_seconds: Option<u32>,
    /// Longest ringing in seconds.
    pub ring_seconds: Option<u32>,
    /// Most calls in all. Calls are counted from when a trip has a limit.
    pub max_calls: Option<u32>,
}

/// Why a trip does not change. Holds no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unchanged {
    /// It is over, or would live too long.
    #[error(transparent)]
    Over(#[from] Over),
    /// Its numbers belong to a later trip of one of its parties.
    #[error("its numbers have passed to a later trip")]
    HandedOn,
    /// A role that the trip has not, or none.
    #[error("callers lists one or both of the trip's roles")]
    Callers,
    /// A duration or count out of range.
    #[error(transparent)]
    Range(#[from] BadCity),
}

impl Change {
    /// The trip as it is after this change; none when it stays what it is. The version is the store's to set.
    pub fn apply(&self, trip: &Trip, now: Moment) -> Result<Option<Trip>, Unchanged> {
        let mut changed = trip.clone();
        let life = trip.life;
        match self {
            Self::Amend(amendment) => amendment.apply(&mut changed, now)?,
            Self::Close => changed.life = life.closed(now),
            Self::RunOut => changed.life = life.run_out(now),
            Self::Cancel => changed.life = life.cancelled(now),
            Self::Reopen { .. } if trip.lost != [false; 2] => return Err(Unchanged::HandedOn),
            Self::Reopen { lives } => {
                lives.map_or(Ok(()), |lives| within("expires_in", lives, 1, LONGEST_SECONDS))?;
                changed.life = life.reopened(*lives, now)?;
            }
            Self::Called { calls, expires_at } => {
                changed.calls = trip.calls.max(*calls);
                // Between the call and this change the trip may have ended otherwise.
                let active = life.state(now) == TripState::Active && trip.lost == [false; 2];
                if let Some(expires_at) = expires_at.filter(|_| active) {
                    changed.life.expires_at = life.expires_at.max(expires_at.min(life.ends_by));
                }
            }
        }
        Ok(Some(changed).filter(|changed| changed != trip))
    }
}

impl Amendment {
    fn apply(&self, trip: &mut Trip, now: Moment) -> Result<(), Unchanged> {
        if !trip.connects(now) {
            return Err(Over::Ended.into());
        }
        if let Some(lives) = self.expires_in {
            within("expires_in", lives, 1, LONGEST_SECONDS)?;
            trip.life = trip.life.extended(lives, now)?;
        }
        let mut rules: Rules = trip.rules;
        rules.record = self.record.unwrap_or(rules.record);
        if let Some(listed) = &self.callers {
            let roles = trip.parties.each_ref().map(|party| &party.role);
            if listed.is_empty() || !listed.iter().all(|role| roles.contains(&role)) {
                return Err(Unchanged::Callers);
            }
            for (party, may) in trip.parties.iter().zip(&mut rules.callers) {
                *may = listed.contains(&party.role);
            }
        }
        if let Some(seconds) = self.max_seconds {
            within("max_seconds", seconds, 1, 86_400)?;
            rules.max_seconds = seconds;
        }
        if let Some(seconds) = self.ring_seconds {
            within("ring_seconds", seconds, 5, 180)?;
            rules.ring_seconds = u16::try_from(seconds).ok().and_then(NonZeroU16::new);
        }
        if let Some(calls) = self.max_calls {
            within("max_calls", calls, 1, 10_000)?;
            rules.max_calls = NonZeroU32::new(calls);
        }
        trip.rules = rules;
        Ok(())
    }
}
