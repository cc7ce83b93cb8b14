//! What the recorder has of a call: its spool, its archive, and archives of the same call under other ids.
//!
//! A call has one recording, whose id is the call's. Where that could not be written any more, it goes on under
//! another id, which no store knows: the archive's manifest names the call. Manifests do not change, so each is read
//! once and remembered by its day. Blocking: on threads that may wait.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use recorder::{archive, spool};
use serde::Deserialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::moment::Moment;

/// Most days that are remembered, but for those that one request asks about.
const DAYS: usize = 32;
/// A folder that has not changed for so long has no entry that came since it was read, however coarse its clock.
const SETTLED: Duration = Duration::from_secs(2);
/// A recording may go on after midnight.
const DAY: i64 = 86_400;

/// The spools and archives of a state directory.
#[derive(Debug)]
pub struct Archives {
    state: PathBuf,
    days: Mutex<HashMap<PathBuf, Day>>,
}

/// An archive of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Its id.
    pub id: Uuid,
    /// The recording that it goes on from.
    pub continues: Option<Uuid>,
}

/// What is known of a day's folder.
#[derive(Debug, Default)]
struct Day {
    /// When the folder had last changed when all of it had been read.
    settled: Option<SystemTime>,
    read: HashSet<Uuid>,
    by_call: HashMap<String, Vec<Found>>,
}

/// What this reads of a manifest.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    call: String,
    #[serde(default)]
    continues: Option<Uuid>,
}

impl Archives {
    /// Those in the state directory `state`.
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned(), days: Mutex::default() }
    }

    /// Where a file of an archive lies. None for an id that is no recording's.
    pub(super) fn file(&self, id: Uuid, name: &str) -> Option<PathBuf> {
        Some(archive::folder(&self.state, id)?.join(name))
    }

    /// Whether the recorder has it as a spool, closed or not.
    pub(super) fn has_spool(&self, id: Uuid) -> bool {
        let name = Path::new(&id.to_string()).with_extension(spool::EXTENSION);
        self.state.join(archive::SPOOLS).join(name).exists()
    }

    /// Whether its archive is finished: the manifest is there.
    pub(super) fn has_archive(&self, id: Uuid) -> bool {
        self.file(id, archive::MANIFEST).is_some_and(|path| path.exists())
    }

    /// For each of these calls, by pseudonym and beginning: its archives of that day and the one after, under whatever
    /// id.
    pub(super) fn of_calls(&self, calls: &[(String, Moment)]) -> Vec<Vec<Found>> {
        let folders =
            |began: Moment| [0, DAY].into_iter().filter_map(move |later| self.day(began.plus(later)));
        let asked: BTreeSet<PathBuf> = calls.iter().flat_map(|(_, began)| folders(*began)).collect();
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        if days.len() + asked.len() > DAYS {
            days.retain(|folder, _| asked.contains(folder));
        }
        for folder in asked {
            days.entry(folder.clone()).or_default().catch_up(&folder);
        }
        let found = |(call, began): &(String, Moment)| {
            let of_day = |folder| days.get(&folder)?.by_call.get(call);
            folders(*began).filter_map(of_day).flatten().copied().collect()
        };
        calls.iter().map(found).collect()
    }

    fn day(&self, at: Moment) -> Option<PathBuf> {
        let at = OffsetDateTime::from_unix_timestamp(at.unix()).ok()?;
        let named = uuid::Timestamp::from_unix_time(at.unix_timestamp().try_into().ok()?, 0, 0, 0);
        Some(archive::folder(&self.state, Uuid::new_v7(named))?.parent()?.to_owned())
    }
}

impl Day {
    /// Reads what has come into the folder.
    fn catch_up(&mut self, folder: &Path) {
        let Ok(changed) = folder.metadata().and_then(|about| about.modified()) else { return };
        if self.settled == Some(changed) {
            return;
        }
        let (looked, mut whole) = (SystemTime::now(), true);
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| Uuid::parse_str(name).ok()) else { continue };
            if self.read.contains(&id) {
                continue;
            }
            match std::fs::read(entry.path().join(archive::MANIFEST)) {
                Ok(manifest) => {
                    self.read.insert(id);
                    // One that is damaged names no call; whoever asks for it by its id is told more.
                    if let Ok(Head { call, continues }) = serde_json::from_slice(&manifest) {
                        self.by_call.entry(call).or_default().push(Found { id, continues });
                    }
                }
                Err(_) => whole = false,
            }
        }
        let quiet = looked.duration_since(changed).is_ok_and(|since| since > SETTLED);
        self.settled = (whole && quiet).then_some(changed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_795_348_800;

    fn id_at(seconds: i64, n: u8) -> Uuid {
        let ms = u64::try_from(seconds).unwrap() * 1000;
        uuid::Builder::from_unix_timestamp_millis(ms, &[n; 10]).into_uuid()
    }

    fn archived(archives: &Archives, id: Uuid, manifest: &str) {
        let path = archives.file(id, archive::MANIFEST).unwrap();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, manifest).unwrap();
    }

    #[test]
    fn a_call_is_found_under_every_id_also_after_midnight() {
        let folder = tempfile::tempdir().unwrap();
        let archives = Archives::new(folder.path());
        let [own, second, next_day, late, alien] =
            [(0, 1), (60, 2), (DAY, 3), (2 * DAY, 4), (0, 5)].map(|(later, n)| id_at(NOON + later, n));
        let of = |call: &str| {
            let found = archives.of_calls(&[(call.to_owned(), Moment::from_unix(NOON))]).remove(0);
            found.into_iter().filter(|found| found.id != own).collect::<Vec<_>>()
        };
        assert_eq!(of("c0ffee"), []);
        archived(&archives, own, r#"{"call":"c0ffee","version":2}"#);
        archived(&archives, alien, r#"{"call":"decade","continues":null}"#);
        assert_eq!(of("c0ffee"), []);
        archived(&archives, second, &format!(r#"{{"call":"c0ffee","continues":"{own}","more":[1]}}"#));
        archived(&archives, next_day, r#"{"call":"c0ffee"}"#);
        archived(&archives, late, r#"{"call":"c0ffee"}"#);
        let want = [Found { id: second, continues: Some(own) }, Found { id: next_day, continues: None }];
        assert_eq!(of("c0ffee"), want);
        assert_eq!(of("decade"), [Found { id: alien, continues: None }]);
        assert!(
            archives.has_archive(own) && !archives.has_archive(id_at(NOON, 9)) && !archives.has_spool(own)
        );
    }

    #[test]
    fn a_manifest_that_is_damaged_or_still_missing_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let archives = Archives::new(folder.path());
        let [damaged, empty, good] = [1, 2, 3].map(|n| id_at(NOON, n));
        archived(&archives, damaged, r#"{"call":"c0ff"#);
        archived(&archives, good, r#"{"call":"c0ffee"}"#);
        let manifest = archives.file(empty, archive::MANIFEST).unwrap();
        std::fs::create_dir_all(manifest.parent().unwrap()).unwrap();
        let of = || archives.of_calls(&[("c0ffee".to_owned(), Moment::from_unix(NOON))]).remove(0);
        assert_eq!(of(), [Found { id: good, continues: None }]);
        std::fs::write(manifest, r#"{"call":"c0ffee"}"#).unwrap();
        assert_eq!(of().len(), 2, "it has come meanwhile");
    }
}
