//! Small file systems that can be filled, broken and repaired, for who may mount.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system. Unmounted when dropped.
pub struct Mount(PathBuf);

/// Runs a program; its complaint if it fails.
pub fn tool(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// What came of it, or none and the reason why the test is skipped.
pub fn or_skip<T>(made: Result<T, String>) -> Option<T> {
    made.inspect_err(|why| eprintln!("skipped: {why}")).ok()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Mount {
    /// An empty file system in memory, at `at`.
    pub fn memory(at: &Path, size: &str) -> Result<Self, String> {
        Self::at(at, &["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
    }

    /// A new ext4 of 64 MiB in the file `image`, at `at`.
    pub fn ext4(image: &Path, at: &Path, features: &str, errors: &str) -> Result<Self, String> {
        let made = File::create(image).and_then(|file| file.set_len(64 << 20));
        made.map_err(|e| format!("{}: {e}", image.display()))?;
        tool("mkfs.ext4", &["-q", "-O", features, "-E", "nodiscard", text(image)])?;
        Self::again(image, at, errors)
    }

    /// The ext4 in the file `image`, at `at`.
    pub fn again(image: &Path, at: &Path, errors: &str) -> Result<Self, String> {
        Self::at(at, &["-o", &format!("loop,errors={errors}"), text(image)])
    }

    fn at(at: &Path, what: &[&str]) -> Result<Self, String> {
        std::fs::create_dir_all(at).unwrap();
        let arguments = [what, &[text(at)]].concat();
        tool("mount", &arguments).map(|_| Self(at.to_owned()))
    }

    /// The device behind it, without its folder.
    pub fn device(&self) -> Result<String, String> {
        let device = tool("findmnt", &["-n", "-o", "SOURCE", text(&self.0)])?;
        Ok(device.trim_start_matches("/dev/").to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = tool("umount", &[text(&self.0)]) {
            eprintln!("{error}");
            let _ = tool("umount", &["-l", text(&self.0)]);
        }
    }
}

/// Fills a file system to its last byte. Removed when dropped.
pub struct Ballast(PathBuf);

impl Ballast {
    pub fn fill(folder: &Path) -> Self {
        let path = folder.join("ballast");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
        Self(path)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Makes a file or folder immutable, or not: even who has it open may not write then.
pub fn immutable(path: &Path, yes: bool) -> Result<(), String> {
    tool("chattr", &[if yes { "+i" } else { "-i" }, text(path)]).map(drop)
}
