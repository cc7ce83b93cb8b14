//! The archiver: from spools to archives.
//!
//! Some threads of idle priority, never in capture's way; memory is bounded for each of them whatever the length of a call
//! and of the queue. A call that ended is archived, oldest first; of one that goes on for long, stretches are
//! encoded beforehand, so that its archive is ready soon after its end. A spool leaves the spool folder only after its
//! archive is complete and on the disk, so these threads may be killed at any point: the next start does
//! the same work again.
//!
//! In the order of the data: `survey` (what must be known beforehand), `scrub` (no DTMF), `render` (timeline, `hearing`,
//! encoder), `stretch` (what is encoded beforehand), `make` (audio and manifest), `publish` (the folder).

mod hearing;
mod make;
mod packet;
mod publish;
mod queue;
mod render;
mod scrub;
mod stretch;
mod survey;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError};
use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};

use crate::capture::Work;
use crate::codec::DecodeError;
use crate::encode::EncodeError;
use crate::metrics::{self, Metrics};
use crate::settings::Settings;
use crate::spool::ReadError;

use queue::Queue;

pub use publish::archive;

/// Why a spool was not archived.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The spool cannot be read as one.
    #[error("the spool is damaged: {0}")]
    Damaged(ReadError),
    /// The audio cannot be encoded or written.
    #[error("the audio was not encoded: {0}")]
    Encode(#[from] EncodeError),
    /// A decoder could not be made.
    #[error("the audio was not decoded: {0}")]
    Decode(#[from] DecodeError),
    /// A file or folder could not be made.
    #[error("{what}: {source}")]
    Io {
        /// Which, and what was tried.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The manifest could not be written as JSON.
    #[error("the manifest was not written: {0}")]
    Manifest(#[from] serde_json::Error),
    /// Told to stop; the next start does it.
    #[error("stopped")]
    Stopped,
}

impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> Self {
        Self::Encode(EncodeError::Io(error))
    }
}

fn at(doing: &str, path: &Path, source: io::Error) -> ArchiveError {
    ArchiveError::Io { what: format!("{doing} {}", path.display()), source }
}

/// Frames of a stretch at most: 10 minutes, whose packets are some megabytes.
const STRETCH: u64 = 30_000;

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

/// Does what comes through `work` until told to stop, on as many threads as the settings say.
pub fn run(work: &Receiver<Work>, context: &Context) {
    let queue = Queue::default();
    let threads = match context.settings.encoders {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n.into(),
    };
    std::thread::scope(|scope| {
        for index in 0..threads {
            let started = std::thread::Builder::new()
                .name(format!("encoder-{index}"))
                .spawn_scoped(scope, || encoder(&queue, context));
            if let Err(error) = started {
                tracing::error!("an encoder thread was not started: {error}");
            }
        }
        while !context.stop.load(Relaxed) {
            match work.recv_timeout(Duration::from_millis(200)) {
                Ok(work) => queue.add(work),
                Err(RecvTimeoutError::Timeout) => {}
                // Capture is gone; what failed is tried again at the next start.
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        queue.end();
    });
}

/// One thread: takes work until there is none.
fn encoder(queue: &Queue, context: &Context) {
    // Everything else on this host goes first, always (SCHED_IDLE).
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let native = thread_priority::thread_native_id();
    if let Err(error) = thread_priority::set_thread_priority_and_policy(native, ThreadPriority::Min, idle) {
        tracing::warn!("an encoder could not lower its priority: {error}");
    }
    while !context.stop.load(Relaxed) {
        match queue.next() {
            Ok(Some(Work::Closed(path))) => match closed(&path, context) {
                Ok(()) | Err(ArchiveError::Stopped) => queue.done(&path),
                Err(_) => queue.failed(&path),
            },
            Ok(Some(Work::Grown(path))) => {
                let more = grown(&path, context);
                queue.done(&path);
                if more {
                    queue.add(Work::Grown(path));
                }
            }
            Ok(None) => {}
            Err(queue::Ended) => return,
        }
    }
}

/// Encodes a stretch of a call that goes on. True: there is another. What fails is encoded when the call ends.
fn grown(path: &Path, context: &Context) -> bool {
    match make::stretch(path, &context.settings, STRETCH, &context.stop) {
        Ok(more) => more,
        Err(ArchiveError::Stopped) => false,
        Err(error) => {
            tracing::warn!(spool = %path.display(), "a stretch was not encoded beforehand: {error}");
            false
        }
    }
}

/// Archives one spool. An error that is given back is worth another attempt.
fn closed(path: &Path, context: &Context) -> Result<(), ArchiveError> {
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
