//! SDP (RFC 8866): what a party says of its media, and what the other party is shown of it.
//!
//! Pure. [`parse`] reads only what control acts on; [`keep`] is the allow-list of what else may pass, so that
//! [`mod@write`] builds what leaves from known parts and never by deleting from what came in: origin, session name,
//! times, addresses and ports are control's own; `i= u= e= p= k=`, ICE, keys and unknown attributes do not pass.
//!
//! Relayed is audio over RTP/AVP and RTP/AVPF. Every other m-line (video, T.38, SRTP, …) stays in its place, so
//! that both parties count alike, but with port 0: refused (RFC 3264 section 6).

#![allow(clippy::similar_names, reason = "rtp and rtcp: the words of the field")]

mod keep;
mod parse;
pub mod write;

use std::net::{IpAddr, SocketAddr};

use recorder::label::Codec;
use serde::{Deserialize, Serialize};

use crate::ng::error::NgError;

/// A session description as far as control acts on it.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct Sdp {
    /// Session-level lines that may pass: `b=` and the direction.
    kept: Vec<String>,
    /// The m-lines.
    pub media: Vec<Media>,
}

/// One m-line with what stands below it.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct Media {
    /// `audio`, `video`, …
    pub kind: String,
    /// Port; 0 refuses the stream.
    pub port: u16,
    /// More than one port (`49170/2`) is not relayed.
    one_port: bool,
    /// `RTP/AVP`, …
    pub protocol: String,
    /// Payload types, where the protocol is RTP.
    pub payload_types: Vec<u8>,
    /// What stands as format where the line is refused.
    pub format: String,
    /// Where the party receives: its own `c=`, or the session's.
    pub address: Option<IpAddr>,
    /// `a=rtcp` (RFC 3605).
    rtcp: Option<(u16, Option<IpAddr>)>,
    /// `a=rtcp-mux` (RFC 5761).
    pub mux: bool,
    /// Which way media flows, as this party sees it.
    pub direction: Direction,
    /// The encodings behind the payload types, in their order.
    pub codecs: Vec<Codec>,
    /// Lines that may pass, in order.
    kept: Vec<String>,
}

/// Which way media flows, as seen by the party that says so (RFC 3264).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// It sends only: it holds the other party.
    SendOnly,
    /// It receives only: it is held.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    const ALL: [(&'static str, Self); 4] = [
        ("sendrecv", Self::SendRecv),
        ("sendonly", Self::SendOnly),
        ("recvonly", Self::RecvOnly),
        ("inactive", Self::Inactive),
    ];

    fn read(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(n, _)| *n == name).map(|(_, d)| *d)
    }

    /// Whether the party sends.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the party receives.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// Why SDP is not usable. Names a line by its number and never repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// A line is not what RFC 8866 says.
    #[error("line {0} is malformed")]
    Malformed(usize),
    /// More m-lines than anyone needs.
    #[error("more than {} m-lines", parse::MAX_MEDIA)]
    TooMany,
    /// More lines, or attributes in one place, than anyone needs.
    #[error("too many lines")]
    TooLong,
    /// No m-line at all.
    #[error("no m-line")]
    NoMedia,
    /// An m-line without an address.
    #[error("no c= line for m-line {0}")]
    NoAddress(usize),
}

impl From<SdpError> for NgError {
    fn from(error: SdpError) -> Self {
        match error {
            SdpError::Malformed(_) | SdpError::TooMany | SdpError::TooLong => Self::BadSdp,
            SdpError::NoMedia | SdpError::NoAddress(_) => Self::IncompleteSdp,
        }
    }
}

impl Media {
    /// Whether it is audio over plain RTP: what the relay carries. The port may be 0.
    pub fn is_plain_audio(&self) -> bool {
        self.kind == "audio"
            && write::is_plain(&self.protocol)
            && self.one_port
            && !self.payload_types.is_empty()
    }

    /// Whether it can be relayed as it stands.
    pub fn relayable(&self) -> bool {
        self.is_plain_audio() && self.port != 0
    }

    /// Where the party receives RTP and, without rtcp-mux, RTCP; `instead` takes the place of the address. None
    /// when it receives nothing: port 0, or the address 0.0.0.0 that stood for hold in RFC 2543.
    pub fn receives_at(&self, instead: Option<IpAddr>) -> Option<(SocketAddr, SocketAddr)> {
        let own = self.address.filter(|a| !a.is_unspecified() && !a.is_multicast())?;
        let address = instead.unwrap_or(own);
        let rtp = Some(self.port).filter(|port| *port != 0)?;
        let (rtcp, other) = self.rtcp.unwrap_or((rtp.checked_add(1)?, None));
        let rtcp = if rtcp == 0 { rtp.checked_add(1)? } else { rtcp };
        let other = other.filter(|a| instead.is_none() && !a.is_unspecified() && !a.is_multicast());
        Some((SocketAddr::new(address, rtp), SocketAddr::new(other.unwrap_or(address), rtcp)))
    }

    /// The m-line that refuses what an offer had in this place (RFC 3264 section 6).
    pub fn refusing(kind: &str, protocol: &str, format: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            port: 0,
            one_port: true,
            protocol: protocol.to_owned(),
            payload_types: Vec::new(),
            format: format.to_owned(),
            address: None,
            rtcp: None,
            mux: false,
            direction: Direction::Inactive,
            codecs: Vec::new(),
            kept: Vec::new(),
        }
    }
}

/// Whether this encoding is RFC 4733's DTMF, which must never reach the recorder.
pub fn is_telephone_event(codec: &Codec) -> bool {
    codec.name.eq_ignore_ascii_case("telephone-event")
}
