//! What the express lane's program and a worker share: rows, and what the program tells. The layout is that of
//! `express.bpf.c`.
//!
//! A row's control word says who has it:
//!
//! | state | packets | who changes it |
//! |---|---|---|
//! | `FREE` | go up | the worker |
//! | `REST` | go up; strangers' are dropped | the worker |
//! | `PENDING` | the same, and are counted, until the worker has them all | the program counts, the worker promotes |
//! | `ACTIVE` | are executed by the program | either: to `REST`, when a packet has to go up |
//!
//! So no packet overtakes another: a row becomes active by compare-and-swap against the count of packets that went up,
//! when the worker has sent the last of them; and it rests before a packet goes up. `LOCKED` is set while the program
//! executes one, and whoever wants to change the state waits for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

use serde::{Deserialize, Serialize};

use crate::program::message::{Count, PayloadTypes};
use crate::rewrite::Guise;
use crate::sys::bpf::Shared;
use crate::table::Slot;

const STATE: u64 = 7;
const FREE: u64 = 0;
const REST: u64 = 1;
const PENDING: u64 = 2;
const ACTIVE: u64 = 3;
const LOCKED: u64 = 8;
const COUNT_SHIFT: u32 = 32;

/// What a row's control word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is nobody's.
    Free,
    /// Its packets go up.
    Rest,
    /// Its packets go up, so many so far.
    Pending(u32),
    /// The program has it.
    Active,
}

/// An address as the program has it: IPv4 is mapped (RFC 4291, section 2.5.5.2).
type Address = [AtomicU32; 4];

/// A row as the program sees it.
#[derive(Debug, Default)]
#[repr(C, align(256))]
pub struct SharedRow {
    control: AtomicU64,
    passed: AtomicU64,
    packets: AtomicU64,
    bytes: AtomicU64,
    last_ns: AtomicU64,
    cap_left: AtomicU64,
    cap_filled_ns: AtomicU64,
    untold: AtomicU64,
    untold_bytes: AtomicU64,
    mismatched: AtomicU64,
    hop_there: AtomicU64,
    hop_here: AtomicU64,
    hop_interface: AtomicU32,
    unused: AtomicU32,
    accepts: [AtomicU64; 2],
    tapped: [AtomicU64; 2],
    source: Address,
    local: Address,
    destination: Address,
    source_port: AtomicU16,
    local_port: AtomicU16,
    destination_port: AtomicU16,
    ipv4: AtomicU8,
    tos: AtomicU8,
    ssrc: AtomicU32,
    shown: AtomicU32,
    add_timestamp: AtomicU32,
    add_sequence: AtomicU16,
    tapping: AtomicU16,
    cap_per_second: AtomicU32,
    peer: AtomicU32,
    worker: AtomicU32,
    generation: AtomicU32,
}

// SAFETY: atomic integers alone, in C's layout; 256 bytes, of which the last ones are never read.
unsafe impl Shared for SharedRow {}

const _: () = assert!(size_of::<SharedRow>() == 256, "the program has the same layout");

/// What a row's packets are to become.
#[derive(Debug, Clone, Copy)]
pub struct Orders {
    /// Payload types that are executed.
    pub accepts: PayloadTypes,
    /// Those that the worker is told with their bytes.
    pub tapped: PayloadTypes,
    /// How the source is shown.
    pub guise: Guise,
    /// Where packets leave from and go to: of one family.
    pub way: (SocketAddr, SocketAddr),
    /// Six bits (RFC 2474).
    pub dscp: u8,
    /// Packets a second (0 for no limit), and what is left of them: billionths of a packet, and since when.
    pub cap: (u32, u64, u64),
    /// The row of the other leg.
    pub peer: u32,
}

/// What the program counted that nobody was told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Uncounted {
    /// Packets of strangers.
    pub mismatched: u64,
    /// Packets that were decided and that the ring had no room for.
    pub untold: u64,
    /// Their bytes.
    pub untold_bytes: u64,
}

impl SharedRow {
    /// Takes a row for the tenant of `slot` of a worker: packets come from `source`, and go up.
    pub fn take(&self, worker: u32, slot: Slot, source: SocketAddr) {
        let zero = [
            &self.passed,
            &self.packets,
            &self.bytes,
            &self.last_ns,
            &self.untold,
            &self.untold_bytes,
            &self.mismatched,
            &self.hop_there,
            &self.hop_here,
        ];
        zero.into_iter().for_each(|word| word.store(0, Relaxed));
        self.hop_interface.store(0, Relaxed);
        self.worker.store(worker, Relaxed);
        self.generation.store(slot.generation, Relaxed);
        put(&self.source, source.ip());
        self.source_port.store(source.port().to_be(), Relaxed);
        self.control.store(REST, Release);
    }

    /// Writes what is to be done; only while packets go up.
    pub fn order(&self, orders: &Orders) {
        let Orders { accepts, tapped, guise, way: (local, destination), dscp, cap, peer } = *orders;
        for (words, set) in [(&self.accepts, accepts), (&self.tapped, tapped)] {
            let [low, high] = words;
            low.store(half(set, 0), Relaxed);
            high.store(half(set, 64), Relaxed);
        }
        self.tapping.store((tapped != PayloadTypes::NONE).into(), Relaxed);
        put(&self.local, local.ip());
        put(&self.destination, destination.ip());
        self.local_port.store(local.port().to_be(), Relaxed);
        self.destination_port.store(destination.port().to_be(), Relaxed);
        self.ipv4.store(local.is_ipv4().into(), Relaxed);
        self.tos.store(dscp << 2, Relaxed);
        self.ssrc.store(guise.source.to_be(), Relaxed);
        self.shown.store(guise.shown.to_be(), Relaxed);
        self.add_timestamp.store(guise.timestamp, Relaxed);
        self.add_sequence.store(guise.offset(), Relaxed);
        let (per_second, left, filled_ns) = cap;
        self.cap_per_second.store(per_second, Relaxed);
        self.cap_left.store(left, Relaxed);
        self.cap_filled_ns.store(filled_ns, Relaxed);
        self.peer.store(peer, Relaxed);
    }

    /// Whether it is known how its party is reached, and with a VLAN tag or without.
    pub fn hop(&self) -> Option<bool> {
        (self.hop_interface.load(Relaxed) != 0).then(|| self.hop_here.load(Relaxed) >> 48 != 0)
    }

    /// Its state.
    pub fn state(&self) -> State {
        let control = self.control.load(Acquire);
        match control & STATE {
            REST => State::Rest,
            #[allow(clippy::cast_possible_truncation, reason = "the high half")]
            PENDING => State::Pending((control >> COUNT_SHIFT) as u32),
            ACTIVE => State::Active,
            _ => State::Free,
        }
    }

    /// Sequence and time-stamp of the last RTP that went up, as [`header`] has them.
    pub fn passed(&self) -> u64 {
        self.passed.load(Acquire)
    }

    /// From rest: counts what goes up from now on.
    pub fn await_last(&self) -> bool {
        self.control.compare_exchange(REST, PENDING, AcqRel, Acquire).is_ok()
    }

    /// Hands the row to the program, unless more than `passed` packets went up.
    pub fn promote(&self, passed: u32) -> bool {
        let pending = u64::from(passed) << COUNT_SHIFT | PENDING;
        self.control.compare_exchange(pending, ACTIVE, AcqRel, Acquire).is_ok()
    }

    /// Takes the row back: from now on its packets go up, and all that were executed have been told.
    pub fn rest(&self) {
        loop {
            let before = self.control.load(Acquire);
            if !matches!(before & STATE, PENDING | ACTIVE) {
                return;
            }
            // The program runs for less than a microsecond, on another core.
            if before & LOCKED == 0 && self.control.compare_exchange(before, REST, AcqRel, Acquire).is_ok() {
                return;
            }
            std::hint::spin_loop();
        }
    }

    /// Gives the row up, which must rest.
    pub fn free(&self) {
        self.control.store(FREE, Release);
    }

    /// Whether it was taken for this tenant of its slot, and is not free.
    pub fn is_of(&self, slot: Slot) -> bool {
        self.generation.load(Relaxed) == slot.generation && self.state() != State::Free
    }

    /// What the program forwarded since it was taken.
    pub fn executed(&self) -> Count {
        Count { packets: self.packets.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }

    /// When the program forwarded last, monotonic nanoseconds; 0 for never.
    pub fn last_ns(&self) -> u64 {
        self.last_ns.load(Relaxed)
    }

    /// What was counted here alone, since it was taken.
    pub fn uncounted(&self) -> Uncounted {
        Uncounted {
            mismatched: self.mismatched.load(Relaxed),
            untold: self.untold.load(Relaxed),
            untold_bytes: self.untold_bytes.load(Relaxed),
        }
    }
}

/// Sequence and time-stamp of an RTP packet, as [`SharedRow::passed`] has them.
#[inline]
pub fn header(packet: &[u8]) -> u64 {
    let Some([_, _, s0, s1, t0, t1, t2, t3]) = packet.first_chunk() else { return 0 };
    u64::from(u16::from_be_bytes([*s0, *s1])) << 32 | u64::from(u32::from_be_bytes([*t0, *t1, *t2, *t3]))
}

/// The key of a row: the address and port that its packets come to.
pub fn place(local: SocketAddr) -> [u8; 20] {
    let mut key = [0; 20];
    let [a, b] = local.port().to_be_bytes();
    key[..16].copy_from_slice(&mapped(local.ip()).octets());
    (key[16], key[17]) = (a, b);
    key
}

/// What the program tells of one packet.
#[derive(Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// When it came, monotonic nanoseconds.
    pub at_ns: u64,
    /// Its row, and which of its tenants is meant.
    pub slot: Slot,
    /// Bytes of the whole packet.
    pub length: usize,
    /// Whether it was forwarded; if not, there were more than the row's cap allows.
    pub forwarded: bool,
    /// The packet as it came, or its beginning.
    pub packet: &'a [u8],
}

impl<'a> Told<'a> {
    /// Bytes before the packet.
    const HEAD: usize = 24;

    /// Reads a record of the ring; none where it is not what the program writes.
    pub fn read(record: &'a [u8]) -> Option<Self> {
        let (head, packet) = record.split_at_checked(Self::HEAD)?;
        let word = |at: usize| Some(u32::from_ne_bytes(*head.get(at..)?.first_chunk()?));
        let half = |at: usize| Some(u16::from_ne_bytes(*head.get(at..)?.first_chunk()?));
        let length = usize::from(half(16)?);
        Some(Self {
            at_ns: u64::from_ne_bytes(*head.first_chunk()?),
            slot: Slot { index: word(8)?, generation: word(12)? },
            length,
            forwarded: half(18)? == 0,
            packet: packet.get(..length).unwrap_or(packet),
        })
    }
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => Ipv4Addr::to_ipv6_mapped(&v4),
        IpAddr::V6(v6) => v6,
    }
}

fn put(to: &Address, ip: IpAddr) {
    let octets = mapped(ip).octets();
    for (word, bytes) in to.iter().zip(octets.as_chunks::<4>().0) {
        word.store(u32::from_ne_bytes(*bytes), Relaxed);
    }
}

fn half(set: PayloadTypes, from: u32) -> u64 {
    #[allow(clippy::cast_possible_truncation, reason = "64 of its 128 bits")]
    let bits = (set.0 >> from) as u64;
    bits
}
