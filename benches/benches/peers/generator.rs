//! `bauta load` in the generator's namespace, on the other core: what it is asked for, and its report.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::namespaces::PARTIES;
use tests::process::Process;

use super::Bench;
use super::contestant::{Contestant, NG, SETTINGS_OF_LOAD, STATE};

/// The parties' ports: below those that the kernel gives to NG clients.
const PORTS: &str = "10000-32767";
/// Beside the time that is measured: until the load comes evenly and a second is skipped, and a little more.
const AROUND: u64 = 6;
/// Packets a second of a leg that is to send none: next to none of them sends one.
const HARDLY_EVER: f64 = 0.001;
/// The report's file, in the contestant's folder.
const REPORT: &str = "load.json";
/// How long a search for the highest load may take.
const SEARCH: Duration = Duration::from_secs(900);
/// Calls opened a second.
const OPENED: u32 = 500;
/// How long calls may take to be opened, and to be ended.
const OPENING: Duration = Duration::from_secs(120);

/// A load.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "independent of each other")]
pub struct Load {
    /// Calls at a time.
    pub calls: u32,
    /// Packets a second and leg.
    pub rate: f64,
    /// Seconds that are measured.
    pub seconds: u64,
    /// Legs also report, by RTCP.
    pub rtcp: bool,
    /// No media comes.
    pub silent: bool,
    /// More comes than can be forwarded.
    pub flat_out: bool,
    /// Every call is recorded.
    pub record: bool,
    /// Calls end as soon as they are answered; so many clients ask for them.
    pub clients: Option<u32>,
    /// Calls end after so long, and others come.
    pub call_seconds: Option<u64>,
}

impl Load {
    /// Calls with media.
    pub const fn media(calls: u32, rate: f64, seconds: u64) -> Self {
        Self {
            calls,
            rate,
            seconds,
            rtcp: true,
            silent: false,
            flat_out: false,
            record: false,
            clients: None,
            call_seconds: None,
        }
    }

    /// Calls without media that stay open so long.
    pub const fn silent(calls: u32, seconds: u64) -> Self {
        Self { silent: true, rtcp: false, ..Self::media(calls, HARDLY_EVER, seconds) }
    }

    /// Set-ups by so many clients.
    pub const fn setups(clients: u32, seconds: u64) -> Self {
        Self { clients: Some(clients), ..Self::silent(0, seconds) }
    }

    /// Packets a second of all legs.
    pub fn expected(&self) -> f64 {
        2.0 * f64::from(self.calls) * self.rate
    }
}

/// A running generator.
pub struct Generator {
    process: Process,
    report: PathBuf,
    began: Instant,
    limit: Duration,
}

impl Generator {
    /// Starts it; it begins with opening its calls.
    pub fn start(bench: &Bench, contestant: &Contestant, load: &Load) -> Self {
        let around = if load.silent { 0 } else { AROUND };
        let mut command = command(bench, contestant);
        command.args(["--seconds", &(load.seconds + around).to_string()]);
        if let Some(clients) = load.clients {
            command.args(["--setups", "--clients", &clients.to_string()]);
        } else {
            command.args(["--rate", &OPENED.to_string()]);
            command.args([
                "--calls",
                &load.calls.to_string(),
                "--packets-per-second",
                &load.rate.to_string(),
            ]);
        }
        if !load.rtcp {
            command.arg("--no-rtcp");
        }
        if load.record {
            command.args(["--record", "--state", STATE, "--config", SETTINGS_OF_LOAD]);
        }
        if let Some(seconds) = load.call_seconds {
            command.args(["--call-seconds", &seconds.to_string()]);
        }
        Self::run(contestant, command, OPENING + Duration::from_secs(load.seconds + around))
    }

    /// Starts the search for the highest load without loss.
    pub fn find_max(bench: &Bench, contestant: &Contestant) -> Self {
        let mut command = command(bench, contestant);
        command.args(["--find-max", "--calls", "500"]);
        Self::run(contestant, command, SEARCH)
    }

    fn run(contestant: &Contestant, command: Command, limit: Duration) -> Self {
        let report = contestant.folder().join(REPORT);
        // That of the load before it is none of this one.
        let _ = std::fs::remove_file(&report);
        let process = Process::start("bauta load", command, contestant.folder().join("load.log"));
        Self { process, report, began: Instant::now(), limit }
    }

    /// Whether it has ended; an error where it has failed, or takes too long.
    pub fn done(&mut self) -> Result<bool> {
        let Some(status) = self.process.ended() else {
            ensure!(
                self.began.elapsed() < self.limit,
                "bauta load takes longer than {:?}\n{}",
                self.limit,
                self.said()
            );
            return Ok(false);
        };
        // It also ends so when packets were lost; its report then says how many.
        ensure!(status.success() || self.report.is_file(), "bauta load: {status}\n{}", self.said());
        Ok(true)
    }

    /// What it has printed.
    pub fn said(&self) -> String {
        self.process.output()
    }

    /// Waits for its end; gives its report.
    pub fn finish(mut self, bench: &Bench, contestant: &mut Contestant) -> Result<Report> {
        while !self.done()? {
            bench.pause(Duration::from_millis(100))?;
            contestant.alive()?;
        }
        let path = self.report.display().to_string();
        let text = std::fs::read_to_string(&self.report).context(path.clone())?;
        Ok(Report(serde_json::from_str(&text).context(path)?))
    }
}

/// What every load has in common.
fn command(bench: &Bench, contestant: &Contestant) -> Command {
    let core = bench.cores.generator;
    let mut command = bench.link.generator.command_on(bench.programs.join("bauta"), core);
    command.args(["load", "--ng", &NG.to_string(), "--core", &core.to_string()]);
    command.args(["--from", &PARTIES.map(|party| party.to_string()).join(","), "--ports", PORTS]);
    command.args(["--json", REPORT]).current_dir(contestant.folder());
    command
}

/// What the generator saw, as `bauta load --json` writes it.
pub struct Report(pub Value);

impl Report {
    /// A number in it.
    pub fn number(&self, at: &str) -> Result<f64> {
        let number = self.0.pointer(at).and_then(Value::as_f64);
        number.with_context(|| format!("the report of bauta load has no number {at}: {}", self.0))
    }

    /// Packets that did not come back.
    pub fn lost(&self) -> Result<f64> {
        self.number("/packets_lost")
    }

    /// Calls that were not set up, or not ended.
    pub fn failed(&self) -> Result<f64> {
        Ok(self.number("/calls_failed")? + self.number("/calls_left")?)
    }

    /// Packets a second of all legs, the most without loss.
    pub fn capacity(&self) -> Result<f64> {
        self.number("/max_packets_per_second")
    }
}
