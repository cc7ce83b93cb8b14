//! Where the lane outlives its process: its maps and links, pinned in a BPF file system. As long as they are there, the kernel
//! goes on with the rows that are active.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

/// How names of links begin.
const LINK: &str = "link-";

/// A folder of pins: one for each state directory.
#[derive(Debug, Clone)]
pub struct Pins(PathBuf);

impl Pins {
    /// Those of the relay with this state directory, below `root`.
    pub fn below(root: &Path, state: &Path) -> io::Result<Self> {
        let state = std::path::absolute(state)?;
        Ok(Self(root.join(escaped(&state.to_string_lossy()))))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Where the map of this name is pinned.
    pub fn map(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where the link of an interface is pinned.
    pub fn link(&self, interface: &str) -> PathBuf {
        self.0.join(format!("{LINK}{}", escaped(interface)))
    }

    /// Unpins the links of all interfaces but these.
    pub fn keep_links(&self, interfaces: &[String]) {
        let wanted: Vec<PathBuf> = interfaces.iter().map(|name| self.link(name)).collect();
        let links =
            self.names().into_iter().filter(|name| name.starts_with(LINK)).map(|name| self.0.join(name));
        for other in links.filter(|path| !wanted.contains(path)) {
            // What is not there any more needs no removing.
            let _ = std::fs::remove_file(other);
        }
    }

    /// Makes the folder.
    pub fn make(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.0)
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Takes all pins away: what is not held by a process is gone.
    pub fn remove(&self) {
        for name in self.names() {
            // What is not there any more needs no removing; what cannot be removed is met again when it is pinned.
            let _ = std::fs::remove_file(self.0.join(name));
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// A name that a BPF file system takes: it has no dots, and no slashes inside of names.
fn escaped(name: &str) -> String {
    let mut out = String::new();
    for byte in name.trim_matches('/').bytes() {
        match byte {
            b'/' => out.push('-'),
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => out.push(char::from(byte)),
            _ => {
                // A string takes all that is written to it.
                let _ = write!(out, "_{byte:02x}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_of_other_interfaces_are_unpinned() {
        let root = tempfile::tempdir().unwrap();
        let pins = Pins::below(root.path(), Path::new("/a")).unwrap();
        pins.make().unwrap();
        let all = [pins.map("rows"), pins.link("eth0.7"), pins.link("eth1")];
        all.iter().for_each(|path| std::fs::write(path, "").unwrap());
        pins.keep_links(&["eth0.7".to_owned()]);
        assert_eq!(all.each_ref().map(|path| path.exists()), [true, true, false]);
        pins.remove();
        assert!(!pins.folder().exists() && root.path().exists());
    }

    #[test]
    fn names_of_pins_have_neither_dots_nor_slashes_and_differ_where_folders_do() {
        assert_eq!(escaped("/var/lib/bauta"), "var-lib-bauta");
        let all = ["/a/b", "/a-b", "/a.b", "/a_2db", "/ab"].map(escaped);
        assert!(all.iter().all(|name| !name.contains(['.', '/'])), "{all:?}");
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len(), "{all:?}");
    }
}
