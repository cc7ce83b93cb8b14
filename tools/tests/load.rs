//! `bauta load` against running relays: ours, and rtpengine where it is installed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::archive::Archive;
use tests::deadline::{seconds, until};
use tests::pop::{Lane, Pop};
use tests::ports::Ports;
use tests::process::Process;
use tests::programs::installed;

const JSON: &str = "load.json";

/// A POP; none, said why, when its three programs are not built.
fn pop() -> Option<Pop> {
    let bauta = Path::new(env!("CARGO_BIN_EXE_bauta"));
    for name in ["bauta-relay", "bauta-control", "bauta-recorder"] {
        if !bauta.with_file_name(name).is_file() {
            eprintln!("SKIPPED: {name} is not built (cargo build --workspace)");
            return None;
        }
    }
    Some(Pop::with(Lane::Chosen, |ports| {
        let (first, last) = ports.media();
        // Set-ups come faster than ports rest.
        format!("address = \"127.0.0.1\"\nports = \"{first}-{last}\"\nport_rest_seconds = 0\n")
    }))
}

/// Starts a load at the NG address of `ports`, whose report goes into `folder`.
fn load(ports: &Ports, folder: &Path, arguments: &str) -> Process {
    let (first, last) = (ports.caller_media().0, ports.callee_media().1);
    let mut command = Command::new(env!("CARGO_BIN_EXE_bauta"));
    command.args(["load", "--ng", &ports.ng().to_string(), "--ports", &format!("{first}-{last}")]);
    command.args(["--json", JSON]).args(arguments.split_whitespace()).current_dir(folder);
    Process::start("bauta load", command, folder.join("load.log"))
}

/// Its exit code and its report.
fn finish(mut load: Process, folder: &Path) -> (Option<i32>, Value) {
    let status = load.finish(seconds(60));
    let report =
        std::fs::read_to_string(folder.join(JSON)).unwrap_or_else(|e| panic!("{e}: {}", load.output()));
    (status.code(), serde_json::from_str(&report).unwrap())
}

fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("no {name} in {report}"))
}

/// Every packet came, once, and the seconds add up to the whole.
fn whole(report: &Value) {
    let sent = number(report, "packets_sent");
    assert_eq!(number(report, "packets_received"), sent, "{report}");
    for wrong in ["packets_lost", "packets_duplicated", "packets_corrupt", "calls_failed", "calls_left"] {
        assert_eq!(number(report, wrong), 0, "{wrong} in {report}");
    }
    for name in ["packets_sent", "packets_received", "packets_lost"] {
        let rows = report["rows"].as_array().unwrap().iter().map(|row| number(row, name)).sum::<u64>();
        assert_eq!(rows, number(report, name), "{name} of the rows in {report}");
    }
    assert!(report["added_delay_us"]["p50"].as_f64().unwrap() > 0.0, "{report}");
}

#[test]
fn ten_calls_lose_nothing_and_every_packet_is_counted() {
    let Some(pop) = pop() else { return };
    let (code, report) =
        finish(load(&pop.ports, pop.folder(), "--calls 10 --seconds 3 --svg load.svg"), pop.folder());
    assert_eq!((code, &report["passed"]), (Some(0), &Value::Bool(true)), "{report}");
    whole(&report);
    assert_eq!((number(&report, "calls_set_up"), number(&report, "calls")), (10, 10));
    // Three seconds of ten calls at 50 packets/s each way, and what the first calls sent before the last was up.
    let sent = number(&report, "packets_sent");
    assert!((2_900..4_000).contains(&sent), "{report}");
    let forwarded = pop.forwarded();
    assert_eq!(forwarded, sent + number(&report, "rtcp_received"), "as the relay counts: {report}");
    assert!(std::fs::read_to_string(pop.folder().join("load.svg")).unwrap().ends_with("</svg>\n"));
    pop.wait_until_idle();
}

#[test]
fn calls_come_and_go_without_loss() {
    let Some(pop) = pop() else { return };
    let arguments = "--calls 8 --call-seconds 1 --seconds 4 --codec opus";
    let (code, report) = finish(load(&pop.ports, pop.folder(), arguments), pop.folder());
    assert_eq!(code, Some(0), "{report}");
    whole(&report);
    assert!(number(&report, "calls_set_up") > 16, "each call was replaced at least once: {report}");
    assert_eq!(number(&report, "calls"), 8);
    pop.wait_until_idle();
}

#[test]
fn set_ups_are_timed_and_leave_nothing_behind() {
    let Some(pop) = pop() else { return };
    let (code, report) =
        finish(load(&pop.ports, pop.folder(), "--setups --clients 3 --seconds 1"), pop.folder());
    assert_eq!(code, Some(0), "{report}");
    let rate = report["setups_per_second"].as_f64().unwrap();
    assert!(rate > 1.0 && number(&report, "calls_set_up") > 3, "{report}");
    for verb in ["setup_us", "offer_us", "answer_us", "delete_us"] {
        let [p50, p99, max] = ["p50", "p99", "max"].map(|q| report[verb][q].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{verb} in {report}");
    }
    pop.wait_until_idle();
}

#[test]
fn a_bauta_records_what_its_own_route_decision_says() {
    let Some(pop) = pop() else { return };
    let mut asking = load(&pop.ports, pop.folder(), "--calls 2 --seconds 1 --record");
    assert_eq!(asking.finish(seconds(20)).code(), Some(1), "asking by NG alone changes nothing there");
    let said = asking.output();
    assert!(said.contains("no call could be set up") && said.contains("name the POP's --state"), "{said}");
    pop.wait_until_idle();
    let arguments = "--calls 2 --seconds 1 --record --state state --config pop.toml";
    let (code, report) = finish(load(&pop.ports, pop.folder(), arguments), pop.folder());
    assert_eq!(code, Some(0), "{report}");
    whole(&report);
    until("both calls are archived", seconds(20), || (Archive::all(&pop).len() == 2).then_some(()));
}

#[test]
fn asked_to_end_it_ends_its_calls_and_still_reports() {
    let Some(pop) = pop() else { return };
    let mut process = load(&pop.ports, pop.folder(), "--calls 6 --seconds 600");
    process.ready("has set its calls up", seconds(20), |_| {
        (tests::ng::answered(pop.ports.ng()) == 6).then_some(())
    });
    process.stop();
    let (code, report) = finish(process, pop.folder());
    assert_eq!((code, &report["interrupted"]), (Some(0), &Value::Bool(true)), "{report}");
    assert_eq!(number(&report, "calls_set_up"), 6);
    pop.wait_until_idle();
}

#[test]
fn asked_to_end_before_it_has_done_anything_it_does_not_pass() {
    let Some(pop) = pop() else { return };
    for arguments in ["--calls 10 --rate 1 --seconds 600", "--calls 4 --find-max --step-seconds 600"] {
        let mut process = load(&pop.ports, pop.folder(), arguments);
        process.ready("has set a call up", seconds(20), |_| {
            (tests::ng::calls(pop.ports.ng()) > 0).then_some(())
        });
        process.stop();
        let (code, report) = finish(process, pop.folder());
        assert_eq!((code, &report["interrupted"]), (Some(1), &Value::Bool(true)), "{report}");
        pop.wait_until_idle();
    }
}

#[test]
fn a_control_that_goes_while_calls_are_set_up_is_soon_given_up() {
    let Some(mut pop) = pop() else { return };
    let mut process = load(&pop.ports, pop.folder(), "--calls 20 --rate 4 --seconds 600");
    process
        .ready("has set a call up", seconds(20), |_| (tests::ng::answered(pop.ports.ng()) > 0).then_some(()));
    pop.kill_control();
    let (code, report) = finish(process, pop.folder());
    assert!(code == Some(1) && number(&report, "calls_left") > 0, "{report}");
    assert!(number(&report, "calls_set_up") + number(&report, "calls_failed") < 20, "{report}");
}

#[test]
fn calls_that_nobody_ends_any_more_are_told() {
    let Some(mut pop) = pop() else { return };
    let mut process = load(&pop.ports, pop.folder(), "--calls 6 --seconds 3");
    process.ready("has set its calls up", seconds(20), |_| {
        (tests::ng::answered(pop.ports.ng()) == 6).then_some(())
    });
    pop.kill_control();
    let (code, report) = finish(process, pop.folder());
    let (left, set_up) = (number(&report, "calls_left"), number(&report, "calls_set_up"));
    assert!(code == Some(1) && left > 0 && left == set_up, "{report}");
    assert_eq!(number(&report, "packets_lost"), 0, "media outlives control: {report}");
}

#[test]
fn a_relay_can_be_programmed_without_control() {
    let Some(mut pop) = pop() else { return };
    pop.kill_control();
    let ports = pop.ports.caller_media();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bauta"));
    command.args([
        "load",
        "--relay",
        "state/run/relay.sock",
        "--calls",
        "5",
        "--seconds",
        "2",
        "--json",
        JSON,
    ]);
    command.args(["--ports", &format!("{}-{}", ports.0, ports.1)]).current_dir(pop.folder());
    let process = Process::start("bauta load", command, pop.folder().join("load.log"));
    let (code, report) = finish(process, pop.folder());
    assert_eq!(code, Some(0), "{report}");
    whole(&report);
    pop.start_control();
    pop.wait_until_idle();
}

#[test]
fn a_relay_that_does_not_answer_is_named_soon() {
    let (ports, folder) = (Ports::take(), tempfile::tempdir().unwrap());
    for arguments in ["--calls 10 --seconds 600", "--setups --seconds 600", "--find-max"] {
        let mut process = load(&ports, folder.path(), arguments);
        assert_eq!(process.finish(seconds(20)).code(), Some(1));
    }
    // One that takes what it is sent, and says nothing.
    let deaf = std::net::UdpSocket::bind(ports.ng()).unwrap();
    let mut process = load(&ports, folder.path(), "--calls 10 --seconds 600");
    assert_eq!(process.finish(seconds(20)).code(), Some(1));
    let (said, named) =
        (process.output(), format!("--ng {}: no answer to a ping", deaf.local_addr().unwrap()));
    assert_eq!(said.matches(&named).count(), 4, "{said}");
    assert!(said.contains("control.ng_allow"), "it says what to do: {said}");
    assert!(!folder.path().join(JSON).exists());
}

#[test]
fn rtpengine_is_driven_like_any_other() {
    if !installed(&["rtpengine"]) {
        return;
    }
    let (ports, folder) = (Ports::take(), tempfile::tempdir().unwrap());
    let (first, last) = ports.media();
    let mut command = Command::new("rtpengine");
    command.args([
        "--config-file=none",
        "--table=-1",
        "--interface=127.0.0.1",
        "--num-threads=1",
        "--foreground",
    ]);
    command.args(["--log-level=4", "--log-stderr", &format!("--listen-ng={}", ports.ng())]);
    command.args([format!("--port-min={first}"), format!("--port-max={last}")]).current_dir(folder.path());
    let mut relay = Process::start("rtpengine", command, folder.path().join("rtpengine.log"));
    let ping = serde_json::json!({"command": "ping"});
    relay.ready("answers", seconds(20), |_| {
        (tests::ng::ask(ports.ng(), &ping)["result"] == "pong").then_some(())
    });
    let (code, report) = finish(load(&ports, folder.path(), "--calls 5 --seconds 2"), folder.path());
    assert_eq!(code, Some(0), "{report}");
    whole(&report);
}
