//! `bauta run`: the demo, and what happens to the three processes when one of them, or the supervisor, dies.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::deadline::{seconds, until};
use tests::http::Client;
use tests::ports::Ports;
use tests::process::Process;

/// A settings file and a state directory of their own.
struct Pop {
    ports: Ports,
    folder: tempfile::TempDir,
}

impl Pop {
    /// None, said why, when the three programs are not built.
    fn prepare() -> Option<Self> {
        let bauta = Path::new(env!("CARGO_BIN_EXE_bauta"));
        for name in ["bauta-relay", "bauta-control", "bauta-recorder"] {
            if !bauta.with_file_name(name).is_file() {
                eprintln!("SKIPPED: {name} is not built (cargo build --workspace)");
                return None;
            }
        }
        let pop = Self { ports: Ports::take(), folder: tempfile::tempdir().unwrap() };
        let (first, last) = pop.ports.media();
        let settings = format!(
            "[relay]\nports = \"{first}-{last}\"\nworkers = 1\ntap_ring_mib = 4\n[control]\nng = \"{}\"\nhttp = \"{}\"\n",
            pop.ports.ng(),
            pop.ports.http()
        );
        std::fs::write(pop.path("pop.toml"), settings).unwrap();
        Some(pop)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bauta(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bauta"));
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    /// A supervisor whose three processes are ready.
    fn run(&self, output: &str) -> Process {
        let mut run = Process::start("bauta run", self.bauta(&["run"]), self.path(output));
        run.ready("is ready", seconds(20), |run| {
            run.output().contains("Ctrl-C stops all three").then_some(())
        });
        run
    }

    /// The process ids of those of the three that run with this state directory.
    fn processes(&self, name: &str) -> Vec<Pid> {
        let here = self.folder.path().canonicalize().unwrap();
        let of = |entry: std::fs::DirEntry| {
            let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
            let program = std::fs::read_link(entry.path().join("exe")).ok()?;
            let folder = std::fs::read_link(entry.path().join("cwd")).ok()?;
            (program.ends_with(format!("bauta-{name}")) && folder == here).then_some(pid)
        };
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(of).collect()
    }

    /// What `bauta` says with these arguments, and its exit code: standard output alone.
    fn says(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.bauta(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }

    fn all(&self) -> Vec<Pid> {
        ["relay", "control", "recorder"].iter().flat_map(|name| self.processes(name)).collect()
    }
}

#[test]
fn the_demo_passes_and_leaves_nothing_running() {
    let Some(pop) = Pop::prepare() else { return };
    let output = pop.bauta(&["run", "--demo"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.ends_with("PASSED: masked, complete, recorded.\n"), "{said}");
    assert!(pop.all().is_empty(), "still running after the demo");
    let verified = pop.bauta(&["verify", "var/archive"]).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn a_process_that_dies_is_started_again_and_the_end_is_clean() {
    let Some(pop) = Pop::prepare() else { return };
    let mut run = pop.run("run.out");
    assert_eq!(pop.all().len(), 3);
    let second = pop.bauta(&["run"]).output().unwrap();
    let refusal = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && refusal.contains("another `bauta run`"), "{refusal}");

    let before = pop.processes("recorder");
    kill_process(before[0], Signal::KILL).unwrap();
    until("another recorder runs", seconds(5), || {
        let now = pop.processes("recorder");
        (!now.is_empty() && now != before).then_some(())
    });
    assert!(
        run.output().contains("recorder ended (signal: 9 (SIGKILL)); it is started again"),
        "{}",
        run.output()
    );
    let healthy = until("doctor finds nothing missing", seconds(10), || {
        let doctor = pop.bauta(&["doctor"]).output().unwrap();
        doctor.status.success().then_some(doctor)
    });
    assert!(String::from_utf8_lossy(&healthy.stdout).contains("ok       recorder"));
    let calls = pop.bauta(&["calls"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&calls.stdout), "no calls in progress\n");
    let stats = pop.bauta(&["stats", "--all"]).output().unwrap();
    let stats = String::from_utf8_lossy(&stats.stdout).into_owned();
    let words = |line: &str| line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
    assert!(stats.lines().any(|line| words(line) == ["1", "bauta_relay_connected"]), "{stats}");

    assert!(run.stop().success(), "{}", run.output());
    assert!(pop.all().is_empty(), "still running after the end");
}

#[test]
fn the_relay_is_upgraded_under_the_supervisor_and_the_others_do_not_notice() {
    let Some(pop) = Pop::prepare() else { return };
    let mut run = pop.run("run.out");
    let (others, old) = (|| [pop.processes("control"), pop.processes("recorder")], pop.processes("relay"));
    let before = others();

    let failed = pop.bauta(&["upgrade", "--program", "/bin/false"]).output().unwrap();
    let words = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(failed.status.code() == Some(1) && words.contains("goes on"), "{words}");
    let failed = pop.bauta(&["upgrade", "--program", "/bin/echo"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1), "another program that ends well is no upgrade");
    let failed = pop.bauta(&["upgrade", "--program", "nowhere"]).output().unwrap();
    assert!(String::from_utf8_lossy(&failed.stderr).contains("nowhere is no program"));
    assert_eq!((pop.processes("relay"), others()), (old.clone(), before.clone()));

    let (code, said) = pop.says(&["upgrade"]);
    assert!(code == 0 && said.contains(" took over 0 call(s) from relay "), "{said}");
    let new = until("one relay runs", seconds(5), || {
        let now = pop.processes("relay");
        (now.len() == 1 && now != old).then_some(now)
    });
    assert_eq!(others(), before);
    let (code, said) = pop.says(&["doctor"]);
    assert!(code == 0 && said.contains("ok       relay") && said.contains("ok       recorder"), "{said}");
    assert!(!run.output().contains("relay ended"), "{}", run.output());

    kill_process(new[0], Signal::KILL).unwrap();
    until("the new relay is looked after as the old one was", seconds(5), || {
        let now = pop.processes("relay");
        (!now.is_empty() && now != new).then_some(())
    });
    assert!(run.stop().success(), "{}", run.output());
    assert!(pop.all().is_empty(), "still running after the end");
}

#[test]
fn a_new_relay_that_hangs_does_not_keep_the_place_of_one_that_crashed() {
    let Some(pop) = Pop::prepare() else { return };
    let mut run = pop.run("run.out");
    let old = pop.processes("relay");
    let (hangs, started) = (pop.folder.path().join("hangs"), pop.folder.path().join("started"));
    let script = format!("#!/bin/sh\n: > {}\nexec sleep 300\n", started.display());
    std::fs::write(&hangs, script).unwrap();
    std::fs::set_permissions(&hangs, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let mut upgrade = pop.bauta(&["upgrade", "--program", "./hangs"]).spawn().unwrap();
    until("it hangs", seconds(5), || started.exists().then_some(()));

    kill_process(old[0], Signal::KILL).unwrap();
    let refused = upgrade.wait().unwrap();
    assert_eq!(refused.code(), Some(1));
    until("another relay runs", seconds(5), || {
        let now = pop.processes("relay");
        (!now.is_empty() && now != old).then_some(())
    });
    assert!(run.stop().success(), "{}", run.output());
}

#[test]
fn without_a_supervisor_the_new_relay_is_left_running() {
    let Some(pop) = Pop::prepare() else { return };
    let nothing = pop.bauta(&["upgrade"]).output().unwrap();
    let words = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert!(
        nothing.status.code() == Some(1) && words.contains("no relay that could be taken over"),
        "{words}"
    );
    let mut relay = Command::new(Path::new(env!("CARGO_BIN_EXE_bauta")).with_file_name("bauta-relay"));
    let old = Process::start(
        "relay",
        {
            relay.current_dir(pop.folder.path());
            relay
        },
        pop.path("relay.out"),
    );
    until("the relay can be taken over", seconds(10), || {
        std::os::unix::net::UnixStream::connect(pop.path("var/run/tap.sock")).ok()
    });
    let before = pop.processes("relay");
    let (code, said) = pop.says(&["upgrade"]);
    let new: Vec<Pid> = pop.processes("relay").into_iter().filter(|pid| !before.contains(pid)).collect();
    new.iter().for_each(|pid| kill_process(*pid, Signal::TERM).unwrap());
    assert!(code == 0 && said.contains("took over") && new.len() == 1, "{said}");
    until("both have ended", seconds(5), || pop.processes("relay").is_empty().then_some(()));
    drop(old);
}

#[test]
fn pools_keys_copies_and_tokens_are_looked_after() {
    let Some(pop) = Pop::prepare() else { return };
    std::fs::create_dir(pop.path("cities")).unwrap();
    let (dry, calm) = (
        "country = \"44\"\nnumbers = [\"+442079460001\", \"+442079460002\"]",
        "country = \"33\"\nnumbers = []",
    );
    std::fs::write(pop.path("cities/london.toml"), dry).unwrap();
    std::fs::write(pop.path("cities/paris.toml"), calm).unwrap();
    std::fs::write(pop.path("cities/oslo.toml"), "country = \"47\"\nnumber = []").unwrap();
    let run = pop.run("run.out");

    // Doctor names the file that is refused; calls go without it.
    let (code, said) = pop.says(&["doctor"]);
    assert!(
        code == 0 && said.contains("the file of oslo is not taken") && said.contains("unknown field"),
        "{said}"
    );
    assert_eq!(pop.says(&["pool", "forecast", "paris"]).0, 0);

    // Two numbers serve two trips of one driver at a time.
    let business = Client::scope(pop.ports.http(), &pop.path("var"), "business");
    for (trip, code) in [("T-1", 201), ("T-2", 201), ("T-3", 409)] {
        let wish = json!({"trip": trip, "city": "london", "parties": [
            {"role": "driver", "phone": "+447700900001"}, {"role": "passenger", "phone": format!("+44770090010{}", &trip[2..])}]});
        let _ = business.post("/v1/trips", &wish).expect(code);
    }
    let (code, said) = pop.says(&["pool", "forecast"]);
    assert!(code == 3 && said.contains("london has refused 1 trip"), "{code}: {said}");
    let (code, said) = pop.says(&["pool", "forecast", "london", "--json"]);
    let shown: Value = serde_json::from_str(&said).unwrap();
    assert!(code == 3 && shown["cities"]["london"]["numbers"]["active"] == 2, "{said}");
    assert!(pop.says(&["doctor"]).1.contains("london has refused 1 trip"));
    let refused = pop.bauta(&["pool", "set", "london", "+442079460001", "draining"]).output().unwrap();
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("london.toml: change it there"), "{words}");

    let (code, said) = pop.says(&["keys", "rotate", "--wait"]);
    assert!(code == 0 && said.starts_with("Key 2 seals") && said.contains("Nothing waits"), "{said}");
    assert!(pop.says(&["keys"]).1.contains("2    2      newest"), "{}", pop.says(&["keys", "show"]).1);
    let (code, said) = pop.says(&["backup"]);
    let copy = said.split_whitespace().next().unwrap();
    assert!(code == 0 && pop.path(copy).is_file() && said.contains("var/keys"), "{said}");

    // A new operator token opens, is rotated, and opens nothing once it is deleted.
    let new = pop.bauta(&["tokens", "new", "operator", "night-shift"]).output().unwrap();
    let token = String::from_utf8(new.stdout).unwrap();
    let opens = |token: &str| Client::with_token(pop.ports.http(), token).get("/v1/keys").status == 200;
    assert!(new.status.success() && opens(&token), "{}", String::from_utf8_lossy(&new.stderr));
    let list = pop.says(&["tokens"]).1;
    let id = list.lines().find(|l| l.contains("night-shift")).unwrap().split(' ').next().unwrap();
    let (_, rotated) = pop.says(&["tokens", "rotate", id, "--keep", "60"]);
    assert!(opens(&rotated) && opens(&token) && rotated != token);
    assert_eq!(pop.says(&["tokens", "delete", id]).0, 0);
    assert!(!opens(&rotated) && !opens(&token));
    drop(run);
}

#[test]
fn the_three_do_not_outlive_a_killed_supervisor() {
    let Some(pop) = Pop::prepare() else { return };
    let mut run = pop.run("run.out");
    run.kill();
    until("all three have ended", seconds(10), || pop.all().is_empty().then_some(()));
    // And its successor finds nothing in the way.
    let mut next = pop.run("next.out");
    assert!(next.stop().success());
}
