//! The provided-buffer ring: receive buffers in one mapping, and who has each of them.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::sys::memory::Mapping;
use io_uring::types::BufRingEntry;

/// Bytes per buffer: a datagram of an Ethernet frame, with what the kernel and the rewriter add.
const BUFFER: usize = BUFFER_U32 as usize;
const BUFFER_U32: u32 = 2048;

/// The ring of buffers.
pub(super) struct Buffers {
    memory: Mapping,
    count: u16,
    tail: u16,
    /// One bit per buffer: set while the kernel has it.
    with_kernel: Vec<u64>,
    outstanding: usize,
}

impl std::fmt::Debug for Buffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffers")
            .field("count", &self.count)
            .field("outstanding", &self.outstanding)
            .finish_non_exhaustive()
    }
}

impl Buffers {
    /// Maps `count` (a power of two) buffers and queues all of them; the kernel sees them with the first publish.
    pub(super) fn new(count: u16) -> io::Result<Self> {
        if !count.is_power_of_two() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the number of buffers must be a power of two",
            ));
        }
        let size = usize::from(count) * (size_of::<BufRingEntry>() + BUFFER);
        let memory = Mapping::new(size)?;
        let words = usize::from(count).div_ceil(64);
        let outstanding = usize::from(count);
        let mut buffers = Self { memory, count, tail: 0, with_kernel: vec![0; words], outstanding };
        (0..count).for_each(|id| buffers.give(id, super::SPARE));
        buffers.publish();
        Ok(buffers)
    }

    /// The array of entries that is registered with the kernel.
    pub(super) const fn entries(&self) -> NonNull<BufRingEntry> {
        self.memory.base().cast()
    }

    /// Queues a buffer for the kernel, all but its last `spare` bytes.
    #[inline]
    pub(super) fn give(&mut self, id: u16, spare: u32) {
        let (word, bit) = (usize::from(id / 64), 1_u64 << (id % 64));
        let Some(owned) = self.with_kernel.get_mut(word).filter(|w| id < self.count && **w & bit == 0) else {
            debug_assert!(false, "buffer {id} given twice");
            return;
        };
        *owned |= bit;
        self.outstanding -= 1;
        let place = usize::from(self.tail & (self.count - 1));
        let address = self.data(id) as u64;
        // SAFETY: `place` is below `count` entries, all mapped; the kernel does not read it before `publish`. Entry 0
        // shares its last two bytes with the tail, which these setters do not touch.
        let entry = unsafe { &mut *self.entries().as_ptr().add(place) };
        entry.set_addr(address);
        entry.set_len(BUFFER_U32 - spare);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was queued: once per batch.
    #[inline]
    pub(super) fn publish(&mut self) {
        // SAFETY: points into the first entry, aligned to two bytes; both sides use it as an atomic.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries().as_ptr()).cast_mut()) };
        // Release: the entries are written before the tail that covers them.
        tail.store(self.tail, Ordering::Release);
    }

    /// Notes that the kernel has handed a buffer over.
    #[inline]
    pub(super) fn taken(&mut self, id: u16) {
        let bit = 1_u64 << (id % 64);
        match self.with_kernel.get_mut(usize::from(id / 64)) {
            Some(word) if *word & bit != 0 => {
                *word &= !bit;
                self.outstanding += 1;
            }
            _ => debug_assert!(false, "the kernel handed over buffer {id}, which it does not have"),
        }
    }

    /// Buffers that the kernel does not have.
    pub(super) const fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// A buffer's bytes; it must have been taken.
    #[inline]
    pub(super) fn bytes(&self, id: u16) -> &[u8] {
        // SAFETY: inside the mapping; the kernel gave the buffer up and only reads it (sends) until it is given again.
        unsafe { std::slice::from_raw_parts(self.data(id), BUFFER) }
    }

    /// As [`Self::bytes`], to rewrite it.
    #[inline]
    pub(super) fn bytes_mut(&mut self, id: u16) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` keeps every other reference away.
        unsafe { std::slice::from_raw_parts_mut(self.data(id), BUFFER) }
    }

    #[inline]
    fn data(&self, id: u16) -> *mut u8 {
        let id = usize::from(id) & (usize::from(self.count) - 1);
        let offset = usize::from(self.count) * size_of::<BufRingEntry>() + id * BUFFER;
        // SAFETY: `offset + BUFFER` is at most the size of the mapping.
        unsafe { self.memory.base().as_ptr().add(offset) }
    }
}
