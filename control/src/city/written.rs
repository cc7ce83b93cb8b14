//! A city as it is written in JSON and TOML: a list of numbers for each state, and what is left out has its default.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Answer, BadCity, CityPlan, LONGEST_SECONDS, NumberState};
use crate::name::City;
use crate::number::PoolNumber;
use crate::number::trunk::TrunkProfile;
use crate::pace::Pace;
use crate::route::Reason;

type Numbers = BTreeSet<PoolNumber>;

/// The keys are those of [`CityPlan`], where each is documented.
#[derive(Serialize, Deserialize)]
#[serde(rename = "CityPlan", deny_unknown_fields)]
pub(super) struct Written {
    country: String,
    numbers: Numbers,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    reserved: Numbers,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    draining: Numbers,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    suspended: Numbers,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    neighbours: Vec<City>,
    #[serde(default = "yes")]
    record: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    consent_prompt: Option<String>,
    #[serde(default = "two_hours")]
    expires_in: u32,
    #[serde(default = "longest")]
    ends_in: u32,
    #[serde(default = "one_day")]
    grace: u32,
    #[serde(default = "one_hour")]
    cooling: u32,
    #[serde(default = "one_hour")]
    max_seconds: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ring_seconds: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_calls: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    party_pace: Option<Pace>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trip_pace: Option<Pace>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    answers: BTreeMap<Reason, Answer>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    trunks: BTreeMap<String, TrunkProfile>,
}

const fn yes() -> bool {
    true
}
const fn one_hour() -> u32 {
    3_600
}
const fn two_hours() -> u32 {
    7_200
}
const fn one_day() -> u32 {
    86_400
}
const fn longest() -> u32 {
    LONGEST_SECONDS
}

impl NumberState {
    /// The key under which a plan lists the numbers of this state.
    pub(super) const fn list(self) -> &'static str {
        match self {
            Self::Active => "numbers",
            other => other.as_str(),
        }
    }
}

impl TryFrom<Written> for CityPlan {
    type Error = BadCity;

    fn try_from(written: Written) -> Result<Self, BadCity> {
        let lists = [
            (NumberState::Active, written.numbers),
            (NumberState::Reserved, written.reserved),
            (NumberState::Draining, written.draining),
            (NumberState::Suspended, written.suspended),
        ];
        let mut numbers = BTreeMap::new();
        for (state, list) in lists {
            for number in list {
                if let Some(earlier) = numbers.insert(number, state) {
                    return Err(BadCity::Twice { number, states: [earlier, state] });
                }
            }
        }
        Ok(Self {
            country: written.country,
            numbers,
            neighbours: written.neighbours,
            record: written.record,
            consent_prompt: written.consent_prompt,
            expires_in: written.expires_in,
            ends_in: written.ends_in,
            grace: written.grace,
            cooling: written.cooling,
            max_seconds: written.max_seconds,
            ring_seconds: written.ring_seconds,
            max_calls: written.max_calls,
            party_pace: written.party_pace,
            trip_pace: written.trip_pace,
            answers: written.answers,
            trunks: written.trunks,
        })
    }
}

impl From<CityPlan> for Written {
    fn from(plan: CityPlan) -> Self {
        let of = |state| plan.numbers.iter().filter(|(_, s)| **s == state).map(|(n, _)| *n).collect();
        Self {
            numbers: of(NumberState::Active),
            reserved: of(NumberState::Reserved),
            draining: of(NumberState::Draining),
            suspended: of(NumberState::Suspended),
            country: plan.country,
            neighbours: plan.neighbours,
            record: plan.record,
            consent_prompt: plan.consent_prompt,
            expires_in: plan.expires_in,
            ends_in: plan.ends_in,
            grace: plan.grace,
            cooling: plan.cooling,
            max_seconds: plan.max_seconds,
            ring_seconds: plan.ring_seconds,
            max_calls: plan.max_calls,
            party_pace: plan.party_pace,
            trip_pace: plan.trip_pace,
            answers: plan.answers,
            trunks: plan.trunks,
        }
    }
}
