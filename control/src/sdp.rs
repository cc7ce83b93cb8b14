//! SDP (RFC 8866): what a party says of its media, and what the other party is shown of it.
//!
//! Pure. [`parse`] reads only what control acts on; [`keep`] is the allow-list of what else may pass, so that
//! [`mod@write`] builds what leaves from known parts and never by deleting from what came in: origin, session name,
//! times, addresses and ports are control's own; `i= u= e= p= k=`, ICE and unknown attributes do not pass.
//!
//! What can be relayed, and how, says [`Carriage`]. Every other m-line stays in its place, so that both parties count
//! alike, but with port 0: refused (RFC 3264 section 6).

#![allow(clippy::similar_names, reason = "rtp and rtcp: the words of the field")]

mod extension;
mod fax;
mod keep;
mod pace;
mod parse;
mod profile;
mod sealed;
pub mod write;

use std::net::{IpAddr, SocketAddr};

use recorder::label::Codec;
use serde::{Deserialize, Serialize};

pub use self::extension::Extension;
pub use self::profile::{Profile, Security};
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
    /// The header extensions that it may use, by id.
    pub extensions: Vec<(u8, Extension)>,
    /// `a=ptime` and `a=maxptime`, in milliseconds.
    ptime: Option<u16>,
    maxptime: Option<u16>,
    /// `b=AS` or `b=TIAS`, in bits per second.
    bandwidth: Option<u64>,
    /// Lines that may pass, in order.
    kept: Vec<String>,
}

/// How the relay carries an m-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Carriage {
    /// Audio over RTP: made anonymous, and recorded where the call is.
    #[default]
    Speech,
    /// Video or text over RTP: made anonymous.
    Rtp,
    /// SRTP with its keys in the SDP: packets pass as they are.
    Sdes,
    /// DTLS-SRTP: its handshake and its packets pass as they are.
    Dtls,
    /// T.38 over UDPTL: datagrams pass as they are.
    Fax,
}

impl Carriage {
    /// Encrypted between the parties: it can neither be recorded nor made anonymous.
    pub const fn sealed(self) -> bool {
        matches!(self, Self::Sdes | Self::Dtls)
    }
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
    const ALL: [Self; 4] = [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive];

    fn read(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|direction| direction.name() == name)
    }

    /// As SDP has it.
    const fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
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
    /// How it is carried, whatever its port; none when it cannot be.
    pub fn carriage(&self) -> Option<Carriage> {
        if !self.one_port {
            return None;
        }
        if self.kind == "image" && self.format == "t38" {
            return self.protocol.eq_ignore_ascii_case("udptl").then_some(Carriage::Fax);
        }
        let profile = Profile::read(&self.protocol).filter(|_| !self.payload_types.is_empty())?;
        match (self.kind.as_str(), profile.security()) {
            ("audio", Security::None) => Some(Carriage::Speech),
            ("video" | "text", Security::None) => Some(Carriage::Rtp),
            ("audio" | "video" | "text", Security::Sdes) => Some(Carriage::Sdes),
            ("audio" | "video" | "text", Security::Dtls) => Some(Carriage::Dtls),
            _ => None,
        }
    }

    /// Whether it can be relayed as it stands: of what is encrypted only with what the other party needs to read it.
    pub fn relayable(&self) -> bool {
        let says = |name: &str| self.kept.iter().any(|line| line.starts_with(name));
        let whole = match self.carriage() {
            Some(Carriage::Sdes) => says("a=crypto:"),
            Some(Carriage::Dtls) => says("a=fingerprint:"),
            Some(Carriage::Speech | Carriage::Rtp | Carriage::Fax) => true,
            None => false,
        };
        whole && self.port != 0
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
            extensions: Vec::new(),
            ptime: None,
            maxptime: None,
            bandwidth: None,
            kept: Vec::new(),
        }
    }
}

/// Whether this encoding is RFC 4733's DTMF, which must never reach the recorder.
pub fn is_telephone_event(codec: &Codec) -> bool {
    codec.name.eq_ignore_ascii_case("telephone-event")
}
