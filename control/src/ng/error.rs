//! What a proxy is told when it cannot have what it asked for.
//!
//! The texts that the incumbent has too are its own, letter by letter: proxies compare some of them (on
//! `Ran out of ports` Kamailio turns to another node). None repeats anything from the request.

use std::sync::Arc;

use relay::program::client::ClientError;
use relay::program::message::{Limit, Refusal};

/// The `error-reason` of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NgError {
    /// The body is neither bencode nor JSON.
    #[error("Invalid NG data format")]
    Format,
    /// Nothing behind the cookie.
    #[error("Invalid data (no payload)")]
    NoPayload,
    /// Looked like bencode, was none.
    #[error("Could not decode bencode dictionary")]
    Bencode,
    /// Looked like JSON, was none.
    #[error("Failed to parse JSON document")]
    Json,
    /// No `command`.
    #[error("Dictionary contains no key \"command\"")]
    NoCommand,
    /// A command that is not known here.
    #[error("Unrecognized command")]
    UnknownCommand,
    /// No `sdp`.
    #[error("No SDP body in message")]
    NoSdp,
    /// No `call-id`.
    #[error("No call-id in message")]
    NoCallId,
    /// No `from-tag`.
    #[error("No from-tag in message")]
    NoFromTag,
    /// No `to-tag`.
    #[error("No to-tag in message")]
    NoToTag,
    /// No party of the call has this tag.
    #[error("From-tag given, but no such tag exists")]
    UnknownTag,
    /// A party is selected in a way that is not known here; taking all of them instead could let digits through.
    #[error("Parties are selected by from-tag and the flag directional")]
    Selection,
    /// No such call.
    #[error("Unknown call-id")]
    UnknownCall,
    /// No call that the delete fits (an error only with the flag `fatal`).
    #[error("Call-ID not found or tags didn't match")]
    NothingDeleted,
    /// Not SDP.
    #[error("Failed to parse SDP")]
    BadSdp,
    /// SDP without media, or media without an address.
    #[error("Incomplete SDP specification")]
    IncompleteSdp,
    /// The tags do not fit the call, or an answer comes from the side that offered.
    #[error("Invalid dialogue association")]
    Dialogue,
    /// Every port is taken, or the relay may open no more files.
    #[error("Ran out of ports")]
    OutOfPorts,
    /// No new calls at present. Kamailio turns to another node on this very text.
    #[error("Parallel session limit reached")]
    LoadLimit(Limit),
    /// Nothing in the SDP can be relayed.
    #[error("Unsupported media (RTP/AVP, RTP/AVPF and T.38 are relayed)")]
    Unsupported,
    /// SRTP between the parties, in a call that is to be recorded.
    #[error("Unsupported media (encrypted, and the call is recorded)")]
    Encrypted,
    /// The proxy asks for a transport protocol that is not known, or that what was offered cannot be turned into.
    #[error("Unsupported transport protocol (RTP/AVP and RTP/AVPF are relayed)")]
    Transport,
    /// A party asks for its media to be sent to control itself, or into another call.
    #[error("Media address is this host's own")]
    Remote,
    /// The relay's ports for a leg are IPv4 and what its SDP or `media-address` says is IPv6, or the reverse.
    #[error("Media address is of another family than the relay's")]
    Family,
    /// The interface that the proxy names is none of these.
    #[error("Unknown interface (the relay has: {0})")]
    Interface(Arc<str>),
    /// The interface has no address of the family that the proxy asks for.
    #[error("Interface has no address of this address-family")]
    NoFamily,
    /// No route decision for this Call-ID, and the settings ask for one.
    #[error("Call was not routed")]
    NotRouted,
    /// The route decision for this Call-ID was to refuse.
    #[error("Call was refused by its route decision")]
    Refused,
    /// The call has no recording to start or stop: whether there is one is for the trip's policy.
    #[error("Call is not recorded")]
    NotRecorded,
    /// The call is recorded, as the trip's policy has it.
    #[error("Call is recorded by its route decision")]
    Recorded,
    /// Recordings are evidence: no proxy throws them away.
    #[error("Recordings are not discarded")]
    Discard,
    /// The relay is not connected.
    #[error("Relay is out of reach")]
    RelayAway,
    /// The relay would not do it; control's log says why.
    #[error("Relay refused the request")]
    RelayRefused,
    /// Something that should not happen; control's log says what.
    #[error("Internal error")]
    Internal,
}

impl NgError {
    /// The metric label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Format | Self::NoPayload | Self::Bencode | Self::Json => "malformed",
            Self::NoCommand | Self::UnknownCommand => "command",
            Self::NoSdp | Self::NoCallId | Self::NoFromTag | Self::NoToTag => "incomplete",
            Self::UnknownCall | Self::NothingDeleted => "unknown_call",
            Self::BadSdp | Self::IncompleteSdp => "sdp",
            Self::Dialogue | Self::UnknownTag => "dialogue",
            Self::OutOfPorts => "out_of_ports",
            Self::LoadLimit(Limit::Draining) => "draining",
            Self::LoadLimit(_) => "load_limit",
            Self::Unsupported | Self::Encrypted | Self::Transport | Self::Selection => "unsupported",
            Self::Remote | Self::Family => "address",
            Self::Interface(_) | Self::NoFamily => "interface",
            Self::NotRouted => "not_routed",
            Self::Refused => "route_refused",
            Self::NotRecorded => "not_recorded",
            Self::Recorded | Self::Discard => "recording_kept",
            Self::RelayAway => "relay_away",
            Self::RelayRefused => "relay_refused",
            Self::Internal => "internal",
        }
    }
}

/// The `message` of a `load limit` reply, for those who say that they support it; in the incumbent's words where it has
/// any.
pub const fn load_limit(limit: Limit) -> &'static str {
    match limit {
        Limit::Draining => "Draining",
        Limit::Calls => "Parallel session limit reached",
        Limit::Packets => "Load limit exceeded",
        Limit::Cpu => "CPU usage limit exceeded",
    }
}

impl From<&ClientError> for NgError {
    fn from(error: &ClientError) -> Self {
        match error {
            ClientError::Refused(Refusal::OutOfPorts | Refusal::OutOfFiles) => Self::OutOfPorts,
            ClientError::Refused(Refusal::Overloaded(limit)) => Self::LoadLimit(*limit),
            ClientError::Refused(Refusal::UnknownCall) => Self::UnknownCall,
            ClientError::Refused(_) => Self::RelayRefused,
            ClientError::Gone(_) | ClientError::Wire(_) | ClientError::Unexpected => Self::RelayAway,
        }
    }
}
