//! Trips in slots: found by id, by slot, and by when their keys are free. Made to hold millions.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;

use crate::moment::Moment;
use crate::name::{City, Role, TripId};
use crate::trip::Trip;

/// Seconds of which trips that end within them share a list.
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
    /// Slots by the end of their trip, in spans of seconds. A trip whose end moved stands in more than one.
    by_end: BTreeMap<i64, Vec<u32>>,
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
        let span = trip.life.held_until().unix().div_euclid(SPAN);
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
        self.by_end.entry(span).or_default().push(slot);
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
        self.free.push(slot);
        Some((slot, trip))
    }

    /// Ids of trips whose keys are free at `now`, `most` of them at most.
    pub fn over(&mut self, now: Moment, most: usize) -> Vec<TripId> {
        let mut over = Vec::new();
        while let Some(mut first) = self.by_end.first_entry() {
            if *first.key() * SPAN > now.unix() || over.len() >= most {
                break;
            }
            let span = *first.key();
            let slots = &self.slots;
            first.get_mut().retain(|slot| {
                let Some(Some(trip)) = slots.get(*slot as usize) else { return false };
                let until = trip.life.held_until();
                if until <= now && over.len() < most {
                    over.push(trip.id.clone());
                    return false;
                }
                // A trip that was extended stands in a later list, too.
                until.unix().div_euclid(SPAN) == span
            });
            if first.get().is_empty() {
                first.remove();
            } else {
                break;
            }
        }
        over
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.slots.iter().all(Option::is_none)
    }
}
