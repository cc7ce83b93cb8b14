//! Checks an archive against its manifest, and an export against its own. Reads only; used by `bauta`.

mod exported;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::archive::{AUDIO, MANIFEST, PACKETS};
use crate::audio::{self, AudioError};
use crate::manifest::{Manifest, ManifestError};
use crate::rate::TICKS;
use crate::spool::{Chain, Item, ReadError, Reader};

pub use exported::verify_export;

/// What was found about an archive, or about an export: what has a manifest `M`.
#[derive(Debug)]
pub struct Report<M = Manifest> {
    /// The manifest; none when it could not be read.
    pub manifest: Option<M>,
    /// Everything that is wrong, in the order it was found. Empty: it is as it was made.
    pub failures: Vec<Failure>,
}

impl<M> Report<M> {
    /// Whether it is as it was made.
    pub const fn holds(&self) -> bool {
        self.failures.is_empty()
    }
}

/// One thing that is wrong with an archive or an export.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A manifest is damaged or changed.
    #[error("{file}: {source}")]
    Manifest {
        /// Which.
        file: String,
        /// Why.
        source: ManifestError,
    },
    /// A file cannot be read.
    #[error("{file}: {source}")]
    Unreadable {
        /// Which.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A file is not the one that the manifest describes.
    #[error("{file}: {what} is {found}, the manifest says {expected}")]
    Differs {
        /// Which.
        file: String,
        /// What of it.
        what: &'static str,
        /// As the manifest says.
        expected: String,
        /// As it is.
        found: String,
    },
    /// The capture cannot be read as one.
    #[error("{file}: {source}")]
    Capture {
        /// Which.
        file: String,
        /// Where and why.
        source: ReadError,
    },
    /// The audio is not what an archive's is.
    #[error("{file}: {source}")]
    Audio {
        /// Which.
        file: String,
        /// Where and why.
        source: AudioError,
    },
}

impl Failure {
    /// The name of the file that it is about.
    pub fn file(&self) -> &str {
        match self {
            Self::Manifest { file, .. }
            | Self::Unreadable { file, .. }
            | Self::Differs { file, .. }
            | Self::Capture { file, .. }
            | Self::Audio { file, .. } => file,
        }
    }
}

/// Verifies the archive in `folder`: the manifest's seal, the audio's hash and duration, the capture's hash and the
/// chain over its packets. Any one byte changed in any of the files is a failure.
pub fn verify(folder: &Path) -> Report {
    let mut failures = Vec::new();
    let manifest = match std::fs::read(folder.join(MANIFEST)) {
        Ok(bytes) => {
            Manifest::from_bytes(&bytes).map_err(|source| Failure::Manifest { file: MANIFEST.into(), source })
        }
        Err(source) => Err(Failure::Unreadable { file: MANIFEST.into(), source }),
    };
    let manifest = match manifest {
        Ok(manifest) => manifest,
        Err(failure) => return Report { manifest: None, failures: vec![failure] },
    };
    let audio = &manifest.audio;
    same(&mut failures, MANIFEST, "audio's name", AUDIO, &audio.file);
    hashed(&mut failures, folder, AUDIO, &audio.sha256, audio.bytes);
    lasts(&mut failures, folder, manifest.duration_ms);
    if let Some(file) = &manifest.packets.file {
        same(&mut failures, MANIFEST, "packets' name", PACKETS, file);
        hashed(&mut failures, folder, PACKETS, &manifest.packets.file_sha256, manifest.packets.bytes);
        match chain(&folder.join(PACKETS)) {
            Ok(chain) => {
                let packets = &manifest.packets;
                same(&mut failures, PACKETS, "chain over the packets", &packets.sha256, &chain.head());
                let (expected, found) = (packets.count.to_string(), chain.packets().to_string());
                same(&mut failures, PACKETS, "number of packets", &expected, &found);
            }
            Err(source) => failures.push(Failure::Capture { file: PACKETS.into(), source }),
        }
    }
    Report { manifest: Some(manifest), failures }
}

fn same(failures: &mut Vec<Failure>, file: &str, what: &'static str, expected: &str, found: &str) {
    if expected != found {
        let (expected, found) = (expected.to_owned(), found.to_owned());
        failures.push(Failure::Differs { file: file.to_owned(), what, expected, found });
    }
}

fn hashed(failures: &mut Vec<Failure>, folder: &Path, file: &str, sha256: &str, bytes: u64) {
    match File::open(folder.join(file)).and_then(hash) {
        Ok((found, length)) => {
            same(failures, file, "SHA-256", sha256, &found);
            same(failures, file, "length", &bytes.to_string(), &length.to_string());
        }
        Err(source) => failures.push(Failure::Unreadable { file: file.to_owned(), source }),
    }
}

/// The audio's duration, by its packets.
fn lasts(failures: &mut Vec<Failure>, folder: &Path, duration_ms: u64) {
    // That it cannot be opened was said when it was hashed.
    let Ok(file) = File::open(folder.join(AUDIO)) else { return };
    match audio::length(BufReader::new(file)) {
        Ok((ticks, None)) => {
            // A part of a millisecond may be left out or counted as one.
            let ms = u64::from(TICKS / 1000);
            if ticks.abs_diff(duration_ms.saturating_mul(ms)) >= ms {
                let (expected, found) = (format!("{duration_ms} ms"), format!("{} ms", ticks / ms));
                same(failures, AUDIO, "duration", &expected, &found);
            }
        }
        Ok((_, Some(source))) | Err(source) => failures.push(Failure::Audio { file: AUDIO.into(), source }),
    }
}

/// SHA-256 (hexadecimal) and length of all that `input` gives.
pub(crate) fn hash(mut input: impl Read) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut length = 0;
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok((crate::hexadecimal(&hash.finalize()), length)),
            Ok(n) => {
                hash.update(buffer.get(..n).unwrap_or_default());
                length += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn chain(path: &Path) -> Result<Chain, ReadError> {
    let mut reader = Reader::new(BufReader::new(File::open(path)?));
    let mut chain = Chain::default();
    while let Some(item) = reader.item()? {
        match item {
            Item::Packet(packet, rtp) => chain.add(&packet, rtp),
            Item::Event(_) => {}
            // What the recorder could salvage of a spool it may; an archive is whole.
            Item::Damaged { bytes } => return Err(ReadError::Broken(bytes)),
        }
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_of_the_first_version_still_holds() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/schema/version-1"));
        let report = verify(folder);
        assert!(report.holds(), "{:?}", report.failures);
        let manifest = report.manifest.unwrap();
        assert_eq!((manifest.version, manifest.duration_ms, manifest.gaps.len()), (1, 100, 1));
        assert_eq!((manifest.left.counts.packets, manifest.left.streams.len()), (5, 0));
        assert_eq!((manifest.silenced.len(), manifest.continues), (0, None));
    }

    #[test]
    fn a_duration_that_is_not_the_audios_is_found() {
        let stored = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/schema/version-1"));
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(stored.join(AUDIO), folder.path().join(AUDIO)).unwrap();
        let mut manifest = Manifest::from_bytes(&std::fs::read(stored.join(MANIFEST)).unwrap()).unwrap();
        for (duration_ms, holds) in [(100, true), (99, false), (101, false), (0, false), (u64::MAX, false)] {
            manifest.duration_ms = duration_ms;
            std::fs::write(folder.path().join(MANIFEST), manifest.to_bytes().unwrap()).unwrap();
            let report = verify(folder.path());
            assert_eq!(report.holds(), holds, "{duration_ms} ms: {:?}", report.failures);
            let said = format!("audio.opus: duration is 100 ms, the manifest says {duration_ms} ms");
            assert!(holds || report.failures.iter().any(|f| f.to_string() == said), "{:?}", report.failures);
        }
    }
}
