//! A row: one local port of one leg of one stream; where its packets must come from, and what becomes of them.
//!
//! Owned by a worker, indexed by slot.

use std::mem::offset_of;
use std::net::SocketAddr;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::call::{CallKey, Leg};
use crate::cap::RateCap;
use crate::drop_reason::DropCounters;
use crate::dtmf::Keypad;
#[cfg(feature = "xdp")]
use crate::engine::express::{Boarding, Stage};
use crate::program::message::{Clock, Count, Extensions, MAX_CLOCKS, PayloadTypes, Stream, StreamKind};
use crate::quality::Reception;
use crate::rewrite::Mask;
use crate::source::Source;
use crate::sys::clock::Timeline;

/// Which of a leg's two ports a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Port {
    /// The even port; with rtcp-mux it carries RTCP too.
    Rtp,
    /// The odd port.
    Rtcp,
}

/// The rows of one leg of one stream, as slot indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Slot of the RTP row.
    pub rtp: u32,
    /// Slot of the RTCP row.
    pub rtcp: u32,
}

/// One row of the binding table. Its first fields are those that every packet needs, in an order of few cache lines.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts, each negotiated by itself")]
#[repr(C)]
pub struct Row {
    /// What this port is for.
    pub port: Port,
    /// Who sends to this port.
    pub leg: Leg,
    /// Index of the stream (m-line).
    pub stream: u8,
    /// What the stream carries.
    pub kind: StreamKind,
    /// Packets pass without privacy rewriting.
    pub verbatim: bool,
    /// RTCP may come to the RTP port.
    pub rtcp_mux: bool,
    /// Packets are copied to the tap (recorded call, not paused).
    pub tapping: bool,
    /// Telephone events are not forwarded.
    pub block_events: bool,
    /// Its socket is connected to where packets come from and go to.
    pub connected: bool,
    /// Header extensions that pass.
    pub extensions: Extensions,
    /// This leg's rows.
    pub own: Pair,
    /// The other leg's rows: its sockets send what comes in here.
    pub peer: Pair,
    /// Whose call it is.
    pub call: CallKey,
    /// When the last packet was forwarded, monotonic nanoseconds; 0 for never.
    pub last_ns: u64,
    /// Where packets come from, and where the leg is sent to.
    pub source: Source,
    /// Payload types this leg may send.
    pub accepts: PayloadTypes,
    /// Those that are copied to the tap.
    pub tapped: PayloadTypes,
    /// Those that are telephone events.
    pub events: PayloadTypes,
    /// Forwarded RTP.
    pub rtp: Count,
    /// How many packets a second may come.
    pub cap: RateCap,
    /// Its part on the express lane. Begins anew in another process.
    #[cfg(feature = "xdp")]
    #[serde(skip)]
    pub boarding: Boarding,
    /// What is measured of this leg's stream (kept in the RTP row).
    pub reception: Reception,
    /// What is rewritten in RTP from this leg (kept in the RTP row).
    pub mask: Mask,
    /// RTP clocks of this leg.
    pub clocks: [Clock; MAX_CLOCKS],
    /// The call's clock: what the tap is told goes by it.
    pub timeline: Timeline,
    /// Its address and port on this host, where anybody asks for it.
    pub local: Option<SocketAddr>,
    /// Telephone events of this leg (kept in the RTP row).
    pub keypad: Keypad,
    /// Forwarded RTCP.
    pub rtcp: Count,
    /// What was dropped.
    pub drops: DropCounters,
    /// Packets that did not fit into the tap ring.
    pub tap_lost: u64,
    /// The open gap in the tap, if there is one.
    pub gap: Option<Gap>,
}

/// What names a row: what does not change while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Whose call it is.
    pub call: CallKey,
    /// Who sends to this port.
    pub leg: Leg,
    /// Index of the stream (m-line).
    pub stream: u8,
    /// What this port is for.
    pub port: Port,
    /// This leg's rows.
    pub own: Pair,
    /// The other leg's rows.
    pub peer: Pair,
    /// The call's clock.
    pub timeline: Timeline,
}

impl Row {
    /// A row of which nothing was signalled yet; `seed` must be random and used once.
    pub fn new(identity: Identity, seed: u64) -> Self {
        let Identity { call, leg, stream, port, own, peer, timeline } = identity;
        Self {
            port,
            local: None,
            leg,
            stream,
            kind: StreamKind::Rtp,
            verbatim: false,
            rtcp_mux: false,
            tapping: false,
            call,
            timeline,
            accepts: PayloadTypes::NONE,
            tapped: PayloadTypes::NONE,
            events: PayloadTypes::NONE,
            block_events: false,
            extensions: Extensions::NONE,
            clocks: [Clock::default(); MAX_CLOCKS],
            cap: RateCap::default(),
            reception: Reception::default(),
            keypad: Keypad::default(),
            source: Source::UNKNOWN,
            connected: false,
            own,
            peer,
            mask: Mask::new(seed),
            rtp: Count::default(),
            rtcp: Count::default(),
            last_ns: 0,
            drops: DropCounters::default(),
            tap_lost: 0,
            gap: None,
            #[cfg(feature = "xdp")]
            boarding: Boarding::default(),
        }
    }

    /// Whether the express lane executes it now.
    pub const fn is_express(&self) -> bool {
        #[cfg(feature = "xdp")]
        let express = matches!(self.boarding.stage, Stage::Active);
        #[cfg(not(feature = "xdp"))]
        let express = false;
        express
    }

    /// Bytes of what every packet needs.
    pub const HOT: [Range<usize>; 6] = {
        let [first, second, third] = Reception::HOT;
        let measured = offset_of!(Self, reception);
        [
            offset_of!(Self, port)..offset_of!(Self, reception),
            behind(measured, &first),
            behind(measured, &second),
            behind(measured, &third),
            behind(offset_of!(Self, mask), &Mask::HOT),
            behind(offset_of!(Self, clocks), &(0..size_of::<Clock>())),
        ]
    };
    /// Of what a packet of the other leg needs.
    pub const WAY: Range<usize> = offset_of!(Self, port)..offset_of!(Self, accepts);

    /// Takes over what was negotiated for its leg, at `now_ns` (monotonic nanoseconds).
    pub fn signal(&mut self, stream: &Stream, now_ns: u64, window_ns: u64) {
        let [caller, callee] = &stream.legs;
        let media = if self.leg == Leg::Caller { caller } else { callee };
        let address = media.remote.map(|r| if self.port == Port::Rtp { r.rtp } else { r.rtcp });
        self.source.signal(address, media, now_ns, window_ns);
        self.kind = stream.kind;
        self.verbatim = stream.verbatim;
        self.accepts = media.accepts;
        self.tapped = media.tapped;
        self.events = media.events;
        self.block_events = media.block_events;
        self.extensions = media.extensions;
        self.clocks = media.clocks;
        self.rtcp_mux = media.rtcp_mux;
        self.cap.set(media.packets_per_second, now_ns);
    }
}

/// A part of a field that begins at `field`.
const fn behind(field: usize, part: &Range<usize>) -> Range<usize> {
    field + part.start..field + part.end
}

/// Packets of a row that the tap ring had no room for, not yet told to the recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// How many.
    pub packets: u64,
    /// Arrival of the first, nanoseconds of the call's clock.
    pub since_ns: u64,
    /// Arrival of the last.
    pub until_ns: u64,
}

/// A row to build test cases from.
#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// A row with nothing known.
    pub(crate) fn row(port: Port) -> Row {
        let identity = Identity {
            call: CallKey(1),
            leg: Leg::Caller,
            stream: 0,
            port,
            own: Pair { rtp: 0, rtcp: 1 },
            peer: Pair { rtp: 2, rtcp: 3 },
            timeline: Timeline::default(),
        };
        Row::new(identity, 1)
    }
}
