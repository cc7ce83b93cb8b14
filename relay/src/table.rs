//! The binding table: rows by slot, with a generation per slot so that late completions and stale commands are told
//! apart from the row that has the slot now. Owned by one worker.

use crate::row::Row;
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

#[derive(Debug)]
struct Entry {
    generation: u32,
    row: Option<Row>,
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
        let entries = (0..size).map(|_| Entry { generation: 0, row: None }).collect();
        Self { entries, free: (0..size).rev().collect() }
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
            entry.row = Some(row);
        }
    }

    /// Removes the row: packets for it are stale from now on. The slot stays taken until [`Self::release`].
    pub fn clear(&mut self, slot: Slot) -> Option<Row> {
        self.entries.get_mut(slot.index as usize).filter(|e| e.generation == slot.generation)?.row.take()
    }

    /// Gives the slot back, once the lane has no operation left on it. Its generation ends here.
    pub fn release(&mut self, slot: Slot) {
        if let Some(entry) =
            self.entries.get_mut(slot.index as usize).filter(|e| e.generation == slot.generation)
        {
            entry.row = None;
            entry.generation = (entry.generation + 1) % GENERATIONS;
            self.free.push(slot.index);
        }
    }

    /// The row of this very tenant.
    #[inline]
    pub fn get(&self, slot: Slot) -> Option<&Row> {
        self.entries.get(slot.index as usize).filter(|e| e.generation == slot.generation)?.row.as_ref()
    }

    /// The row that is in place `index` now: for rows that refer to each other, which come and go together.
    #[inline]
    pub fn at(&self, index: u32) -> Option<&Row> {
        self.entries.get(index as usize)?.row.as_ref()
    }

    /// As [`Self::at`], to change it.
    #[inline]
    pub fn at_mut(&mut self, index: u32) -> Option<&mut Row> {
        self.entries.get_mut(index as usize)?.row.as_mut()
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
}
