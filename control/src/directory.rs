//! Cities and live trips in memory, found by (pool number, party): what route decisions are made from.
//!
//! Owned by [`crate::masking`] behind a lock that is never held across an await; changed after the store has
//! said yes. Pure: time comes in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::city::CityPlan;
use crate::moment::Moment;
use crate::name::{City, TripId};
use crate::number::trunk::TrunkProfile;
use crate::number::{E164, PoolNumber};
use crate::trip::{Trip, TripState};

/// The copy in memory.
#[derive(Debug, Default)]
pub struct Directory {
    cities: BTreeMap<City, Arc<CityPlan>>,
    numbers: HashMap<PoolNumber, Number>,
    trips: BTreeMap<TripId, Arc<Trip>>,
    /// Trips by the moment at which their keys are free.
    by_end: BTreeSet<(Moment, TripId)>,
}

/// A pool number: of a city's pool, or only held by trips that still have it.
#[derive(Debug, Default)]
struct Number {
    city: Option<City>,
    keys: HashMap<E164, Key>,
}

/// The trip of one (pool number, party), and which of its parties that is.
#[derive(Debug, Clone)]
pub struct Key {
    /// The trip.
    pub trip: Arc<Trip>,
    /// Index of the party that dials.
    pub party: usize,
}

impl Directory {
    /// Makes or replaces a city. Numbers that left it stay known while trips hold them.
    pub fn put_city(&mut self, name: &City, plan: CityPlan) {
        for number in self.numbers.values_mut().filter(|n| n.city.as_ref() == Some(name)) {
            number.city = None;
        }
        for number in &plan.numbers {
            self.numbers.entry(*number).or_default().city = Some(name.clone());
        }
        self.numbers.retain(|_, number| number.city.is_some() || !number.keys.is_empty());
        self.cities.insert(name.clone(), Arc::new(plan));
    }

    /// Takes a trip in, unless a later version of it is here already. A (pool number, party) that has passed to a
    /// later trip stays with that one: versions are the store's, across all trips, and it hands a key on only after
    /// the last change of the trip that had it.
    pub fn put_trip(&mut self, trip: Trip) -> Arc<Trip> {
        if let Some(known) = self.trips.get(&trip.id) {
            if known.version > trip.version {
                return Arc::clone(known);
            }
            self.remove_trip(&trip.id);
        }
        let trip = Arc::new(trip);
        for (party, side) in trip.parties.iter().enumerate() {
            let number = self.numbers.entry(side.dial).or_default();
            if number.keys.get(&side.phone).is_none_or(|key| key.trip.version < trip.version) {
                number.keys.insert(side.phone.clone(), Key { trip: Arc::clone(&trip), party });
            }
        }
        self.by_end.insert((trip.life.held_until(), trip.id.clone()));
        self.trips.insert(trip.id.clone(), Arc::clone(&trip));
        trip
    }

    fn remove_trip(&mut self, id: &TripId) {
        let Some(trip) = self.trips.remove(id) else { return };
        self.by_end.remove(&(trip.life.held_until(), trip.id.clone()));
        for side in &trip.parties {
            let Some(number) = self.numbers.get_mut(&side.dial) else { continue };
            // The key may have passed to a later trip already.
            if number.keys.get(&side.phone).is_some_and(|key| key.trip.id == *id) {
                number.keys.remove(&side.phone);
            }
            if number.city.is_none() && number.keys.is_empty() {
                self.numbers.remove(&side.dial);
            }
        }
    }

    /// Forgets trips whose keys are free at `now`; returns how many.
    pub fn sweep(&mut self, now: Moment) -> usize {
        let mut swept = 0;
        while let Some((_, id)) = self.by_end.first().filter(|(end, _)| *end <= now) {
            let id = id.clone();
            self.remove_trip(&id);
            swept += 1;
        }
        swept
    }

    /// A city's plan.
    pub fn city(&self, name: &City) -> Option<&Arc<CityPlan>> {
        self.cities.get(name)
    }

    /// Every city, by name.
    pub fn cities(&self) -> impl Iterator<Item = (&City, &Arc<CityPlan>)> {
        self.cities.iter()
    }

    /// Whether the number is one of ours: in a pool, or held by a trip.
    pub fn is_ours(&self, number: PoolNumber) -> bool {
        self.numbers.contains_key(&number)
    }

    /// A trip by its id, purged ones excepted.
    pub fn trip(&self, id: &TripId, now: Moment) -> Option<&Arc<Trip>> {
        self.trips.get(id).filter(|trip| trip.life.state(now) != TripState::Purged)
    }

    /// Up to `limit` trips after `after`, by id; in `state` and of `city` where those are given.
    pub fn page(
        &self,
        after: Option<&TripId>,
        limit: usize,
        state: Option<TripState>,
        city: Option<&City>,
        now: Moment,
    ) -> Vec<Arc<Trip>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.trips
            .range((from, Bound::Unbounded))
            .map(|(_, trip)| trip)
            .filter(|trip| match state {
                Some(state) => trip.life.state(now) == state,
                None => trip.life.state(now) != TripState::Purged,
            })
            .filter(|trip| city.is_none_or(|city| trip.city == *city))
            .take(limit)
            .map(Arc::clone)
            .collect()
    }

    /// The trip that holds (pool number, party) at `now`.
    pub fn key(&self, dialled: PoolNumber, party: &E164, now: Moment) -> Option<&Key> {
        let key = self.numbers.get(&dialled)?.keys.get(party)?;
        (now < key.trip.life.held_until()).then_some(key)
    }

    /// Whether anybody can reach anybody through this number at `now`.
    pub fn connects_anyone(&self, dialled: PoolNumber, now: Moment) -> bool {
        let Some(number) = self.numbers.get(&dialled) else { return false };
        number.keys.values().any(|key| key.trip.life.connects(now))
    }

    /// The city whose pool the number is in, or whose trips still hold it.
    pub fn city_of(&self, number: PoolNumber) -> Option<&City> {
        let number = self.numbers.get(&number)?;
        number.city.as_ref().or_else(|| number.keys.values().next().map(|key| &key.trip.city))
    }

    /// Every way in which `trunk` may spell one of our numbers: as a city says for this trunk, else as
    /// [`CityPlan::profile`] has it for a trunk that no city names. Few and distinct.
    pub fn profiles(&self, trunk: Option<&str>) -> Vec<TrunkProfile> {
        let named: Vec<TrunkProfile> = self
            .cities
            .values()
            .filter_map(|plan| trunk.and_then(|name| plan.trunks.get(name)).cloned())
            .collect();
        let usual = || self.cities.values().filter_map(|plan| plan.profile(trunk).ok()).collect();
        let mut profiles: Vec<TrunkProfile> = Vec::new();
        for profile in if named.is_empty() { usual() } else { named } {
            if !profiles.contains(&profile) {
                profiles.push(profile);
            }
        }
        profiles
    }

    /// How many trips are in each state, in the order of [`TripState::ALL`].
    pub fn census(&self, now: Moment) -> [usize; 4] {
        let mut count = [0; 4];
        for trip in self.trips.values() {
            let state = trip.life.state(now);
            for (sum, of) in count.iter_mut().zip(TripState::ALL) {
                *sum += usize::from(of == state);
            }
        }
        count
    }
}

#[cfg(test)]
mod tests;
