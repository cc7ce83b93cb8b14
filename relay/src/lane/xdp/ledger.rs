//! The ledger: what a relay must know of its promoted calls, kept in the kernel beside their rows, so that the relay that is
//! started after a killed one goes on with them.
//!
//! A BPF hash of parts: a call's entry is written anew under the next version, part by part, before the last version goes; of a
//! writer that was killed in between either version is whole.

use std::collections::HashMap as Map;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{HashMap, MapData, MapError};
use serde::{Deserialize, Serialize};

use crate::call::CallKey;
use crate::handover::STATE_VERSION;

/// Bytes of a part, its head included: with what the kernel adds, they just fit into 1,024.
const PART: usize = 944;
/// Of its head: how many parts there are, and how many bytes this one has.
const HEAD: usize = 4;
/// Of the kernel's `bpf_map_type`.
const BPF_MAP_TYPE_HASH: u32 = 1;
/// Memory as it is needed.
const BPF_F_NO_PREALLOC: u32 = 1;
/// The version of what is no call: the ledger's head.
const TITLE: u32 = u32::MAX;

type Key = [u8; 16];
type Part = [u8; PART];

/// What a ledger can be read with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Title {
    /// Of what entries look like.
    pub version: u32,
    /// Bytes of a row that the program has.
    pub row: u32,
    /// Workers.
    pub workers: u32,
    /// Slots of each.
    pub slots: u32,
    /// Addresses of media, in the order in which ports speak of them.
    pub addresses: Vec<IpAddr>,
}

impl Title {
    /// Whether the entries under the other one are understood under this one.
    pub fn understands(&self, other: &Self) -> bool {
        (self.version, self.row, self.workers, self.slots)
            == (other.version, other.row, other.workers, other.slots)
    }

    /// That of a relay as this one is.
    pub fn new(workers: u32, slots: u32, addresses: Vec<IpAddr>) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "256")]
        let row = size_of::<super::rows::SharedRow>() as u32;
        Self { version: STATE_VERSION, row, workers, slots, addresses }
    }
}

/// Where a call's entry lies.
#[derive(Debug, Clone, Copy)]
struct Entry {
    version: u32,
    parts: u32,
    written_ns: u64,
}

/// The ledger, as one worker writes it.
#[derive(Debug)]
pub struct Ledger {
    map: HashMap<MapData, Key, Part>,
    descriptor: OwnedFd,
    entries: Map<CallKey, Entry>,
}

impl Ledger {
    /// A new one, for at most so many parts.
    pub fn create(parts: u32, title: &Title) -> Result<Self, MapError> {
        let (key, part) = (size_of::<Key>(), size_of::<Part>());
        #[allow(clippy::cast_possible_truncation, reason = "16 and 1,024")]
        let map = aya_obj::Map::new_from_params(
            BPF_MAP_TYPE_HASH,
            key as u32,
            part as u32,
            parts,
            BPF_F_NO_PREALLOC,
        );
        let mut ledger = Self::of(MapData::create(map, "ledger", None)?)?;
        ledger.write(CallKey(0), TITLE, &postcard::to_stdvec(title).unwrap_or_default())?;
        Ok(ledger)
    }

    /// The one in this map.
    pub fn of(map: MapData) -> Result<Self, MapError> {
        let descriptor = map.fd().as_fd().try_clone_to_owned().map_err(MapError::IoError)?;
        let map = aya::maps::Map::from_map_data(map)?.try_into()?;
        Ok(Self { map, descriptor, entries: Map::new() })
    }

    /// The map, to pin it, or for another worker.
    pub fn map(&self) -> std::io::Result<OwnedFd> {
        self.descriptor.try_clone()
    }

    /// Its title.
    pub fn title(&self) -> Option<Title> {
        postcard::from_bytes(&self.assemble(CallKey(0), TITLE)?.0).ok()
    }

    /// Its entries, which are this one's from now on. What is not whole is taken away: nobody else may be writing.
    pub fn read(&mut self) -> Vec<(CallKey, Vec<u8>)> {
        let mut found: Map<CallKey, Vec<(u32, u32)>> = Map::new();
        for key in self.map.keys().flatten().collect::<Vec<_>>() {
            let (call, version, part) = unkey(key);
            if version != TITLE {
                found.entry(call).or_default().push((version, part));
            }
        }
        let mut entries = Vec::new();
        for (call, mut parts) in found {
            parts.sort_unstable();
            let mut versions: Vec<u32> = parts.iter().map(|(version, _)| *version).collect();
            versions.dedup();
            let mut newest = None;
            for version in versions.into_iter().rev() {
                match self.assemble(call, version) {
                    Some(entry) if newest.is_none() => newest = Some((version, entry)),
                    _ => parts.iter().filter(|(v, _)| *v == version).for_each(|(version, part)| {
                        let _ = self.map.remove(&key(call, *version, *part));
                    }),
                }
            }
            if let Some((version, (bytes, parts))) = newest {
                self.entries.insert(call, Entry { version, parts, written_ns: 0 });
                entries.push((call, bytes));
            }
        }
        entries
    }

    /// Has another worker's ledger go on with a call's entry.
    pub fn give(&mut self, call: CallKey, to: &mut Self) {
        if let Some(entry) = self.entries.remove(&call) {
            to.entries.insert(call, entry);
        }
    }

    /// When the entry of a call was written; none where it has none.
    pub fn written_ns(&self, call: CallKey) -> Option<u64> {
        self.entries.get(&call).map(|entry| entry.written_ns)
    }

    /// Writes a call's entry. False: there is no room, and it has none.
    pub fn keep(&mut self, call: CallKey, bytes: &[u8], now_ns: u64) -> bool {
        let before = self.entries.get(&call).copied();
        // Never that of the title.
        let version = before.map_or(0, |entry| (entry.version + 1) % TITLE);
        let written = self.write(call, version, bytes);
        if let Some(before) = before {
            self.take_away(call, before);
        }
        if let Ok(parts) = written {
            self.entries.insert(call, Entry { version, parts, written_ns: now_ns });
        } else {
            #[allow(clippy::cast_possible_truncation, reason = "of some 100 KiB")]
            let parts = bytes.len().div_ceil(PART - HEAD) as u32;
            self.take_away(call, Entry { version, parts, written_ns: 0 });
            self.entries.remove(&call);
        }
        self.entries.contains_key(&call)
    }

    /// Takes a call's entry away.
    pub fn forget(&mut self, call: CallKey) {
        self.entries.remove(&call).into_iter().for_each(|entry| self.take_away(call, entry));
    }

    fn take_away(&mut self, call: CallKey, entry: Entry) {
        for part in 0..entry.parts {
            // It was written; and if it was not, it need not go.
            let _ = self.map.remove(&key(call, entry.version, part));
        }
    }

    fn write(&mut self, call: CallKey, version: u32, bytes: &[u8]) -> Result<u32, MapError> {
        let chunks = bytes.chunks(PART - HEAD);
        #[allow(clippy::cast_possible_truncation, reason = "of some 100 KiB")]
        let parts = chunks.len() as u32;
        for (part, chunk) in (0..parts).zip(chunks) {
            let mut value = [0; PART];
            let (head, body) = value.split_at_mut(HEAD);
            #[allow(clippy::cast_possible_truncation, reason = "at most 940; and of some 100 KiB")]
            let (count, length) = (parts as u16, chunk.len() as u16);
            head.iter_mut()
                .zip(count.to_ne_bytes().into_iter().chain(length.to_ne_bytes()))
                .for_each(|(to, from)| *to = from);
            body.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            self.map.insert(key(call, version, part), value, 0)?;
        }
        Ok(parts)
    }

    /// A version's bytes and how many parts it has; none where one is missing.
    fn assemble(&self, call: CallKey, version: u32) -> Option<(Vec<u8>, u32)> {
        let (mut bytes, mut parts, mut part) = (Vec::new(), 1, 0);
        while part < parts {
            let value = self.map.get(&key(call, version, part), 0).ok()?;
            let [p0, p1, l0, l1] = *value.first_chunk()?;
            parts = u32::from(u16::from_ne_bytes([p0, p1]));
            bytes.extend_from_slice(value.get(HEAD..)?.get(..usize::from(u16::from_ne_bytes([l0, l1])))?);
            part += 1;
        }
        Some((bytes, parts))
    }
}

fn key(call: CallKey, version: u32, part: u32) -> Key {
    let mut key = [0; 16];
    let bytes = call.0.to_ne_bytes().into_iter().chain(version.to_ne_bytes()).chain(part.to_ne_bytes());
    key.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    key
}

fn unkey(key: Key) -> (CallKey, u32, u32) {
    let [c0, c1, c2, c3, c4, c5, c6, c7, v0, v1, v2, v3, p0, p1, p2, p3] = key;
    let call = u64::from_ne_bytes([c0, c1, c2, c3, c4, c5, c6, c7]);
    (CallKey(call), u32::from_ne_bytes([v0, v1, v2, v3]), u32::from_ne_bytes([p0, p1, p2, p3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: CallKey = CallKey(7);

    /// None, and says so, where the kernel makes no maps for us.
    fn ledger() -> Option<Ledger> {
        let title = Title::new(2, 8, vec![IpAddr::from([192, 0, 2, 1])]);
        match Ledger::create(64, &title) {
            Ok(ledger) => Some(ledger),
            Err(e) => {
                eprintln!("SKIPPED: {e}");
                None
            }
        }
    }

    fn next(ledger: &Ledger) -> Ledger {
        Ledger::of(MapData::from_fd(ledger.map().unwrap()).unwrap()).unwrap()
    }

    fn bytes(length: usize, seed: u8) -> Vec<u8> {
        (0..=250).cycle().take(length).map(|n: u8| seed.wrapping_add(n)).collect()
    }

    #[test]
    fn the_next_one_reads_what_was_kept_last() {
        let Some(mut ledger) = ledger() else { return };
        for (length, seed) in [(5_000, 1), (0, 2), (1, 3), (940, 4), (2_821, 5)] {
            assert!(ledger.keep(CALL, &bytes(length, seed), 1) || length == 0);
            ledger.keep(CallKey(0), &bytes(9, seed), 1);
        }
        ledger.forget(CallKey(0));
        let mut next = next(&ledger);
        assert_eq!(next.title(), ledger.title());
        assert!(next.title().is_some_and(|title| title.understands(&Title::new(2, 8, Vec::new()))));
        assert_eq!(next.read(), [(CALL, bytes(2_821, 5))]);
        next.forget(CALL);
        assert!(next.read().is_empty() && next.title().is_some(), "the title stays");
    }

    #[test]
    fn of_a_writer_that_was_killed_one_version_is_whole() {
        let Some(mut ledger) = ledger() else { return };
        assert!(ledger.keep(CALL, &bytes(3_000, 1), 1));
        // Killed while it wrote the next version.
        ledger.write(CALL, 1, &bytes(4_000, 2)).unwrap();
        ledger.map.remove(&key(CALL, 1, 3)).unwrap();
        assert_eq!(next(&ledger).read(), [(CALL, bytes(3_000, 1))]);
        // Killed while it took the last version away.
        ledger.write(CALL, 1, &bytes(4_000, 3)).unwrap();
        ledger.map.remove(&key(CALL, 0, 0)).unwrap();
        let mut last = next(&ledger);
        assert_eq!(last.read(), [(CALL, bytes(4_000, 3))]);
        last.forget(CALL);
        assert_eq!(last.map.keys().count(), 1, "nothing but the title is left");
    }

    #[test]
    fn a_call_that_there_is_no_room_for_has_no_entry_rather_than_an_old_one() {
        let Some(mut ledger) = ledger() else { return };
        assert!(ledger.keep(CALL, &bytes(100, 1), 1));
        assert!(!ledger.keep(CALL, &bytes(70_000, 2), 2));
        assert!(ledger.written_ns(CALL).is_none() && next(&ledger).read().is_empty());
        assert!(ledger.keep(CallKey(8), &bytes(55_000, 2), 2), "nothing was left behind");
    }
}
