//! `manifest.json`: what an archive says about itself.
//!
//! Written once by the archiver, read by control, `bauta` and the dispute desk. Its last field is the
//! [seal], so that a change of any byte is found. [`SCHEMA`] describes every field to other programs.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::label::Codec;
use crate::seal::{self, SealError};
use crate::spool::Side;

/// The version of the manifest that this crate writes.
///
/// 2 added: streams, jitter, `dtmf`, `silenced`, the encoder's `library`, `silence_dbfs` and `channels`, `continues`. What version 1
/// lacks reads as empty.
pub const VERSION: u32 = 2;

/// The JSON Schema (2020-12) of what this crate writes.
pub const SCHEMA: &str = include_str!("../schema/manifest.json");

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
    /// Why it ended: control's word, or `relay_lost`: the relay's process ended in mid-call;
    /// `interrupted`: the spool could not be written any more, another recording goes on from it; or `closed`.
    pub ended: String,
    /// Length of the audio.
    pub duration_ms: u64,
    /// Every stretch in which packets are missing.
    pub gaps: Vec<Gap>,
    /// Every stretch in which recording was paused; silent in the audio.
    pub pauses: Vec<Span>,
    /// Every stretch that was captured and is silent in the audio all the same, with its cause.
    #[serde(default)]
    pub silenced: Vec<Silenced>,
    /// The audio file.
    pub audio: Audio,
    /// The captured packets.
    pub packets: Packets,
    /// How the audio was encoded.
    pub encoder: Encoder,
    /// The recording of the same call that this one goes on from: its file could not be written any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<Uuid>,
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
    /// What was captured, all its streams together.
    #[serde(flatten)]
    pub counts: Counts,
    /// What was captured, stream by stream.
    #[serde(default)]
    pub streams: Vec<Stream>,
}

/// What one sender of a side sent: one SSRC of one m-line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Index of the m-line, from 0.
    pub stream: u8,
    /// The sender's SSRC, as it reached the relay: eight hexadecimal digits.
    pub ssrc: String,
    /// When its first packet arrived.
    pub from_ms: u64,
    /// When its last packet arrived.
    pub to_ms: u64,
    /// Names of the codecs that it used, in the order of their first packets.
    pub codecs: Vec<String>,
    /// What was captured.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What was captured. Of a side, `jitter_us` is the largest of its streams.
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
    /// Different senders (SSRC) on this side; 1 of a stream.
    pub sources: u64,
    /// Interarrival jitter at the end (RFC 3550, section 6.4.1), microseconds.
    #[serde(default)]
    pub jitter_us: u64,
    /// DTMF events (RFC 4733). Which ones is not kept anywhere.
    #[serde(default)]
    pub dtmf: u64,
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
    /// The relay forwarded them, but the recorder's disk refused to be written.
    Disk,
    /// They were captured, but the file that held them is damaged.
    Damage,
}

/// A stretch that was captured and is silent in the audio all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silenced {
    /// Whose voice.
    pub side: Side,
    /// Why.
    pub cause: SilenceCause,
    /// Where it starts.
    pub from_ms: u64,
    /// Where it ends.
    pub to_ms: u64,
}

/// Why a stretch is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SilenceCause {
    /// A DTMF event: neither it nor a tone beside it is kept.
    Dtmf,
    /// There is no decoder for the codec.
    Undecoded,
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
    /// Milliseconds per packet.
    pub frame_ms: u8,
    /// The library, with its version.
    #[serde(default)]
    pub library: String,
    /// The level (dBFS, RMS over a packet) below which a packet is written as silence.
    #[serde(default)]
    pub silence_dbfs: Option<i8>,
    /// How left and right were encoded.
    #[serde(default)]
    pub channels: Vec<EncodedChannel>,
}

/// How one channel was encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodedChannel {
    /// Sample rate before encoding, Hz; the highest, where it changed.
    pub sample_rate: u32,
    /// Packets (of 20 ms) that are the party's own Opus packets, as they arrived.
    pub packed: u64,
    /// Packets that were encoded here.
    pub encoded: u64,
    /// Packets that were written as silence.
    pub silent: u64,
}

/// Why a manifest is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not as it was written.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Sealed, but not a manifest.
    #[error("not a manifest at line {} column {}", .0.line(), .0.column())]
    Json(#[from] serde_json::Error),
    /// From a later version of this software.
    #[error("manifest version {found}; this software reads up to {known}")]
    Version {
        /// Its version.
        found: u32,
        /// The latest that is read.
        known: u32,
    },
}

impl Manifest {
    /// The file's bytes, sealed.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        seal::close(self)
    }

    /// Reads the file's bytes; refuses them when any was changed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        read(bytes, VERSION, |manifest: &Self| manifest.version)
    }
}

/// Reads a sealed manifest whose latest known version is `known`.
pub(crate) fn read<M: DeserializeOwned>(
    bytes: &[u8],
    known: u32,
    version: impl Fn(&M) -> u32,
) -> Result<M, ManifestError> {
    seal::check(bytes)?;
    let manifest = serde_json::from_slice(bytes)?;
    let found = version(&manifest);
    if found > known { Err(ManifestError::Version { found, known }) } else { Ok(manifest) }
}
