//! (pool number, handset) and the trip that holds it. Made small: a million trips have two million of them.
//!
//! Owned by [`super::Directory`]. What a key is made of stands in its trip; here is a hash of it. One table for all
//! numbers: as many tables would leave behind as many holes in memory when they grow.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::trips::{Place, Trips};
use crate::number::{E164, PoolNumber};
use crate::trip::Trip;

/// Every key.
#[derive(Debug, Default)]
pub(super) struct Keys {
    table: HashTable<Entry>,
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
    place: Place,
}

/// A key that is looked for.
struct Sought {
    dialled: PoolNumber,
    handset: E164,
    hash: u32,
}

impl Sought {
    fn is(&self, entry: Entry, trips: &Trips) -> bool {
        let side = |trip: &Trip| {
            let (party, _) = trip.sides(entry.place.party());
            party.dial == self.dialled && party.phones.have(&self.handset)
        };
        entry.hash == self.hash && trips.at(entry.place).is_some_and(|trip| side(trip))
    }
}

/// What a table needs of a hash are its highest and its lowest bits.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

impl Keys {
    fn sought(&self, dialled: PoolNumber, phone: &E164) -> Sought {
        let handset = phone.handset();
        let [a, b, c, d, ..] = self.hasher.hash_one((dialled, &handset)).to_ne_bytes();
        Sought { dialled, handset, hash: u32::from_ne_bytes([a, b, c, d]) }
    }

    /// Where the trip is that holds (`dialled`, `phone`).
    pub fn get(&self, dialled: PoolNumber, phone: &E164, trips: &Trips) -> Option<Place> {
        let sought = self.sought(dialled, phone);
        self.table.find(spread(sought.hash), |entry| sought.is(*entry, trips)).map(|entry| entry.place)
    }

    /// Gives (`dialled`, `phone`) to the trip in `place`, unless `keeps` says that its holder keeps it. Says whether
    /// nobody held it before.
    pub fn put(
        &mut self,
        (dialled, phone): (PoolNumber, &E164),
        place: Place,
        trips: &Trips,
        keeps: impl FnOnce(&Trip) -> bool,
    ) -> bool {
        let sought = self.sought(dialled, phone);
        let entry = Entry { hash: sought.hash, place };
        let Some(known) = self.table.find_mut(spread(sought.hash), |entry| sought.is(*entry, trips)) else {
            self.table.insert_unique(spread(sought.hash), entry, |entry| spread(entry.hash));
            return true;
        };
        if !trips.at(known.place).is_some_and(|holder| keeps(holder)) {
            *known = entry;
        }
        false
    }

    /// Takes (`dialled`, `phone`) from the trip that was in `place`, unless it has passed to another one. Says whether
    /// nobody holds it any more.
    pub fn remove(&mut self, dialled: PoolNumber, phone: &E164, place: Place) -> bool {
        let hash = self.sought(dialled, phone).hash;
        let same = |entry: &Entry| entry.hash == hash && entry.place == place;
        let Ok(entry) = self.table.find_entry(spread(hash), same) else { return false };
        entry.remove();
        true
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_key_takes_little_room() {
        assert_eq!(size_of::<super::Entry>(), 8);
    }
}
