//! Turns an archive, or a part of it, into a WAV file with a [manifest] of its own. Used by `bauta export`.
//!
//! Bounded memory whatever the length: packet by packet. Both files are written aside, synced, and then get
//! their names, the manifest last, so that a WAV file beside its manifest is complete.

#[cfg(feature = "export")]
mod decode;
pub mod manifest;
pub mod range;
#[cfg(feature = "export")]
mod write;

#[cfg(feature = "export")]
pub use write::{ExportError, Exported, Request, export};

/// The name of the manifest of the WAV file `wav`: beside it, with `.json` behind.
pub fn manifest_of(wav: &std::path::Path) -> std::path::PathBuf {
    let mut name = wav.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

#[cfg(feature = "export")]
#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the numbers are the test's own"
)]
mod tests;
