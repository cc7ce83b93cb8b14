//! One run: media thread, signalling threads, and this one, which conducts them and keeps the books.
//!
//! On the main thread. It wakes for what is due, for answers, and once a second.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

use super::interrupt::Interrupt;
use super::ng::Fault;
use super::options::Arguments;
use super::proxy::{Failure, Manner};
use super::report::{Report, Second, between, per_second};
use super::schedule::{Job, Schedule, Wish};
use super::setup::{Desk, Done, connect};
use super::traffic::{Call, Figures, Plan, Traffic, TrafficError};

/// How long a Ctrl-C may go unnoticed.
const GLANCE: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
/// Set-ups of one client that may wait for their turn.
const QUEUE: u32 = 4;

/// A run in progress.
pub struct Run<'a> {
    interrupt: &'a Interrupt,
    /// Calls at once that were asked for.
    calls: u32,
    plan: Plan,
    traffic: Traffic,
    desk: Desk,
    schedule: Schedule,
    start: Instant,
    /// When the last row was written, and what was counted then.
    row: (Instant, Figures),
    steady: Option<Steady>,
    /// Calls whose end was not asked for yet.
    open: BTreeSet<u32>,
    /// Set-ups and ends that were asked for and not answered yet.
    asked: u64,
    /// Set-ups and ends in a row that nobody answered; after so many, nobody is there.
    unanswered: u32,
    patience: u32,
    progress: bool,
    /// Packets a second that the calls should send together, where they all last and none is searched for.
    planned: Option<f64>,
    /// Why there is no media any more: the run ends.
    broken: Option<TrafficError>,
    report: Report,
}

/// The moment from which all calls were up.
struct Steady {
    at: Instant,
    counted: Figures,
}

impl<'a> Run<'a> {
    /// Makes sockets and connections. Sends nothing but a ping.
    pub fn start(
        arguments: &Arguments,
        manner: &Manner,
        interrupt: &'a Interrupt,
        progress: bool,
    ) -> anyhow::Result<Self> {
        let mut plan = arguments.plan()?;
        // No more ports than calls need: the media thread makes room for all it is given.
        while plan.most_calls() > arguments.slots() {
            plan.ports.last -= 1;
        }
        let connections = connect(arguments, manner)?;
        let clients = u32::try_from(connections.len())?;
        let traffic = Traffic::start(plan.clone())?;
        let desk = Desk::start(connections)?;
        let schedule = Schedule::new(Wish {
            calls: arguments.calls,
            rate: arguments.rate,
            at_once: QUEUE * clients,
            life: arguments.call_seconds.map(Duration::from_secs_f64),
            numbers: arguments.slots(),
            seed: getrandom::u64()?,
        });
        let (start, row) = (Instant::now(), (Instant::now(), Figures::default()));
        let report = Report { codec: arguments.codec.encoding(), ..Report::default() };
        Ok(Self {
            interrupt,
            calls: arguments.calls,
            plan,
            traffic,
            desk,
            schedule,
            start,
            row,
            steady: None,
            open: BTreeSet::new(),
            asked: 0,
            unanswered: 0,
            patience: clients.max(QUEUE),
            progress,
            planned: None,
            broken: None,
            report,
        })
    }

    /// Sets the calls up; media of each begins when it is up. Fails only if there is none in the end.
    pub fn ramp(&mut self) -> anyhow::Result<()> {
        self.drive(None, Schedule::complete);
        let took = self.start.elapsed().as_secs_f64();
        self.report.setups_per_second = per_second(self.report.calls_set_up, took);
        self.steady = Some(Steady { at: Instant::now(), counted: self.count() });
        self.report.steady_from_unix_ms = unix_ms();
        if self.report.calls_set_up == 0 && self.broken.is_none() && !self.interrupted() {
            let why: Vec<_> =
                self.report.errors.iter().map(|(why, n)| format!("{why} ({n} times)")).collect();
            bail!("no call could be set up: {}", why.join("; "));
        }
        Ok(())
    }

    /// What the calls that are up should send together, in packets a second: less is a generator that is late.
    pub fn plan(&mut self, packets_per_second_per_leg: f64) {
        self.planned = Some(packets_per_second_per_leg * 2.0 * f64::from(self.calls()));
    }

    /// Goes on for so long.
    pub fn go_on(&mut self, how_long: Duration) {
        self.drive(Some(Instant::now() + how_long), |_| false);
    }

    /// Whether an early end was asked for.
    pub fn interrupted(&self) -> bool {
        self.interrupt.asked()
    }

    /// The packet rate of each leg from now on.
    pub fn set_rate(&self, packets_per_second: f64) {
        self.traffic.set_rate(packets_per_second);
    }

    /// What was counted so far.
    pub fn count(&mut self) -> Figures {
        self.traffic.figures().unwrap_or_else(|e| {
            self.broken.get_or_insert(e);
            self.row.1.clone()
        })
    }

    fn goes_on(&self) -> bool {
        self.broken.is_none() && !self.interrupted() && self.unanswered < self.patience
    }

    /// Calls that are up.
    pub fn calls(&self) -> u32 {
        self.schedule.up()
    }

    /// Shows `line`, where progress is shown.
    pub fn say(&self, line: &str) {
        if self.progress {
            eprintln!("{line}");
        }
    }

    /// Stops the media, ends the calls, and reports.
    pub fn finish(mut self) -> anyhow::Result<Report> {
        self.report.interrupted = self.interrupted();
        self.report.steady_until_unix_ms = unix_ms();
        if self.row.0.elapsed() > SECOND / 10 {
            self.write_row();
        }
        let stopped = Instant::now();
        let Self {
            calls,
            traffic,
            desk,
            open,
            mut report,
            row,
            steady,
            asked,
            unanswered,
            planned,
            broken,
            ..
        } = self;
        let finished = traffic.finish();
        let all = finished.as_ref().unwrap_or(&row.1);
        // What was under way at the end belongs to the last second.
        let rest = between(&row.1, all);
        if let Some(last) = report.rows.last_mut() {
            last.packets_sent += rest.sent;
            last.packets_received += rest.received;
            last.packets_lost += rest.lost;
        }
        let mut ending = Ending { desk: &desk, open, asked, unanswered, report: &mut report };
        ending.all();
        let (timing, repeated) = desk.finish();
        if report.interrupted && report.calls_set_up + report.calls_failed < calls.into() {
            report.failures.push("it was interrupted before all calls were tried".into());
        }
        // Calls are ended in any case; then it is told.
        broken.map_or(Ok(()), Err)?;
        if let Err(e) = finished {
            return Err(e.into());
        }
        let steady = steady.context("a run that was never begun")?;
        report.seconds = stopped.duration_since(steady.at).as_secs_f64();
        let planned = planned.map(|rate| rate * report.seconds);
        report.media(all, &between(&steady.counted, all), planned);
        report.signalling(&timing, repeated);
        Ok(report)
    }

    /// Does what is due, until `end`, or `enough`, or Ctrl-C.
    fn drive(&mut self, end: Option<Instant>, enough: fn(&Schedule) -> bool) {
        while !enough(&self.schedule) && self.goes_on() {
            let now = Instant::now();
            if end.is_some_and(|end| end <= now) {
                break;
            }
            let jobs = self.schedule.due(now - self.start);
            jobs.into_iter().for_each(|job| self.give(job));
            if now >= self.row.0 + SECOND {
                self.write_row();
            }
            let due = self.schedule.next_due().map(|due| self.start + due);
            let wake = [end, due, Some(self.row.0 + SECOND), Some(now + GLANCE)].into_iter().flatten().min();
            let wait = wake.map_or(GLANCE, |wake| wake.saturating_duration_since(now));
            match self.desk.done.recv_timeout(wait) {
                Ok(done) => {
                    self.take(done);
                    while let Ok(done) = self.desk.done.try_recv() {
                        self.take(done);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // A signalling thread ends only with its desk; were they all gone, time would still pass.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(wait),
            }
        }
    }

    fn give(&mut self, job: Job) {
        match job {
            Job::Open(number) => match [0, 1].map(|leg| self.plan.ends(number, leg)) {
                [Some(caller), Some(callee)] => {
                    self.asked += 1;
                    self.desk.open(number, [caller, callee]);
                }
                // The plan has ends for as many numbers as the schedule has.
                _ => self.schedule.failed(number, self.start.elapsed()),
            },
            Job::Hush(number) => self.traffic.end(number),
            Job::Close(number) => {
                self.open.remove(&number);
                self.asked += 1;
                self.desk.close(number);
            }
        }
    }

    fn take(&mut self, done: Done) {
        self.asked -= 1;
        let now = self.start.elapsed();
        match done {
            Done::Opened { number, relay } => {
                self.unanswered = 0;
                if let Err(e) = self.traffic.begin(Call { number, relay }) {
                    self.broken.get_or_insert(e);
                }
                self.schedule.opened(number, now);
                self.open.insert(number);
                self.report.calls_set_up += 1;
                self.report.calls = self.report.calls.max(self.schedule.up());
            }
            Done::Failed { number, failure } => {
                self.schedule.failed(number, now);
                self.report.calls_failed += 1;
                self.unanswered += u32::from(failure.fault == Fault::Silent);
                count(&mut self.report.errors, &failure);
            }
            Done::Closed { number, failure } => {
                self.schedule.closed(number, now);
                self.report.calls_left += u64::from(failure.is_some());
                failure.iter().for_each(|failure| count(&mut self.report.errors, failure));
            }
        }
    }

    fn write_row(&mut self) {
        let (now, figures) = (Instant::now(), self.count());
        let seconds = (now - self.row.0).as_secs_f64();
        let at = (now - self.start).as_secs_f64();
        let second = Second::of(&between(&self.row.1, &figures), seconds, at, self.schedule.up());
        self.say(&second.line());
        self.report.rows.push(second);
        self.row = (now, figures);
    }
}

/// The end of a run: every call is ended, unless nobody answers any more.
struct Ending<'a> {
    desk: &'a Desk,
    open: BTreeSet<u32>,
    asked: u64,
    unanswered: u32,
    report: &'a mut Report,
}

impl Ending<'_> {
    fn all(&mut self) {
        // Set-ups first that still wait for their answer: they are calls, too.
        self.settle();
        for number in std::mem::take(&mut self.open) {
            self.asked += 1;
            self.desk.close(number);
        }
        self.settle();
        self.report.calls_left += self.asked;
    }

    fn settle(&mut self) {
        while self.asked > 0 && self.unanswered < QUEUE {
            let Ok(done) = self.desk.done.recv() else { return };
            self.asked -= 1;
            match done {
                Done::Opened { number, .. } => {
                    self.open.insert(number);
                    self.report.calls_set_up += 1;
                }
                Done::Failed { failure, .. } => {
                    self.report.calls_failed += 1;
                    self.unanswered += u32::from(failure.fault == Fault::Silent);
                    count(&mut self.report.errors, &failure);
                }
                Done::Closed { failure: None, .. } => self.unanswered = 0,
                Done::Closed { failure: Some(failure), .. } => {
                    self.report.calls_left += 1;
                    self.unanswered += u32::from(failure.fault == Fault::Silent);
                    count(&mut self.report.errors, &failure);
                }
            }
        }
        if self.asked > 0 {
            self.desk.give_up();
        }
    }
}

fn count(errors: &mut BTreeMap<String, u64>, failure: &Failure) {
    *errors.entry(failure.to_string()).or_default() += 1;
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
