//! Makes an archive's folder: aside first, complete and synced, then under its name. Only then the spool goes.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{ArchiveError, Rendered, render};
use crate::archive::{AUDIO, MANIFEST, PACKETS, folder};
use crate::encode::{self, Ogg, Quality, Voices};
use crate::manifest::{self, Audio, Channel, Manifest, Packets};
use crate::rate::Rate;
use crate::settings::Settings;
use crate::spool::Side;
use crate::timeline::{FRAME, RATE};

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
    let (rendered, audio, file_hash) = encode(spool, &aside, settings, stop)?;
    if rendered.nothing_to_keep() {
        remove_folder(&aside)?;
        remove_file(spool)?;
        return Ok(None);
    }
    let labelled = rendered.label.as_ref().map(|l| l.recording);
    let id = labelled.or(named).unwrap_or_else(Uuid::now_v7);
    let mut manifest = describe(id, rendered, audio, file_hash, settings);
    let to = match place(state, id, &mut manifest) {
        Place::Free(to) => to,
        Place::Archived(to, there) => {
            remove_folder(&aside)?;
            remove_file(spool)?;
            return Ok(Some((to, *there)));
        }
    };
    if settings.keep_packets {
        keep(spool, &aside.join(PACKETS))?;
    }
    write(&aside.join(MANIFEST), &manifest.to_bytes()?)?;
    publish(&aside, &to)?;
    remove_file(spool)?;
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

/// Reads the spool once: audio into the folder `aside`, hash of the spool's bytes beside it.
fn encode(
    spool: &Path,
    aside: &Path,
    settings: &Settings,
    stop: &AtomicBool,
) -> Result<(Rendered, Audio, (String, u64)), ArchiveError> {
    let input = Hashing::new(File::open(spool).map_err(|e| at("opening", spool, e))?);
    let mut input = BufReader::with_capacity(64 * 1024, input);
    let path = aside.join(AUDIO);
    let output = BufWriter::new(Hashing::new(create(&path)?));
    let serial =
        spool.as_os_str().as_encoded_bytes().iter().fold(0_u32, |h, b| h.wrapping_mul(31) + u32::from(*b));
    let voices = Voices::new([Rate::Narrow; 2], Quality::from(settings))?;
    let ogg = Ogg::new(output, serial, Rate::Narrow, voices.look_ahead())?;
    let (rendered, output) = render(&mut input, (voices, ogg), stop)?;
    let mut output = output.into_inner().map_err(|e| at("writing", &path, e.into_error()))?;
    output.flush().and_then(|()| output.inner.sync_all()).map_err(|e| at("writing", &path, e))?;
    let (sha256, bytes) = output.finish();
    let audio = Audio { file: AUDIO.into(), sha256, bytes, channels: 2 };
    Ok((rendered, audio, input.into_inner().finish()))
}

fn describe(
    recording: Uuid,
    rendered: Rendered,
    audio: Audio,
    (file_sha256, bytes): (String, u64),
    settings: &Settings,
) -> Manifest {
    let label = rendered.label.unwrap_or_else(|| crate::label::Label::new(recording));
    let channel = |side: Side| Channel {
        side,
        role: side.of(&label.roles).clone(),
        codecs: side.of(&label.legs).codecs.clone(),
        counts: *side.of(&rendered.counts),
        streams: Vec::new(),
    };
    let own_reason = rendered.closed.is_some();
    Manifest {
        version: manifest::VERSION,
        recording,
        left: channel(Side::Caller),
        right: channel(Side::Callee),
        offered_at: label.offered_at,
        answered_at: label.answered_at,
        started_at: rendered.started_ns.and_then(utc),
        // What the recorder saw itself is truer than a label that was never brought up to date.
        ended_at: label.ended_at.filter(|_| !own_reason).or_else(|| utc(rendered.ended_ns)),
        ended: rendered.closed.or(label.ended).unwrap_or_else(|| "closed".into()),
        call: label.call,
        trip: label.trip,
        city: label.city,
        duration_ms: rendered.duration_ms,
        gaps: rendered.gaps,
        pauses: rendered.pauses,
        silenced: Vec::new(),
        audio,
        packets: Packets {
            file: settings.keep_packets.then(|| PACKETS.into()),
            sha256: rendered.chain.head(),
            count: rendered.chain.packets(),
            file_sha256,
            bytes,
        },
        encoder: manifest::Encoder {
            codec: "opus".into(),
            bitrate: settings.bitrate,
            complexity: settings.complexity,
            frame_ms: u8::try_from(FRAME * 1000 / RATE as usize).unwrap_or(0),
            library: encode::library().into(),
            silence_dbfs: Quality::from(settings).silence_dbfs,
            channels: Vec::new(),
        },
        continues: None,
        software: BTreeMap::from([
            ("bauta-recorder".into(), env!("CARGO_PKG_VERSION").into()),
            ("libopus".into(), encode::library().into()),
        ]),
        notes: rendered.notes,
    }
}

fn utc(ns: u64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(ns.into()).ok()
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

fn create(path: &Path) -> Result<File, ArchiveError> {
    let options = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    options.map_err(|e| at("making", path, e))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ArchiveError> {
    let mut file = create(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| at("writing", path, e))
}

fn at(doing: &str, path: &Path, source: io::Error) -> ArchiveError {
    ArchiveError::Io { what: format!("{doing} {}", path.display()), source }
}

/// Hashes and counts what is read or written through it.
struct Hashing<F> {
    inner: F,
    hash: Sha256,
    bytes: u64,
}

impl<F> Hashing<F> {
    fn new(inner: F) -> Self {
        Self { inner, hash: Sha256::new(), bytes: 0 }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn finish(self) -> (String, u64) {
        (crate::hexadecimal(&self.hash.finalize()), self.bytes)
    }
}

impl<F: Read> Read for Hashing<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.add(buffer.get(..n).unwrap_or_default());
        Ok(n)
    }
}

impl<F: Write> Write for Hashing<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.add(bytes.get(..n).unwrap_or_default());
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
