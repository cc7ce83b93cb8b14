//! What the ring carries: a fixed header of 40 bytes, then the payload.
//!
//! | offset | field | |
//! |---|---|---|
//! | 0 | length | u32, header and payload, without the padding to 8 |
//! | 4 | kind | u8 |
//! | 5 | leg | u8, 0 caller, 1 callee |
//! | 6 | stream | u8, index of the m-line |
//! | 7 | zero | u8 |
//! | 8 | call | u64 |
//! | 16 | time | u64, nanoseconds since 1970 (UTC) |
//! | 24 | packets | u64, of a gap |
//! | 32 | since | u64, nanoseconds: where a gap began |
//!
//! All native endian: both processes run on one host.

use serde::{Deserialize, Serialize};

use crate::call::{CallKey, Leg};

/// Bytes of a record's header.
pub(super) const HEADER: usize = 40;
/// Records start at multiples of this.
pub(super) const ALIGN: usize = 8;
/// Largest payload: a UDP datagram or a label.
pub(super) const MAX_PAYLOAD: usize = 65_535;

/// One record of the ring; its payload is handed beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Place in the ring's whole history, in bytes: strictly increasing, never used again in one epoch.
    pub position: u64,
    /// Which call.
    pub call: CallKey,
    /// When the packet arrived or the event happened: nanoseconds since 1970 (UTC).
    pub at_ns: u64,
    /// What it is.
    pub kind: Kind,
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A recorded call begins (or is told again after a new recorder attached). Payload: control's label.
    Open,
    /// Control's label for the call changed. Payload: the new label.
    Label,
    /// A packet as it arrived. Payload: the RTP packet.
    Packet {
        /// Who sent it.
        leg: Leg,
        /// Index of the stream (m-line).
        stream: u8,
    },
    /// The tap is paused from here on. No payload.
    Pause,
    /// The tap goes on. No payload.
    Resume,
    /// Packets that did not fit into the ring. No payload.
    Gap {
        /// Who sent them.
        leg: Leg,
        /// Index of the stream.
        stream: u8,
        /// How many.
        packets: u64,
        /// When the first of them arrived; the record's own time is when the last did.
        since_ns: u64,
    },
    /// The call ended. Payload: control's last label, or nothing when it is unchanged.
    Close,
}

impl Record {
    /// The header for this record and a payload of `payload` bytes (at most [`MAX_PAYLOAD`]).
    #[inline]
    pub(super) fn header(&self, payload: usize) -> [u8; HEADER] {
        let (kind, leg, stream, packets, since) = match self.kind {
            Kind::Open => (1, 0, 0, 0, 0),
            Kind::Label => (2, 0, 0, 0, 0),
            Kind::Packet { leg, stream } => (3, leg as u8, stream, 0, 0),
            Kind::Pause => (4, 0, 0, 0, 0),
            Kind::Resume => (5, 0, 0, 0, 0),
            Kind::Gap { leg, stream, packets, since_ns } => (6, leg as u8, stream, packets, since_ns),
            Kind::Close => (7, 0, 0, 0, 0),
        };
        let length = u32::try_from(HEADER + payload).unwrap_or(u32::MAX);
        let mut out = [0; HEADER];
        let (head, body) = out.split_at_mut(8);
        head.copy_from_slice(&[length.to_ne_bytes(), [kind, leg, stream, 0]].concat_array());
        for (place, value) in body.chunks_exact_mut(8).zip([self.call.0, self.at_ns, packets, since]) {
            place.copy_from_slice(&value.to_ne_bytes());
        }
        out
    }

    /// Reads a header back. None when it is not one that [`Self::header`] makes.
    pub(super) fn parse(position: u64, bytes: &[u8; HEADER]) -> Option<(Self, usize)> {
        let (head, body) = bytes.split_first_chunk::<8>()?;
        let [a, b, c, d, kind, leg, stream, zero] = *head;
        let payload = (u32::from_ne_bytes([a, b, c, d]) as usize).checked_sub(HEADER)?;
        let mut words = body.as_chunks::<8>().0.iter().map(|w| u64::from_ne_bytes(*w));
        let (call, at_ns, packets, since_ns) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let leg = match leg {
            0 => Leg::Caller,
            1 => Leg::Callee,
            _ => return None,
        };
        let kind = match kind {
            1 => Kind::Open,
            2 => Kind::Label,
            3 => Kind::Packet { leg, stream },
            4 => Kind::Pause,
            5 => Kind::Resume,
            6 => Kind::Gap { leg, stream, packets, since_ns },
            7 => Kind::Close,
            _ => return None,
        };
        (payload <= MAX_PAYLOAD && zero == 0)
            .then_some((Self { position, call: CallKey(call), at_ns, kind }, payload))
    }
}

/// Joins the length and the four small fields without a bounds check per byte.
trait ConcatArray {
    fn concat_array(self) -> [u8; 8];
}

impl ConcatArray for [[u8; 4]; 2] {
    #[inline]
    fn concat_array(self) -> [u8; 8] {
        let [[a, b, c, d], [e, f, g, h]] = self;
        [a, b, c, d, e, f, g, h]
    }
}
