//! The express lane: settled rows are executed in the network driver, by an XDP program. What it cannot decide goes up to
//! the socket lane, which still owns the ports.
//!
//! The program tells a worker every packet that it decided on, through a ring buffer of the worker's own; the engine replays
//! them (`engine::express`, which also says when a row is promoted and when it comes back). So figures, the tap and the
//! masks are the socket lane's, by the same code.

pub mod ledger;
mod occupant;
pub mod pins;
pub mod program;
pub mod rows;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use aya::maps::{HashMap, MapData};

use crate::engine::kept::Executed;
use crate::interface::Address;
use crate::packet::RTP_HEADER;
use crate::sys::bpf::{RingReader, SharedArray};
use crate::table::Slot;
use ledger::Ledger;
use rows::{SharedRow, Told};

/// Bytes of the longest packet that the program decides on.
const LONGEST: usize = 1_480;
/// Bytes of the shortest record in the ring.
const SHORTEST: usize = 48;
/// How often a record is waited for that is being written on another core.
const SPINS: usize = 256;

/// A worker's end of the express lane.
pub struct Express {
    worker: u32,
    /// Index of the worker's first row.
    base: u32,
    rows: Arc<SharedArray<SharedRow>>,
    alive: Arc<SharedArray<AtomicU64>>,
    places: HashMap<MapData, [u8; 20], u32>,
    ring: RingReader,
    /// Records that the ring can hold.
    most: usize,
    /// A packet that is told lies here while it is replayed.
    packet: Vec<u8>,
    addresses: Arc<[Address]>,
    /// What is known of calls is kept here while they are promoted.
    pub ledger: Option<Ledger>,
    /// Rows that the program executes for a relay that was killed, and which this one goes on with.
    pub executed: Vec<Executed>,
}

impl std::fmt::Debug for Express {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Express").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl Express {
    /// The row of a slot of this worker.
    pub fn row(&self, slot: u32) -> Option<&SharedRow> {
        self.rows.get((self.base + slot) as usize)
    }

    /// What the program calls the row of a slot of this worker.
    pub const fn name(&self, slot: u32) -> u32 {
        self.base + slot
    }

    /// Takes the row of a slot whose port is `local` and whose packets come from `source`. False: the kernel has no room.
    pub fn take(&mut self, slot: Slot, local: SocketAddr, source: SocketAddr) -> bool {
        let (worker, name) = (self.worker, self.name(slot.index));
        let Some(row) = self.row(slot.index) else { return false };
        row.take(worker, slot, source);
        if self.places.insert(rows::place(local), name, 0).is_ok() {
            return true;
        }
        self.row(slot.index).into_iter().for_each(SharedRow::free);
        false
    }

    /// Gives the row of a slot up, which must rest.
    pub fn free(&mut self, slot: u32, local: SocketAddr) {
        self.row(slot).into_iter().for_each(SharedRow::free);
        // It is there: it was put there when the row was taken.
        let _ = self.places.remove(&rows::place(local));
    }

    /// Which worker's it is.
    pub const fn worker(&self) -> u32 {
        self.worker
    }

    /// Goes on where whoever had it before has stopped. Gives when that one was last alive, monotonic nanoseconds; 0 for never.
    pub fn begin(&mut self) -> u64 {
        self.ring.begin();
        self.alive.get(self.worker as usize).map_or(0, |alive| alive.load(Relaxed))
    }

    /// The worker is alive.
    pub fn beat(&self, now_ns: u64) {
        self.alive.get(self.worker as usize).into_iter().for_each(|alive| alive.store(now_ns, Relaxed));
    }

    /// What packets that leave from `local` are marked with (RFC 2474).
    pub fn dscp(&self, local: SocketAddr) -> u8 {
        let ours =
            |a: &&Address| a.bound == local.ip() && (a.ports.first..=a.ports.last).contains(&local.port());
        self.addresses.iter().find(ours).map_or(0, |address| address.dscp)
    }

    /// The slot of a packet that [`Self::next`] will give soon, each once: what is needed for it can be loaded into the cache.
    #[inline]
    pub fn ahead(&mut self) -> Option<Slot> {
        let base = self.base;
        let told = Told::read(self.ring.ahead()?)?;
        Some(Slot { index: told.slot.index.checked_sub(base)?, ..told.slot })
    }

    /// What the program told next, with a buffer that begins with what of the packet was told, and is as long as the packet
    /// was; none if nothing more was told yet. `all`: waits for what is being written on other cores.
    #[inline]
    pub fn next(&mut self, all: bool) -> Option<(Told<'_>, &mut [u8])> {
        let Self { ring, packet, base, .. } = self;
        let mut spins = if all { SPINS } else { 0 };
        loop {
            // Twice, for the borrow checker's sake: a record that is there stays.
            if !ring.is_empty() {
                let mut told = Told::read(ring.next()?)?;
                told.slot.index = told.slot.index.checked_sub(*base)?;
                let buffer = packet.get_mut(..told.length).filter(|_| told.packet.len() >= RTP_HEADER)?;
                buffer.get_mut(..told.packet.len())?.copy_from_slice(told.packet);
                return Some((told, buffer));
            }
            spins = spins.checked_sub(1)?;
            std::hint::spin_loop();
        }
    }

    /// All that was told may be forgotten.
    pub fn done(&mut self) {
        self.ring.done();
    }

    /// Records that there can be at a time.
    pub const fn most(&self) -> usize {
        self.most
    }
}

/// Whether an address can be a row's on the express lane.
pub fn fits(local: SocketAddr, other: SocketAddr) -> bool {
    let plain = |ip: IpAddr| !ip.is_unspecified() && !ip.is_multicast();
    local.is_ipv4() == other.is_ipv4() && plain(local.ip()) && plain(other.ip())
}
