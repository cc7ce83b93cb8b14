//! Where a test's relay pins its express lane, as long as the test runs.

use std::path::{Path, PathBuf};

/// A folder of the BPF file system that nobody else has; all of it is gone when this is dropped.
#[derive(Debug)]
pub struct Pins(PathBuf);

impl Pins {
    /// One for the test whose files are in `folder`.
    pub fn of(folder: &Path) -> Self {
        let name = folder.file_name().expect("name").to_string_lossy();
        Self(Path::new("/sys/fs/bpf").join(name.replace(|c: char| !c.is_alphanumeric(), "-")))
    }

    /// The folder, for `relay.xdp_pins`.
    pub fn folder(&self) -> &Path {
        &self.0
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // Where nothing was pinned there is nothing.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
