//! Trips in slots: found by id, by slot, and by when their keys are free. Made to hold millions.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;

use crate::moment::Moment;
use crate::name::{City, Role, TripId};
use crate::trip::Trip;

/// Seconds that make a span: a number of half the size does for it.
const SPAN: i64 = 64;
/// Role names that trips share; beyond that each trip has its own.
const SHARED_ROLES: usize = 256;

/// A party of the trip in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    pub fn new(slot: u32, party: usize) -> Self {
        Self(slot << 1 | u32::from(party == 1))
    }

    pub const fn slot(self) -> u32 {
        self.0 >> 1
    }

    pub const fn party(self) -> usize {
        (self.0 & 1) as usize
    }
}

/// The trips.
#[derive(Debug, Default)]
pub(super) struct Trips {
    slots: Vec<Option<Arc<Trip>>>,
    free: Vec<u32>,
    by_id: HashTable<u32>,
    hasher: RandomState,
    /// Slots by the span of seconds in which the keys of their trip are free.
    by_end: BTreeSet<(u32, u32)>,
    roles: BTreeSet<Role>,
    cities: BTreeSet<City>,
}

impl Trips {
    /// The trip of this id.
    pub fn get(&self, id: &TripId) -> Option<&Arc<Trip>> {
        self.slots.get(self.slot(id)? as usize)?.as_ref()
    }

    /// The trip of this place.
    pub fn at(&self, place: Place) -> Option<&Arc<Trip>> {
        self.slots.get(place.slot() as usize)?.as_ref()
    }

    fn slot(&self, id: &TripId) -> Option<u32> {
        self.by_id.find(self.hasher.hash_one(id), |slot| self.is(*slot, id)).copied()
    }

    fn is(&self, slot: u32, id: &TripId) -> bool {
        self.slots.get(slot as usize).and_then(Option::as_ref).is_some_and(|trip| trip.id == *id)
    }

    /// Takes in a trip whose id is not here.
    pub fn add(&mut self, mut trip: Trip) -> (u32, Arc<Trip>) {
        self.share(&mut trip);
        let hash = self.hasher.hash_one(&trip.id);
        let trip = Arc::new(trip);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // A place has 31 bits for its slot: more trips do not fit into any memory.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX >> 1)
        });
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(Arc::clone(&trip));
        }
        let (slots, hasher) = (&self.slots, &self.hasher);
        let again = |slot: &u32| match slots.get(*slot as usize) {
            Some(Some(trip)) => hasher.hash_one(&trip.id),
            _ => 0,
        };
        self.by_id.insert_unique(hash, slot, again);
        self.by_end.insert((span(&trip), slot));
        (slot, trip)
    }

    /// Cities and roles are few: one text for each, not one per trip.
    fn share(&mut self, trip: &mut Trip) {
        match self.cities.get(&trip.city) {
            Some(city) => trip.city = city.clone(),
            None => drop(self.cities.insert(trip.city.clone())),
        }
        for party in &mut trip.parties {
            match self.roles.get(&party.role) {
                Some(role) => party.role = role.clone(),
                None if self.roles.len() < SHARED_ROLES => drop(self.roles.insert(party.role.clone())),
                None => {}
            }
        }
    }

    /// Takes a trip out.
    pub fn remove(&mut self, id: &TripId) -> Option<(u32, Arc<Trip>)> {
        let slot = self.slot(id)?;
        if let Ok(entry) = self.by_id.find_entry(self.hasher.hash_one(id), |found| *found == slot) {
            entry.remove();
        }
        let trip = self.slots.get_mut(slot as usize)?.take()?;
        self.by_end.remove(&(span(&trip), slot));
        self.free.push(slot);
        Some((slot, trip))
    }

    /// Ids of trips whose keys are free at `now`, `most` of them at most.
    pub fn over(&self, now: Moment, most: usize) -> Vec<TripId> {
        let due = self.by_end.range(..=(span_of(now), u32::MAX));
        let trips = due.filter_map(|(_, slot)| self.slots.get(*slot as usize)?.as_ref());
        trips.filter(|trip| trip.life.held_until() <= now).take(most).map(|trip| trip.id.clone()).collect()
    }

    /// Slots, and entries by end.
    #[cfg(test)]
    pub fn room(&self) -> (usize, usize) {
        (self.slots.len(), self.by_end.len())
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.by_end.is_empty() && self.slots.iter().all(Option::is_none)
    }
}

fn span(trip: &Trip) -> u32 {
    span_of(trip.life.held_until())
}

fn span_of(at: Moment) -> u32 {
    u32::try_from(at.unix().max(0) / SPAN).unwrap_or(u32::MAX)
}
