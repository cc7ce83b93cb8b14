//! A city: a pool of numbers and the policy that its trips inherit.
//!
//! Written by operators (`PUT /v1/cities/{city}`), kept by the store, held in memory by the directory.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::number::PoolNumber;
use crate::number::trunk::{BadProfile, TrunkProfile};

/// The trunk of a proxy that has not been told a name.
const USUAL_TRUNK: &str = "default";

/// Longest that a trip may last, or be held afterwards: 30 days, in seconds.
pub const LONGEST_SECONDS: u32 = 2_592_000;

/// A city as `PUT /v1/cities/{city}` takes it and `GET` gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CityPlan {
    /// Country code of its numbers, without +.
    pub country: String,
    /// The pool: numbers of ours, in E.164.
    pub numbers: BTreeSet<PoolNumber>,
    /// Whether calls are recorded when the trip does not say.
    #[serde(default = "yes")]
    pub record: bool,
    /// Seconds that a trip lives when it does not say.
    #[serde(default = "two_hours")]
    pub expires_in: u32,
    /// Seconds after a trip's expiry in which its calls still connect, when the trip does not say.
    #[serde(default = "one_day")]
    pub grace: u32,
    /// Seconds after grace in which a call hears that the trip has ended, and its numbers stay held.
    #[serde(default = "one_hour")]
    pub cooling: u32,
    /// Longest call, in seconds from its answer, when the trip does not say.
    #[serde(default = "one_hour")]
    pub max_seconds: u32,
    /// How each trunk spells numbers, by the name that the proxy gives. Without a name, and on a trunk `default` that
    /// is not here, the country's usual ways are read; on other trunks that are not here, international ones alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trunks: BTreeMap<String, TrunkProfile>,
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
    /// A trunk name that cannot be a label.
    #[error("a trunk name must be 1 to 64 printable characters")]
    TrunkName,
}

impl CityPlan {
    /// Checks what types alone do not.
    pub fn check(&self) -> Result<(), BadCity> {
        TrunkProfile::of_country(&self.country)?;
        if let Some(number) =
            self.numbers.iter().find(|n| !n.to_integer().to_string().starts_with(&self.country))
        {
            return Err(BadCity::Foreign { number: *number, country: self.country.clone() });
        }
        within("expires_in", self.expires_in, 1, LONGEST_SECONDS)?;
        within("grace", self.grace, 0, LONGEST_SECONDS)?;
        within("cooling", self.cooling, 0, LONGEST_SECONDS)?;
        within("max_seconds", self.max_seconds, 1, 86_400)?;
        let named = |name: &String| (1..=64).contains(&name.len()) && !name.chars().any(char::is_control);
        if self.trunks.keys().all(named) { Ok(()) } else { Err(BadCity::TrunkName) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_filled_and_mistakes_named() {
        let plan: CityPlan = serde_json::from_str(r#"{"country":"44","numbers":["+442079460001"]}"#).unwrap();
        assert_eq!((plan.record, plan.grace, plan.cooling, plan.max_seconds), (true, 86_400, 3_600, 3_600));
        plan.check().unwrap();

        let foreign = CityPlan { country: "49".into(), ..plan.clone() };
        assert_eq!(
            foreign.check().unwrap_err().to_string(),
            "+442079460001 does not begin with the country code +49"
        );
        let endless = CityPlan { max_seconds: 0, ..plan };
        assert_eq!(endless.check().unwrap_err().to_string(), "max_seconds must be from 1 to 86400 seconds");
        assert!(serde_json::from_str::<CityPlan>(r#"{"country":"44","numbers":["2079460001"]}"#).is_err());
    }

    #[test]
    fn a_trunk_that_is_not_known_spells_numbers_in_full() {
        let plan: CityPlan = serde_json::from_str(
            r#"{"country":"44","numbers":[],"trunks":{"home":{"country":"44","bare":"national"}}}"#,
        )
        .unwrap();
        let number = crate::number::E164::parse("+447700900001").unwrap();
        let reads = |trunk, text| plan.profile(trunk).unwrap().read(text) == Some(number.clone());
        for (trunk, full, national, bare) in [
            (None, true, true, false),
            (Some("default"), true, true, false),
            (Some("home"), true, true, true),
            (Some("carrier-b"), true, false, false),
        ] {
            for text in ["+447700900001", "00447700900001", "+44 (0)7700 900001"] {
                assert_eq!(reads(trunk, text), full, "{trunk:?} {text}");
            }
            assert_eq!(reads(trunk, "07700900001"), national, "{trunk:?}");
            assert_eq!(reads(trunk, "7700900001"), bare, "{trunk:?}");
            assert_eq!(reads(trunk, "447700900001"), trunk != Some("carrier-b") && trunk != Some("home"));
        }
    }
}
