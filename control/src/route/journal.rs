//! `STATE/routes.journal`: route decisions that are still waiting for their offer, so that a control that is killed
//! between the two loses none.
//!
//! Owned by [`super::book`], under its lock. A line per step, sealed, in hexadecimal digits, each one `write(2)`:
//! the system keeps what a killed process wrote. Nothing is synced, since a power cut ends the calls too. Lines are
//! of use for [`KEPT_SECONDS`], and while no [`KEPT_MOST`] decisions came after them; a file that has grown becomes
//! `routes.journal.old`, in place of one whose lines are all of no use.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::book::{KEPT_MOST, KEPT_SECONDS, Outcome, Routed};
use super::decide::Reason;
use crate::moment::Moment;
use crate::secret::{Keys, hex, unhex};

/// The file's name in the state directory.
pub(super) const JOURNAL: &str = "routes.journal";
/// A file of so many bytes is put aside as soon as the one before it is of no use.
const LARGE: u64 = 1024 * 1024;
/// What lines are sealed for.
const PURPOSE: &str = "route journal";

/// A step of a decision.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    /// Seconds since 1970.
    pub at: i64,
    /// The Call-ID's pseudonym.
    pub call: [u8; 16],
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum What {
    /// Decided: it connects.
    Connect(Routed),
    /// Decided: it is refused, for the reason of this name.
    Reject(String),
    /// Its first offer came.
    Used,
    /// Its call was given up before it was answered.
    Released,
}

impl From<&Outcome> for What {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Connect(routed) => Self::Connect(routed.clone()),
            Outcome::Reject { reason } => Self::Reject((*reason).to_owned()),
        }
    }
}

impl What {
    /// Whether it is a decision, and no later step of one.
    fn decides(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Reject(_))
    }

    /// The decision, if it is one.
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Connect(routed) => Some(Outcome::Connect(routed)),
            Self::Reject(name) => {
                let known = Reason::ALL.iter().map(|reason| reason.as_str()).find(|known| *known == name);
                // A reason that another version had is a refusal all the same.
                Some(Outcome::Reject { reason: known.unwrap_or("malformed") })
            }
            Self::Used | Self::Released => None,
        }
    }
}

/// The journal, open for writing.
#[derive(Debug)]
pub(super) struct Journal {
    keys: Arc<Keys>,
    path: PathBuf,
    file: File,
    size: u64,
    /// Decisions in the file.
    decided: usize,
    /// When the other file was put aside, at the latest.
    turned: Moment,
    /// The last line has no end.
    torn: bool,
    failures: u64,
}

impl Journal {
    /// Opens or makes the journal in `state` and gives what is in it to `each`, oldest first. What does not open is
    /// passed over.
    pub fn open(state: &Path, keys: Arc<Keys>, now: Moment, mut each: impl FnMut(Line)) -> io::Result<Self> {
        let path = state.join(JOURNAL);
        let (mut decided, mut torn) = (0, false);
        for path in [old(&path), path.clone()] {
            let mut text = match File::open(&path) {
                Ok(file) => BufReader::new(file),
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            (decided, torn) = (0, false);
            let mut line = Vec::new();
            while text.read_until(b'\n', &mut line)? > 0 {
                torn = line.pop_if(|last| *last == b'\n').is_none();
                if let Some(read) = read(&keys, &line) {
                    decided += usize::from(read.what.decides());
                    each(read);
                }
                line.clear();
            }
        }
        let file = append_to(&path)?;
        let size = file.metadata()?.len();
        // Only the old file was there: the new one has nothing yet.
        if size == 0 {
            (decided, torn) = (0, false);
        }
        Ok(Self { keys, path, file, size, decided, turned: now, torn, failures: 0 })
    }

    /// Writes a line. When the disk refuses, the log says so and control goes on from memory.
    pub fn append(&mut self, line: &Line, now: Moment) {
        if let Err(error) = self.try_append(line, now) {
            self.failures += 1;
            if self.failures.is_power_of_two() {
                let failures = self.failures;
                tracing::error!(
                    failures,
                    "{}: {error}; a restart would forget route decisions",
                    self.path.display()
                );
            }
        }
    }

    fn try_append(&mut self, line: &Line, now: Moment) -> io::Result<()> {
        let useless = now >= self.turned.plus(KEPT_SECONDS) || self.decided >= KEPT_MOST;
        if self.size >= LARGE && useless {
            fs::rename(&self.path, old(&self.path))?;
            self.file = append_to(&self.path)?;
            (self.size, self.decided, self.torn, self.turned) = (0, 0, false, now);
        }
        let plain = serde_json::to_vec(line)?;
        let sealed = self.keys.seal(PURPOSE, &plain).map_err(io::Error::other)?;
        let text = format!("{}{}\n", if self.torn { "\n" } else { "" }, hex(&sealed));
        let written = self.file.write(text.as_bytes())?;
        self.size += written as u64;
        self.decided += usize::from(line.what.decides());
        self.torn = written < text.len();
        if self.torn { Err(io::Error::new(ErrorKind::WriteZero, "the line was cut short")) } else { Ok(()) }
    }
}

fn old(path: &Path) -> PathBuf {
    path.with_extension("journal.old")
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn read(keys: &Keys, line: &[u8]) -> Option<Line> {
    let sealed = unhex(std::str::from_utf8(line).ok()?)?;
    serde_json::from_slice(&keys.open(PURPOSE, &sealed).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_journal_is_put_aside_when_the_one_before_it_is_of_no_use() {
        let state = tempfile::tempdir().unwrap();
        let keys = Arc::new(Keys::open_or_make(state.path()).unwrap());
        let now = Moment::from_unix(1_000_000);
        let open = |lines: &mut Vec<Line>| {
            Journal::open(state.path(), Arc::clone(&keys), now, |line| lines.push(line)).unwrap()
        };
        let mut lines = Vec::new();
        let mut journal = open(&mut lines);
        let mut write = |call: u8, at: Moment| {
            journal.append(&Line { at: at.unix(), call: [call; 16], what: What::Used }, at);
            journal.size
        };
        let line = write(1, now);
        while write(2, now) < LARGE {}
        assert!(write(3, now.plus(KEPT_SECONDS - 1)) > LARGE, "lines of the other file may still be of use");
        assert_eq!(write(4, now.plus(KEPT_SECONDS)), line);
        while write(5, now.plus(KEPT_SECONDS)) < LARGE {}
        assert_eq!(write(6, now.plus(2 * KEPT_SECONDS)), line);
        open(&mut lines);
        let calls: Vec<u8> = lines.iter().map(|line| line.call[0]).collect();
        assert_eq!((calls.first(), calls.last()), (Some(&4), Some(&6)));
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 3, "keys and two files");
    }

    #[test]
    fn a_flood_of_decisions_does_not_make_the_journal_grow_for_ever() {
        let state = tempfile::tempdir().unwrap();
        let keys = Arc::new(Keys::open_or_make(state.path()).unwrap());
        let now = Moment::from_unix(1_000_000);
        let mut journal = Journal::open(state.path(), Arc::clone(&keys), now, drop).unwrap();
        let mut decide = |n: usize| {
            let mut call = [0; 16];
            call[..8].copy_from_slice(&n.to_be_bytes());
            journal.append(&Line { at: now.unix(), call, what: What::Reject("no_trip".into()) }, now);
        };
        (0..2 * KEPT_MOST + 2).for_each(&mut decide);
        let mut calls = Vec::new();
        let open = |line: Line| calls.push(usize::from_be_bytes(*line.call.first_chunk().unwrap()));
        let journal = Journal::open(state.path(), keys, now, open).unwrap();
        assert_eq!((journal.decided, calls.len()), (2, KEPT_MOST + 2));
        assert!(
            calls.is_sorted() && calls.last() == Some(&(2 * KEPT_MOST + 1)),
            "what the book holds is all there"
        );
    }
}
