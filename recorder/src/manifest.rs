//! `manifest.json`: what an archive says about itself.
//!
//! Written once by the archiver, read by control, `bauta` and the dispute desk. The last field, `seal`, is the
//! SHA-256 over all bytes of the file before it, so that a change of any byte is found. (The seal tells
//! damage; who wrote the file is for a signature to tell.)

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::label::Codec;
use crate::spool::Side;

/// The version of the manifest that this crate writes.
pub const VERSION: u32 = 1;

/// An archive's manifest. Times are UTC, RFC 3339; `…_ms` count milliseconds from the start of the audio.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// The recording's id.
    pub recording: Uuid,
    /// The call's pseudonym.
    pub call: String,
    /// The business's key of the trip.
    pub trip: Option<String>,
    /// The city whose policy applied.
    pub city: Option<String>,
    /// The audio's left channel: the caller.
    pub left: Channel,
    /// The audio's right channel: the callee.
    pub right: Channel,
    /// When the first offer came.
    #[serde(with = "time::serde::rfc3339::option")]
    pub offered_at: Option<OffsetDateTime>,
    /// When the call was answered; none: never.
    #[serde(with = "time::serde::rfc3339::option")]
    pub answered_at: Option<OffsetDateTime>,
    /// When the audio starts: arrival of the first packet of either side. None: there was none.
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    /// When the call ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
    /// Why it ended: control's word, or `relay_lost`: the relay's process ended in mid-call; or `closed`.
    pub ended: String,
    /// Length of the audio.
    pub duration_ms: u64,
    /// Every stretch in which packets are missing.
    pub gaps: Vec<Gap>,
    /// Every stretch in which recording was paused; silent in the audio.
    pub pauses: Vec<Span>,
    /// The audio file.
    pub audio: Audio,
    /// The captured packets.
    pub packets: Packets,
    /// How the audio was encoded.
    pub encoder: Encoder,
    /// Versions of the software that took part, by name.
    pub software: std::collections::BTreeMap<String, String>,
    /// What else a reader should know, in English.
    pub notes: Vec<String>,
}

/// One channel of the audio: one side of the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Which side.
    pub side: Side,
    /// Its role in the trip.
    pub role: Option<String>,
    /// The codecs that were negotiated, in the last version of the label.
    pub codecs: Vec<Codec>,
    /// What was captured.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What was captured from one side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// RTP packets.
    pub packets: u64,
    /// Their bytes, RTP header included.
    pub bytes: u64,
    /// Missing by sequence number, for whatever cause.
    pub lost: u64,
    /// Came too late to be placed into the audio.
    pub late: u64,
    /// Came more than once.
    pub duplicates: u64,
    /// Came after a packet with a higher sequence number, and were put in their place.
    pub reordered: u64,
    /// Captured but not in the audio: no decoder for their payload type, or not RTP.
    pub undecoded: u64,
    /// Time-stamp jumps, each bridged by arrival time.
    pub jumps: u64,
    /// Different senders (SSRC) on this side.
    pub sources: u64,
}

/// A stretch in which packets of one side are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Whose.
    pub side: Side,
    /// Why.
    pub cause: Cause,
    /// Where it starts.
    pub from_ms: u64,
    /// Where it ends.
    pub to_ms: u64,
    /// How many packets.
    pub packets: u64,
}

/// Why packets are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// They did not reach the relay, by their sequence numbers.
    NetworkLoss,
    /// The relay forwarded them, but the recorder was too far behind to take them.
    TapOverflow,
}

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Where it starts.
    pub from_ms: u64,
    /// Where it ends.
    pub to_ms: u64,
}

/// The audio file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audio {
    /// Its name in the archive's folder.
    pub file: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// Always 2: left, right.
    pub channels: u8,
}

/// The captured packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packets {
    /// Its name in the archive's folder; none where the settings say that packets are not kept.
    pub file: Option<String>,
    /// Head of the [hash chain](crate::spool::Chain) over the packets, hexadecimal.
    pub sha256: String,
    /// Packets in the chain.
    pub count: u64,
    /// SHA-256 of the file, hexadecimal, also when it is not kept.
    pub file_sha256: String,
    /// The file's length.
    pub bytes: u64,
}

/// How the audio was encoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoder {
    /// Always `opus`.
    pub codec: String,
    /// Bits per second and channel.
    pub bitrate: u32,
    /// 0 to 10.
    pub complexity: u8,
    /// Sample rate before encoding, Hz.
    pub sample_rate: u32,
    /// Milliseconds per packet.
    pub frame_ms: u8,
}

/// Why a manifest is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// No seal in its place: cut, or changed.
    #[error("the seal is missing or is not where it belongs")]
    NoSeal,
    /// The seal is another one.
    #[error("the seal does not match: the manifest was changed")]
    Seal,
    /// Sealed, but not a manifest.
    #[error("not a manifest at line {} column {}", .0.line(), .0.column())]
    Json(#[from] serde_json::Error),
    /// From a later version of this software.
    #[error("manifest version {0}; this software reads up to {VERSION}")]
    Version(u32),
}

/// What stands between the last field of the manifest proper and the seal's digits.
const SEAL: &str = ",\n  \"seal\": \"";
const END: &str = "\"\n}\n";

impl Manifest {
    /// The file's bytes, sealed.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.truncate(text.trim_end_matches(['}', '\n']).len());
        let seal = crate::hexadecimal(&Sha256::digest(text.as_bytes()));
        Ok([&text, SEAL, &seal, END].concat().into_bytes())
    }

    /// Reads the file's bytes; refuses them when any was changed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        let at = bytes.len().checked_sub(SEAL.len() + 64 + END.len()).ok_or(ManifestError::NoSeal)?;
        let (body, tail) = bytes.split_at_checked(at).ok_or(ManifestError::NoSeal)?;
        let seal = tail
            .strip_prefix(SEAL.as_bytes())
            .and_then(|t| t.strip_suffix(END.as_bytes()))
            .ok_or(ManifestError::NoSeal)?;
        if seal != crate::hexadecimal(&Sha256::digest(body)).as_bytes() {
            return Err(ManifestError::Seal);
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        if manifest.version > VERSION {
            return Err(ManifestError::Version(manifest.version));
        }
        Ok(manifest)
    }
}
