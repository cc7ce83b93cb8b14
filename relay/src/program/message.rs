//! The messages of the programming protocol. Plain data, no behaviour beyond small constructors.

use serde::{Deserialize, Serialize};

pub use super::figures::*;
pub use super::media::*;
pub use crate::call::{CallKey, Leg};

/// Protocol version, told in [`Request::Hello`]; a relay answers only its own.
pub const VERSION: u16 = 3;

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
    /// Begins or ends draining: no new calls, those in progress go on. Answer: [`Reply::Done`].
    Drain {
        /// True: no new calls.
        draining: bool,
    },
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
        /// Its interfaces, the default one first.
        interfaces: Vec<Interface>,
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
    /// A telephone event (RFC 4733) of a leg is over, or began and was not heard of for a second.
    Digit {
        /// Which call.
        call: CallKey,
        /// Who sent it.
        leg: Leg,
        /// What it was.
        event: TelephoneEvent,
        /// How long it lasted, in milliseconds.
        duration_ms: u32,
        /// How loud, in dBm0 below 0: 0 to 63.
        volume: u8,
    },
    /// What the relay did in the last second; sent every second.
    Load(Load),
}

/// A telephone event code: 0-9 the digits, 10 `*`, 11 `#`, 12-15 A-D, 16 the hook flash (RFC 4733 section 3.2). Digits are
/// card numbers and PINs: it does not print.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TelephoneEvent(pub u8);

impl std::fmt::Debug for TelephoneEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TelephoneEvent(..)")
    }
}

/// Why the relay takes on no new calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum Limit {
    /// It drains.
    #[error("it is draining")]
    Draining,
    /// `relay.max_calls` are open.
    #[error("relay.max_calls are open")]
    Calls,
    /// `relay.max_packets_per_second` came in the last second.
    #[error("relay.max_packets_per_second is reached")]
    Packets,
    /// The busiest worker used `relay.max_cpu_percent` of its core in the last second.
    #[error("relay.max_cpu_percent is reached")]
    Cpu,
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
    #[error("ran out of ports: every pair of the range is in use or rests after a call")]
    OutOfPorts,
    /// No interface with this index, or none of its addresses is of this family.
    #[error("no interface of the relay has an address of the wanted kind")]
    NoInterface,
    /// No new calls at present; calls in progress are untouched.
    #[error("no new calls are taken: {0}")]
    Overloaded(Limit),
    /// The process may not open more files.
    #[error("ran out of file descriptors: raise the limit (ulimit -n) or lower the number of calls")]
    OutOfFiles,
    /// A limit of this protocol is passed.
    #[error("impossible: {0}")]
    Impossible(String),
}
