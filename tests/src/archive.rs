//! Archives, as a dispute desk gets them: files, a manifest, and `bauta verify`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::deadline::{seconds, until};
use crate::pop::Pop;
use crate::programs::ours;

/// A finished recording.
#[derive(Debug)]
pub struct Archive {
    /// Its folder.
    pub folder: PathBuf,
    /// Its manifest.
    pub manifest: Value,
}

impl Archive {
    /// Waits until there are `count` archives of the trip `trip`, and returns them.
    #[track_caller]
    pub fn of_trip(pop: &Pop, trip: &str, count: usize) -> Vec<Self> {
        until(&format!("{count} archives of {trip}"), seconds(60), || {
            let found: Vec<_> = Self::all(pop).into_iter().filter(|a| a.manifest["trip"] == trip).collect();
            (found.len() >= count).then_some(found)
        })
    }

    /// Every finished archive of the POP.
    pub fn all(pop: &Pop) -> Vec<Self> {
        Self::all_in(&pop.state())
    }

    /// Every finished archive in a state directory.
    pub fn all_in(state: &Path) -> Vec<Self> {
        let mut found = Vec::new();
        for path in files(&state.join("archive")) {
            let folder = path.parent().expect("folder").to_owned();
            // The recorder writes in a hidden folder, and renames it when all is there.
            if folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                continue;
            }
            let manifest = std::fs::read(&path).ok().and_then(|m| serde_json::from_slice(&m).ok());
            if path.ends_with("manifest.json") && folder.join("audio.opus").is_file() {
                found.extend(manifest.map(|manifest| Self { folder, manifest }));
            }
        }
        found
    }

    /// The audio file.
    pub fn audio(&self) -> PathBuf {
        self.folder.join("audio.opus")
    }

    /// A number of the manifest, by its JSON pointer.
    #[track_caller]
    pub fn number(&self, pointer: &str) -> u64 {
        let value = self.manifest.pointer(pointer).and_then(Value::as_u64);
        value.unwrap_or_else(|| panic!("no number at {pointer}: {:#}", self.manifest))
    }

    /// The gaps that the manifest states.
    #[track_caller]
    pub fn gaps(&self) -> &Vec<Value> {
        self.manifest["gaps"].as_array().expect("the manifest lists gaps")
    }

    /// Fails unless `bauta verify` accepts the archive, and refuses it with any one of its files changed in the
    /// middle by one bit.
    #[track_caller]
    pub fn holds_and_tells_changes(&self) {
        let verdict = verify(&self.folder);
        assert!(verdict.0, "bauta verify refuses {}: {}", self.folder.display(), verdict.1);
        for path in files(&self.folder) {
            let whole = std::fs::read(&path).expect("archive file");
            let mut changed = whole.clone();
            let middle = changed.len() / 2;
            changed[middle] ^= 1;
            std::fs::write(&path, changed).expect("archive file");
            let verdict = verify(&self.folder);
            std::fs::write(&path, whole).expect("archive file");
            assert!(!verdict.0, "bauta verify accepts a changed {}", path.display());
        }
        assert!(verify(&self.folder).0, "bauta verify refuses the archive with its files put back");
    }
}

/// Every file below `folder`.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Whether `bauta verify` accepts the archive, and what it says.
fn verify(folder: &Path) -> (bool, String) {
    let output = Command::new(ours("bauta")).arg("verify").arg(folder).output().expect("bauta runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
