//! The handsets that dial one pool number, each with its trip. Made small: a million trips have two million of them.
//!
//! Owned by [`super::Directory`]. A handset's number stands in its trip alone; here is a hash of it.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::trips::{Place, Trips};
use crate::number::E164;

/// A handset as a table of keys looks for it.
#[derive(Debug, Clone)]
pub(super) struct Handset {
    number: E164,
    hash: u32,
}

impl Handset {
    /// Of a party's number in any form; one hasher for all tables.
    pub fn of(number: &E164, hasher: &RandomState) -> Self {
        let number = number.handset();
        // What a table needs of a hash are its highest and its lowest bits.
        let [a, b, c, d, ..] = hasher.hash_one(&number).to_ne_bytes();
        Self { hash: u32::from_ne_bytes([a, b, c, d]), number }
    }
}

/// The keys of one pool number.
#[derive(Debug, Default)]
pub(super) struct Keys(HashTable<Key>);

#[derive(Debug, Clone, Copy)]
struct Key {
    hash: u32,
    place: Place,
}

impl Key {
    /// Whether it is the key of this handset, whose trip must still be in its place.
    fn is(self, handset: &Handset, trips: &Trips) -> bool {
        self.hash == handset.hash
            && trips
                .at(self.place)
                .is_some_and(|trip| trip.sides(self.place.party()).0.phones.have(&handset.number))
    }
}

fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

impl Keys {
    /// Where the trip of this handset is.
    pub fn get(&self, handset: &Handset, trips: &Trips) -> Option<Place> {
        self.0.find(spread(handset.hash), |key| key.is(handset, trips)).map(|key| key.place)
    }

    /// Gives the key of this handset to the trip in `place`.
    pub fn put(&mut self, handset: &Handset, place: Place, trips: &Trips) {
        let key = Key { hash: handset.hash, place };
        match self.0.find_mut(spread(key.hash), |known| known.is(handset, trips)) {
            Some(known) => *known = key,
            None => drop(self.0.insert_unique(spread(key.hash), key, |key| spread(key.hash))),
        }
    }

    /// Takes away what this handset has in `place`, if the key has not passed to another trip.
    pub fn remove(&mut self, handset: &Handset, place: Place) {
        let same = |key: &Key| key.hash == handset.hash && key.place == place;
        if let Ok(key) = self.0.find_entry(spread(handset.hash), same) {
            key.remove();
        }
    }

    /// Where the trip of any of them is.
    pub fn any(&self) -> Option<Place> {
        self.0.iter().next().map(|key| key.place)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_key_takes_little_room() {
        assert_eq!(size_of::<super::Key>(), 8);
    }
}
