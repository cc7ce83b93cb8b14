//! Checks an export against its manifest, and that it was made from the archive that it names.

use std::path::Path;

use super::{Failure, Report, hash, hashed, same};
use crate::archive::{AUDIO, MANIFEST};
use crate::export::manifest::Manifest;

/// Verifies the export whose manifest is the file `path`: its seal and the WAV file's hash. Where the folder of an
/// archive is given, also that the export was made from that archive, as it is now.
pub fn verify_export(path: &Path, original: Option<&Path>) -> Report<Manifest> {
    let mut failures = Vec::new();
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let manifest = match std::fs::read(path) {
        Ok(bytes) => Manifest::from_bytes(&bytes).map_err(|source| Failure::Manifest { file, source }),
        Err(source) => Err(Failure::Unreadable { file, source }),
    };
    let manifest = match manifest {
        Ok(manifest) => manifest,
        Err(failure) => return Report { manifest: None, failures: vec![failure] },
    };
    let wav = &manifest.wav;
    // A name alone: it is beside its manifest or nowhere. (What is no name at all is not there.)
    let name = Path::new(&wav.file).file_name().unwrap_or_default().to_string_lossy();
    hashed(&mut failures, path.parent().unwrap_or(Path::new("")), &name, &wav.sha256, wav.bytes);
    if let Some(folder) = original {
        let made_from = &manifest.original;
        for (file, sha256) in [(MANIFEST, &made_from.manifest_sha256), (AUDIO, &made_from.audio_sha256)] {
            let path = folder.join(file);
            let of_original = format!("the original's {file}");
            match std::fs::File::open(&path).and_then(hash) {
                Ok((found, _)) => same(&mut failures, &of_original, "SHA-256", sha256, &found),
                Err(source) => failures.push(Failure::Unreadable { file: of_original, source }),
            }
        }
    }
    Report { manifest: Some(manifest), failures }
}
