//! What is to be encoded, and in which order: calls that ended before stretches of those that go on, oldest first.
//!
//! Shared by the archiver's threads. Holds names only: a backlog of any length costs no audio's memory.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::capture::Work;

/// How long a spool waits that could not be archived.
const RETRY: Duration = Duration::from_secs(10);
/// How long an idle thread sleeps before it looks whether to stop.
const NAP: Duration = Duration::from_millis(200);

/// The work that waits.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Names are UUIDs v7: the first is the oldest.
    closed: BTreeSet<PathBuf>,
    grown: BTreeSet<PathBuf>,
    /// Spools in some thread's hands.
    busy: HashSet<PathBuf>,
    later: Vec<(Instant, PathBuf)>,
    /// Nothing will be added any more.
    ended: bool,
}

impl Queue {
    /// Adds work. A call that ended needs no stretch of its own any more.
    pub fn add(&self, work: Work) {
        let mut state = self.lock();
        match work {
            Work::Closed(path) => {
                state.grown.remove(&path);
                state.closed.insert(path);
            }
            Work::Grown(path) => _ = state.grown.insert(path),
        }
        self.more.notify_one();
    }

    /// Nothing will be added any more: threads end when nothing is left.
    pub fn end(&self) {
        self.lock().ended = true;
        self.more.notify_all();
    }

    /// The next work, waited for a moment. Err: there is none and will be none. It must be given back by
    /// [`Self::done`] or [`Self::failed`].
    pub fn next(&self) -> Result<Option<Work>, Ended> {
        let mut state = self.lock();
        if let Some(work) = state.pop(Instant::now()) {
            return Ok(Some(work));
        }
        if state.ended {
            return Err(Ended);
        }
        let (mut state, _) = self.more.wait_timeout(state, NAP).unwrap_or_else(PoisonError::into_inner);
        Ok(state.pop(Instant::now()))
    }

    /// A spool was dealt with.
    pub fn done(&self, path: &Path) {
        self.lock().busy.remove(path);
        self.more.notify_one();
    }

    /// A closed spool could not be archived: it is tried again later.
    pub fn failed(&self, path: &Path) {
        let mut state = self.lock();
        state.busy.remove(path);
        state.later.push((Instant::now() + RETRY, path.to_owned()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is behind the lock is whole at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing is left, and nothing will be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

impl State {
    fn pop(&mut self, now: Instant) -> Option<Work> {
        let Self { closed, grown, busy, later, .. } = self;
        closed.extend(later.extract_if(.., |(when, _)| *when <= now).map(|(_, path)| path));
        let free = |paths: &BTreeSet<PathBuf>| paths.iter().find(|p| !busy.contains(*p)).cloned();
        let work = match free(closed) {
            Some(path) => Work::Closed(path),
            None => Work::Grown(free(grown)?),
        };
        let (Work::Closed(path) | Work::Grown(path)) = &work;
        closed.remove(path);
        grown.remove(path);
        busy.insert(path.clone());
        Some(work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_ended_come_first_and_none_is_in_two_hands() {
        let queue = Queue::default();
        let (a, b) = (PathBuf::from("a"), PathBuf::from("b"));
        queue.add(Work::Grown(a.clone()));
        queue.add(Work::Closed(b.clone()));
        assert_eq!(queue.next(), Ok(Some(Work::Closed(b.clone()))));
        assert_eq!(queue.next(), Ok(Some(Work::Grown(a.clone()))));
        // It ends while its stretch is encoded: waits until that is done.
        queue.add(Work::Closed(a.clone()));
        assert_eq!(queue.next(), Ok(None));
        queue.done(&a);
        assert_eq!(queue.next(), Ok(Some(Work::Closed(a.clone()))));
        queue.done(&a);
        queue.end();
        assert_eq!(queue.next(), Err(Ended));
        queue.failed(&b);
        assert_eq!(queue.lock().later.len(), 1);
    }
}
