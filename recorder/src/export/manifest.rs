//! `NAME.wav.json`: what an export says about itself, and of which recording it is. [Sealed](crate::seal) like an
//! archive's manifest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::manifest::{Gap, ManifestError, Silenced, Span, read};
use crate::seal;

/// The version of the manifest that this crate writes.
pub const VERSION: u32 = 1;

/// The JSON Schema (2020-12) of what this crate writes.
pub const SCHEMA: &str = include_str!("../../schema/export.json");

/// An export's manifest. Times are UTC, RFC 3339; the `…_ms` of gaps, pauses and silenced stretches count
/// milliseconds from the start of the WAV file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// Always [`Kind::Export`].
    pub kind: Kind,
    /// What it was made from.
    pub original: Original,
    /// Which part of it.
    pub range: Range,
    /// The file.
    pub wav: Wav,
    /// The original's gaps within the range.
    pub gaps: Vec<Gap>,
    /// The original's pauses within the range.
    pub pauses: Vec<Span>,
    /// The original's silenced stretches within the range.
    pub silenced: Vec<Silenced>,
    /// When the export was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Versions of the software that took part, by name.
    pub software: BTreeMap<String, String>,
    /// What else a reader should know, in English.
    pub notes: Vec<String>,
}

/// Tells an export's manifest from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Of an export.
    Export,
}

/// The archive that an export was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// The recording's id.
    pub recording: Uuid,
    /// SHA-256 of its `manifest.json`, hexadecimal.
    pub manifest_sha256: String,
    /// SHA-256 of its audio file, hexadecimal, as it was read.
    pub audio_sha256: String,
    /// Length of its audio.
    pub duration_ms: u64,
    /// Everything in which it was not as it was made, when it was exported all the same; empty: it held.
    pub failures: Vec<String>,
}

/// A part of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Where it starts, from the start of the original's audio.
    pub from_ms: u64,
    /// Where it ends, from the start of the original's audio.
    pub to_ms: u64,
    /// The same as a time, where the original says when it started.
    #[serde(with = "time::serde::rfc3339::option")]
    pub from_at: Option<OffsetDateTime>,
    /// The same as a time, where the original says when it started.
    #[serde(with = "time::serde::rfc3339::option")]
    pub to_at: Option<OffsetDateTime>,
}

/// The WAV file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wav {
    /// Its name, in the folder of this manifest.
    pub file: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// Samples of each channel; exact where milliseconds are not.
    pub samples: u64,
    /// Samples per second and channel.
    pub sample_rate: u32,
    /// Bits per sample: signed PCM.
    pub bits: u16,
    /// Number of channels.
    pub channels: u16,
    /// What is in them.
    pub mix: Mix,
    /// Roles in the trip: caller's, callee's.
    pub roles: [Option<String>; 2],
}

/// How caller and callee became the channels of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mix {
    /// Two channels: caller left, callee right, nothing mixed.
    CallerLeftCalleeRight,
    /// One channel: half of the caller plus half of the callee, rounded towards zero, so that nothing clips.
    HalfOfEach,
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
