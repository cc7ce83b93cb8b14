//! A worker: one thread on one core, with one lane and one engine. It turns the lane, and applies commands between
//! batches; the server talks to it through two rings and two wake-ups, so nothing is shared and nothing waits.

pub mod handover;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ringbuf::HeapRb;
use ringbuf::traits::{Consumer, Observer, Producer, Split};
use rustix::event::{EventfdFlags, eventfd};
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::sync::Notify;

use crate::call::CallKey;
use crate::engine::{Engine, NewCall, NewStream, Opening, Spans};
use crate::lane::{self, Express, Lane, LaneKind, Pace};
use crate::load::Meter;
use crate::program::message::{CallCounters, Event, Load, Refusal, Stream, WorkerStats};
use crate::sys::clock::{Now, thread_cpu_ns};
use crate::table::Slot;
use crate::tap::Writer;
use handover::{Halt, Step};

/// Commands and answers under way at most.
const RING: usize = 1024;
/// Commands carried out before packets have their turn again.
const COMMANDS: usize = 32;
const SECOND_NS: u64 = 1_000_000_000;
/// Longest wait: what goes by the clock is looked at as often.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest wait while rows may be on the express lane: what it tells is replayed as often.
const EXPRESS_PAUSE: Duration = Duration::from_millis(10);

/// What the server asks of a worker.
#[derive(Debug)]
pub enum Command {
    /// Open a call.
    Open(NewCall),
    /// Change a call.
    Update {
        /// Which.
        call: CallKey,
        /// New label.
        label: Option<Vec<u8>>,
        /// State of the streams that it has.
        streams: Vec<Stream>,
        /// Streams to add.
        added: Vec<NewStream>,
    },
    /// Pause or resume a call's tap.
    Tap {
        /// Which.
        call: CallKey,
        /// Pause.
        paused: bool,
    },
    /// What the server knows of a call, in its own words: kept where the call outlives the process.
    Book {
        /// Which.
        call: CallKey,
        /// That.
        book: Vec<u8>,
    },
    /// End a call.
    Close {
        /// Which.
        call: CallKey,
        /// Last label.
        label: Option<Vec<u8>>,
    },
    /// Read a call's counters.
    Read(CallKey),
    /// Read the worker's totals.
    Stats,
    /// A recorder attached to the tap.
    RecorderAttached,
    /// Stop, so that another process can go on.
    Halt(Halt),
}

/// What a worker answers.
#[derive(Debug)]
pub enum Answer {
    /// Done.
    Done,
    /// A call's counters (after `Read` and `Close`).
    Counters(CallCounters),
    /// The worker's totals.
    Stats(WorkerStats),
}

/// What comes back from a worker.
#[derive(Debug)]
pub enum Report {
    /// The answer to the command with this ticket.
    Answer(u64, Result<Answer, Refusal>),
    /// Something happened.
    Event(Event),
    /// What the worker did in the last second.
    Load(Load),
}

/// The server's end of a worker.
pub struct Handle {
    commands: ringbuf::HeapProd<(u64, Command)>,
    wake: OwnedFd,
    /// What the worker reports; readable when `bell` rings.
    pub reports: ringbuf::HeapCons<Report>,
    /// Rings when there are reports.
    pub bell: Arc<Notify>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Handle {
    /// Sends a command; its answer comes as a report with the same ticket. The command comes back where the ring is
    /// full.
    pub fn send(&mut self, ticket: u64, command: Command) -> Result<(), Command> {
        self.commands.try_push((ticket, command)).map_err(|(_, command)| command)?;
        // It can only fail when it rings already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        Ok(())
    }
}

/// What a worker is made of.
#[derive(Debug)]
pub struct Plan {
    /// From 0.
    pub index: usize,
    /// The core to stay on.
    pub core: Option<usize>,
    /// Its lane.
    pub lane: LaneKind,
    /// How it waits.
    pub pace: Pace,
    /// Most sockets.
    pub sockets: u32,
    /// What it begins with.
    pub beginning: Beginning,
    /// Spans.
    pub spans: Spans,
    /// Its end of the express lane, where there is one.
    pub express: Option<Express>,
}

/// What a worker begins with.
#[derive(Debug)]
pub enum Beginning {
    /// No calls, and its end of its tap ring.
    Fresh(Writer),
    /// What a worker of another process had, which comes in steps; and that relay's epoch.
    TakeOver(mpsc::Receiver<Step>, u64),
}

/// Starts a worker on a thread of its own. Returns when its lane is made, with what pinning said.
pub fn start(plan: Plan) -> io::Result<(Handle, io::Result<()>)> {
    let (commands, command_end) = HeapRb::new(RING).split();
    let (report_end, reports) = HeapRb::new(RING).split();
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let wake_end = wake.try_clone()?;
    let bell = Arc::new(Notify::new());
    let bell_end = Arc::clone(&bell);
    let (ready, started) = mpsc::channel();
    std::thread::Builder::new().name(format!("worker-{}", plan.index)).spawn(move || {
        let _guard = EndsWithProcess;
        let pinned = pin(plan.core);
        // A ring belongs to the thread that makes it.
        match lane::make(plan.lane, plan.sockets, wake_end.as_fd(), plan.pace) {
            Err(e) => drop(ready.send(Err(e))),
            Ok(mut lane) => {
                drop(ready.send(Ok(pinned)));
                let Some(mut engine) = begin(plan.beginning, &mut *lane, plan.sockets, plan.spans) else {
                    return;
                };
                plan.express.into_iter().for_each(|express| engine.board(express));
                let now = Now::read();
                let mut worker = Worker {
                    commands: command_end,
                    reports: report_end,
                    bell: bell_end,
                    meter: Meter::starting(now.mono_ns, thread_cpu_ns(), engine.received()),

                    lane,
                    engine,
                    freed: Vec::new(),
                    undelivered: Vec::new(),
                };
                if let Err(e) = worker.run(&wake_end) {
                    // Without its lane a worker forwards nothing: better to end, and be started again by whoever
                    // watches the process, than to look alive.
                    tracing::error!("worker {} cannot go on: {e}", plan.index);
                    std::process::exit(1);
                }
            }
        }
    })?;
    let pinned = started.recv().map_err(|_| io::Error::other("the worker's thread ended"))??;
    Ok((Handle { commands, wake, reports, bell }, pinned))
}

fn begin(beginning: Beginning, lane: &mut dyn Lane, sockets: u32, spans: Spans) -> Option<Engine> {
    match beginning {
        Beginning::Fresh(mut tap) => {
            tap.populate();
            Some(Engine::new(sockets, tap, spans))
        }
        Beginning::TakeOver(steps, epoch) => handover::adopt(lane, &steps, sockets, epoch, spans),
    }
}

/// Keeps the calling thread on a core, if one is given.
pub fn pin(core: Option<usize>) -> io::Result<()> {
    let Some(core) = core else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// A thread that the process cannot do without: where it panics, the process ends rather than look alive.
#[derive(Debug)]
pub struct EndsWithProcess;

impl Drop for EndsWithProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

struct Worker {
    lane: Box<dyn Lane>,
    engine: Engine,
    commands: ringbuf::HeapCons<(u64, Command)>,
    reports: ringbuf::HeapProd<Report>,
    bell: Arc<Notify>,
    meter: Meter,
    freed: Vec<Slot>,
    /// Reports that found their ring full.
    undelivered: Vec<Report>,
}

impl Worker {
    fn run(&mut self, wake: &OwnedFd) -> io::Result<()> {
        let mut next_watch = Now::read().mono_ns + SECOND_NS;
        let mut events = Vec::new();
        loop {
            let timeout = match self.commands.is_empty() {
                false => Duration::ZERO,
                true if self.engine.on_express() => EXPRESS_PAUSE,
                true => PAUSE,
            };
            let woken = self.lane.turn(&mut self.engine, timeout, &mut self.freed)?;
            self.freed.drain(..).for_each(|slot| self.engine.release(slot));
            if self.engine.on_express() {
                self.engine.express(Now::read());
            }
            while let Some(digit) = self.engine.next_digit() {
                self.report(Report::Event(digit));
            }
            if woken {
                let _ = rustix::io::read(wake, &mut [0_u8; 8]);
            }
            for _ in 0..COMMANDS {
                let Some((ticket, command)) = self.commands.try_pop() else { break };
                let answer = self.apply(command, Now::read())?;
                // Before whoever asked hears of it: a source that moved may send at once.
                self.lane.connect(&mut self.engine)?;
                self.report(Report::Answer(ticket, answer));
            }
            self.engine.batch_done();
            let now = Now::read();
            if now.mono_ns >= next_watch {
                next_watch = now.mono_ns + SECOND_NS;
                let load = self.meter.measure(now.mono_ns, thread_cpu_ns(), self.engine.received());
                self.report(Report::Load(load));
                self.engine.watch(now, &mut events);
                events
                    .drain(..)
                    .map(Report::Event)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|r| self.report(r));
            }
            if !self.undelivered.is_empty() {
                std::mem::take(&mut self.undelivered).into_iter().for_each(|r| self.report(r));
            }
        }
    }

    /// Carries a command out. The outer error is the lane's: the worker cannot go on.
    fn apply(&mut self, command: Command, now: Now) -> io::Result<Result<Answer, Refusal>> {
        Ok(match command {
            Command::Open(new) => {
                let call = new.call;
                match self.engine.open(new, now) {
                    Ok(openings) => {
                        if self.open_sockets(openings) {
                            return Ok(Ok(Answer::Done));
                        }
                        let slots = self.engine.close(call, None, now).map(|(_, slots)| slots);
                        self.close_slots(slots.unwrap_or_default())?;
                        Err(Refusal::OutOfFiles)
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            Command::Update { call, label, streams, added } => {
                // What is added comes first: if it cannot be, the rest of the call stays as it was.
                match self.engine.update(call, None, &[], added, now) {
                    Ok(openings) => {
                        if self.open_sockets(openings) {
                            let changed = self.engine.update(call, label, &streams, Vec::new(), now);
                            return Ok(changed.map(|_| Answer::Done));
                        }
                        let slots = self.engine.take_streams(call, streams.len());
                        self.close_slots(slots)?;
                        Err(Refusal::OutOfFiles)
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            Command::Book { call, book } => {
                self.engine.book(call, book, now);
                Ok(Answer::Done)
            }
            Command::Tap { call, paused } => self.engine.pause(call, paused, now).map(|()| Answer::Done),
            Command::Close { call, label } => match self.engine.close(call, label, now) {
                Ok((counters, slots)) => {
                    self.close_slots(slots)?;
                    Ok(Answer::Counters(counters))
                }
                Err(refusal) => Err(refusal),
            },
            Command::Read(call) => self.engine.read(call, now).map(Answer::Counters),
            Command::Stats => {
                let mut stats = self.engine.stats();
                stats.load = self.meter.load;
                stats.lane.extend(self.lane.counters().into_iter().map(|(n, c)| (n.to_owned(), c)));
                Ok(Answer::Stats(stats))
            }
            Command::RecorderAttached => {
                self.engine.recorder_attached(now);
                Ok(Answer::Done)
            }
            Command::Halt(halt) => {
                self.halt(halt)?;
                Ok(Answer::Done)
            }
        })
    }

    /// Gives new sockets to the lane. False: it refused one; the rest were not tried, and their slots are free.
    fn open_sockets(&mut self, openings: Vec<Opening>) -> bool {
        let mut refused = false;
        for Opening { slot, socket } in openings {
            if !refused && let Err(e) = self.lane.open(slot, socket) {
                tracing::error!("the lane refused a socket: {e}");
                refused = true;
            }
            if refused {
                self.freed.push(slot);
            }
        }
        !refused
    }

    /// The lane ignores a slot that it never opened.
    fn close_slots(&mut self, slots: Vec<Slot>) -> io::Result<()> {
        slots.into_iter().try_for_each(|slot| self.lane.close(slot))
    }

    fn report(&mut self, report: Report) {
        if let Err(report) = self.reports.try_push(report) {
            self.undelivered.push(report);
        }
        self.bell.notify_one();
    }
}

#[cfg(test)]
#[path = "worker/worker_tests.rs"]
mod tests;
