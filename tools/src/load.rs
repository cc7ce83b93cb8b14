//! `bauta load`: calls with media at a relay, and what came through.
//!
//! [`run`] conducts a run on the main thread: [`schedule`] says which call begins and ends when, [`setup`] has the threads that
//! ask for it (over NG: [`proxy`]; at the relay itself: [`direct`]), [`traffic`] sends and checks the packets on a thread of its
//! own. [`find_max`] looks for the highest load with such a run, [`setups`] does without media.

mod direct;
mod find_max;
mod interrupt;
mod ng;
mod options;
mod plot;
mod proxy;
mod recorded;
mod report;
mod run;
mod schedule;
mod sdp;
mod setup;
mod setups;
mod table;
mod timing;
mod traffic;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};

use interrupt::Interrupt;
pub use options::Arguments;
use proxy::Manner;
use recorded::Trip;
use report::Report;
use run::Run;

/// Runs the subcommand.
pub fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    arguments.check()?;
    relay::sys::limits::raise_open_files().context("open-file limit")?;
    let interrupt = Interrupt::watch().context("signal handlers")?;
    let config = arguments.config.as_deref();
    let trip = arguments.state.as_deref().map(|state| Trip::open(state, config)).transpose()?;
    let (keys, flags) = arguments.flags();
    let manner = Manner {
        format: arguments.codec,
        ptime: arguments.ptime(),
        record: arguments.record,
        keys,
        flags,
        routes: trip.as_ref().map(|trip| trip.routes.clone()),
    };
    let done = match arguments {
        Arguments { setups: true, .. } => setups::run(arguments, &manner, &interrupt),
        _ => media(arguments, &manner, &interrupt),
    };
    let closed = trip.map_or(Ok(()), Trip::close);
    let mut report = done?;
    closed.context("the trip of this load is still open")?;
    report.mode = match (arguments.setups, arguments.find_max) {
        (true, _) => "setups",
        (false, true) => "find_max",
        (false, false) => "calls",
    };
    report.target = match &arguments.relay {
        Some(socket) => format!("relay {}", socket.display()),
        None => format!("ng {}", arguments.ng),
    };
    report.generator_cpu_seconds = cpu_seconds();
    report.judge();
    tell(arguments, &report)?;
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Calls with media.
fn media(arguments: &Arguments, manner: &Manner, interrupt: &Interrupt) -> anyhow::Result<Report> {
    let progress = std::io::stderr().is_terminal();
    let mut run = Run::start(arguments, manner, interrupt, progress)?;
    run.ramp()?;
    let long = Duration::from_secs(arguments.seconds);
    if !arguments.find_max {
        if arguments.call_seconds.is_none() {
            run.plan(arguments.packets_per_second);
        }
        run.go_on(long);
        return run.finish();
    }
    let step = Duration::from_secs(arguments.step_seconds);
    let found = find_max::find(&mut run, arguments.packets_per_second, step, long);
    let mut report = run.finish()?;
    report.found(found);
    Ok(report)
}

/// Prints the table, and writes what else is asked for. Standard output holds JSON alone where that is wanted there.
fn tell(arguments: &Arguments, report: &Report) -> anyhow::Result<()> {
    let json = || serde_json::to_string_pretty(report).map(|json| json + "\n");
    let write =
        |path: &Path, text: String| std::fs::write(path, text).with_context(|| path.display().to_string());
    match &arguments.json {
        Some(path) if path.as_os_str() == "-" => {
            eprint!("{}", table::text(report));
            print!("{}", json()?);
        }
        path => {
            path.iter().try_for_each(|path| write(path, json()?))?;
            print!("{}", table::text(report));
        }
    }
    arguments.svg.iter().try_for_each(|path| write(path, plot::svg(report)))
}

/// CPU time of this process.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)).as_secs_f64()
}
