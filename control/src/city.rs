//! A city: a pool of numbers and the policy that its trips inherit.
//!
//! Written by operators (`PUT /v1/cities/{city}`, or a file `cities/{city}.toml` with the same keys), kept by the
//! store, held in memory by the directory.

pub mod files;
mod written;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::City;
use crate::number::PoolNumber;
use crate::number::trunk::{BadProfile, TrunkProfile};
use crate::pace::{BadPace, Pace};
use crate::route::Reason;

/// The trunk of a proxy that has not been told a name.
pub const USUAL_TRUNK: &str = "default";

/// Longest that a trip may last, or be held afterwards: 30 days, in seconds.
pub const LONGEST_SECONDS: u32 = 2_592_000;

/// A city as `PUT /v1/cities/{city}` takes it, `GET` gives it and `cities/{city}.toml` holds it. Only `country` and
/// `numbers` must be given; a key that is not known is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "written::Written", into = "written::Written")]
pub struct CityPlan {
    /// Country code of its numbers, without +.
    pub country: String,
    /// The pool: numbers of ours, in E.164, each with what it may be used for. Written as a list for each state:
    /// `numbers` (the active ones), `reserved`, `draining`, `suspended`. A number stands in one of them alone.
    pub numbers: BTreeMap<PoolNumber, NumberState>,
    /// Cities whose numbers serve when this city's own are exhausted, in the order in which they are tried.
    pub neighbours: Vec<City>,
    /// Whether calls are recorded when the trip does not say. Default: true.
    pub record: bool,
    /// Name of the announcement that the proxy plays to both when a call is recorded: 1 to 64 of `A-Za-z0-9._-`,
    /// beginning with a letter or digit. Default: none is played.
    pub consent_prompt: Option<String>,
    /// Seconds that a trip lives when it does not say: 1 to 2592000. Default: 7200, two hours.
    pub expires_in: u32,
    /// Absolute end: seconds from a trip's creation beyond which no extension carries it. From `expires_in` to
    /// 2592000. Default: 2592000, 30 days.
    pub ends_in: u32,
    /// Seconds after a trip's expiry in which its calls still connect, when the trip does not say: 0 to 2592000.
    /// Default: 86400, one day.
    pub grace: u32,
    /// Seconds after grace in which a call hears that the trip has ended, and its numbers stay held: 0 to 2592000.
    /// Default: 3600, one hour.
    pub cooling: u32,
    /// Longest call, in seconds from its answer, when the trip does not say: 1 to 86400. Default: 3600, one hour.
    pub max_seconds: u32,
    /// Seconds that a call may ring when the trip does not say: 5 to 180. Default: as long as the proxy lets it.
    pub ring_seconds: Option<u32>,
    /// Calls that a trip may have in its whole life when it does not say: 1 to 10000. Default: no limit.
    pub max_calls: Option<u32>,
    /// How many calls one party may begin in how long, over all its trips, like `{ most = 20, seconds = 600 }`; what
    /// comes faster is refused as `party_rate`. Default: no limit.
    pub party_pace: Option<Pace>,
    /// How many calls one trip may begin in how long, both parties together; what comes faster is refused as
    /// `trip_rate`. Default: no limit.
    pub trip_pace: Option<Pace>,
    /// What a refused caller gets, by the reason of the refusal: `[answers.trip_ended]`. What is not here keeps the
    /// reason's usual SIP code, and its name as the announcement; `unknown_caller` has that of `no_trip`, so that a
    /// stranger does not hear which numbers are in use.
    pub answers: BTreeMap<Reason, Answer>,
    /// How each trunk spells numbers, by the name that the proxy gives. Without a name, and on a trunk `default` that
    /// is not here, the country's usual ways are read; on other trunks that are not here, international ones alone.
    pub trunks: BTreeMap<String, TrunkProfile>,
}

/// What a pool number may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NumberState {
    /// New trips get it.
    Active,
    /// Kept back: no trip gets it until it is made active.
    Reserved,
    /// New trips do not get it; the trips that have it go on.
    Draining,
    /// New trips do not get it, and calls to it are refused, whatever their trip.
    Suspended,
}

impl NumberState {
    /// Every state, in the order of their lists in a plan.
    pub const ALL: [Self; 4] = [Self::Active, Self::Reserved, Self::Draining, Self::Suspended];

    /// The state's name in requests, replies and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Reserved => "reserved",
            Self::Draining => "draining",
            Self::Suspended => "suspended",
        }
    }
}

/// What a city answers to a refused call instead of the usual.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Final SIP response: 400 to 699. Default: the reason's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_code: Option<u16>,
    /// Name of the announcement that the proxy plays, written as `consent_prompt` is. Default: the reason's
    /// name, but `no_trip` for `unknown_caller`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announcement: Option<String>,
}

/// Why a city is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCity {
    /// The country is no country code.
    #[error(transparent)]
    Country(#[from] BadProfile),
    /// A pool number of another country: most likely a typing error.
    #[error("{number} does not begin with the country code +{country}")]
    Foreign {
        /// The pool number.
        number: PoolNumber,
        /// The city's country.
        country: String,
    },
    /// A pool number in the lists of two states.
    #[error("{number} is in two lists, {} and {}: leave it in one of them", .states[0].list(), .states[1].list())]
    Twice {
        /// The pool number.
        number: PoolNumber,
        /// The states.
        states: [NumberState; 2],
    },
    /// A pool number that this city does not have.
    #[error("{0} is not a number of this city")]
    Unknown(PoolNumber),
    /// A neighbour that is named twice.
    #[error("neighbours names {0} twice")]
    Neighbour(City),
    /// A duration out of range.
    #[error("{field} must be from {least} to {most} seconds")]
    Duration {
        /// The field's name.
        field: &'static str,
        /// Least value taken.
        least: u32,
        /// Greatest value taken.
        most: u32,
    },
    /// A count out of range.
    #[error("{field} must be from {least} to {most}")]
    Count {
        /// The field's name.
        field: String,
        /// Least value taken.
        least: u32,
        /// Greatest value taken.
        most: u32,
    },
    /// A pace that makes no sense.
    #[error("{field}.{bad}")]
    Pace {
        /// The field's name.
        field: &'static str,
        /// What is wrong with it.
        bad: BadPace,
    },
    /// An absolute end that comes before the usual one.
    #[error("ends_in must not be less than expires_in, which is {0} seconds")]
    EndsEarly(u32),
    /// An announcement's name that could do harm where the proxy looks for the file.
    #[error("{0} must be 1 to 64 characters of A-Z a-z 0-9 . _ -, beginning with a letter or digit")]
    Announcement(String),
    /// A trunk name that cannot be a label.
    #[error("a trunk name must be 1 to 64 printable characters")]
    TrunkName,
}

impl CityPlan {
    /// Checks what types alone do not.
    pub fn check(&self) -> Result<(), BadCity> {
        TrunkProfile::of_country(&self.country)?;
        if let Some(number) =
            self.numbers.keys().find(|n| !n.to_integer().to_string().starts_with(&self.country))
        {
            return Err(BadCity::Foreign { number: *number, country: self.country.clone() });
        }
        let twice = self
            .neighbours
            .iter()
            .enumerate()
            .find(|(at, city)| self.neighbours.iter().take(*at).any(|earlier| earlier == *city));
        if let Some((_, city)) = twice {
            return Err(BadCity::Neighbour(city.clone()));
        }
        self.check_limits()?;
        self.check_answers()?;
        let named = |name: &String| (1..=64).contains(&name.len()) && !name.chars().any(char::is_control);
        if self.trunks.keys().all(named) { Ok(()) } else { Err(BadCity::TrunkName) }
    }

    fn check_limits(&self) -> Result<(), BadCity> {
        within("expires_in", self.expires_in, 1, LONGEST_SECONDS)?;
        within("ends_in", self.ends_in, 1, LONGEST_SECONDS)?;
        if self.ends_in < self.expires_in {
            return Err(BadCity::EndsEarly(self.expires_in));
        }
        within("grace", self.grace, 0, LONGEST_SECONDS)?;
        within("cooling", self.cooling, 0, LONGEST_SECONDS)?;
        within("max_seconds", self.max_seconds, 1, 86_400)?;
        if let Some(seconds) = self.ring_seconds {
            within("ring_seconds", seconds, 5, 180)?;
        }
        if let Some(calls) = self.max_calls {
            count("max_calls", calls, 1, 10_000)?;
        }
        for (field, pace) in [("party_pace", self.party_pace), ("trip_pace", self.trip_pace)] {
            if let Some(pace) = pace {
                pace.check().map_err(|bad| BadCity::Pace { field, bad })?;
            }
        }
        Ok(())
    }

    fn check_answers(&self) -> Result<(), BadCity> {
        let answers = self.answers.iter().map(|(reason, answer)| (reason.as_str(), answer));
        for (reason, answer) in answers.clone() {
            if let Some(code) = answer.sip_code {
                count(&format!("answers.{reason}.sip_code"), code.into(), 400, 699)?;
            }
        }
        let names = answers
            .filter_map(|(reason, a)| {
                Some((format!("answers.{reason}.announcement"), a.announcement.as_ref()?))
            })
            .chain(self.consent_prompt.as_ref().map(|name| ("consent_prompt".to_owned(), name)));
        for (field, name) in names {
            if !is_announcement(name) {
                return Err(BadCity::Announcement(field));
            }
        }
        Ok(())
    }

    /// The numbers that new trips get, in order.
    pub fn active(&self) -> impl Iterator<Item = PoolNumber> {
        let active = self.numbers.iter().filter(|(_, state)| **state == NumberState::Active);
        active.map(|(number, _)| *number)
    }

    /// What a number of this city may be used for; none for a number of somebody else.
    pub fn state(&self, number: PoolNumber) -> Option<NumberState> {
        self.numbers.get(&number).copied()
    }

    /// Says what a number may be used for from now on.
    pub fn set_state(&mut self, number: PoolNumber, state: NumberState) -> Result<(), BadCity> {
        *self.numbers.get_mut(&number).ok_or(BadCity::Unknown(number))? = state;
        Ok(())
    }

    /// What a call that is refused for `reason` gets: SIP code and name of the announcement.
    pub fn answer(&self, reason: Reason) -> (u16, &str) {
        let own = self.answers.get(&reason);
        let code = own.and_then(|answer| answer.sip_code).unwrap_or(reason.sip_code());
        (code, own.and_then(|answer| answer.announcement.as_deref()).unwrap_or(reason.announcement()))
    }

    /// How `trunk` spells numbers towards this city.
    pub fn profile(&self, trunk: Option<&str>) -> Result<TrunkProfile, BadProfile> {
        if let Some(profile) = trunk.and_then(|name| self.trunks.get(name)) {
            return Ok(profile.clone());
        }
        match trunk {
            None | Some(USUAL_TRUNK) => TrunkProfile::of_country(&self.country),
            // Who knows in which country that trunk is at home?
            Some(_) => TrunkProfile::international_only(&self.country),
        }
    }
}

/// Refuses a duration out of range, naming its field.
pub fn within(field: &'static str, value: u32, least: u32, most: u32) -> Result<(), BadCity> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(BadCity::Duration { field, least, most }) }
}

/// Refuses a count out of range, naming its field.
fn count(field: &str, value: u32, least: u32, most: u32) -> Result<(), BadCity> {
    let fits = (least..=most).contains(&value);
    if fits { Ok(()) } else { Err(BadCity::Count { field: field.into(), least, most }) }
}

/// Whether a proxy may look for a file of this name: no path leads out of its folder.
fn is_announcement(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests;
