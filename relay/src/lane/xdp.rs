//! The express lane: settled rows are executed in the network driver, by an XDP program. What it cannot decide goes up to
//! the socket lane, which still owns the ports.
//!
//! The program tells a worker every packet that it decided on, through a ring buffer of the worker's own; the engine replays
//! them (`engine::express`, which also says when a row is promoted and when it comes back). So figures, the tap and the
//! masks are the socket lane's, by the same code.

pub mod program;
pub mod rows;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use aya::maps::{HashMap, MapData, RingBuf};

use crate::interface::Address;
use crate::packet::RTP_HEADER;
use crate::sys::bpf::SharedArray;
use crate::table::Slot;
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
    ring: RingBuf<MapData>,
    /// Records that the ring can hold.
    most: usize,
    /// A packet that is told lies here while it is replayed.
    packet: Vec<u8>,
    addresses: Arc<[Address]>,
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

    /// Hands over what the program told, up to now: each record with a buffer that begins with what of the packet was
    /// told, and is as long as the packet was.
    ///
    /// `all`: waits for records that are being written on other cores.
    pub fn drain(&mut self, all: bool, mut each: impl FnMut(&Told<'_>, &mut [u8])) {
        let Self { ring, packet, most, base, .. } = self;
        let mut spins = if all { SPINS } else { 0 };
        for _ in 0..*most {
            let Some(record) = ring.next() else {
                if spins == 0 {
                    break;
                }
                spins -= 1;
                std::hint::spin_loop();
                continue;
            };
            let Some(mut told) = Told::read(&record) else { continue };
            let Some(index) = told.slot.index.checked_sub(*base) else { continue };
            told.slot.index = index;
            if let Some(buffer) = packet.get_mut(..told.length)
                && told.packet.len() >= RTP_HEADER
                && let Some(beginning) = buffer.get_mut(..told.packet.len())
            {
                beginning.copy_from_slice(told.packet);
                each(&told, buffer);
            }
        }
    }
}

/// Whether an address can be a row's on the express lane.
pub fn fits(local: SocketAddr, other: SocketAddr) -> bool {
    let plain = |ip: IpAddr| !ip.is_unspecified() && !ip.is_multicast();
    local.is_ipv4() == other.is_ipv4() && plain(local.ip()) && plain(other.ip())
}
