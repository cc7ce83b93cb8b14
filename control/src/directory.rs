//! Cities and live trips in memory, found by (pool number, party): what route decisions are made from.
//!
//! Owned by [`crate::masking`] behind a lock that is never held across an await; changed after the store has
//! said yes. Pure: time comes in.

mod keys;
mod spellings;
mod trips;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::city::{CityPlan, NumberState};
use crate::moment::Moment;
use crate::name::{City, TripId};
use crate::number::trunk::TrunkProfile;
use crate::number::{E164, PoolNumber};
use crate::trip::{Trip, TripState};
use keys::Keys;
use spellings::Spellings;
use trips::{Place, Trips};

/// The copy in memory.
#[derive(Debug, Default)]
pub struct Directory {
    cities: BTreeMap<City, Arc<CityPlan>>,
    numbers: HashMap<PoolNumber, Number>,
    trips: Trips,
    keys: Keys,
    spellings: Spellings,
}

/// A pool number: of a city's pool, or only held by trips that still have it.
#[derive(Debug, Default)]
struct Number {
    /// Its city and what it is used for there.
    city: Option<(City, NumberState)>,
    /// How many handsets dial it.
    keys: u32,
    /// The city of the trip that came last.
    held_in: Option<City>,
    /// Nobody holds it after this, unless a trip is made or extended meanwhile.
    used_until: Moment,
}

/// The trip of one (pool number, party), and which of its parties that is.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// The trip.
    pub trip: &'a Arc<Trip>,
    /// Index of the party that dials.
    pub party: usize,
}

impl Directory {
    /// Makes or replaces a city. Numbers that left it stay known while trips hold them.
    pub fn put_city(&mut self, name: &City, plan: CityPlan) {
        for number in self.numbers.values_mut() {
            if number.city.as_ref().is_some_and(|(city, _)| city == name) {
                number.city = None;
            }
        }
        for (number, state) in &plan.numbers {
            self.numbers.entry(*number).or_default().city = Some((name.clone(), *state));
        }
        self.numbers.retain(|_, number| number.city.is_some() || number.keys > 0);
        self.cities.insert(name.clone(), Arc::new(plan));
        self.spellings = Spellings::of(self.cities.values().map(Arc::as_ref));
    }

    /// Takes a trip in, unless a later version of it is here already. A (pool number, party) that has passed to a
    /// later trip stays with that one: versions are the store's, across all trips, and it hands a key on only after
    /// the last change of the trip that had it.
    pub fn put_trip(&mut self, trip: Trip) -> Arc<Trip> {
        if let Some(known) = self.trips.get(&trip.id) {
            if known.version >= trip.version {
                return Arc::clone(known);
            }
            self.remove_trip(&trip.id.clone());
        }
        let (slot, trip) = self.trips.add(trip);
        for (party, side) in trip.parties.iter().enumerate() {
            if trip.lost.get(party) != Some(&false) {
                continue;
            }
            let number = self.numbers.entry(side.dial).or_default();
            number.used_until = number.used_until.max(trip.life.held_until());
            number.held_in = Some(trip.city.clone());
            let place = Place::new(slot, party);
            for phone in side.phones.all() {
                let later = |holder: &Trip| holder.version >= trip.version;
                let new = self.keys.put((side.dial, phone), place, &self.trips, later);
                number.keys += u32::from(new);
            }
        }
        trip
    }

    /// Says whether it was there.
    fn remove_trip(&mut self, id: &TripId) -> bool {
        let Some((slot, trip)) = self.trips.remove(id) else { return false };
        for (party, side) in trip.parties.iter().enumerate() {
            let place = Place::new(slot, party);
            let mut freed = 0;
            for phone in side.phones.all() {
                freed += u32::from(self.keys.remove(side.dial, phone, place));
            }
            let Some(number) = self.numbers.get_mut(&side.dial) else { continue };
            number.keys = number.keys.saturating_sub(freed);
            if number.city.is_none() && number.keys == 0 {
                self.numbers.remove(&side.dial);
            }
        }
        true
    }

    /// Forgets trips whose keys are free at `now`, `most` of them at most; returns how many.
    pub fn sweep(&mut self, now: Moment, most: usize) -> usize {
        let over = self.trips.over(now, most);
        over.iter().filter(|id| self.remove_trip(id)).count()
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

    /// The trip that holds (pool number, party) at `now`.
    pub fn key(&self, dialled: PoolNumber, party: &E164, now: Moment) -> Option<Key<'_>> {
        let place = self.keys.get(dialled, party, &self.trips)?;
        let trip = self.trips.at(place)?;
        (now < trip.life.held_until()).then_some(Key { trip, party: place.party() })
    }

    /// Whether somebody's trip may hold this number at `now`.
    pub fn in_use(&self, dialled: PoolNumber, now: Moment) -> bool {
        self.numbers.get(&dialled).is_some_and(|number| number.keys > 0 && now < number.used_until)
    }

    /// Whether no call may go through this number.
    pub fn is_suspended(&self, number: PoolNumber) -> bool {
        let number = self.numbers.get(&number).and_then(|number| number.city.as_ref());
        number.is_some_and(|(_, state)| *state == NumberState::Suspended)
    }

    /// The city whose pool the number is in, or whose trips still hold it.
    pub fn city_of(&self, number: PoolNumber) -> Option<&City> {
        let number = self.numbers.get(&number)?;
        number.city.as_ref().map(|(city, _)| city).or(number.held_in.as_ref().filter(|_| number.keys > 0))
    }

    /// Every way in which `trunk` may spell one of our numbers: as a city says for this trunk, else as
    /// [`CityPlan::profile`] has it for a trunk that no city names. Few and distinct.
    pub fn profiles(&self, trunk: Option<&str>) -> &[TrunkProfile] {
        self.spellings.on(trunk)
    }
}

#[cfg(test)]
mod tests;
