//! What leaves control with a call: the recorder's label (open, no number in it), and the blob (sealed).
//!
//! Pure.

use recorder::label::{Codec, Label, LegLabel};
use relay::program::message::Leg;
use time::OffsetDateTime;

use super::state::{Call, Ended};
use crate::secret::{Keys, SecretError, hex};

/// What blobs are sealed for.
const PURPOSE: &str = "call";
/// First byte of the plain text: what follows is the JSON of a [`Call`].
const FORMAT: u8 = 1;

/// The stand-in for a SIP Call-ID in labels and in the store.
pub fn pseudonym(keys: &Keys, call_id: &str) -> [u8; 16] {
    keys.pseudonym("call-id", call_id)
}

/// The label of a recorded call, as bytes for the relay; none for a call that is not recorded.
pub fn label(call: &Call, keys: &Keys, ended: Option<(Ended, OffsetDateTime)>) -> Option<Vec<u8>> {
    let terms = call.terms.as_ref().filter(|terms| terms.record)?;
    let [caller, callee] = &terms.roles;
    let mut label = Label::new(call.id);
    label.call = hex(&pseudonym(keys, &call.call_id));
    label.trip = Some(terms.trip.to_string());
    label.city = Some(terms.city.to_string());
    label.roles = [Some(caller.to_string()), Some(callee.to_string())];
    label.offered_at = Some(call.offered_at);
    label.answered_at = call.answered_at;
    label.ended_at = ended.map(|(_, at)| at);
    label.ended = ended.map(|(why, _)| why.label().to_owned());
    label.legs = Leg::BOTH.map(|leg| LegLabel { codecs: codecs(call, leg) });
    Some(label.to_bytes())
}

/// The encodings that a leg may send, each payload type once.
fn codecs(call: &Call, leg: Leg) -> Vec<Codec> {
    let mut codecs: Vec<Codec> = Vec::new();
    for codec in call.lines.iter().filter(|line| line.is_tapped()).flat_map(|line| line.sends(leg)) {
        if !codecs.iter().any(|c| c.payload_type == codec.payload_type) {
            codecs.push(codec.clone());
        }
    }
    codecs
}

/// A call sealed for the relay to keep.
pub fn seal(call: &Call, keys: &Keys) -> Result<Vec<u8>, SealError> {
    let mut plain = zeroize::Zeroizing::new(Vec::with_capacity(2048));
    plain.push(FORMAT);
    // Strings, numbers and lists: nothing in a call can fail to serialise but a year past 9999.
    serde_json::to_writer(&mut *plain, call).map_err(|_| SealError::Unwritable)?;
    Ok(keys.seal(PURPOSE, &plain)?)
}

/// Why a call is not sealed. Does not repeat it.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It cannot be encrypted.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It cannot be written as JSON.
    #[error("a time in it cannot be written: is the system's clock right?")]
    Unwritable,
}

/// Why a blob is not a call of ours. Does not repeat it.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// It does not open.
    #[error(transparent)]
    Sealed(#[from] SecretError),
    /// It opened, and is of another version.
    #[error("it was written by another version of control")]
    Version,
}

/// A call out of its blob.
pub fn open(blob: &[u8], keys: &Keys) -> Result<Call, BlobError> {
    let plain = keys.open(PURPOSE, blob)?;
    match plain.split_first() {
        Some((&FORMAT, json)) => serde_json::from_slice(json).map_err(|_| BlobError::Version),
        _ => Err(BlobError::Version),
    }
}
