//! The messages of the programming protocol. Plain data, no behaviour beyond small constructors.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

pub use crate::call::{CallKey, Leg};

/// Protocol version, told in [`Request::Hello`]; a relay answers only its own.
pub const VERSION: u16 = 1;

/// What one frame carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// Client to relay; `id` comes back in the answer.
    Request {
        /// Chosen by the client, unique among its open requests.
        id: u32,
        /// What is asked.
        request: Request,
    },
    /// Relay to client.
    Answer {
        /// The request's.
        id: u32,
        /// What came of it.
        answer: Result<Reply, Refusal>,
    },
    /// Relay to client, after [`Request::Subscribe`].
    Event(Event),
}

/// A set of RTP payload types (0–127).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PayloadTypes(pub u128);

impl PayloadTypes {
    /// Every payload type.
    pub const ALL: Self = Self(u128::MAX);
    /// No payload type.
    pub const NONE: Self = Self(0);

    /// Whether `payload_type` (0–127; higher is never in the set) belongs to it.
    #[inline]
    pub const fn contains(self, payload_type: u8) -> bool {
        payload_type < 128 && self.0 >> payload_type & 1 == 1
    }

    /// The set with `payload_type` (0–127; higher is left out) added.
    #[must_use]
    pub const fn with(self, payload_type: u8) -> Self {
        if payload_type < 128 { Self(self.0 | 1 << payload_type) } else { self }
    }
}

impl FromIterator<u8> for PayloadTypes {
    fn from_iter<I: IntoIterator<Item = u8>>(list: I) -> Self {
        list.into_iter().fold(Self::NONE, Self::with)
    }
}

/// Which source addresses a leg's packets may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Learning {
    /// Only the signalled address.
    #[default]
    Strict,
    /// The leg may be behind NAT: another source may be learned within the window after an offer or answer,
    /// never away from an exact match, never once settled.
    Nat,
}

/// Where a leg says it receives a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// RTP address.
    pub rtp: SocketAddr,
    /// RTCP address; the same as `rtp` with rtcp-mux.
    pub rtcp: SocketAddr,
}

/// What one leg of one stream was negotiated to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LegMedia {
    /// Where to send; none while not known (before the answer) or while the stream is refused (port 0).
    pub remote: Option<Remote>,
    /// Payload types that this leg may send.
    pub accepts: PayloadTypes,
    /// Those of them that are copied to the recorder, when the call is recorded. Leave telephone-event out:
    /// what is not in the tap cannot be in an archive.
    pub tapped: PayloadTypes,
    /// RTCP on the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// Source address policy.
    pub learning: Learning,
}

/// One media stream between the two legs, `legs[Leg as usize]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stream {
    /// Caller's, then callee's side.
    pub legs: [LegMedia; 2],
}

/// The relay's own ports towards one leg of one stream, to be put into the SDP that this leg receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalPorts {
    /// Address as the outside sees it (`relay.advertised`).
    pub address: IpAddr,
    /// RTP port, even.
    pub rtp: u16,
    /// RTCP port, `rtp + 1`.
    pub rtcp: u16,
}

/// What control may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Must be the first request. Answer: [`Reply::Hello`].
    Hello {
        /// The client's [`VERSION`].
        version: u16,
    },
    /// Takes ports for a new call and starts to forward. Answer: [`Reply::Opened`].
    Open {
        /// The new call's key.
        call: CallKey,
        /// Control's own state, opaque to the relay, handed back by [`Request::List`].
        blob: Vec<u8>,
        /// After so many seconds [`Event::Expired`] is sent; 0 for no limit.
        max_seconds: u32,
        /// The recorder's label (opaque to the relay): the call is recorded. None: it is not.
        label: Option<Vec<u8>>,
        /// The streams, in the order of the SDP's m-lines; 1 to [`MAX_STREAMS`].
        streams: Vec<Stream>,
    },
    /// Replaces what is known of a call: after an answer or a re-offer. Streams may be added at the end, never
    /// taken away; ports of existing streams stay. Re-opens the learning window of every leg whose remote
    /// changed. Answer: [`Reply::Opened`] with all ports.
    Update {
        /// Which call.
        call: CallKey,
        /// New state of control; none leaves the old.
        blob: Option<Vec<u8>>,
        /// New label for the recorder; the first one starts the recording. None leaves it as it is.
        label: Option<Vec<u8>>,
        /// All streams, old ones first.
        streams: Vec<Stream>,
    },
    /// Pauses or resumes the tap of a recorded call. Answer: [`Reply::Done`].
    Tap {
        /// Which call.
        call: CallKey,
        /// True stops copying packets until resumed.
        paused: bool,
    },
    /// Ends a call and frees its ports. Answer: [`Reply::Closed`] with its last counters.
    Close {
        /// Which call.
        call: CallKey,
        /// Last label for the recorder.
        label: Option<Vec<u8>>,
    },
    /// Live calls with their blobs, ordered by key, at most [`MAX_LIST`]. Answer: [`Reply::Calls`].
    List {
        /// Only calls with a larger key.
        after: Option<CallKey>,
    },
    /// A call's counters. Answer: [`Reply::Counters`].
    Read {
        /// Which call.
        call: CallKey,
    },
    /// The relay as a whole. Answer: [`Reply::Stats`].
    Stats,
    /// Asks for [`Event`]s on this connection from now on. Answer: [`Reply::Done`].
    Subscribe,
}

/// Most streams (m-lines) per call.
pub const MAX_STREAMS: usize = 8;
/// Most calls in one [`Reply::Calls`].
pub const MAX_LIST: usize = 128;
/// Largest blob or label, in bytes.
pub const MAX_OPAQUE: usize = 48 * 1024;

/// What the relay answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello {
        /// The relay's [`VERSION`].
        version: u16,
        /// Random per relay process: a change means that the old relay's calls are gone.
        epoch: u64,
    },
    /// To [`Request::Open`] and [`Request::Update`]: per stream the ports facing caller and callee.
    Opened(Vec<[LocalPorts; 2]>),
    /// To [`Request::Close`].
    Closed(CallCounters),
    /// To [`Request::List`]; empty when there are no more.
    Calls(Vec<LiveCall>),
    /// To [`Request::Read`].
    Counters(CallCounters),
    /// To [`Request::Stats`].
    Stats(Stats),
    /// Nothing more to say.
    Done,
}

/// A call as [`Request::List`] tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveCall {
    /// Its key.
    pub call: CallKey,
    /// Control's state.
    pub blob: Vec<u8>,
    /// When it was opened, nanoseconds since 1970 (UTC).
    pub opened_ns: u64,
    /// Whether it is tapped.
    pub recorded: bool,
    /// Ports per stream.
    pub ports: Vec<[LocalPorts; 2]>,
}

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
    /// Milliseconds since the last forwarded packet; none if there was none.
    pub last_packet_ms: Option<u64>,
    /// Packets dropped, by reason; reasons without drops are left out.
    pub drops: Vec<(String, u64)>,
    /// Packets of this leg that the recorder did not get because the tap ring was full.
    pub tap_lost: u64,
}

/// Packets and bytes (UDP payload).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of UDP payload.
    pub bytes: u64,
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
    /// Port pairs free now.
    pub pairs_free: u64,
    /// Port pairs in the range.
    pub pairs_total: u64,
    /// Whether a recorder is attached to the tap.
    pub recorder_attached: bool,
    /// One entry per worker.
    pub workers: Vec<WorkerStats>,
}

/// One worker's totals since start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WorkerStats {
    /// Sockets open now.
    pub sockets: u64,
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

/// What the relay reports by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// No stream of the call forwarded a packet for `seconds`; repeated each time that span passes again.
    Silent {
        /// Which call.
        call: CallKey,
        /// Seconds since the last packet, or since it was opened.
        seconds: u32,
    },
    /// The call reached its `max_seconds`; media keeps flowing until control closes it. Repeated every 10 s.
    Expired {
        /// Which call.
        call: CallKey,
    },
    /// A recorder attached to the tap, or went away.
    Recorder {
        /// True: attached.
        attached: bool,
    },
}

/// Why the relay did not do what was asked. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Another control is connected.
    #[error("another control is connected to this relay; stop it first")]
    Busy,
    /// Versions differ.
    #[error("this relay speaks programming protocol version {ours}: upgrade the older side")]
    Version {
        /// The relay's version.
        ours: u16,
    },
    /// The message could not be understood; the relay closes the connection.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// No such call.
    #[error("unknown call")]
    UnknownCall,
    /// The key is taken.
    #[error("a call with this key is open")]
    CallExists,
    /// The port range is used up.
    #[error("ran out of ports: every pair of the range is in use")]
    OutOfPorts,
    /// The process may not open more files.
    #[error("ran out of file descriptors: raise the limit (ulimit -n) or lower the number of calls")]
    OutOfFiles,
    /// A limit of this protocol is passed.
    #[error("impossible: {0}")]
    Impossible(String),
}
