//! The ways in which each trunk may spell our numbers, worked out once for each change of a city.

use std::collections::HashMap;

use crate::city::CityPlan;
use crate::number::trunk::TrunkProfile;

/// Profiles by trunk.
#[derive(Debug, Default)]
pub(super) struct Spellings {
    /// Of trunks that a city names.
    named: HashMap<String, Vec<TrunkProfile>>,
    /// Of a proxy that names no trunk.
    usual: Vec<TrunkProfile>,
    /// Of trunks that no city names.
    unknown: Vec<TrunkProfile>,
}

impl Spellings {
    /// The spellings of these cities.
    pub fn of<'a>(cities: impl Iterator<Item = &'a CityPlan>) -> Self {
        let mut spellings = Self::default();
        for plan in cities {
            for (trunk, profile) in &plan.trunks {
                add(spellings.named.entry(trunk.clone()).or_default(), Some(profile.clone()));
            }
            add(&mut spellings.usual, plan.profile(None).ok());
            add(&mut spellings.unknown, plan.profile(Some("")).ok());
        }
        spellings
    }

    /// Those of one trunk.
    pub fn on(&self, trunk: Option<&str>) -> &[TrunkProfile] {
        match trunk {
            Some(name) if self.named.contains_key(name) => self.named.get(name).map_or(&[], Vec::as_slice),
            None | Some(crate::city::USUAL_TRUNK) => &self.usual,
            Some(_) => &self.unknown,
        }
    }
}

fn add(profiles: &mut Vec<TrunkProfile>, profile: Option<TrunkProfile>) {
    profiles.extend(profile.filter(|profile| !profiles.contains(profile)));
}
