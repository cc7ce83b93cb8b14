//! Trips: what a business asks for, what it gets, and the life of a trip as a function of time.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::city::{BadCity, CityPlan, LONGEST_SECONDS, within};
use crate::moment::Moment;
use crate::name::{City, Role, TripId};
use crate::number::{E164, PoolNumber};

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

/// A trip as control holds it in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trip {
    /// The business's key.
    pub id: TripId,
    /// Whose pool its numbers come from.
    pub city: City,
    /// The store's change number at which it last changed.
    pub version: u64,
    /// Whether its calls are recorded.
    pub record: bool,
    /// Longest call, in seconds from its answer.
    pub max_seconds: u32,
    /// Its times.
    pub life: Life,
    /// Both parties.
    pub parties: [Party; 2],
}

/// The times that decide a trip's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// When it was created.
    pub created_at: Moment,
    /// When it runs out.
    pub expires_at: Moment,
    /// When it was closed, if it was.
    pub closed_at: Option<Moment>,
    /// Seconds from its end to cooling.
    pub grace: u32,
    /// Seconds from there until its numbers are free.
    pub cooling: u32,
}

/// One side of a trip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// What the party is in this trip.
    pub role: Role,
    /// The party's own number.
    pub phone: E164,
    /// The number of ours that this party dials, and sees when it is called.
    pub dial: PoolNumber,
    /// Opens the trip to this party from an unknown number.
    pub pin: Pin,
}

/// Digits that a caller types. Not printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Pin(String);

impl Pin {
    /// Takes digits, 5 or more.
    pub fn from_digits(digits: &str) -> Option<Self> {
        let fits = (5..=12).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| Self(digits.to_owned()))
    }

    /// A random PIN of `length` digits (5 to 9), every value equally likely.
    pub fn random(length: u32) -> Result<Self, getrandom::Error> {
        let length = length.clamp(5, 9);
        let span = 10_u32.pow(length);
        // Values past the last whole multiple of `span` would favour small PINs.
        let fair = u32::MAX - u32::MAX % span;
        loop {
            let value = getrandom::u32()?;
            if value < fair {
                return Ok(Self(format!("{:0width$}", value % span, width = length as usize)));
            }
        }
    }

    /// The digits.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(…)")
    }
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

    /// The state at `now`.
    pub fn state(&self, now: Moment) -> TripState {
        if now < self.ends_at() {
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
            TripState::Grace => self.closed_at.is_none_or(|closed| now < closed),
            TripState::Cooling | TripState::Purged => false,
        }
    }
}

impl Trip {
    /// The party at `index` (0 or 1) and the other one.
    pub fn sides(&self, index: usize) -> (&Party, &Party) {
        let [first, second] = &self.parties;
        if index == 0 { (first, second) } else { (second, first) }
    }
}

/// `POST /v1/trips`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TripRequest {
    /// The business's key.
    pub trip: TripId,
    /// The city.
    pub city: City,
    /// Whether calls are recorded; the city's policy when absent.
    pub record: Option<bool>,
    /// Seconds from now until it runs out; the city's when absent.
    pub expires_in: Option<u32>,
    /// Seconds of grace; the city's when absent.
    pub grace: Option<u32>,
    /// Longest call in seconds; the city's when absent.
    pub max_seconds: Option<u32>,
    /// Two parties.
    pub parties: Vec<PartyRequest>,
}

/// A party in `POST /v1/trips`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartyRequest {
    /// What the party is in this trip.
    pub role: Role,
    /// Its own number, `+` and digits.
    pub phone: Zeroizing<String>,
}

/// Why a trip is refused before anything is stored. Holds no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTrip {
    /// Not two parties.
    #[error("a trip has two parties; {0} are given")]
    Parties(usize),
    /// Both parties have one role.
    #[error("both parties have the role {0}; give each its own")]
    SameRole(Role),
    /// Both parties have one number.
    #[error("both parties have the same phone")]
    SamePhone,
    /// A phone that is no number.
    #[error(
        "the phone of the {0} is not + and 7 to 15 digits with the country code first (and no 0 after it where the country has none)"
    )]
    Phone(Role),
    /// A phone that is a pool number: the call would come back to us.
    #[error("the phone of the {0} is one of the pool's own numbers")]
    PoolPhone(Role),
    /// The trip id would carry a number into logs and file names.
    #[error(
        "the trip id holds the last seven digits of the {0}'s phone; it is written to logs, so choose another"
    )]
    TellingId(Role),
    /// A duration out of range.
    #[error(transparent)]
    Duration(#[from] BadCity),
}

/// A trip that may be stored: numbers checked, city's policy filled in. Pool numbers are still to be chosen.
#[derive(Debug, Clone)]
pub struct TripOrder {
    /// The business's key.
    pub id: TripId,
    /// The city.
    pub city: City,
    /// Whether calls are recorded.
    pub record: bool,
    /// Longest call in seconds.
    pub max_seconds: u32,
    /// Its times.
    pub life: Life,
    /// Role and own number of each party.
    pub parties: [(Role, E164); 2],
    /// What was asked for, word by word (see [`TripRequest::content`]): to be kept as a keyed pseudonym only.
    pub content: Zeroizing<String>,
}

impl TripRequest {
    /// Checks the request and fills in the city's policy. `is_pool` says whether a number is one of ours.
    pub fn order(
        &self,
        plan: &CityPlan,
        is_pool: impl Fn(PoolNumber) -> bool,
        now: Moment,
    ) -> Result<TripOrder, BadTrip> {
        let [first, second] = self.parties.as_slice() else {
            return Err(BadTrip::Parties(self.parties.len()));
        };
        if first.role == second.role {
            return Err(BadTrip::SameRole(first.role.clone()));
        }
        let phone = |party: &PartyRequest| -> Result<E164, BadTrip> {
            let refused = || BadTrip::Phone(party.role.clone());
            let phone = E164::parse(&party.phone).map_err(|_| refused())?;
            // What a trunk would turn into another number could never be recognised when it calls.
            let profile = plan.profile(None).map_err(BadCity::from)?;
            if profile.read(&party.phone).as_ref() != Some(&phone) {
                return Err(refused());
            }
            if is_pool(PoolNumber::dialled(&phone)) {
                return Err(BadTrip::PoolPhone(party.role.clone()));
            }
            if tells(self.trip.as_str(), &phone) {
                return Err(BadTrip::TellingId(party.role.clone()));
            }
            Ok(phone)
        };
        let parties = [(first.role.clone(), phone(first)?), (second.role.clone(), phone(second)?)];
        if parties[0].1 == parties[1].1 {
            return Err(BadTrip::SamePhone);
        }
        let expires_in = self.expires_in.unwrap_or(plan.expires_in);
        let grace = self.grace.unwrap_or(plan.grace);
        let max_seconds = self.max_seconds.unwrap_or(plan.max_seconds);
        within("expires_in", expires_in, 1, LONGEST_SECONDS)?;
        within("grace", grace, 0, LONGEST_SECONDS)?;
        within("max_seconds", max_seconds, 1, 86_400)?;
        Ok(TripOrder {
            id: self.trip.clone(),
            city: self.city.clone(),
            record: self.record.unwrap_or(plan.record),
            max_seconds,
            life: Life {
                created_at: now,
                expires_at: now.plus(expires_in.into()),
                closed_at: None,
                grace,
                cooling: plan.cooling,
            },
            parties,
            content: self.content(),
        })
    }

    /// What was asked for, in one fixed spelling, so that a repeated request is known as the same.
    fn content(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(format!(
            "{}|{:?}|{:?}|{:?}|{:?}",
            self.city, self.record, self.expires_in, self.grace, self.max_seconds
        ));
        for party in &self.parties {
            text.push('|');
            text.push_str(party.role.as_str());
            text.push('=');
            text.push_str(&party.phone);
        }
        text
    }
}

/// Whether `id` holds the last seven digits of `phone`, with or without separators between them.
fn tells(id: &str, phone: &E164) -> bool {
    let phone = phone.reveal();
    let Some(tail) = phone.len().checked_sub(7).and_then(|from| phone.get(from..)) else { return false };
    let digits: Zeroizing<String> = Zeroizing::new(id.chars().filter(char::is_ascii_digit).collect());
    digits.contains(tail)
}

/// A trip as the API shows it. Never holds a party's own number.
#[derive(Debug, Serialize)]
pub struct TripView {
    trip: TripId,
    state: TripState,
    version: u64,
    expires_at: Moment,
    parties: Vec<PartyView>,
}

#[derive(Debug, Serialize)]
struct PartyView {
    role: Role,
    dial: PoolNumber,
    pin: String,
}

/// What reading a trip adds to what creating it says.
#[derive(Debug, Serialize)]
pub struct TripDetail {
    #[serde(flatten)]
    view: TripView,
    city: City,
    record: bool,
    max_seconds: u32,
    created_at: Moment,
    /// When grace ends.
    cools_at: Moment,
    /// When its numbers are free again.
    held_until: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<Moment>,
    /// Calls of this trip in progress.
    calls: usize,
}

impl Trip {
    /// The trip at `now`, as creating it answers.
    pub fn view(&self, now: Moment) -> TripView {
        let party =
            |p: &Party| PartyView { role: p.role.clone(), dial: p.dial, pin: p.pin.reveal().to_owned() };
        TripView {
            trip: self.id.clone(),
            state: self.life.state(now),
            version: self.version,
            expires_at: self.life.expires_at,
            parties: self.parties.iter().map(party).collect(),
        }
    }

    /// The trip at `now` in full; `calls` of it are in progress.
    pub fn detail(&self, now: Moment, calls: usize) -> TripDetail {
        TripDetail {
            view: self.view(now),
            city: self.city.clone(),
            record: self.record,
            max_seconds: self.max_seconds,
            created_at: self.life.created_at,
            cools_at: self.life.cools_at(),
            held_until: self.life.held_until(),
            closed_at: self.life.closed_at,
            calls,
        }
    }
}

#[cfg(test)]
mod tests;
