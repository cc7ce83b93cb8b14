//! What a recorder before this one left in the spool folder: unfinished spools to go on with, closed ones to
//! archive. Runs once, at start, before anything is captured.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::events::Types;
use crate::label::Label;
use crate::spool::{EXTENSION, Event, EventKind, Item, Origin, Packet, ReadError, Reader, Side};

/// A spool that was found.
#[derive(Debug)]
pub struct Recovered {
    /// Its file.
    pub path: PathBuf,
    /// The recording's id by the file's name.
    pub name: Uuid,
    /// Where its records come from.
    pub origin: Origin,
    /// Position of the last record that it holds.
    pub last: u64,
    /// Time of the last record.
    pub last_ns: u64,
    /// Whether its call ended.
    pub closed: bool,
    /// Its length, with the unfinished end cut off.
    pub length: u64,
    /// Bytes of an unfinished write that were cut off.
    pub cut: u64,
    /// Packets that the tap lost since the last packet, by side.
    pub dropped: [u64; 2],
    /// Whether the tap is paused.
    pub paused: bool,
    /// The last label.
    pub label: Option<Label>,
    /// Payload types that were said to be codecs, by side.
    pub types: [Types; 2],
    /// The spool that this one goes on from.
    pub continues: Option<Uuid>,
}

/// Scans the spool folder, oldest recording first. What holds no whole record is removed when it is empty, else set
/// aside as `.damaged`: nothing that may hold audio is deleted. What cannot be read is left to the next start.
pub fn recover(folder: &Path) -> io::Result<Vec<Recovered>> {
    let mut spools = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|e| e != EXTENSION) {
            continue;
        }
        let Some(name) = path.file_stem().and_then(|s| Uuid::parse_str(s.to_str()?).ok()) else { continue };
        match scan(&path, name) {
            Ok(Some(spool)) => spools.push(spool),
            Ok(None) if std::fs::metadata(&path)?.len() == 0 => std::fs::remove_file(&path)?,
            Ok(None) => {
                tracing::error!(spool = %path.display(), "holds no call that can be read: set aside as .damaged");
                std::fs::rename(&path, path.with_extension("damaged"))?;
            }
            // One bad file must not keep the other calls from being captured.
            Err(error) => {
                tracing::error!(spool = %path.display(), "cannot be read, is left as it is: {error}");
            }
        }
    }
    spools.sort_by(|a, b| a.path.cmp(&b.path));
    // What is gone on with elsewhere is complete.
    let left: Vec<Uuid> = spools.iter().filter_map(|s| s.continues).collect();
    spools.iter_mut().filter(|s| left.contains(&s.name)).for_each(|s| s.closed = true);
    Ok(spools)
}

/// Of a spool without a sound event: no relay's.
const UNKNOWN: Origin = Origin { epoch: 0, ring: 0, call: 0 };

impl Recovered {
    /// A spool whose first sound record is of `origin`.
    fn new(path: &Path, name: Uuid, origin: Origin) -> Self {
        Self {
            path: path.to_owned(),
            name,
            origin,
            last: 0,
            last_ns: 0,
            closed: false,
            length: 0,
            cut: 0,
            dropped: [0; Side::BOTH.len()],
            paused: false,
            label: None,
            types: Default::default(),
            continues: None,
        }
    }

    fn packet(&mut self, packet: &Packet) {
        (self.last, self.last_ns) = (packet.position, packet.at_ns);
        *packet.side.of_mut(&mut self.dropped) = 0;
    }

    fn event(&mut self, event: Event) {
        (self.origin, self.last, self.last_ns) = (event.origin, event.position, event.at_ns);
        match event.kind {
            EventKind::Close => self.closed = true,
            EventKind::Gap { side, packets, .. } => *side.of_mut(&mut self.dropped) += packets,
            EventKind::Pause => self.paused = true,
            EventKind::Resume => self.paused = false,
            _ => {}
        }
        self.continues = self.continues.or(event.continues);
        if let Some(label) = event.label {
            self.types.iter_mut().zip(&label.legs).for_each(|(types, leg)| types.learn(&leg.codecs));
            self.label = Some(label);
        }
    }
}

/// Reads a spool to the end of its last whole block, and cuts the rest off.
fn scan(path: &Path, name: Uuid) -> io::Result<Option<Recovered>> {
    let file = File::open(path)?;
    let whole = file.metadata()?.len();
    let mut reader = Reader::new(file);
    let mut found: Option<Recovered> = None;
    loop {
        match reader.item() {
            Ok(Some(Item::Packet(packet, _))) => {
                found.get_or_insert_with(|| Recovered::new(path, name, UNKNOWN)).packet(&packet);
            }
            Ok(Some(Item::Event(event))) => {
                found.get_or_insert_with(|| Recovered::new(path, name, event.origin)).event(*event);
            }
            // In the middle it stays for the archiver to tell; at the end it is cut off below.
            Ok(Some(Item::Damaged { .. })) => {}
            Ok(None) | Err(ReadError::Broken(_)) => break,
            Err(ReadError::Io(e)) => return Err(e),
        }
    }
    let Some(mut spool) = found else { return Ok(None) };
    // Packets alone do not tell whose they are: they are archived, and nothing is added to them.
    spool.closed |= spool.origin == UNKNOWN;
    spool.length = reader.sound();
    spool.cut = whole.saturating_sub(spool.length);
    if spool.cut > 0 {
        tracing::warn!(spool = %path.display(), bytes = spool.cut, "an unfinished write is cut off");
        OpenOptions::new().write(true).open(path)?.set_len(spool.length)?;
    }
    Ok(Some(spool))
}
