//! What is in the spools, read by the recorder's own reader: packets, and holes that nothing explains.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use recorder::spool::{EXTENSION, EventKind, Item, Reader};
use uuid::Uuid;

/// What was found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Found {
    /// Packets.
    pub packets: u64,
    /// Packets that gap events say are missing.
    pub told_lost: u64,
    /// Places where a side's sequence numbers do not go on and no gap event says why, or that cannot be read.
    pub unexplained: u64,
}

/// The spools of a state directory.
fn files(state: &Path) -> Result<Vec<PathBuf>> {
    let files = std::fs::read_dir(state.join("spool"))?.flatten().map(|file| file.path());
    Ok(files.filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION)).collect())
}

/// Bytes of all spools.
pub fn bytes(state: &Path) -> Result<u64> {
    files(state)?.iter().try_fold(0, |sum, path| Ok(sum + path.metadata()?.len()))
}

/// Reads every spool of the state directory; they must be those of `ids`.
pub fn count(state: &Path, ids: &[Uuid]) -> Result<Found> {
    let mut found = Found::default();
    let mut names = HashSet::new();
    for path in files(state)? {
        let name = path.file_stem().and_then(|name| name.to_str()?.parse::<Uuid>().ok());
        names.insert(name.with_context(|| format!("{} has no id", path.display()))?);
        read(&path, &mut found).with_context(|| path.display().to_string())?;
    }
    ensure!(names == ids.iter().copied().collect(), "there is not one spool for each call");
    Ok(found)
}

fn read(path: &Path, found: &mut Found) -> Result<()> {
    let mut reader = Reader::new(File::open(path)?);
    let mut expected = [0_u16; 2];
    while let Some(item) = reader.item()? {
        match item {
            Item::Packet(packet, rtp) => {
                found.packets += 1;
                let number = rtp.get(2..4).and_then(|n| n.try_into().ok()).map(u16::from_be_bytes);
                let number = number.context("a packet without a sequence number")?;
                let expected = packet.side.of_mut(&mut expected);
                found.unexplained += u64::from(number != *expected);
                *expected = number.wrapping_add(1);
            }
            Item::Damaged { .. } => found.unexplained += 1,
            Item::Event(event) => {
                if let EventKind::Gap { side, packets, .. } = event.kind {
                    found.told_lost += packets;
                    let expected = side.of_mut(&mut expected);
                    *expected = expected.wrapping_add(packets as u16);
                }
            }
        }
    }
    Ok(())
}
