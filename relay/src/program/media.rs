//! What control says of a call's streams: per leg, where packets come from and go to, and what may pass. Plain data.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

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

/// Where the relay's own ports towards a leg lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Place {
    /// Index into the interfaces that [`Reply::Hello`](super::message::Reply::Hello) lists; 0 is the default one.
    pub interface: u8,
    /// Which of its addresses will do.
    pub family: Family,
}

/// Which kind of address is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Family {
    /// Whichever comes first.
    #[default]
    Any,
    /// IPv4.
    Ip4,
    /// IPv6.
    Ip6,
}

impl Family {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ip4 } else { Self::Ip6 }
    }

    /// Whether an address will do.
    pub const fn fits(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Ip4 => address.is_ipv4(),
            Self::Ip6 => address.is_ipv6(),
        }
    }
}

/// A set of RTP header extension ids (1-14, RFC 8285 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Extensions(pub u16);

impl Extensions {
    /// No extension.
    pub const NONE: Self = Self(0);

    /// Whether `id` belongs to the set; 0, 15 and higher never do.
    #[inline]
    pub const fn contains(self, id: u8) -> bool {
        id > 0 && id < 15 && self.0 >> id & 1 == 1
    }

    /// The set with `id` (1-14; others are left out) added.
    #[must_use]
    pub const fn with(self, id: u8) -> Self {
        if id > 0 && id < 15 { Self(self.0 | 1 << id) } else { self }
    }
}

/// The RTP clock of some payload types: for jitter in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Clock {
    /// Which payload types count in it.
    pub payload_types: PayloadTypes,
    /// Ticks per second; 0 for an entry that is not used.
    pub hz: u32,
}

/// Most different RTP clocks of one leg; payload types beyond have no jitter figure.
pub const MAX_CLOCKS: usize = 4;

/// What one leg of one stream was negotiated to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts, each negotiated by itself")]
pub struct LegMedia {
    /// Where the relay's ports towards this leg lie; counts when the stream is opened, and is left alone later.
    pub place: Place,
    /// Where to send; none while not known (before the answer) or while the stream is refused (port 0).
    pub remote: Option<Remote>,
    /// Payload types that this leg may send.
    pub accepts: PayloadTypes,
    /// Those of them that are copied to the recorder, when the call is recorded.
    pub tapped: PayloadTypes,
    /// Those of them that are telephone events (RFC 4733).
    pub events: PayloadTypes,
    /// Telephone events of this leg are not forwarded; they are reported all the same.
    pub block_events: bool,
    /// Header extensions that this leg may send and the other takes, by the same id; others are removed.
    pub extensions: Extensions,
    /// Their RTP clocks.
    pub clocks: [Clock; MAX_CLOCKS],
    /// RTCP on the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// Source address policy.
    pub learning: Learning,
    /// A new source with the same SSRC may take over from a settled one that fell silent.
    pub handover: bool,
    /// The leg sends from elsewhere than it receives at: what is learned is where packets come from, and packets go to
    /// the signalled address all the same.
    pub asymmetric: bool,
    /// Most packets a second from this leg, RTP and RTCP each; 0 for no limit.
    pub packets_per_second: u32,
}

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum StreamKind {
    /// RTP and its RTCP.
    #[default]
    Rtp,
    /// Datagrams that are nobody's business (T.38 over UDPTL): only their source is checked. They are never tapped.
    Opaque,
}

/// One media stream between the two legs, `legs[Leg as usize]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stream {
    /// What it carries.
    pub kind: StreamKind,
    /// No privacy rewriting: packets pass as they are, for legs that protect them end to end (SRTP).
    pub verbatim: bool,
    /// Caller's, then callee's side.
    pub legs: [LegMedia; 2],
}

/// An interface of the relay, as [`Reply::Hello`](super::message::Reply::Hello) tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name in the settings and in NG's `direction`.
    pub name: String,
    /// Its addresses, in the order of the settings: as bound, and as the outside sees them.
    pub addresses: Vec<(IpAddr, IpAddr)>,
}

/// The relay's own ports towards one leg of one stream, to be put into the SDP that this leg receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalPorts {
    /// Address as the outside sees it.
    pub address: IpAddr,
    /// RTP port, even.
    pub rtp: u16,
    /// RTCP port, `rtp + 1`.
    pub rtcp: u16,
}
