//! `STATE/calls/YYYY-MM-DD.jsonl`: call records, a line each, by the day (UTC) on which the call ended.
//!
//! Written by a thread of its own, so that no call waits for a disk. What does not fit into its queue, or not onto the
//! disk, is lost, counted ([`Records::lost`]) and logged once a minute. Nothing is synced: after a power cut the last
//! seconds may be missing. Files are removed when they are older than the settings say, at start and at midnight.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use super::record::Record;
use crate::moment::Moment;

/// The folder's name in the state directory.
pub const FOLDER: &str = "calls";
/// Most records that wait to be written.
const QUEUE: usize = 4_096;
/// How long further records are let come together after one was written: a busy POP's thread is woken once for many.
const GATHER: Duration = Duration::from_millis(50);
/// How often it is looked for a new day when nothing is written.
const LOOK: Duration = Duration::from_secs(60);
/// How often what was lost is logged.
const COMPLAINT: Duration = Duration::from_secs(60);
const NAME: &[BorrowedFormatItem<'static>] = format_description!("[year]-[month]-[day].jsonl");

/// Where call records go.
#[derive(Debug)]
pub struct Records {
    /// None when no records are kept; taken away to end the thread.
    queue: Option<SyncSender<Record>>,
    lost: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Records {
    /// Writes into `folder`, made when there is something to write, and keeps the files of `days` days, today's
    /// included. With 0 nothing is written, and what is there is removed. An error: there can be no thread.
    pub fn start(folder: PathBuf, days: u32) -> io::Result<Self> {
        let lost = Arc::new(AtomicU64::new(0));
        let mut writer = Writer::new(folder, days, Arc::clone(&lost));
        writer.remove_old(OffsetDateTime::now_utc().date());
        if days == 0 {
            return Ok(Self { queue: None, lost, thread: None });
        }
        let (queue, records) = sync_channel(QUEUE);
        let thread =
            std::thread::Builder::new().name("call-records".into()).spawn(move || writer.run(&records))?;
        Ok(Self { queue: Some(queue), lost, thread: Some(thread) })
    }

    /// Keeps a record. Never waits.
    pub fn keep(&self, record: Record) {
        if let Some(queue) = &self.queue
            && queue.try_send(record).is_err()
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records that were not written since start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Records {
    /// Waits until everything is written.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's half.
#[derive(Debug)]
struct Writer {
    folder: PathBuf,
    days: u32,
    /// The file that is written to, and its day.
    open: Option<(Date, File)>,
    /// The day on which old files were removed last.
    removed: Option<Date>,
    lost: Arc<AtomicU64>,
    /// How many of the lost ones were logged, and when.
    told: (u64, Option<Instant>),
    /// Why the last one was lost.
    trouble: String,
}

impl Writer {
    fn new(folder: PathBuf, days: u32, lost: Arc<AtomicU64>) -> Self {
        let trouble = "more calls end at once than can be written".into();
        Self { folder, days, open: None, removed: None, lost, told: (0, None), trouble }
    }

    fn run(mut self, records: &Receiver<Record>) {
        loop {
            match records.recv_timeout(LOOK) {
                Ok(record) => {
                    self.write(&record);
                    std::thread::sleep(GATHER);
                    records.try_iter().for_each(|record| self.write(&record));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.remove_old(OffsetDateTime::now_utc().date());
            if let Some(complaint) = self.complaint(Instant::now()) {
                tracing::error!("{complaint}");
            }
        }
    }

    fn write(&mut self, record: &Record) {
        if let Err(error) = self.try_write(record) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            self.trouble = error.to_string();
            // What is in it may have no end now: it is looked at when it is opened again.
            self.open = None;
        }
    }

    fn try_write(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let day = day(record.ended_at);
        let (_, file) = match self.open.take().filter(|(of, _)| *of == day) {
            Some(open) => self.open.insert(open),
            None => self.open.insert((day, open(&self.folder, day)?)),
        };
        file.write_all(&line)
    }

    /// Removes files that are too old, once a day.
    fn remove_old(&mut self, today: Date) {
        if self.removed == Some(today) {
            return;
        }
        self.removed = Some(today);
        for (day, path) in files(&self.folder) {
            if (today - day).whole_days() < i64::from(self.days) {
                continue;
            }
            match fs::remove_file(&path) {
                Ok(()) => tracing::info!("removed {}: older than control.call_records_days", path.display()),
                Err(e) => tracing::warn!("{} should be removed: {e}", path.display()),
            }
        }
    }

    /// What is to be logged of records that were lost.
    fn complaint(&mut self, now: Instant) -> Option<String> {
        let (told, at) = self.told;
        let lost = self.lost.load(Ordering::Relaxed);
        if lost == told || at.is_some_and(|at| now.duration_since(at) < COMPLAINT) {
            return None;
        }
        self.told = (lost, Some(now));
        Some(format!("{} call records lost, {}: {}", lost - told, self.folder.display(), self.trouble))
    }
}

fn day(moment: Moment) -> Date {
    OffsetDateTime::from_unix_timestamp(moment.unix()).map_or(Date::MIN, OffsetDateTime::date)
}

/// A day's file, to be appended to. What a crash or a full disk left without an end is ended.
fn open(folder: &Path, day: Date) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let name = day.format(NAME).map_err(io::Error::other)?;
    let mut file =
        OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(folder.join(name))?;
    let mut last = [b'\n'];
    if let Some(at) = file.metadata()?.len().checked_sub(1) {
        file.read_exact_at(&mut last, at)?;
    }
    if last != [b'\n'] {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// The files of call records and their days; anything else in the folder is left alone.
fn files(folder: &Path) -> Vec<(Date, PathBuf)> {
    let dated = |entry: fs::DirEntry| {
        let day = Date::parse(entry.file_name().to_str()?, NAME).ok()?;
        Some((day, entry.path()))
    };
    fs::read_dir(folder).into_iter().flatten().flatten().filter_map(dated).collect()
}

#[cfg(test)]
mod tests;
