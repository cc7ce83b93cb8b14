//! `bauta run`: the demo, and what happens to the three processes when one of them, or the supervisor, dies.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use tests::deadline::{seconds, until};
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
fn the_three_do_not_outlive_a_killed_supervisor() {
    let Some(pop) = Pop::prepare() else { return };
    let mut run = pop.run("run.out");
    run.kill();
    until("all three have ended", seconds(10), || pop.all().is_empty().then_some(()));
    // And its successor finds nothing in the way.
    let mut next = pop.run("next.out");
    assert!(next.stop().success());
}
