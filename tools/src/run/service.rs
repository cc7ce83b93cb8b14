//! One of the three processes: how it is started, when it is started again, how it is stopped.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use super::child;
use crate::place::Place;
use crate::upgrade;

/// A process that ran so long before it died begins anew with its delays.
const STEADY: Duration = Duration::from_secs(60);
/// A process that has not taken over after so long hangs: a relay gives up by itself before.
const TAKE_OVER: Duration = Duration::from_secs(90);

/// A process and what is needed to start it again.
#[derive(Debug)]
pub struct Service {
    /// `relay`, `control` or `recorder`.
    pub name: &'static str,
    /// Where its output goes.
    pub log: PathBuf,
    program: PathBuf,
    arguments: Vec<OsString>,
    child: Option<Child>,
    successor: Option<Successor>,
    started: Instant,
    /// Deaths in a row.
    deaths: u32,
    again: Option<Instant>,
}

/// A process that is to take over from the one that runs.
#[derive(Debug)]
struct Successor {
    child: Child,
    program: PathBuf,
    started: Instant,
}

impl Service {
    /// Starts the process `name`, whose program lies beside this one.
    pub fn start(name: &'static str, place: &Place) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?.with_file_name(format!("bauta-{name}"));
        anyhow::ensure!(program.is_file(), "{} is missing: tools/run builds it", program.display());
        let arguments = upgrade::arguments(place);
        let log = place.state.join("log").join(format!("{name}.log"));
        let (started, again) = (Instant::now(), None);
        let (child, successor) = (None, None);
        let mut service = Self { name, log, program, arguments, child, successor, started, deaths: 0, again };
        service.spawn()?;
        Ok(service)
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        let log = self.open_log()?;
        let child = Self::command(&self.program, &self.arguments, log.try_clone()?)?.stdout(log).spawn();
        let child = child.with_context(|| format!("{} cannot be started", self.name))?;
        (self.child, self.started) = (Some(child), Instant::now());
        Ok(())
    }

    fn open_log(&self) -> anyhow::Result<File> {
        let log = File::options().create(true).append(true).open(&self.log);
        log.with_context(|| self.log.display().to_string())
    }

    fn command(program: &Path, arguments: &[OsString], log: File) -> std::io::Result<Command> {
        let mut command = child::command(program, arguments)?;
        // Ctrl-C is for the supervisor alone: it stops the three in order.
        command.stdin(Stdio::null()).stderr(log).process_group(0);
        Ok(command)
    }

    /// Starts a process that is to take over from the one that runs; `program` if it is not to be the same path. Gives
    /// its standard output, its log, and how long that was before.
    pub fn upgrade(&mut self, program: Option<PathBuf>) -> anyhow::Result<(ChildStdout, PathBuf, u64)> {
        anyhow::ensure!(self.child.is_some(), "{} does not run; it is started again in a moment", self.name);
        self.failed_successor();
        anyhow::ensure!(self.successor.is_none(), "another upgrade is under way");
        let program = program.unwrap_or_else(|| self.program.clone());
        anyhow::ensure!(program.is_file(), "{} is no program", program.display());
        let arguments: Vec<OsString> =
            self.arguments.iter().cloned().chain([upgrade::TAKE_OVER.into()]).collect();
        let (before, log) = (upgrade::length(&self.log), self.open_log()?);
        let mut child = Self::command(&program, &arguments, log)?
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let said = child.stdout.take().context("no pipe")?;
        self.successor = Some(Successor { child, program, started: Instant::now() });
        Ok((said, self.log.clone(), before))
    }

    /// Its end, the first time that it is seen. A process that left its place to another has not ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        let Some(Successor { mut child, program, .. }) = self.successor.take() else { return Some(status) };
        if !status.success() {
            // It crashed and has left nothing to anybody: what waits for it must not keep its place.
            let _ = child.kill();
            let _ = child.wait();
            return Some(status);
        }
        // If it did not take over, it ends as well, and that is seen next.
        (self.child, self.program, self.started) = (Some(child), program, Instant::now());
        None
    }

    /// The end of a process that did not take over, the first time that it is seen.
    fn failed_successor(&mut self) -> Option<ExitStatus> {
        let status = self.successor.as_mut()?.child.try_wait().ok().flatten()?;
        self.successor = None;
        Some(status)
    }

    /// Sees to it that it runs; returns what a person should know.
    pub fn look_after(&mut self, now: Instant) -> Option<String> {
        if let Some(status) = self.ended() {
            let lived = now.saturating_duration_since(self.started);
            self.deaths = if lived > STEADY { 1 } else { self.deaths.saturating_add(1) };
            let delay = delay(self.deaths);
            self.again = Some(now + delay);
            let seconds = delay.as_secs_f64();
            return Some(format!("{} ended ({status}); it is started again in {seconds} s", self.name));
        }
        if let Some(status) = self.failed_successor() {
            return Some(format!(
                "{} was not upgraded (the new one ended, {status}); the old process goes on",
                self.name
            ));
        }
        if let Some(hangs) = self.successor.as_mut().filter(|s| now.duration_since(s.started) > TAKE_OVER) {
            // Its end is seen next.
            let _ = hangs.child.kill();
        }
        if self.child.is_some() || self.again.is_none_or(|at| at > now) {
            return None;
        }
        match self.spawn() {
            Ok(()) => {
                self.again = None;
                Some(format!("{} is started again", self.name))
            }
            Err(error) => {
                self.deaths = self.deaths.saturating_add(1);
                self.again = Some(now + delay(self.deaths));
                Some(format!("{error:#}"))
            }
        }
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        for mut child in self.child.take().into_iter().chain(self.successor.take().map(|s| s.child)) {
            // Killed: the wait is short, and its result says nothing new.
            let _ = child.wait();
        }
    }

    fn signal(&self, signal: Signal) {
        for child in self.child.iter().chain(self.successor.iter().map(|s| &s.child)) {
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                // Not waited for yet, so the id is still its own; it may have ended all the same.
                let _ = kill_process(pid, signal);
            }
        }
    }

    /// Whether it runs, as far as was seen.
    pub const fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// The last lines that it logged.
    pub fn last_words(&self) -> String {
        let text = tail(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join("\n  ")
    }
}

/// The end of a file.
fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// How long to wait before starting a process that died `deaths` times in a row: 0.25 s doubling to 16 s. The first
/// restart is quick, because the relay's ring holds what a recorder has missed for a short time only.
fn delay(deaths: u32) -> Duration {
    Duration::from_millis(250 << deaths.saturating_sub(1).min(6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_end() {
        let delays = [0, 1, 2, 7, 8, u32::MAX].map(|n| delay(n).as_millis());
        assert_eq!(delays, [250, 250, 500, 16_000, 16_000, 16_000]);
    }
}
