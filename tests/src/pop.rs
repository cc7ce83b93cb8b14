//! A POP: relay, control and recorder as processes of their own, with a state directory of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::deadline::{seconds, until};
use crate::http::Client;
use crate::pins::Pins;
use crate::ports::Ports;
use crate::process::Process;
use crate::programs::ours;

/// A lane, as `pop.toml` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Whatever the relay chooses, or the lane that `BAUTA_TEST_LANE` names: to run every test on the other one.
    Chosen,
    /// The fallback.
    Mmsg,
    /// The express lane, and nothing less; for phones on a host of their own.
    Express,
}

/// Running processes, or killed ones that will be started again.
#[derive(Debug)]
pub struct Pop {
    // Fields drop in this order: processes before the directory that they write to.
    recorder: Option<Process>,
    control: Option<Process>,
    relay: Option<Process>,
    /// They log all that they ever would.
    tracing: bool,
    /// The test's ports.
    pub ports: Ports,
    _pins: Pins,
    folder: TempDir,
}

impl Pop {
    /// Starts all three, each ready when this returns.
    pub fn start(lane: Lane) -> Self {
        Self::on(Ports::take(), lane)
    }

    /// The same, on these ports.
    pub fn on(ports: Ports, lane: Lane) -> Self {
        Self::run(ports, lane, own, false)
    }

    /// The same, with logs at the finest level.
    pub fn start_tracing(lane: Lane) -> Self {
        Self::run(Ports::take(), lane, own, true)
    }

    /// As [`Self::start`], with these lines under `[relay]`, which say where its media ports are.
    pub fn with(lane: Lane, relay: impl FnOnce(&Ports) -> String) -> Self {
        Self::run(Ports::take(), lane, relay, false)
    }

    fn run(ports: Ports, lane: Lane, relay: impl FnOnce(&Ports) -> String, tracing: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("bauta-test-").tempdir().expect("temporary directory");
        let (relay, pins) = (relay(&ports), Pins::of(folder.path()));
        let lane = match lane {
            Lane::Chosen => std::env::var("BAUTA_TEST_LANE")
                .map_or_else(|_| String::new(), |lane| format!("lane = \"{lane}\"\n")),
            Lane::Mmsg => "lane = \"mmsg\"\n".into(),
            Lane::Express => format!("lane = \"xdp\"\nxdp_pins = \"{}\"\n", pins.folder().display()),
        };
        let settings = format!(
            "[relay]\n{relay}workers = 1\npin = false\ntap_ring_mib = 8\n{lane}\n\
             [control]\nng = \"{}\"\nhttp = \"{}\"\n",
            ports.ng(),
            ports.http()
        );
        std::fs::write(folder.path().join("pop.toml"), settings).expect("pop.toml");
        let mut pop =
            Self { recorder: None, control: None, relay: None, tracing, ports, _pins: pins, folder };
        pop.start_relay();
        pop.start_control();
        pop.start_recorder();
        pop
    }

    /// Where the test keeps its files; what the processes keep is in [`Self::state`].
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A client with the token of `scope`.
    pub fn client(&self, scope: &str) -> Client {
        Client::scope(self.ports.http(), &self.state(), scope)
    }

    /// The token of `scope`.
    pub fn token(&self, scope: &str) -> String {
        std::fs::read_to_string(self.state().join("tokens").join(scope)).expect("token").trim().to_owned()
    }

    fn process(&self, name: &str) -> Process {
        self.process_with(name, &[])
    }

    fn process_with(&self, name: &str, arguments: &[&str]) -> Process {
        let mut command = Command::new(ours(&format!("bauta-{name}")));
        command.arg("--state").arg(self.state()).arg("--config").arg(self.folder.path().join("pop.toml"));
        command.args(arguments).current_dir(self.folder.path()).env_remove("RUST_LOG");
        if self.tracing {
            command.env("RUST_LOG", "info,relay=trace,bauta_relay=trace,control=trace,recorder=trace");
        }
        Process::start(name, command, self.folder.path().join(format!("{name}.log")))
    }

    /// Starts the relay.
    pub fn start_relay(&mut self) {
        let socket = self.state().join("run/relay.sock");
        let mut relay = self.process("relay");
        relay.ready("listens for control", seconds(10), |_| socket.exists().then_some(()));
        self.relay = Some(relay);
    }

    /// Has a new relay take everything over from the running one.
    pub fn upgrade_relay(&mut self) {
        let mut old = self.relay.take().expect("the relay runs");
        let new = self.process_with("relay", &["--take-over"]);
        assert!(old.finish(seconds(20)).success(), "{}", new.output());
        self.relay = Some(new);
    }

    /// Starts control and waits until it has found the relay.
    pub fn start_control(&mut self) {
        let client = Client::open(self.ports.http());
        let mut control = self.process("control");
        control.ready("is ready", seconds(20), |_| {
            client.try_get("/readyz").is_ok_and(|r| r.status == 200).then_some(())
        });
        self.control = Some(control);
    }

    /// Starts the recorder and waits until the relay's tap has it.
    pub fn start_recorder(&mut self) {
        let client = Client::open(self.ports.http());
        let mut recorder = self.process("recorder");
        recorder.ready("is attached to the tap", seconds(20), |_| {
            let body = client.try_get("/readyz").ok()?.body.replace(' ', "");
            body.contains("\"recorder_attached\":true").then_some(())
        });
        self.recorder = Some(recorder);
    }

    /// Kills the relay as a crash would.
    pub fn kill_relay(&mut self) {
        self.relay.take().expect("the relay runs").kill();
    }

    /// Kills control as a crash would.
    pub fn kill_control(&mut self) {
        self.control.take().expect("control runs").kill();
    }

    /// Kills the recorder as a crash would.
    pub fn kill_recorder(&mut self) {
        self.recorder.take().expect("the recorder runs").kill();
    }

    /// RTP and RTCP packets that the relay has forwarded since it was started.
    #[track_caller]
    pub fn forwarded(&self) -> u64 {
        self.metric("bauta_relay_packets_total{", "")
    }

    /// The sum of the values of the metric whose name begins so, over all its labels that contain `label`.
    #[track_caller]
    pub fn metric(&self, name: &str, label: &str) -> u64 {
        let metrics = self.client("operator").get("/metrics").expect(200).body;
        let values = metrics.lines().filter(|l| l.starts_with(name) && l.contains(label));
        values.map(|l| l.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("a count")).sum()
    }

    /// Everything the processes logged, now and before they were killed.
    pub fn logs(&self) -> String {
        ["relay", "control", "recorder"]
            .iter()
            .map(|name| {
                std::fs::read_to_string(self.folder.path().join(format!("{name}.log"))).unwrap_or_default()
            })
            .collect()
    }

    /// Waits until no call is known and no media port is bound.
    #[track_caller]
    pub fn wait_until_idle(&self) {
        until("control lists no call", seconds(10), || {
            (crate::ng::calls(self.ports.ng()) == 0).then_some(())
        });
        until("the relay has given back its ports", seconds(10), || {
            self.ports.media_in_use().is_empty().then_some(())
        });
    }
}

/// The test's media ports.
fn own(ports: &Ports) -> String {
    let (first, last) = ports.media();
    format!("address = \"{}\"\nports = \"{first}-{last}\"\n", ports.host())
}

impl Drop for Pop {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("--- everything of this test is kept in {}", self.folder.path().display());
        }
    }
}
