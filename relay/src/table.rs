//! The binding table: rows by slot, with a generation per slot so that late completions and stale commands are told
//! apart from the row that has the slot now. Owned by one worker.

use std::ops::Range;

use crate::row::Row;
use crate::sys::memory::prefer_huge_pages;
use crate::sys::prefetch::prefetch_at;
use serde::{Deserialize, Serialize};

/// A place in the table, and which of its tenants is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Slot {
    /// Position.
    pub index: u32,
    /// How often the place was given away before, modulo 2^24.
    pub generation: u32,
}

const GENERATIONS: u32 = 1 << 24;

/// Begins with a cache line: in it is what tells whether a row is there, and the first of what every packet needs of it.
#[derive(Debug)]
#[repr(C, align(64))]
struct Entry {
    generation: u32,
    place: Place,
}

/// An `Option`, which would be told apart by some value that the row cannot have, wherever that stands.
#[derive(Debug)]
#[repr(u32)]
#[allow(clippy::large_enum_variant, reason = "most are taken where it matters")]
enum Place {
    Free,
    Taken(Row),
}

impl Place {
    /// Bytes before the row.
    const HEAD: usize = size_of::<Self>() - size_of::<Row>();

    #[inline]
    const fn row(&self) -> Option<&Row> {
        match self {
            Self::Free => None,
            Self::Taken(row) => Some(row),
        }
    }
}

/// Rows by slot; of fixed size.
#[derive(Debug)]
pub struct Table {
    entries: Vec<Entry>,
    free: Vec<u32>,
}

impl Table {
    /// A table of `size` slots.
    pub fn new(size: u32) -> Self {
        let mut entries = Vec::with_capacity(size as usize);
        prefer_huge_pages(entries.spare_capacity_mut());
        entries.extend((0..size).map(|_| Entry { generation: 0, place: Place::Free }));
        Self { entries, free: (0..size).rev().collect() }
    }

    /// A table of `size` slots with these rows in their places; a row outside is left out.
    pub fn with_rows(size: u32, rows: Vec<(Slot, Row)>) -> Self {
        let mut table = Self::new(size);
        for (slot, row) in rows {
            if let Some(entry) = table.entries.get_mut(slot.index as usize) {
                *entry = Entry { generation: slot.generation, place: Place::Taken(row) };
            }
        }
        let Self { entries, free } = &mut table;
        free.retain(|index| entries.get(*index as usize).is_some_and(|e| e.place.row().is_none()));
        table
    }

    /// Every row that there is.
    pub fn rows(&self) -> impl Iterator<Item = (Slot, &Row)> {
        (0..).zip(&self.entries).filter_map(|(index, entry)| {
            let slot = Slot { index, generation: entry.generation };
            entry.place.row().map(|row| (slot, row))
        })
    }

    /// How many slots there are.
    pub fn size(&self) -> usize {
        self.entries.len()
    }

    /// How many slots are free.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes a free slot, without a row yet.
    pub fn take(&mut self) -> Option<Slot> {
        let index = self.free.pop()?;
        let generation = self.entries.get(index as usize)?.generation;
        Some(Slot { index, generation })
    }

    /// Puts a row into a slot that was taken.
    pub fn put(&mut self, slot: Slot, row: Row) {
        if let Some(entry) =
            self.entries.get_mut(slot.index as usize).filter(|e| e.generation == slot.generation)
        {
            entry.place = Place::Taken(row);
        }
    }

    /// Removes the row: packets for it are stale from now on. The slot stays taken until [`Self::release`].
    pub fn clear(&mut self, slot: Slot) -> Option<Row> {
        let entry = self.entries.get_mut(slot.index as usize).filter(|e| e.generation == slot.generation)?;
        match std::mem::replace(&mut entry.place, Place::Free) {
            Place::Free => None,
            Place::Taken(row) => Some(row),
        }
    }

    /// Gives the slot back, once the lane has no operation left on it. Its generation ends here.
    pub fn release(&mut self, slot: Slot) {
        if let Some(entry) =
            self.entries.get_mut(slot.index as usize).filter(|e| e.generation == slot.generation)
        {
            entry.place = Place::Free;
            entry.generation = (entry.generation + 1) % GENERATIONS;
            self.free.push(slot.index);
        }
    }

    /// The row of this very tenant.
    #[inline]
    pub fn get(&self, slot: Slot) -> Option<&Row> {
        self.entries.get(slot.index as usize).filter(|e| e.generation == slot.generation)?.place.row()
    }

    /// The slot at `index`, as its tenant of now has it.
    pub fn slot(&self, index: u32) -> Option<Slot> {
        let entry = self.entries.get(index as usize)?;
        entry.place.row().map(|_| Slot { index, generation: entry.generation })
    }

    /// The row that is in place `index` now: for rows that refer to each other, which come and go together.
    #[inline]
    pub fn at(&self, index: u32) -> Option<&Row> {
        self.entries.get(index as usize)?.place.row()
    }

    /// Loads bytes `parts` of the row in place `index` into the cache, whether there is one or not: to find out would take as
    /// long.
    #[inline]
    pub fn prefetch(&self, index: u32, parts: &[Range<usize>]) {
        let Some(entry) = self.entries.get(index as usize) else { return };
        let row = std::ptr::from_ref(&entry.place).cast::<u8>().wrapping_add(Place::HEAD);
        for part in parts {
            prefetch_at(row.wrapping_add(part.start), part.len());
        }
    }

    /// As [`Self::at`], to change it.
    #[inline]
    pub fn at_mut(&mut self, index: u32) -> Option<&mut Row> {
        match &mut self.entries.get_mut(index as usize)?.place {
            Place::Free => None,
            Place::Taken(row) => Some(row),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Port, tests_support::row};

    #[test]
    fn a_stale_slot_reaches_nothing() {
        let mut table = Table::new(1);
        let old = table.take().unwrap();
        table.put(old, row(Port::Rtp));
        assert!(table.take().is_none(), "full");
        assert!(table.get(old).is_some() && table.clear(old).is_some());
        table.release(old);
        let new = table.take().unwrap();
        table.put(new, row(Port::Rtp));
        assert_eq!(old.index, new.index);
        assert!(table.get(old).is_none());
        assert!(table.clear(old).is_none());
        table.release(old);
        assert!(table.get(new).is_some() && table.free() == 0, "a stale release takes nothing away");
    }

    #[test]
    fn a_table_made_of_rows_has_each_in_its_place_and_the_rest_free() {
        let mut table = Table::new(3);
        let first = table.take().unwrap();
        table.release(first);
        let slots = [table.take().unwrap(), table.take().unwrap()];
        slots.iter().for_each(|slot| table.put(*slot, row(Port::Rtp)));
        let rows = table.rows().map(|(slot, row)| (slot, row.clone())).collect();
        let mut other = Table::with_rows(4, rows);
        assert!(slots.iter().all(|slot| other.get(*slot).is_some()));
        assert!(other.get(first).is_none(), "the tenant before");
        let free: Vec<u32> = std::iter::from_fn(|| other.take()).map(|slot| slot.index).collect();
        assert_eq!(free, [2, 3]);
    }
}
