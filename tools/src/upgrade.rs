//! `bauta upgrade`: a new relay process takes over from the running one, and no packet is lost.

#![allow(clippy::indexing_slicing, reason = "a member that a JSON value does not have is null")]

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::place::Place;

/// The socket at which `bauta run` is asked, in the state directory.
pub const SOCKET: &str = "run/supervisor.sock";
/// The option by which a relay takes over.
pub const TAKE_OVER: &str = "--take-over";
/// A relay that has taken over says these words.
const TOOK_OVER: &str = " took over ";
/// How long an upgrade may take; a new relay gives up earlier.
const PATIENCE: Duration = Duration::from_secs(120);

/// Have a new relay process take over every call, port and recording from the running one: no packet is lost, and
/// neither parties nor control nor recorder notice. Exits 1, and says why, if the running one goes on.
///
/// Where `bauta run` started the relay, it starts the new one, too, and looks after it from then on; elsewhere the new
/// one is left running in the background.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The new relay's program; without it the one that started the running one, which a package upgrade has replaced.
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// Runs the subcommand.
pub fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { program, place } = arguments;
    let program = program.as_deref().map(std::path::absolute).transpose()?;
    let socket = place.state.join(SOCKET);
    let said = match UnixStream::connect(&socket) {
        Ok(supervisor) => ask(&supervisor, program.as_deref())?,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            alone(program, place)?
        }
        Err(e) => return Err(e).with_context(|| socket.display().to_string()),
    };
    println!("{said}");
    Ok(ExitCode::SUCCESS)
}

/// Has the supervisor do it.
fn ask(mut supervisor: &UnixStream, program: Option<&Path>) -> anyhow::Result<String> {
    supervisor.set_read_timeout(Some(PATIENCE))?;
    writeln!(supervisor, "{}", json!({ "program": program }))?;
    let mut line = String::new();
    BufReader::new(supervisor).read_line(&mut line)?;
    let answer: Value = serde_json::from_str(&line).context("`bauta run` ended before it was done")?;
    match (answer["done"].as_str(), answer["error"].as_str()) {
        (Some(said), _) => Ok(said.to_owned()),
        (None, error) => bail!("{}", error.unwrap_or("`bauta run` says nothing")),
    }
}

/// Does it without a supervisor.
fn alone(program: Option<PathBuf>, place: &Place) -> anyhow::Result<String> {
    let program = match program {
        Some(program) => program,
        None => std::env::current_exe()?.with_file_name("bauta-relay"),
    };
    ensure!(program.is_file(), "{} is no program", program.display());
    let folder = place.state.join("log");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let log = folder.join("relay.log");
    let (before, file) = (length(&log), File::options().create(true).append(true).open(&log)?);
    let mut child = Command::new(&program)
        .args(arguments(place))
        .arg(TAKE_OVER)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file)
        // It stays when this terminal goes.
        .process_group(0)
        .spawn()
        .with_context(|| program.display().to_string())?;
    let said = child.stdout.take().map_or_else(|| Ok(String::new()), |out| outcome(out, &log, before));
    if said.is_err() {
        // It ends by itself.
        child.wait()?;
    }
    said
}

/// What the three processes are told of where they are.
pub fn arguments(place: &Place) -> Vec<OsString> {
    let mut arguments = vec!["--state".into(), place.state.clone().into_os_string()];
    if let Some(config) = &place.config {
        arguments.extend(["--config".into(), config.clone().into_os_string()]);
    }
    arguments
}

/// Waits for what a new relay says when it has taken over, or for its end: then says why, by what it logged behind
/// `before`.
pub fn outcome(said: ChildStdout, log: &Path, before: u64) -> anyhow::Result<String> {
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line)?;
    if let Some(line) = line.strip_suffix('\n').filter(|line| line.contains(TOOK_OVER)) {
        return Ok(line.to_owned());
    }
    // Another program may say anything.
    ensure!(line.is_empty(), "nothing was taken over, and what ran goes on: what was started is no relay");
    let mut bytes = Vec::new();
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(before))?;
    // Long before the end of patience: it is the log of a few seconds.
    file.take(1 << 20).read_to_end(&mut bytes)?;
    bail!("nothing was taken over, and what ran goes on: {}", reason(&String::from_utf8_lossy(&bytes)));
}

/// The error with which a process ended, by its log; it has lines behind it that say what caused it.
fn reason(log: &str) -> String {
    // With RUST_BACKTRACE set, where in the program it was comes behind.
    let log = log.split("Stack backtrace:").next().unwrap_or_default();
    // In small letters: of a program that does not know its arguments, with its usage behind.
    let refused = || Some(log.rsplit_once("error: ")?.1.split("Usage:").next().unwrap_or_default());
    let Some(error) = log.rsplit_once("Error: ").map(|(_, error)| error).or_else(refused) else {
        return log.lines().last().unwrap_or("it said nothing").to_owned();
    };
    error.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Bytes of a file; 0 where there is none.
pub fn length(file: &Path) -> u64 {
    file.metadata().map_or(0, |m| m.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_last_error_with_its_cause() {
        let log = "INFO lane\nError: first\nINFO lane\nError: relay.sock cannot be opened\n\nCaused by:\n    denied\n\nStack backtrace:\n   0: main\n";
        assert_eq!(reason(log), "relay.sock cannot be opened Caused by: denied");
        assert_eq!(reason("killed\n"), "killed");
        assert_eq!(reason(""), "it said nothing");
        let old = "error: unexpected argument '--take-over' found\n\nUsage: bauta-relay\n\nFor more information, try '--help'.\n";
        assert_eq!(reason(old), "unexpected argument '--take-over' found");
    }
}
