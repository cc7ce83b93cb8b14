//! Calls on the express lane, between two network namespaces: a relay and control on the one side, phones on the other.
//!
//! Needs root, and a kernel that lets it load programs; says so where it is missing.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use serde_json::Value;
use tempfile::TempDir;
use tests::archive::Archive;
use tests::deadline::{seconds, until};
use tests::http::Client;
use tests::namespaces::{Link, NETWORK, PARTIES, RELAY, SECOND_PARTY, SECOND_RELAY};
use tests::pins::Pins;
use tests::process::Process;
use tests::programs::ours;

const NG: SocketAddr = SocketAddr::new(RELAY, 2223);
const HTTP: SocketAddr = SocketAddr::new(RELAY, 8090);

/// A POP in a namespace, and phones in another one.
struct Host {
    // Processes go before their folder and their namespace.
    others: Vec<Process>,
    relay: Process,
    folder: TempDir,
    link: Link,
    pins: Pins,
}

impl Host {
    /// A folder with settings: these of the relay, and what the tests need.
    fn lay(settings: &str) -> (TempDir, Pins) {
        let folder = TempDir::with_prefix("bauta-express-").expect("folder");
        let pins = Pins::of(folder.path());
        let text = format!(
            "[relay]\nports = \"20000-23999\"\nport_rest_seconds = 0\nxdp_pins = \"{}\"\n{settings}\n\
             [control]\nng = \"{NG}\"\nng_allow = [\"{NETWORK}\"]\nhttp = \"{HTTP}\"\npacket_rate_multiple = 0\n",
            pins.folder().display()
        );
        std::fs::write(folder.path().join("pop.toml"), text).expect("settings");
        // Where the phones are, the relay's addresses are none of the host's.
        let load = format!("[control]\nhttp = \"{HTTP}\"\n");
        std::fs::write(folder.path().join("load.toml"), load).expect("settings");
        (folder, pins)
    }

    /// Starts a POP with these settings of the relay. None, and says why, where there can be no express lane here.
    fn start(settings: &str) -> Option<Self> {
        Self::start_on(Link::for_a_test("express")?, &format!("address = \"{RELAY}\"\n{settings}"))
    }

    /// The same on a link that there is; the settings say which addresses are the relay's.
    fn start_on(link: Link, settings: &str) -> Option<Self> {
        let (folder, pins) = Self::lay(settings);
        let mut relay = process(&link, folder.path(), "relay", &[]);
        let socket = folder.path().join("state/run/relay.sock");
        until("the relay listens or ends", seconds(20), || {
            (relay.output().contains("ready: ") && socket.exists() || relay.ended().is_some()).then_some(())
        });
        if relay.output().contains("CAP_BPF") {
            eprintln!("SKIPPED: {}", relay.output());
            return None;
        }
        assert!(relay.ended().is_none(), "{}", relay.output());
        let control = process(&link, folder.path(), "control", &[]);
        let host = Self { others: vec![control], relay, folder, link, pins };
        until("control is ready", seconds(20), || {
            let reply = host.link.relay.inside(|| Client::open(HTTP).try_get("/readyz"));
            reply.expect("namespace").is_ok_and(|reply| reply.status == 200).then_some(())
        });
        Some(host)
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The sum of a metric's values over all its labels that contain `label`.
    fn metric(&self, name: &str, label: &str) -> u64 {
        let state = self.state();
        let ask = || Client::scope(HTTP, &state, "operator").get("/metrics").expect(200).body;
        let text = self.link.relay.inside(ask).expect("namespace");
        let values = text.lines().filter(|l| l.starts_with(name) && l.contains(label));
        values.filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Rows that the program executes now.
    fn rows(&self) -> u64 {
        self.metric("bauta_relay_express_rows", "")
    }

    /// Starts `bauta load` among the phones.
    fn load(&self, words: &str) -> Process {
        self.load_from(PARTIES, words)
    }

    /// The same, with callers at the first address and callees at the second.
    fn load_from(&self, parties: [IpAddr; 2], words: &str) -> Process {
        let mut command = self.link.generator.command(ours("bauta"));
        command.args(["load", "--ng", &NG.to_string(), "--json", "load.json", "--ports", "10000-19999"]);
        command.args(["--from", &parties.map(|party| party.to_string()).join(",")]);
        command.args(words.split(' ')).current_dir(self.folder.path());
        Process::start("load", command, self.folder.path().join("load.log"))
    }

    /// Waits for a load's end, and reads its report.
    #[track_caller]
    fn report(&self, mut load: Process) -> (ExitStatus, Value) {
        let status = load.finish(seconds(90));
        let report = std::fs::read(self.folder.path().join("load.json")).unwrap_or_default();
        (status, serde_json::from_slice(&report).unwrap_or_default())
    }

    /// Waits for a load's end; fails unless every packet came back once, in order, with what was sent.
    #[track_caller]
    fn finish(&self, load: Process) -> Value {
        let (status, report) = self.report(load);
        assert!(status.success(), "{status}: {report:#}");
        for count in ["packets_lost", "calls_failed"] {
            assert_eq!(report[count].as_u64(), Some(0), "{count}: {report:#}");
        }
        report
    }
}

/// Starts one of our programs on the relay's host.
fn process(link: &Link, folder: &Path, name: &str, words: &[&str]) -> Process {
    let mut command = link.relay.command(ours(&format!("bauta-{name}")));
    command.args(["--state", "state", "--config", "pop.toml"]).args(words).current_dir(folder);
    Process::start(name, command, folder.join(format!("{name}.log")))
}

/// Changes the setting `relay.lane`.
fn choose(folder: &Path, lane: &str) {
    let path = folder.join("pop.toml");
    let text = std::fs::read_to_string(&path).expect("settings");
    let (before, behind) = text.split_once("lane = ").expect("lane");
    let (_, behind) = behind.split_once('\n').expect("line");
    std::fs::write(&path, format!("{before}lane = \"{lane}\"\n{behind}")).expect("settings");
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

#[test]
fn calls_between_two_networks_come_in_on_one_interface_and_go_out_on_the_other() {
    let Some(link) = Link::for_a_test("express") else { return };
    link.join_again().expect("a second pair of devices");
    let interfaces = format!(
        "interfaces = [{{ name = \"drivers\", address = \"{RELAY}\" }}, {{ name = \"riders\", address = \"{SECOND_RELAY}\" }}]"
    );
    let Some(host) = Host::start_on(link, &format!("{interfaces}\nlane = \"xdp\"\nworkers = 2")) else {
        return;
    };
    for device in ["media (driver)", "media2 (driver)"] {
        assert!(host.relay.output().contains(device), "{}", host.relay.output());
    }
    let load = host.load_from(
        [PARTIES[0], SECOND_PARTY],
        "--calls 20 --seconds 8 --rate 40 --flag from-interface=drivers --flag to-interface=riders",
    );
    until("the rows are promoted", seconds(20), || (host.rows() == 40).then_some(()));
    let report = host.finish(load);
    let sent = report["packets_sent"].as_u64().expect("packets");
    let told = host.metric("bauta_relay_packets_total", "");
    assert!(told >= sent, "{told} counted, {sent} sent");
    assert_eq!(host.metric("bauta_relay_lane_events_total", "express_disagreed"), 0);
}

#[test]
fn packets_come_through_all_of_a_device_s_queues_and_each_call_keeps_their_order() {
    let Some(host) = Host::start("lane = \"xdp\"\nworkers = 2") else { return };
    let load = host.load("--calls 40 --seconds 8 --rate 40 --packets-per-second 200");
    until("the rows are promoted", seconds(20), || (host.rows() == 80).then_some(()));
    host.finish(load);
    let queues = host.link.relay.seen_in_queues().expect("counters of the device");
    assert!(queues.len() == 2 && queues.iter().all(|seen| *seen > 1_000), "{queues:?}");
    assert_eq!(host.metric("bauta_relay_lane_events_total", "express_disagreed"), 0);
}

#[test]
fn a_flood_from_a_stranger_is_dropped_and_counted_and_no_call_loses_a_packet() {
    // More at once would not fit into the device's queue.
    const AT_ONCE: usize = 64;
    const FLOOD: usize = 3_000 * AT_ONCE;
    let Some(host) = Host::start("lane = \"xdp\"\nworkers = 1") else { return };
    let load = host.load("--calls 10 --seconds 8 --rate 40");
    until("the rows are promoted", seconds(20), || (host.rows() == 20).then_some(()));
    let dropped = || host.metric("bauta_relay_dropped_packets_total", "");
    let before = dropped();
    // The calls' ports are somewhere among all that there are.
    let ports: Vec<u16> = (20_000..24_000).step_by(2).collect();
    let flood = || {
        let stranger = UdpSocket::bind((PARTIES[1], 0)).expect("socket");
        for (port, n) in ports.iter().cycle().zip(0..FLOOD) {
            // Where nobody listens the host says so, and the socket tells it the next time.
            let _ = stranger.send_to(&[0x80; 172], (RELAY, *port));
            if n % AT_ONCE == 0 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    };
    host.link.generator.inside(flood).expect("namespace");
    host.finish(load);
    // Of the 2,000 ports, 20 are those of rows.
    let expected = (FLOOD / ports.len() * 20) as u64;
    let dropped = dropped() - before;
    assert!(dropped >= expected, "{dropped} dropped, of {FLOOD} to all ports");
}

#[test]
fn where_the_kernel_refuses_it_everybody_is_told_why_and_the_sockets_serve() {
    let Some(link) = Link::for_a_test("express") else { return };
    let (folder, _pins) = Host::lay(&format!("address = \"{RELAY}\"\nlane = \"auto\""));
    let relay = |lane: &str| {
        choose(folder.path(), lane);
        let mut command = link.relay.command("setpriv");
        command.args(["--bounding-set", "-bpf,-net_admin,-sys_admin,-perfmon"]).arg(ours("bauta-relay"));
        command.args(["--state", "state", "--config", "pop.toml"]).current_dir(folder.path());
        Process::start("relay", command, folder.path().join(format!("{lane}.log")))
    };
    let why = "CAP_BPF and CAP_NET_ADMIN are needed";
    let mut demanded = relay("xdp");
    assert!(!demanded.finish(seconds(10)).success());
    assert!(demanded.output().contains(why), "{}", demanded.output());
    let relay = relay("auto");
    let _control = process(&link, folder.path(), "control", &[]);
    let ready = until("control is ready", seconds(20), || {
        let reply = link.relay.inside(|| Client::open(HTTP).try_get("/readyz")).expect("namespace");
        reply.ok().filter(|reply| reply.status == 200)
    });
    assert!(ready.body.contains(why), "{}", ready.body);
    assert!(relay.output().contains(why), "{}", relay.output());
    let mut doctor = link.relay.command(ours("bauta"));
    doctor.args(["doctor", "--state", "state", "--config", "pop.toml"]).current_dir(folder.path());
    let said = doctor.output().expect("bauta doctor").stdout;
    assert!(String::from_utf8_lossy(&said).contains(why), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn an_upgrade_loses_no_packet_of_promoted_calls_and_promotes_them_again() {
    let Some(mut host) = Host::start("lane = \"xdp\"\nworkers = 1") else { return };
    let load = host.load("--calls 40 --seconds 14 --rate 40");
    until("the rows are promoted", seconds(20), || (host.rows() == 80).then_some(()));
    let new = process(&host.link, host.folder.path(), "relay", &["--take-over"]);
    until("it took over", seconds(20), || new.output().contains("took over 40 call(s)").then_some(()));
    let old = std::mem::replace(&mut host.relay, new);
    until("the rows are promoted again", seconds(10), || (host.rows() == 80).then_some(()));
    host.finish(load);
    drop(old);
}

#[test]
fn promoted_calls_lose_no_packet_when_their_relay_is_killed_and_the_next_one_goes_on_with_them() {
    let Some(mut host) = Host::start("lane = \"xdp\"\nworkers = 2") else { return };
    host.others.insert(0, process(&host.link, host.folder.path(), "recorder", &[]));
    until("the recorder is attached", seconds(20), || {
        (host.metric("bauta_recorder_attached", "") > 0).then_some(())
    });
    let load = host.load("--calls 20 --seconds 14 --rate 40 --record --state state --config load.toml");
    until("the rows are promoted", seconds(20), || (host.rows() == 40).then_some(()));
    host.relay.kill();
    // What a supervisor waits before it starts the next one.
    std::thread::sleep(seconds(1));
    let new = process(&host.link, host.folder.path(), "relay", &[]);
    until("it goes on", seconds(20), || new.output().contains("20 promoted call(s)").then_some(()));
    drop(std::mem::replace(&mut host.relay, new));
    until("the rows are as they were", seconds(10), || (host.rows() == 40).then_some(()));
    let (_, report) = host.report(load);
    // RTCP is the socket lane's, and was lost while there was none.
    for count in [
        "packets_lost",
        "packets_duplicated",
        "packets_corrupt",
        "packets_reordered",
        "calls_failed",
        "calls_left",
    ] {
        assert_eq!(report[count].as_u64(), Some(0), "{count}: {report:#}");
    }
    until("control ends the calls", seconds(10), || (host.rows() == 0).then_some(()));
    assert_eq!(host.metric("bauta_relay_lane_events_total", "express_disagreed"), 0);
    assert_eq!(host.metric("bauta_relay_lane_events_total", "express_untold"), 0);
    // One archive up to the relay's end, and one from then on.
    let archives = until("forty archives", seconds(30), || {
        let all = Archive::all_in(&host.state());
        (all.len() == 40).then_some(all)
    });
    let packets: u64 = archives.iter().map(|a| a.number("/left/packets") + a.number("/right/packets")).sum();
    assert_eq!(Some(packets), report["packets_sent"].as_u64(), "packets in the archives");
    for archive in &archives {
        assert!(archive.gaps().is_empty(), "{:#}", archive.manifest);
    }
    host.relay.stop();
    let left = std::fs::read_dir(host.pins.folder()).into_iter().flatten().count();
    assert_eq!(left, 0, "what nobody needs is not pinned any more");
}

#[test]
fn recorded_calls_are_whole_in_their_archives() {
    let Some(mut host) = Host::start("lane = \"xdp\"\nworkers = 1") else { return };
    host.others.insert(0, process(&host.link, host.folder.path(), "recorder", &[]));
    until("the recorder is attached", seconds(20), || {
        (host.metric("bauta_recorder_attached", "") > 0).then_some(())
    });
    let load = host.load("--calls 10 --seconds 8 --rate 20 --record --state state --config load.toml");
    until("the rows are promoted", seconds(20), || (host.rows() == 20).then_some(()));
    let report = host.finish(load);
    let archives = until("ten archives", seconds(30), || {
        let all = Archive::all_in(&host.state());
        (all.len() == 10).then_some(all)
    });
    let packets: u64 = archives.iter().map(|a| a.number("/left/packets") + a.number("/right/packets")).sum();
    assert_eq!(Some(packets), report["packets_sent"].as_u64(), "packets in the archives");
    for archive in &archives {
        assert!(archive.gaps().is_empty(), "{:#}", archive.manifest);
        assert_eq!(archive.number("/left/lost") + archive.number("/right/lost"), 0);
    }
    archives[0].holds_and_tells_changes();
}

#[test]
fn another_program_is_respected_and_ours_leaves_the_device_as_it_was() {
    let Some(host) = Host::start("lane = \"xdp\"\nworkers = 1") else { return };
    assert!(host.link.relay.device().expect("device").contains("prog/xdp"), "it is attached");
    let Host { others, mut relay, folder, link, pins: _pins } = host;
    relay.stop();
    assert!(relay.finish(seconds(10)).success());
    drop((others, relay));
    assert!(!link.relay.device().expect("device").contains("prog/xdp"), "it is gone");
    link.relay.pass_all().expect("another program");
    let with = |lane: &str| {
        choose(folder.path(), lane);
        process(&link, folder.path(), "relay", &[])
    };
    let mut demanded = with("xdp");
    assert!(!demanded.finish(seconds(10)).success());
    let said = demanded.output();
    let another = "there is another XDP program (\"all\", id ";
    assert!(said.contains("relay.lane = \"xdp\"") && said.contains(another), "{said}");
    let auto = with("auto");
    until("it goes on without", seconds(10), || auto.output().contains("ready: ").then_some(()));
    assert!(auto.output().contains("no express lane: media does not take it"), "{}", auto.output());
    drop(auto);
    assert!(link.relay.device().expect("device").contains("prog/xdp"), "the other one is still there");
}
