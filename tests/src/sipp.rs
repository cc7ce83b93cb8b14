//! Phones: SIPp with the scenarios of `tests/scenarios/`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::deadline::seconds;
use crate::ports::Ports;
use crate::process::Process;
use crate::programs::repository;
use crate::speech::Speech;

/// Milliseconds that a caller stays on the line after its own speech, so that the other side's has ended too.
const TAIL: u64 = 1_500;

/// A phone, or as many as there are callers.
#[derive(Debug)]
pub struct Phone {
    process: Process,
    errors: PathBuf,
}

/// A caller's number, and the pool number that it dials.
#[derive(Debug, Clone)]
pub struct Dials {
    /// E.164.
    pub own: String,
    /// E.164.
    pub dial: String,
}

/// What a phone does.
#[derive(Debug)]
pub struct Part<'a> {
    /// Its scenario's name.
    pub scenario: &'a str,
    /// What it says.
    pub speech: Option<&'a Speech>,
    /// SIP code that it expects or answers.
    pub code: u16,
}

impl<'a> Part<'a> {
    /// A scenario in which somebody speaks.
    pub const fn speaks(scenario: &'a str, speech: &'a Speech) -> Self {
        Self { scenario, speech: Some(speech), code: 0 }
    }

    /// A scenario with a SIP code.
    pub const fn with_code(scenario: &'a str, code: u16) -> Self {
        Self { scenario, speech: None, code }
    }
}

impl Phone {
    /// Phones that call through `proxy`, all at once: one per entry of `dials`.
    pub fn calls(ports: &Ports, folder: &Path, proxy: SocketAddr, part: &Part<'_>, dials: &[Dials]) -> Self {
        let numbers = folder.join("caller.csv");
        let rows: Vec<String> = dials.iter().map(|d| format!("{};{}", d.own, d.dial)).collect();
        std::fs::write(&numbers, format!("SEQUENTIAL\n{}\n", rows.join("\n"))).expect("numbers");
        let mut command = ports.command("sipp");
        // A Call-ID with the caller's number in it, as some phones make them.
        command.arg(proxy.to_string()).args(["-cid_str", &format!("%u-%p-{}@%s", dials[0].own)]);
        command.arg("-inf").arg(&numbers).args(["-r", "20"]);
        let sockets = (ports.caller(), ports.caller_media().0);
        Self::start("caller", command, ports.phones(), sockets, folder, part, dials.len())
    }

    /// Phones that are called, `calls` times; all say that their number is `own`.
    pub fn answers(ports: &Ports, folder: &Path, part: &Part<'_>, own: &str, calls: usize) -> Self {
        let mut command = ports.command("sipp");
        command.args(["-key", "own", own]);
        let sockets = (ports.callee(), ports.callee_media().0);
        let mut phone = Self::start("callee", command, ports.phones(), sockets, folder, part, calls);
        let bound = format!(":{:04X} ", ports.callee());
        phone.process.ready("listens", seconds(10), |process| {
            let table = std::fs::read_to_string(format!("/proc/{}/net/udp", process.id()));
            table.is_ok_and(|table| table.contains(&bound)).then_some(())
        });
        phone
    }

    fn start(
        name: &str,
        mut command: Command,
        address: IpAddr,
        (sip, media): (u16, u16),
        folder: &Path,
        part: &Part<'_>,
        calls: usize,
    ) -> Self {
        let template = repository("tests/scenarios").join(format!("{}.xml", part.scenario));
        let mut xml =
            std::fs::read_to_string(&template).expect("scenario").replace("@CODE@", &part.code.to_string());
        if let Some(speech) = part.speech {
            xml = xml
                .replace("@SPEECH@", &speech.path().display().to_string())
                .replace("@TALK@", &(speech.milliseconds() + TAIL).to_string());
        }
        let scenario = folder.join(format!("{name}.xml"));
        std::fs::write(&scenario, xml).expect("scenario");
        let errors = folder.join(format!("{name}.errors"));
        command.arg("-sf").arg(&scenario).args(["-i", &address.to_string(), "-p", &sip.to_string()]);
        command.args(["-mp", &media.to_string(), "-m", &calls.to_string(), "-l", &calls.to_string()]);
        command
            .args(["-nostdin", "-timeout", "60s", "-timeout_error", "-trace_err", "-error_file"])
            .arg(&errors);
        command.current_dir(folder).env("TERM", "dumb");
        Self { process: Process::start(name, command, folder.join(format!("{name}.log"))), errors }
    }

    /// Waits for its end; fails unless every one of its calls went as the scenario says.
    #[track_caller]
    pub fn finish(&mut self) {
        let status = self.process.finish(seconds(70));
        let errors = std::fs::read_to_string(&self.errors).unwrap_or_default();
        assert!(status.success(), "a phone's call failed ({status}): {errors}");
    }
}
