//! The recorder: turns the tap of every recorded call into an archive that can settle a dispute.
//!
//! Without its default feature `capture` this crate is what control and `bauta` share with the recorder:
//! the [`label`] that control puts on a call, the [`settings`], the [`spool`] format, and the way archives are
//! named ([`archive`]), described ([`manifest`]), read ([`audio`]) and verified ([`verify`]). With it, in the order
//! of the data: `capture` (tap to spool), `timeline`, `codec`, `encode`, and `archiver` (spool to archive).
//!
//! The feature `export` adds what turns an archive into a WAV file ([`export`]).

#![forbid(unsafe_code)]

pub mod archive;
#[cfg(feature = "capture")]
pub mod archiver;
pub mod audio;
#[cfg(feature = "capture")]
pub mod capture;
#[cfg(feature = "capture")]
pub mod codec;
#[cfg(feature = "capture")]
pub mod encode;
pub mod export;
pub mod label;
pub mod manifest;
#[cfg(feature = "capture")]
pub mod metrics;
pub mod moment;
#[cfg(test)]
mod random;
pub mod rate;
#[cfg(feature = "capture")]
pub mod resample;
mod seal;
pub mod settings;
pub mod spool;
#[cfg(feature = "capture")]
pub mod timeline;
pub mod verify;

/// Bytes as lower-case hexadecimal digits.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, b| {
        text.extend([b >> 4, b & 15].map(|d| char::from_digit(d.into(), 16).unwrap_or('0')));
        text
    })
}
