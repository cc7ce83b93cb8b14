//! The ring's index algorithm: two positions that only grow, and the flag of a reader that sleeps.
//!
//! `head` is written by the producer alone, `tail` by the consumer alone, each on its own cache line. Positions
//! are counted in bytes from the ring's birth, so full and empty cannot be confused and an index that goes
//! backwards or runs ahead is seen to be wrong. Pure: the loom model at the end runs these very functions.

#[cfg(loom_model)]
use ::loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom_model))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crossbeam::utils::CachePadded;

/// The other side's index is impossible: the ring cannot be trusted any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tap ring is poisoned: its other end wrote an impossible index or record")]
pub struct Poisoned;

/// What both sides share.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Indices {
    head: CachePadded<AtomicU64>,
    tail: CachePadded<AtomicU64>,
    asleep: CachePadded<AtomicU32>,
}

impl Indices {
    #[cfg(all(test, loom_model))]
    pub(super) fn new() -> Self {
        Self {
            head: CachePadded::new(AtomicU64::new(0)),
            tail: CachePadded::new(AtomicU64::new(0)),
            asleep: CachePadded::new(AtomicU32::new(0)),
        }
    }

    /// Overwrites an index, as a hostile peer would.
    #[cfg(all(test, not(loom_model)))]
    pub(super) fn attack(&self, head: Option<u64>, tail: Option<u64>) {
        head.inspect(|h| self.head.store(*h, Ordering::Release));
        tail.inspect(|t| self.tail.store(*t, Ordering::Release));
    }
}

/// The writing side's private view.
#[derive(Debug)]
pub(super) struct Producer {
    head: u64,
    tail: u64,
    capacity: u64,
}

impl Producer {
    /// Starts on a ring that nobody has written to.
    pub(super) const fn new(capacity: u64) -> Self {
        Self { head: 0, tail: 0, capacity }
    }

    /// Goes on where another producer of this ring, which writes no more, was: `tail` and `head` are what it knew.
    pub(super) const fn resume((tail, head): (u64, u64), capacity: u64) -> Result<Self, Poisoned> {
        match head.checked_sub(tail) {
            Some(unconsumed) if unconsumed <= capacity => Ok(Self { head, tail, capacity }),
            _ => Err(Poisoned),
        }
    }

    /// The next position to be written.
    #[inline]
    pub(super) const fn position(&self) -> u64 {
        self.head
    }

    /// What was written and, as far as is known, not consumed: from and to.
    pub(super) const fn unconsumed(&self) -> (u64, u64) {
        (self.tail, self.head)
    }

    /// Free bytes; asks the consumer's index only when the cached one shows less than `wanted`.
    #[inline]
    pub(super) fn room(&mut self, shared: &Indices, wanted: u64) -> Result<u64, Poisoned> {
        let room = self.capacity - (self.head - self.tail);
        if room >= wanted {
            return Ok(room);
        }
        // Acquire: what the consumer copied out is done before its space is written again.
        let tail = shared.tail.load(Ordering::Acquire);
        if tail < self.tail || tail > self.head {
            return Err(Poisoned);
        }
        self.tail = tail;
        Ok(self.capacity - (self.head - tail))
    }

    /// Counts `bytes` as written; the consumer sees them after [`Self::publish`].
    #[inline]
    pub(super) const fn advance(&mut self, bytes: u64) {
        self.head += bytes;
    }

    /// Shows the consumer all that was written. True: it sleeps and must be woken.
    #[inline]
    pub(super) fn publish(&mut self, shared: &Indices) -> bool {
        // Release: the records' bytes are there before the index that covers them.
        shared.head.store(self.head, Ordering::Release);
        // The store above and the load below must not pass each other, or both sides could sleep on (Dekker).
        fence(Ordering::SeqCst);
        shared.asleep.load(Ordering::Relaxed) != 0 && shared.asleep.swap(0, Ordering::AcqRel) != 0
    }

    /// Whether the consumer's index is possible.
    pub(super) fn trusted(&self, shared: &Indices) -> bool {
        (self.tail..=self.head).contains(&shared.tail.load(Ordering::Acquire))
    }

    /// Drops what no consumer can be asked for any more and trusts a new one: `tail` becomes `head`. Gives the bytes
    /// dropped, as far as is known.
    pub(super) fn reset(&mut self, shared: &Indices) -> u64 {
        let dropped = self.head - self.tail;
        shared.tail.store(self.head, Ordering::Release);
        self.tail = self.head;
        dropped
    }
}

/// The reading side's private view.
#[derive(Debug)]
pub(super) struct Consumer {
    cursor: u64,
    head: u64,
    capacity: u64,
}

impl Consumer {
    /// Goes on where the last consumer committed.
    pub(super) fn resume(shared: &Indices, capacity: u64) -> Result<Self, Poisoned> {
        let tail = shared.tail.load(Ordering::Acquire);
        let mut consumer = Self { cursor: tail, head: tail, capacity };
        consumer.available(shared)?;
        Ok(consumer)
    }

    /// The next position to be read.
    pub(super) const fn position(&self) -> u64 {
        self.cursor
    }

    /// Bytes that can be read now.
    pub(super) fn available(&mut self, shared: &Indices) -> Result<u64, Poisoned> {
        if self.head == self.cursor {
            // Acquire: pairs with the producer's publish.
            let head = shared.head.load(Ordering::Acquire);
            if head < self.cursor || head - self.cursor > self.capacity {
                return Err(Poisoned);
            }
            self.head = head;
        }
        Ok(self.head - self.cursor)
    }

    /// Counts `bytes` as read; at most what [`Self::available`] said.
    pub(super) const fn advance(&mut self, bytes: u64) {
        self.cursor += bytes;
    }

    /// Gives everything read so far back to the producer.
    pub(super) fn commit(&mut self, shared: &Indices) {
        // Release: the copies are made before the space is given back.
        shared.tail.store(self.cursor, Ordering::Release);
    }

    /// Announces sleep. False: records came meanwhile, do not sleep. [`Self::woke`] must follow either way.
    pub(super) fn may_sleep(&mut self, shared: &Indices) -> Result<bool, Poisoned> {
        // A swap, so that it is ordered against the producer's: a plain store could pass it by.
        shared.asleep.swap(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        Ok(self.available(shared)? == 0)
    }

    /// Takes the announcement back.
    pub(super) fn woke(shared: &Indices) {
        shared.asleep.store(0, Ordering::Relaxed);
    }

    /// Published and not committed.
    pub(super) fn backlog(shared: &Indices) -> u64 {
        let tail = shared.tail.load(Ordering::Relaxed);
        shared.head.load(Ordering::Relaxed).saturating_sub(tail)
    }
}

/// Run with `RUSTFLAGS="--cfg loom_model" cargo test -p relay --no-default-features --features tap --lib loom_`.
#[cfg(all(test, loom_model))]
mod loom_model {
    use std::sync::Arc;

    use ::loom::cell::UnsafeCell;
    use ::loom::sync::Notify;
    use ::loom::thread;

    use super::*;

    const CELLS: usize = 2;

    struct Shared {
        indices: Indices,
        bell: Notify,
        cells: [UnsafeCell<u64>; CELLS],
    }

    impl Shared {
        fn new() -> Arc<Self> {
            let cells = [UnsafeCell::new(0), UnsafeCell::new(0)];
            Arc::new(Self { indices: Indices::new(), bell: Notify::new(), cells })
        }

        /// As the relay does: what does not fit is dropped.
        fn write(&self, producer: &mut Producer, value: u64) {
            if producer.room(&self.indices, 1).unwrap() > 0 {
                let cell = &self.cells[producer.position() as usize % CELLS];
                // SAFETY: loom checks that nobody else has the cell.
                cell.with_mut(|p| unsafe { *p = value });
                producer.advance(1);
                if producer.publish(&self.indices) {
                    self.bell.notify();
                }
            }
        }

        fn read(&self, consumer: &mut Consumer) -> Option<u64> {
            if consumer.available(&self.indices).unwrap() == 0 {
                return None;
            }
            let cell = &self.cells[consumer.position() as usize % CELLS];
            // SAFETY: loom checks that nobody else has the cell.
            let value = cell.with(|p| unsafe { *p });
            consumer.advance(1);
            consumer.commit(&self.indices);
            Some(value)
        }
    }

    #[test]
    fn loom_values_arrive_once_in_order_and_no_cell_is_touched_by_both() {
        ::loom::model(|| {
            let shared = Shared::new();
            let theirs = Arc::clone(&shared);
            let writer = thread::spawn(move || {
                let mut producer = Producer::new(CELLS as u64);
                (1..=4).for_each(|value| theirs.write(&mut producer, value));
            });
            let mut consumer = Consumer::resume(&shared.indices, CELLS as u64).unwrap();
            let mut seen: Vec<u64> = (0..3).filter_map(|_| shared.read(&mut consumer)).collect();
            writer.join().unwrap();
            seen.extend(std::iter::from_fn(|| shared.read(&mut consumer)));
            assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
            assert!(seen.starts_with(&[1, 2]), "the ring had room for these: {seen:?}");
        });
    }

    #[test]
    fn loom_a_reader_that_lay_down_is_always_woken() {
        ::loom::model(|| {
            let shared = Shared::new();
            let theirs = Arc::clone(&shared);
            let writer = thread::spawn(move || {
                let mut producer = Producer::new(CELLS as u64);
                (1..=2).for_each(|value| theirs.write(&mut producer, value));
            });
            let mut consumer = Consumer::resume(&shared.indices, CELLS as u64).unwrap();
            let mut seen = 0;
            while seen < 2 {
                if shared.read(&mut consumer).is_some() {
                    seen += 1;
                } else {
                    if consumer.may_sleep(&shared.indices).unwrap() {
                        // Blocks for ever, which loom reports as a deadlock, unless the writer rings.
                        shared.bell.wait();
                    }
                    Consumer::woke(&shared.indices);
                }
            }
            writer.join().unwrap();
        });
    }
}
