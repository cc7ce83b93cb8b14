//! `--setups`: how many calls a second are set up and ended, without media.
//!
//! A closed loop: each client asks again as soon as it was answered. A client is a thread with an NG socket of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::interrupt::Interrupt;
use super::options::Arguments;
use super::proxy::Manner;
use super::report::{Report, per_second};
use super::setup::{Signalling, connect};
use super::timing::Timing;
use super::traffic::Plan;

/// A client that was refused waits so long: it is no flood that is measured.
const REFUSED: Duration = Duration::from_millis(20);
/// Questions in a row that nobody answered, after which a client ends.
const PATIENCE: u32 = 2;

/// What a client did.
#[derive(Default)]
struct Tally {
    set_up: u64,
    failed: u64,
    left: u64,
    errors: BTreeMap<String, u64>,
}

/// Sets calls up and ends them for as long as `arguments` say.
pub fn run(arguments: &Arguments, manner: &Manner, interrupt: &Interrupt) -> anyhow::Result<Report> {
    let plan = arguments.plan()?;
    arguments.core.map_or(Ok(()), pin)?;
    let connections = connect(arguments, manner)?;
    let clients = u32::try_from(connections.len())?;
    let start = Instant::now();
    let end = start + Duration::from_secs(arguments.seconds);
    let done: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .zip(connections)
            .map(|(number, connection)| {
                let (plan, numbers) = (&plan, (number, clients));
                scope.spawn(move || client(connection, plan, numbers, end, interrupt))
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let seconds = start.elapsed().as_secs_f64();
    let (mut timing, mut repeated) = (Timing::default(), 0);
    let mut report = Report { seconds, calls: clients, interrupted: interrupt.asked(), ..Report::default() };
    for (tally, connection) in done {
        report.calls_set_up += tally.set_up;
        report.calls_failed += tally.failed;
        report.calls_left += tally.left;
        tally.errors.into_iter().for_each(|(why, n)| *report.errors.entry(why).or_default() += n);
        let (own, again) = connection.into_timing();
        timing.add(&own);
        repeated += again;
    }
    report.setups_per_second = per_second(report.calls_set_up, seconds);
    report.signalling(&timing, repeated);
    if report.calls_set_up == 0 && report.calls_failed == 0 && !report.interrupted {
        report.failures.push("no call was set up".into());
    }
    Ok(report)
}

/// One client until `end`. Its calls have every `clients`th number from its own on, so no two describe the same ports at once.
fn client(
    mut connection: Signalling,
    plan: &Plan,
    (first, clients): (u32, u32),
    end: Instant,
    interrupt: &Interrupt,
) -> (Tally, Signalling) {
    let mut tally = Tally::default();
    let (most, mut number, mut unanswered) = (plan.most_calls().max(clients), first, 0);
    while Instant::now() < end && !interrupt.asked() && unanswered < PATIENCE {
        let [Some(caller), Some(callee)] = [0, 1].map(|leg| plan.ends(number, leg)) else {
            number = first;
            continue;
        };
        let done = connection.open(number, [caller, callee]);
        let opened = done.is_ok();
        let done = done.and_then(|_| connection.close(number));
        tally.set_up += u64::from(opened);
        match done {
            Ok(()) => unanswered = 0,
            Err(failure) => {
                *if opened { &mut tally.left } else { &mut tally.failed } += 1;
                unanswered += u32::from(failure.fault == super::ng::Fault::Silent);
                *tally.errors.entry(failure.to_string()).or_default() += 1;
                std::thread::sleep(REFUSED);
            }
        }
        number += clients;
        if number >= most {
            number = first;
        }
    }
    (tally, connection)
}

/// Keeps this thread on `core`, and the threads that it starts.
fn pin(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    if core < CpuSet::MAX_CPU {
        set.set(core);
    }
    sched_setaffinity(None, &set)
        .with_context(|| format!("--core {core}: not a core that this process may use"))
}
