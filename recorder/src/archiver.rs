//! The archiver: from closed spools to archives.
//!
//! One thread of the lowest priority, never in capture's way; oldest recording first; memory bounded whatever
//! the length of the call. A spool leaves the spool folder only after its archive is complete and on the disk,
//! so that this thread may be killed at any point: the next start does the same work again.

mod packet;
mod publish;
mod render;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError};

use crate::capture::Work;
use crate::encode::EncodeError;
use crate::metrics::{self, Metrics};
use crate::settings::Settings;
use crate::spool::ReadError;

pub use publish::archive;
pub use render::{Rendered, render};

/// How long a spool waits that could not be archived.
const RETRY: Duration = Duration::from_secs(10);

/// Why a spool was not archived.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The spool cannot be read as one.
    #[error("the spool is damaged: {0}")]
    Damaged(ReadError),
    /// The audio cannot be encoded or written.
    #[error("the audio was not encoded: {0}")]
    Encode(#[from] EncodeError),
    /// A file or folder could not be made.
    #[error("{what}: {source}")]
    Io {
        /// Which, and what was tried.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// The manifest could not be written as JSON.
    #[error("the manifest was not written: {0}")]
    Manifest(#[from] serde_json::Error),
    /// Told to stop; the next start does it.
    #[error("stopped")]
    Stopped,
}

/// What the archiver works with.
#[derive(Debug)]
pub struct Context {
    /// The state directory.
    pub state: PathBuf,
    /// Its settings.
    pub settings: Settings,
    /// Set: return soon.
    pub stop: Arc<AtomicBool>,
    /// Counters.
    pub counters: Arc<Metrics>,
}

/// Archives what comes through `work` until told to stop.
pub fn run(work: &Receiver<Work>, context: &Context) {
    // The main thread and capture go first, always.
    if let Err(error) = rustix::process::nice(19) {
        tracing::warn!("the archiver could not lower its priority: {error}");
    }
    let mut waiting = BTreeSet::new();
    let mut later: Vec<(Instant, PathBuf)> = Vec::new();
    while !context.stop.load(Relaxed) {
        waiting.extend(work.try_iter().filter_map(closed));
        waiting.extend(later.extract_if(.., |(since, _)| since.elapsed() >= RETRY).map(|(_, path)| path));
        // Names are UUIDs v7: the first is the oldest.
        if let Some(path) = waiting.pop_first() {
            match one(&path, context) {
                Ok(()) | Err(ArchiveError::Stopped) => {}
                Err(_) => later.push((Instant::now(), path)),
            }
            continue;
        }
        match work.recv_timeout(Duration::from_millis(200)) {
            Ok(work) => waiting.extend(closed(work)),
            Err(RecvTimeoutError::Timeout) => {}
            // Capture is gone; what failed is tried again at the next start.
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn closed(work: Work) -> Option<PathBuf> {
    match work {
        Work::Closed(path) => Some(path),
        Work::Grown(_) => None,
    }
}

/// Archives one spool. An error that is given back is worth another attempt.
fn one(path: &Path, context: &Context) -> Result<(), ArchiveError> {
    let counters = &context.counters;
    let bytes = std::fs::metadata(path).map_or(0, |m| m.len());
    let begun = Instant::now();
    let result = archive(path, &context.state, &context.settings, &context.stop);
    match &result {
        Ok(None) => tracing::info!("a call that nobody answered leaves no archive"),
        Ok(Some((folder, manifest))) => {
            metrics::add(&counters.archives, 1);
            tracing::info!(
                recording = %manifest.recording, audio_ms = manifest.duration_ms, took_ms = begun.elapsed().as_millis(),
                "archived in {}", folder.display()
            );
        }
        Err(ArchiveError::Stopped) => return Err(ArchiveError::Stopped),
        Err(error) => {
            metrics::add(&counters.archive_failures, 1);
            tracing::error!(spool = %path.display(), "not archived: {error}");
            if let ArchiveError::Damaged(ReadError::Broken(_)) = error {
                tracing::error!(spool = %path.display(), "set aside as .damaged");
                if let Err(error) = std::fs::rename(path, path.with_extension("damaged")) {
                    tracing::error!(spool = %path.display(), "could not be set aside: {error}");
                }
            } else {
                return result.map(drop);
            }
        }
    }
    metrics::take(&counters.spool_bytes, bytes);
    metrics::take(&counters.waiting, 1);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "the numbers are the test's own")]
mod tests;
