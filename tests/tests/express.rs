//! Calls on the express lane, between two network namespaces: a relay and control on the one side, phones on the other.
//!
//! Needs root, and a kernel that lets it load programs; says so where it is missing.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use tests::deadline::{seconds, until};
use tests::http::Client;
use tests::namespaces::{Link, NETWORK, PARTIES, RELAY};
use tests::process::Process;
use tests::programs::{installed, ours};

const NG: SocketAddr = SocketAddr::new(RELAY, 2223);
const HTTP: SocketAddr = SocketAddr::new(RELAY, 8090);

/// A POP in a namespace, and phones in another one.
struct Host {
    // Processes go before their folder and their namespace.
    _control: Process,
    _relay: Process,
    folder: TempDir,
    link: Link,
}

impl Host {
    /// Starts it with these settings of the relay. None, and says why, where there can be no express lane here.
    fn start(settings: &str) -> Option<Self> {
        if !installed(&["ip", "ethtool", "nsenter", "setpriv", "clang"]) {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: network namespaces are root's to make");
            return None;
        }
        let link = Link::make("express").expect("namespaces");
        let folder = TempDir::with_prefix("bauta-express-").expect("folder");
        let text = format!(
            "[relay]\naddress = \"{RELAY}\"\nports = \"20000-23999\"\nport_rest_seconds = 0\n{settings}\n\
             [control]\nng = \"{NG}\"\nng_allow = [\"{NETWORK}\"]\nhttp = \"{HTTP}\"\npacket_rate_multiple = 0\n"
        );
        std::fs::write(folder.path().join("pop.toml"), text).expect("settings");
        let relay = Self::process(&link, folder.path(), "relay", &[]);
        let socket = folder.path().join("state/run/relay.sock");
        until("the relay listens or ends", seconds(20), || {
            (socket.exists() || !relay.output().is_empty() && relay.output().contains("Error")).then_some(())
        });
        if relay.output().contains("there is no express lane") {
            eprintln!("SKIPPED: {}", relay.output());
            return None;
        }
        let control = Self::process(&link, folder.path(), "control", &[]);
        let host = Self { _control: control, _relay: relay, folder, link };
        host.ready();
        Some(host)
    }

    fn process(link: &Link, folder: &Path, name: &str, words: &[&str]) -> Process {
        let mut command = link.relay.command(ours(&format!("bauta-{name}")));
        command.args(["--state", "state", "--config", "pop.toml"]).args(words).current_dir(folder);
        Process::start(name, command, folder.join(format!("{name}.log")))
    }

    fn ready(&self) {
        until("control is ready", seconds(20), || {
            let reply = self.link.relay.inside(|| Client::open(HTTP).try_get("/readyz"));
            reply.expect("namespace").is_ok_and(|reply| reply.status == 200).then_some(())
        });
    }

    /// The sum of a metric's values over all its labels that contain `label`.
    fn metric(&self, name: &str, label: &str) -> u64 {
        let state = self.folder.path().join("state");
        let ask = || Client::scope(HTTP, &state, "operator").get("/metrics").expect(200).body;
        let text = self.link.relay.inside(ask).expect("namespace");
        let values = text.lines().filter(|l| l.starts_with(name) && l.contains(label));
        values.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).map(|v| v as u64).sum()
    }

    /// Rows that the program executes now.
    fn rows(&self) -> u64 {
        self.metric("bauta_relay_express_rows", "")
    }

    /// Starts `bauta load` among the phones.
    fn load(&self, words: &str) -> Process {
        let mut command = self.link.generator.command(ours("bauta"));
        command.args(["load", "--ng", &NG.to_string(), "--json", "load.json", "--ports", "10000-19999"]);
        command.args(["--from", &PARTIES.map(|party| party.to_string()).join(",")]);
        command.args(words.split(' ')).current_dir(self.folder.path());
        Process::start("load", command, self.folder.path().join("load.log"))
    }

    /// Waits for a load's end; fails unless every packet came back once, in order, with what was sent.
    #[track_caller]
    fn finish(&self, mut load: Process) -> Value {
        let status = load.finish(seconds(90));
        let report = std::fs::read(self.folder.path().join("load.json")).unwrap_or_default();
        let report: Value = serde_json::from_slice(&report).unwrap_or_default();
        assert!(status.success(), "{status}: {report:#}");
        for count in ["packets_lost", "calls_failed"] {
            assert_eq!(report[count].as_u64(), Some(0), "{count}: {report:#}");
        }
        report
    }
}

#[test]
fn calls_that_come_and_go_are_promoted_and_no_packet_is_lost_doubled_or_overtaken() {
    let Some(host) = Host::start("lane = \"xdp\"\nworkers = 2") else { return };
    let load = host.load("--calls 60 --seconds 14 --call-seconds 6 --rate 20");
    let most = until("most rows are promoted", seconds(20), || Some(host.rows()).filter(|rows| *rows > 60));
    let report = host.finish(load);
    eprintln!("{most} rows at once, added delay {}", report["added_delay_us"]);
    until("every call's rows are given back", seconds(10), || (host.rows() == 0).then_some(()));
    assert_eq!(host.metric("bauta_relay_lane_events_total", "express_disagreed"), 0);
    assert_eq!(host.metric("bauta_relay_lane_events_total", "express_untold"), 0);
}
