//! What the relay counts and measures: per leg of a call, per worker, as a whole. Plain data.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A call's counters, `streams[n][Leg as usize]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CallCounters {
    /// When the call was opened, nanoseconds since 1970 (UTC).
    pub opened_ns: u64,
    /// Per stream, what came from the caller and from the callee.
    pub streams: Vec<[LegCounters; 2]>,
}

/// What came from one leg of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LegCounters {
    /// RTP received and forwarded.
    pub rtp: Count,
    /// RTCP received and forwarded.
    pub rtcp: Count,
    /// Where the leg's RTP comes from and goes to, once settled.
    pub settled: Option<SocketAddr>,
    /// Its RTP is on the express lane now.
    pub express: bool,
    /// Milliseconds since the last forwarded packet; none if there was none.
    pub last_packet_ms: Option<u64>,
    /// Packets dropped, by reason; reasons without drops are left out.
    pub drops: Vec<(String, u64)>,
    /// Packets of this leg that the recorder did not get because the tap ring was full.
    pub tap_lost: u64,
    /// Telephone events (RFC 4733) of this leg, each counted once.
    pub events: u64,
    /// What was measured of its RTP; none before the first packet.
    pub quality: Option<Quality>,
    /// What the leg itself said of the RTP that it received, in its last RTCP report; none before the first.
    pub report: Option<Report>,
}

/// What was measured of the RTP that came from a leg (RFC 3550 section 6.4.1 and appendix A.3, A.8), all its SSRCs
/// together, whether it was forwarded or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Quality {
    /// SSRC of the last packet, as it came.
    pub ssrc: u32,
    /// Payload type of the last packet that is no telephone event; of the last packet, if all were.
    pub payload_type: u8,
    /// Sequence number of the last packet, as it came.
    pub sequence: u16,
    /// RTP time-stamp of the last packet, as it came.
    pub timestamp: u32,
    /// The whole stream so far.
    pub total: Span,
    /// The last whole span of five seconds. A span is whole once a packet has come after its end; spans in which no
    /// packet was due by the sequence numbers (silence, hold) are left out.
    pub last: Span,
    /// The worst span, by share of packets lost, then by jitter.
    pub worst: Span,
    /// The best span, likewise.
    pub best: Span,
    /// Whole spans so far; with none, `last`, `worst` and `best` are empty.
    pub spans: u32,
    /// Round trip between relay and leg, from its RTCP, in microseconds: the last one. None as long as the leg has not
    /// answered a sender report of the other leg.
    pub round_trip_us: Option<u32>,
}

/// Reception over some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Span {
    /// Packets that should have come, by their sequence numbers: from the lowest to the highest of each SSRC (of each
    /// life of it, where a sender begins anew).
    pub expected: u64,
    /// Packets that came, duplicates not counted. In one span they can be more than `expected`: late ones of the span
    /// before.
    pub received: u64,
    /// Packets that came once more than they should, each time counted.
    pub duplicates: u64,
    /// Packets that came after one with a higher sequence number; they are in `received` too.
    pub reordered: u64,
    /// Interarrival jitter (RFC 3550 appendix A.8) in microseconds: the mean of what it was after each packet.
    /// Telephone events, duplicates and payload types of unknown clock have no part in it; 0 if there was nothing else.
    pub jitter_us: u32,
}

impl Span {
    /// Packets that never came (in one span: that had not come at its end).
    pub const fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }
}

/// A report block that a leg sent about what it receives (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Share of packets lost since its last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since it began; negative with duplicates.
    pub lost: i32,
    /// Interarrival jitter, in ticks of the clock of what it receives.
    pub jitter: u32,
}

/// Packets and bytes (UDP payload).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of UDP payload.
    pub bytes: u64,
}

impl Count {
    /// What was counted since it was `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(before.packets),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }
}

impl std::ops::Add for Count {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }
}

/// The relay as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Lane that runs: `uring` or `mmsg`.
    pub lane: String,
    /// Why this lane: a sentence.
    pub lane_reason: String,
    /// What a privilege or setting would add, one sentence each.
    pub missing: Vec<String>,
    /// Calls open now.
    pub calls: u64,
    /// Whether no new calls are taken, because control asked for it.
    pub draining: bool,
    /// Port pairs that a call can take now, of all interfaces.
    pub pairs_free: u64,
    /// Port pairs that rest after a call.
    pub pairs_resting: u64,
    /// Port pairs of all interfaces.
    pub pairs_total: u64,
    /// The same by interface, the default one first.
    pub interfaces: Vec<InterfaceStats>,
    /// Whether a recorder is attached to the tap.
    pub recorder_attached: bool,
    /// One entry per worker.
    pub workers: Vec<WorkerStats>,
}

/// The port pairs of an interface, on all its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InterfaceStats {
    /// Its name.
    pub name: String,
    /// Pairs that a call can take now.
    pub pairs_free: u64,
    /// Pairs that rest after a call.
    pub pairs_resting: u64,
    /// All its pairs.
    pub pairs_total: u64,
}

/// One worker's totals since start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WorkerStats {
    /// Sockets open now.
    pub sockets: u64,
    /// Rows that the express lane executes now.
    pub express_rows: u64,
    /// What it does at present.
    pub load: Load,
    /// Handed to the kernel; those that it refused are in `drops` too, as `send_blocked` and `send_failed`.
    pub forwarded: Count,
    /// Dropped, by reason (every reason, in order).
    pub drops: Vec<(String, u64)>,
    /// Lane events that hint at trouble, by name: `enobufs`, `cq_overflow`, `rearmed`, `receive_errors`, …
    pub lane: Vec<(String, u64)>,
    /// Records written to the tap ring.
    pub tap_records: u64,
    /// Packets that did not fit into the tap ring.
    pub tap_lost: u64,
    /// Bytes in the tap ring that the recorder has not taken yet.
    pub tap_backlog: u64,
}

/// What a worker (or the relay: the sum of packets, the busiest worker) did in the last second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Load {
    /// Packets received.
    pub packets_per_second: u64,
    /// Share of its core that the worker used, in thousandths.
    pub busy_permille: u32,
}
