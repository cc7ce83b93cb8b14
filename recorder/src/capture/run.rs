//! The capture thread's loop: attach, drain, write, commit, sync, sleep.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam::channel::Sender;
use relay::tap::TapError;
use uuid::Uuid;

use super::{Append, Broken, Calls, Disk, Link, Ring, Syncer, Tap, Work};
use crate::metrics::{self, Metrics};

/// How capture takes its time.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// At least this long from batch to batch unless there is much to do: fewer, larger writes.
    pub batch: Duration,
    /// From one attempt to attach, or to write to a refusing disk, to the next.
    pub retry: Duration,
    /// From sync to sync; with a batch's time on top, every packet is on its way to the disk within a second.
    pub sync: Duration,
    /// Without a relay for this long after start, the calls of spools that were found are given up.
    pub give_up: Duration,
    /// After so much recorded time the archiver is told that a spool has grown.
    pub stretch: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { batch: ms(200), retry: ms(200), sync: ms(800), give_up: ms(5000), stretch: ms(600_000) }
    }
}

/// What the loop shares with the rest of the process.
#[derive(Debug)]
pub struct Context {
    /// Set: finish writing and return; unfinished spools are left for the successor.
    pub stop: Arc<AtomicBool>,
    /// Counters.
    pub counters: Arc<Metrics>,
    /// The archiver's queue.
    pub work: Sender<Work>,
    /// Brings it all to the disk.
    pub syncer: Option<Syncer>,
    /// Its pace.
    pub pace: Pace,
}

/// Bytes of records of all rings after which a batch is written though they hold more: bounds what capture needs
/// of memory. More than [`Pace::batch`] brings at 100,000 packets a second, or a longer batch would save nothing.
const BATCH: usize = 8 << 20;

/// Captures until told to stop.
pub async fn run<T: Tap, D: Disk>(mut tap: T, mut disk: D, mut calls: Calls, context: Context) {
    let mut state = State {
        calls: &mut calls,
        disk: &mut disk,
        context: &context,
        batch: Vec::new(),
        unsynced: false,
        synced: Instant::now(),
        stall: None,
        left: Vec::new(),
    };
    state.calls.tell_grown(context.pace.stretch);
    let mut link: Option<T::Link> = None;
    let mut alone = Some(Instant::now());
    let mut told = String::new();
    while !state.stopping() {
        let Some(attached) = &mut link else {
            match tap.attach() {
                Ok(attached) => {
                    tracing::info!(epoch = %format_args!("{:016x}", attached.epoch()), "attached to the relay's tap");
                    metrics::set(&context.counters.attached, 1);
                    told.clear();
                    alone = None;
                    state.calls.relay_lost(Some(attached.epoch()), now_ns(), &context.counters);
                    link = Some(attached);
                }
                Err(error) => {
                    if told != error.to_string() {
                        told = error.to_string();
                        tracing::warn!("{told}; trying again every {} ms", context.pace.retry.as_millis());
                    }
                    // While another recorder holds the tap, the calls are its to close.
                    let gone = matches!(error, TapError::NoRelay { .. });
                    let since = *alone.get_or_insert_with(Instant::now);
                    if gone && since.elapsed() >= context.pace.give_up {
                        state.calls.relay_lost(None, now_ns(), &context.counters);
                    }
                    state.write().await;
                    std::thread::sleep(context.pace.retry);
                }
            }
            continue;
        };
        let begun = Instant::now();
        // Asked before draining: what the relay published before it ended is drained in this very round.
        let alive = attached.alive();
        match state.round(attached).await {
            Err(broken) => {
                metrics::add(&context.counters.alarms, 1);
                tracing::error!("ALARM: {broken}: attaching anew");
                link = None;
            }
            Ok(Round::Full) => continue,
            Ok(Round::Drained) if !alive => {
                tracing::warn!("the relay's process ended");
                state.calls.relay_lost(None, now_ns(), &context.counters);
                state.write().await;
                link = None;
            }
            Ok(Round::Drained) => {
                std::thread::sleep(context.pace.batch.saturating_sub(begun.elapsed()));
                if let Err(error) = attached.wait(context.pace.retry) {
                    tracing::error!("waiting for the tap: {error}");
                    std::thread::sleep(context.pace.retry);
                }
            }
            Ok(Round::Stopped) => break,
        }
        if link.is_none() {
            metrics::set(&context.counters.attached, 0);
            std::thread::sleep(context.pace.retry);
        }
    }
    state.write().await;
}

/// How a round ended.
enum Round {
    /// The rings are empty.
    Drained,
    /// There is more.
    Full,
    /// Told to stop while the disk refused: the rings still hold it all.
    Stopped,
}

struct State<'a, D> {
    calls: &'a mut Calls,
    disk: &'a mut D,
    context: &'a Context,
    batch: Vec<Append>,
    /// Whether anything was written since the last sync was asked for.
    unsynced: bool,
    synced: Instant,
    /// Since when the disk refuses, and why.
    stall: Option<(u64, String)>,
    /// Spools that are gone on with in others.
    left: Vec<PathBuf>,
}

impl<D: Disk> State<'_, D> {
    fn stopping(&self) -> bool {
        self.context.stop.load(Relaxed)
    }

    /// Drains the rings, writes, commits.
    async fn round<L: Link>(&mut self, link: &mut L) -> Result<Round, Broken> {
        let (epoch, counters) = (link.epoch(), &*self.context.counters);
        let mut payload = Vec::new();
        let (mut full, mut fault) = (false, None);
        let rings = link.rings();
        // Each ring gets its share of a batch, so that a busy one does not starve the others.
        let share = BATCH / rings.len().max(1);
        for (ring, index) in rings.iter_mut().zip(0..) {
            let mut taken = 0;
            while taken < share && fault.is_none() {
                match ring.next(&mut payload) {
                    Ok(Some(record)) => {
                        self.calls.take(epoch, index, &record, &payload, counters);
                        taken += payload.len() + 64;
                    }
                    Ok(None) => break,
                    Err(broken) => fault = Some(broken),
                }
            }
            full |= taken >= share;
        }
        if !self.write().await {
            return Ok(Round::Stopped);
        }
        if let Some(broken) = fault {
            return Err(broken);
        }
        for (ring, index) in link.rings().iter_mut().zip(0..) {
            ring.commit();
            self.calls.committed(epoch, index);
        }
        Ok(if full { Round::Full } else { Round::Drained })
    }

    /// Writes all that was taken, however long the disk refuses; then closes what ended. False: told to
    /// stop before it was written.
    async fn write(&mut self) -> bool {
        let Context { counters, pace, syncer, .. } = self.context;
        if let Some(why) = syncer.as_ref().and_then(Syncer::trouble) {
            self.calls.note(&format!("what was captured just before may not have reached the disk: {why}"));
        }
        self.calls.batch(&mut self.batch);
        self.unsynced |= !self.batch.is_empty();
        let mut done = Vec::new();
        while !self.batch.is_empty() {
            let result = self.disk.append(&mut self.batch, &mut done).await;
            for buffer in done.drain(..) {
                metrics::add(&counters.spool_bytes, buffer.len() as u64);
                self.calls.reuse(buffer);
            }
            match result {
                Ok(()) => self.accepted(),
                Err(error) if self.move_on(&error) => {}
                Err(error) => {
                    self.refused(&error);
                    if self.stopping() {
                        return false;
                    }
                    std::thread::sleep(pace.retry);
                }
            }
        }
        let closed = self.calls.written().into_iter().filter_map(|spool| self.disk.close(spool));
        for path in self.left.drain(..).chain(closed) {
            metrics::add(&counters.waiting, 1);
            // Fails only when the archiver is gone; the next start finds the spool.
            let _ = self.context.work.send(Work::Closed(path));
        }
        for spool in self.calls.grown() {
            if let Some(path) = self.disk.path(spool) {
                let _ = self.context.work.send(Work::Grown(path));
            }
        }
        metrics::set(&counters.calls, self.calls.count() as u64);
        if (self.unsynced || counters.sync_alarm.load(Relaxed) > 0)
            && self.synced.elapsed() >= pace.sync
            && self.context.syncer.as_ref().is_none_or(Syncer::sync)
        {
            (self.unsynced, self.synced) = (false, Instant::now());
        }
        true
    }

    /// The disk refuses: raises the alarm, once.
    fn refused(&mut self, error: &io::Error) {
        let counters = &self.context.counters;
        if self.stall.is_none() {
            metrics::add(&counters.alarms, 1);
            metrics::set(&counters.alarm, 1);
            tracing::error!("ALARM: the spool cannot be written: {error}; capture stands and retries");
            self.stall = Some((now_ns(), error.to_string()));
        }
    }

    /// The disk took everything: if it had refused, every call says since when and why.
    fn accepted(&mut self) {
        if let Some((since_ns, why)) = self.stall.take() {
            metrics::set(&self.context.counters.alarm, 0);
            tracing::warn!("the spool can be written again: capture goes on");
            self.calls.stalled(since_ns, now_ns(), &why);
        }
    }

    /// Where only some spools are refused, their calls go on in others. False: it is the whole disk that refuses, or
    /// this was tried a moment ago.
    fn move_on(&mut self, error: &io::Error) -> bool {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let whole = matches!(error.kind(), StorageFull | ReadOnlyFilesystem | QuotaExceeded);
        if whole || self.disk.probe().is_err() {
            return false;
        }
        let (now_ns, why) = (now_ns(), error.to_string());
        let mut moved = false;
        for append in std::mem::take(&mut self.batch) {
            let (old, length) = (append.spool, append.offset);
            let named = |path: PathBuf| Uuid::parse_str(path.file_stem()?.to_str()?).ok();
            let append = match self.disk.path(old).and_then(named) {
                Some(name) => self.calls.go_on_elsewhere(append, name, now_ns, &why),
                None => Err(append),
            };
            let append = append.inspect(|_| {
                tracing::error!("ALARM: a spool cannot be written: {why}; its call goes on in another one");
                metrics::add(&self.context.counters.alarms, 1);
                metrics::add(&self.context.counters.moved, 1);
                self.left.extend(self.disk.leave(old, length));
                moved = true;
            });
            self.batch.push(append.unwrap_or_else(|append| append));
        }
        moved
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
