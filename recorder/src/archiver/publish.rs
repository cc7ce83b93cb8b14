//! Makes an archive's folder: aside first, complete and synced, then under its name. Only then the spool goes.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::make::{describe, encode};
use super::{ArchiveError, at, stretch};
use crate::archive::{MANIFEST, PACKETS, folder};
use crate::manifest::Manifest;
use crate::settings::Settings;

/// Archives the closed spool at `spool` below `state` and removes it. Gives the folder and what the manifest says;
/// none for a call that was never answered and in which nothing was said: it leaves nothing.
///
/// Doing it again after being killed at any point gives one archive and no spool.
pub fn archive(
    spool: &Path,
    state: &Path,
    settings: &Settings,
    stop: &AtomicBool,
) -> Result<Option<(PathBuf, Manifest)>, ArchiveError> {
    let named = spool.file_stem().and_then(|s| Uuid::parse_str(s.to_str()?).ok());
    let aside = state.join(crate::archive::ARCHIVES).join(format!(".{}.new", named.unwrap_or_default()));
    remove_folder(&aside)?;
    make_folder(&aside)?;
    let encoded = encode(spool, &aside, settings, stop)?;
    if encoded.rendered.nothing_to_keep() {
        remove_folder(&aside)?;
        remove_spool(spool)?;
        return Ok(None);
    }
    let labelled = encoded.rendered.label.as_ref().map(|l| l.recording);
    // One that goes on from another recording bears the name that the next one would call it by.
    let labelled = labelled.filter(|_| encoded.rendered.continues.is_none());
    let id = labelled.or(named).unwrap_or_else(Uuid::now_v7);
    let scrubbed = encoded.scrubbed;
    let mut manifest = describe(id, encoded, settings);
    let to = match place(state, id, &mut manifest) {
        Place::Free(to) => to,
        Place::Archived(to, there) => {
            remove_folder(&aside)?;
            remove_spool(spool)?;
            return Ok(Some((to, *there)));
        }
    };
    match (settings.keep_packets, scrubbed) {
        (true, false) => keep(spool, &aside.join(PACKETS))?,
        (false, true) => remove_file(&aside.join(PACKETS))?,
        _ => {}
    }
    write(&aside.join(MANIFEST), &manifest.to_bytes()?)?;
    publish(&aside, &to)?;
    remove_spool(spool)?;
    Ok(Some((to, manifest)))
}

/// Where an archive is to lie.
enum Place {
    /// Nothing is there.
    Free(PathBuf),
    /// This very spool was archived there: killed between publishing and removing it.
    Archived(PathBuf, Box<Manifest>),
}

/// Finds the folder for the recording `id`. Where another recording of that id is archived already, this one gets
/// an id of its own, the same however often this is done, and says so.
fn place(state: &Path, id: Uuid, manifest: &mut Manifest) -> Place {
    let mut seed: [u8; 32] = Sha256::digest(&manifest.packets.file_sha256).into();
    loop {
        let to = folder(state, manifest.recording)
            .unwrap_or_else(|| state.join(crate::archive::ARCHIVES).join(manifest.recording.to_string()));
        if !to.exists() {
            return Place::Free(to);
        }
        let there = std::fs::read(to.join(MANIFEST)).ok().and_then(|b| Manifest::from_bytes(&b).ok());
        if let Some(there) = there.filter(|m| m.packets.file_sha256 == manifest.packets.file_sha256) {
            return Place::Archived(to, Box::new(there));
        }
        let (seconds, nanos) = id.get_timestamp().map_or((0, 0), |t| t.to_unix());
        let random = seed.first_chunk().copied().unwrap_or_default();
        let ms = seconds * 1000 + u64::from(nanos) / 1_000_000;
        manifest.recording = uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid();
        manifest.notes.push(format!("another recording of the id {id} is archived already"));
        tracing::error!(recording = %id, "the id is taken: archived as {}", manifest.recording);
        seed = Sha256::digest(seed).into();
    }
}

/// The same bytes under a second name where the file system can, else a copy.
fn keep(spool: &Path, to: &Path) -> Result<(), ArchiveError> {
    if std::fs::hard_link(spool, to).is_err() {
        std::fs::copy(spool, to).map_err(|e| at("copying the spool to", to, e))?;
    }
    File::open(to).and_then(|f| f.sync_all()).map_err(|e| at("syncing", to, e))
}

/// Gives the finished folder its name, and makes both last.
fn publish(aside: &Path, to: &Path) -> Result<(), ArchiveError> {
    let sync = |path: &Path| File::open(path).and_then(|f| f.sync_all()).map_err(|e| at("syncing", path, e));
    sync(aside)?;
    let parent = to.parent().unwrap_or(to);
    make_folder(parent)?;
    std::fs::rename(aside, to).map_err(|e| at("naming", to, e))?;
    // The folders of day, month and year may be new as well.
    parent.ancestors().take(4).filter(|p| p.is_dir()).try_for_each(sync)
}

fn make_folder(path: &Path) -> Result<(), ArchiveError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| at("making", path, e))
}

fn remove_folder(path: &Path) -> Result<(), ArchiveError> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at("removing", path, e)),
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<(), ArchiveError> {
    std::fs::remove_file(path).map_err(|e| at("removing", path, e))
}

/// Removes a spool whose archive is there, and what was encoded of it before: that first, so that it never stays alone.
fn remove_spool(spool: &Path) -> Result<(), ArchiveError> {
    let stretches = stretch::path(spool);
    if stretches.exists() {
        remove_file(&stretches)?;
    }
    remove_file(spool)
}

/// Makes a file that was not there, for the recorder's own eyes.
pub fn create(path: &Path) -> Result<File, ArchiveError> {
    let options = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    options.map_err(|e| at("making", path, e))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ArchiveError> {
    let mut file = create(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| at("writing", path, e))
}
