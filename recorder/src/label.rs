//! What control tells the recorder about a call: the label.
//!
//! JSON, carried by the relay as opaque bytes: with the tap's `Open`, again when something changed, and with its
//! `Close`. It holds no party's number and no Call-ID. The recorder copies it into the manifest. Every field but
//! the recording's id may be missing and unknown fields are skipped, so that processes of different versions
//! understand each other.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// What control knows about a recorded call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The recording's id: a UUID v7 made at the offer. Its own time-stamp names the archive's date folder.
    pub recording: Uuid,
    /// The call's pseudonym, in hexadecimal; the same in control's answers and logs.
    #[serde(default)]
    pub call: String,
    /// The business's key of the trip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trip: Option<String>,
    /// The city whose policy applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// Roles in the trip: caller's, callee's.
    #[serde(default)]
    pub roles: [Option<String>; 2],
    /// When the first offer came (UTC).
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub offered_at: Option<OffsetDateTime>,
    /// When the answer came (UTC).
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<OffsetDateTime>,
    /// When the call ended (UTC).
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<OffsetDateTime>,
    /// Why it ended, in control's words, like `bye` or `silence`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// What was negotiated with each leg: caller's, callee's.
    #[serde(default)]
    pub legs: [LegLabel; 2],
}

/// What was negotiated with one leg.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegLabel {
    /// The codecs of the packets that this leg sends.
    #[serde(default)]
    pub codecs: Vec<Codec>,
}

/// One line of `a=rtpmap`, or what RFC 3551 says for a static payload type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Codec {
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Encoding name as registered, like `PCMA`; compared without case.
    pub name: String,
    /// RTP clock rate in Hz.
    pub clock_rate: u32,
    /// Channels; 1 for everything mono.
    #[serde(default = "one_channel")]
    pub channels: u8,
}

const fn one_channel() -> u8 {
    1
}

impl Label {
    /// A label that names the recording and nothing else.
    #[must_use]
    pub fn new(recording: Uuid) -> Self {
        Self {
            recording,
            call: String::new(),
            trip: None,
            city: None,
            roles: [None, None],
            offered_at: None,
            answered_at: None,
            ended_at: None,
            ended: None,
            legs: [LegLabel::default(), LegLabel::default()],
        }
    }

    /// Reads the bytes that the relay carried. Refuses what is not JSON, lacks the recording's id, or names
    /// one whose UUID has no time-stamp (only versions 1, 6 and 7 have).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LabelError> {
        let label: Self = serde_json::from_slice(bytes)?;
        if label.recording.get_timestamp().is_none() {
            return Err(LabelError::NoTimestamp(label.recording));
        }
        Ok(label)
    }

    /// The bytes for the relay to carry.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Nothing in a label can fail to serialise but a year past 9999.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Why a label cannot be read. Does not repeat the label's text.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// Not the JSON document that a label is.
    #[error("label is not readable at line {} column {}", .0.line(), .0.column())]
    Json(#[from] serde_json::Error),
    /// The date folder cannot be told from the id.
    #[error("recording id {0} is not a UUID v7")]
    NoTimestamp(Uuid),
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_label_reads_back_as_itself() {
        let mut label = Label::new(Uuid::now_v7());
        label.call = "00c0ffee".into();
        label.roles = [Some("driver".into()), None];
        label.answered_at = Some(datetime!(2026-11-22 16:00:00.25 UTC));
        label.legs[1].codecs =
            vec![Codec { payload_type: 8, name: "PCMA".into(), clock_rate: 8000, channels: 1 }];
        assert_eq!(Label::from_bytes(&label.to_bytes()).unwrap(), label);
    }

    #[test]
    fn what_another_version_adds_or_leaves_out_is_no_error() {
        let text = r#"{"recording":"019a0000-0000-7000-8000-000000000001","colour":"red","legs":[{"codecs":[
            {"payload_type":0,"name":"PCMU","clock_rate":8000,"ptime":20}]},{}]}"#;
        let label = Label::from_bytes(text.as_bytes()).unwrap();
        assert_eq!(label.legs[0].codecs[0].channels, 1);
        assert_eq!(label.trip, None);
    }

    #[test]
    fn a_refusal_does_not_repeat_the_text() {
        let error = Label::from_bytes(br#"{"recording":"+447700900001"}"#).unwrap_err().to_string();
        assert!(!error.contains("7700900001"), "{error}");
        assert!(Label::from_bytes(b"\xff\x00").is_err());
        assert!(Label::from_bytes(br#"{"recording":"6ba7b810-9dad-41d1-80b4-00c04fd430c8"}"#).is_err());
    }
}
