//! The seal of a manifest: its last field, `seal`, is the SHA-256 over all bytes of the file before that field.
//!
//! A change of any byte is found. The seal tells damage; who wrote the file is for a signature to tell. One form
//! for the manifests of archives and of exports.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// What stands between the last field of the manifest proper and the seal's digits.
const SEAL: &str = ",\n  \"seal\": \"";
const END: &str = "\"\n}\n";

/// Why a seal does not hold.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// No seal in its place: cut, or changed.
    #[error("the seal is missing or is not where it belongs")]
    Missing,
    /// The seal is another one.
    #[error("the seal does not match: the file was changed")]
    Changed,
}

/// The bytes of a file that holds `manifest`, an object of at least one field, sealed.
pub fn close(manifest: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let text = serde_json::to_string_pretty(manifest)?;
    let text = text.strip_suffix("\n}").unwrap_or(&text);
    let seal = crate::hexadecimal(&Sha256::digest(text.as_bytes()));
    Ok([text, SEAL, &seal, END].concat().into_bytes())
}

/// Refuses `bytes` when any of them is not as [`close`] wrote it.
pub fn check(bytes: &[u8]) -> Result<(), SealError> {
    let at = bytes.len().checked_sub(SEAL.len() + 64 + END.len()).ok_or(SealError::Missing)?;
    let (body, tail) = bytes.split_at_checked(at).ok_or(SealError::Missing)?;
    let seal = tail
        .strip_prefix(SEAL.as_bytes())
        .and_then(|t| t.strip_suffix(END.as_bytes()))
        .ok_or(SealError::Missing)?;
    if seal == crate::hexadecimal(&Sha256::digest(body)).as_bytes() {
        Ok(())
    } else {
        Err(SealError::Changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_json_and_every_changed_byte_is_found() {
        let whole = close(&serde_json::json!({"notes": [{"a": 1}, "}"], "last": {}})).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!((&read["notes"][0]["a"], &read["last"]), (&1.into(), &serde_json::json!({})));
        assert_eq!(read["seal"].as_str().map(str::len), Some(64));
        check(&whole).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(check(&changed).is_err(), "byte {at}");
        }
        for cut in 0..whole.len() {
            assert!(check(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }
}
