//! A contestant: the processes that do a relay's work, on a core of their own, answering NG before this returns.
//!
//! Each starts afresh for each run and ends with it. Its state and logs are in a temporary folder; the end of a log is
//! printed when its process fails.

use std::fmt::{self, Write};
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Pid;
use rustix::thread::{sched_getaffinity, sched_setaffinity};
use tempfile::TempDir;
use tests::http::Client;
use tests::namespaces::{NETWORK, PARTIES, RELAY};
use tests::process::Process;

use super::Bench;

/// Where NG is answered.
pub const NG: SocketAddr = SocketAddr::new(RELAY, 2223);
/// Where our HTTP is served: a recorded call is one that a route decision has announced.
const HTTP: SocketAddr = SocketAddr::new(RELAY, 8090);
/// Our settings file, in a contestant's folder.
const SETTINGS: &str = "pop.toml";
/// What a load has to know of them: in its namespace the relay's address is no address of this host.
pub const SETTINGS_OF_LOAD: &str = "load.toml";
/// Our state directory, in the same.
pub const STATE: &str = "state";
/// Media ports of either, first and last.
const PORTS: [u16; 2] = [20_000, 59_999];
/// Longest wait for what should take a moment.
const PATIENCE: Duration = Duration::from_secs(20);
/// Lines of a log that are printed when something fails.
const TAIL: usize = 15;

/// Who.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Debian's rtpengine, in user space.
    Rtpengine,
    /// Relay and control.
    Ours,
    /// The same, and the recorder.
    Recorded,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rtpengine => "rtpengine",
            Self::Ours => "ours",
            Self::Recorded => "ours, recorded",
        })
    }
}

/// A running contestant.
pub struct Contestant {
    // Processes go before the folder that they write to. The last one started goes first.
    processes: Vec<(&'static str, Process)>,
    folder: TempDir,
}

impl Contestant {
    /// Starts it. Memory and descriptors are as before its first call when this returns.
    pub fn start(bench: &Bench, who: Who) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("peers-").tempdir_in(&bench.folder)?;
        let mut contestant = Self { processes: Vec::new(), folder };
        let started = contestant.run(bench, who);
        started.with_context(|| format!("start {who}\n{}", contestant.tail()))?;
        Ok(contestant)
    }

    fn run(&mut self, bench: &Bench, who: Who) -> Result<()> {
        if who == Who::Rtpengine {
            self.rtpengine(bench);
        } else {
            self.ours(bench, who)?;
        }
        let socket = bench.link.generator.inside(|| UdpSocket::bind((PARTIES[0], 0)))??;
        self.answers(bench, &socket)
    }

    fn rtpengine(&mut self, bench: &Bench) {
        let mut command = bench.link.relay.command_on("rtpengine", bench.cores.relay);
        // As ours is set: ports at once free for the next call, a call away at its delete. Its log on errors and warnings.
        command.args([
            "--config-file=none",
            "--table=-1",
            "--num-threads=1",
            "--foreground",
            "--log-stderr",
            "--log-level=4",
        ]);
        command.args(["--delete-delay=0", &format!("--interface={RELAY}"), &format!("--listen-ng={NG}")]);
        command.args([format!("--port-min={}", PORTS[0]), format!("--port-max={}", PORTS[1])]);
        self.add("rtpengine", command);
    }

    fn ours(&mut self, bench: &Bench, who: Who) -> Result<()> {
        let settings = format!(
            "[relay]\naddress = \"{RELAY}\"\nports = \"{}-{}\"\nworkers = 1\npin = true\nmax_cpu_percent = 0\n\
             port_rest_seconds = 0\n{}\n\
             [control]\nng = \"{NG}\"\nng_allow = [\"{NETWORK}\"]\nhttp = \"{HTTP}\"\npacket_rate_multiple = 0\n",
            PORTS[0], PORTS[1], bench.options.relay
        );
        let file = self.folder.path().join(SETTINGS);
        fs::write(&file, settings)?;
        fs::write(self.folder.path().join(SETTINGS_OF_LOAD), format!("[control]\nhttp = \"{HTTP}\"\n"))?;
        let state = self.folder.path().join(STATE);
        let start = |contestant: &mut Self, name, core| {
            let mut command = bench.link.relay.command_on(bench.programs.join(format!("bauta-{name}")), core);
            command
                .arg("--state")
                .arg(&state)
                .arg("--config")
                .arg(&file)
                .current_dir(contestant.folder.path());
            contestant.add(name, command);
        };
        start(self, "relay", bench.cores.relay);
        let socket = state.join("run/relay.sock");
        self.until(bench, "the relay listens for control", || Ok(socket.exists()))?;
        start(self, "control", bench.cores.relay);
        let ready = || {
            let reply = Client::open(HTTP).try_get("/readyz");
            reply.is_ok_and(|reply| reply.status == 200)
        };
        self.until(bench, "control is ready", || bench.link.relay.inside(ready))?;
        if who == Who::Recorded {
            // A recorder has cores of its own; of two cores it shares the generator's.
            start(self, "recorder", bench.cores.generator);
            let metrics = state.join("run/recorder.metrics");
            self.until(bench, "the recorder is attached to the tap", || {
                let text = fs::read_to_string(&metrics).unwrap_or_default();
                Ok(text.lines().any(|line| line == "bauta_recorder_attached 1"))
            })?;
        }
        Ok(())
    }

    fn add(&mut self, name: &'static str, command: Command) {
        let log = self.folder.path().join(format!("{name}.log"));
        self.processes.insert(0, (name, Process::start(name, command, log)));
    }

    fn answers(&mut self, bench: &Bench, socket: &UdpSocket) -> Result<()> {
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.connect(NG)?;
        self.until(bench, "NG is answered", || {
            // Refused while nobody listens. The cookie is no generator's: an answer is kept under its cookie.
            let _ = socket.send(b"ready d7:command4:pinge");
            let mut reply = [0; 1024];
            let length = socket.recv(&mut reply).unwrap_or(0);
            Ok(reply.get(..length).is_some_and(|reply| reply.windows(4).any(|word| word == b"pong")))
        })
    }

    fn until(&mut self, bench: &Bench, what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
        let began = Instant::now();
        while !done()? {
            self.alive()?;
            ensure!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
            bench.pause(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// Fails when a process has ended.
    pub fn alive(&mut self) -> Result<()> {
        let ended = |(name, process): &mut (&str, Process)| Some((name.to_owned(), process.ended()?));
        if let Some((name, status)) = self.processes.iter_mut().find_map(ended) {
            bail!("{name} ended: {status}");
        }
        Ok(())
    }

    /// Gives the kernel's threads, which do io_uring's slower work in the name of a process, the core of that process:
    /// they do not have it by themselves.
    pub fn keep_pinned(&self) {
        for (_, pid) in self.processes() {
            let process = Pid::from_raw(i32::try_from(pid).unwrap_or_default());
            let Ok(own) = sched_getaffinity(process) else { continue };
            let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            for thread in threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok()) {
                // A thread may end before it is looked at.
                let thread = Pid::from_raw(thread);
                if sched_getaffinity(thread).is_ok_and(|cores| cores.count() > own.count()) {
                    let _ = sched_setaffinity(thread, &own);
                }
            }
        }
    }

    /// Each process' name and id.
    pub fn processes(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.processes.iter().map(|(name, process)| (*name, process.id()))
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The ends of its logs.
    pub fn tail(&self) -> String {
        let mut text = String::new();
        for (name, process) in &self.processes {
            let output = process.output();
            let lines: Vec<&str> = output.lines().collect();
            let last = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = write!(text, "--- {name}, the last lines of its log:\n{}\n", last.join("\n"));
        }
        text
    }

    /// Packets of recorded calls that did not get into the tap, as the recorder was told; none where nothing is recorded.
    pub fn not_captured(&self) -> Option<f64> {
        let metrics = fs::read_to_string(self.folder.path().join(STATE).join("run/recorder.metrics")).ok()?;
        let lost =
            metrics.lines().find_map(|line| line.strip_prefix("bauta_recorder_lost_packets_total "))?;
        lost.parse().ok()
    }

    /// Asks it to end and waits for that; keeps the folder if that is wished.
    pub fn stop(mut self, keep: bool) -> Result<()> {
        self.alive()?;
        for (_, process) in &mut self.processes {
            process.ask_to_end(PATIENCE);
        }
        self.folder.disable_cleanup(keep);
        if keep {
            println!("kept: {}", self.folder.path().display());
        }
        Ok(())
    }
}

/// Ends this run with what to do where the peer is not installed.
pub fn check_rtpengine() -> Result<()> {
    let version = Command::new("rtpengine").arg("--version").output();
    let version = version.context(
        "rtpengine is missing: apt-get install rtpengine-daemon. On Debian that also starts a service, which should not \
         take part: systemctl disable --now rtpengine-daemon (service rtpengine-daemon stop)",
    )?;
    let said = [version.stdout, version.stderr].concat();
    println!("the peer: {}", String::from_utf8_lossy(&said).trim());
    Ok(())
}
