//! What capture costs: as many calls as `--calls` says, recorded by a `bauta-recorder` that has one core.
//!
//! `cargo bench -p benches --bench capture` takes a minute and 1.5 GB. `-- --find-max` says where it ends.
//!
//! The bench is the relay ([`relay::Relay`]): it opens the calls and writes the packets of both sides into a tap ring
//! of the relay's own size, a batch each millisecond, on another core. Wall time on a shared machine says little: the
//! firm figure is the CPU time that a packet took, which the recorder's threads are asked for one by one. That the
//! packets were captured is not the recorder's word: they are counted in the spools afterwards. What the parties say
//! is made by espeak-ng and sox, as for the tests.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench that cannot be set up ends; figures are rounded when they are printed"
)]

#[allow(dead_code, reason = "the bench of masking uses the rest")]
#[path = "masking/cores.rs"]
mod cores;
#[path = "capture/figures.rs"]
mod figures;
#[path = "capture/interruption.rs"]
mod interruption;
#[path = "capture/process.rs"]
mod process;
#[path = "capture/relay.rs"]
mod relay_side;
#[path = "capture/spools.rs"]
mod spools;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tests::programs;

use figures::Figures;
use process::{Recorder, Usage};
use relay_side::{Load, PACKETS_PER_CALL, Played, Relay};

/// Bytes of a packet in a spool: 172 of RTP, wrapped.
const SPOOLED: u64 = 256;
/// Most packets of one run while the limit is searched for, unless `--seconds` says more.
const SEARCHED: u64 = 6_000_000;
/// How often the recorder is looked at while it works.
const LOOK: Duration = Duration::from_millis(250);
/// Longest wait for whatever should take a moment.
const PATIENCE: Duration = Duration::from_secs(20);

/// What capture costs.
#[derive(Parser, Clone)]
struct Options {
    /// Calls at a time, each with both sides talking.
    #[arg(long, default_value_t = 1000)]
    calls: u32,
    /// Packets a second of all calls together [default: 100 a call, as with packets of 20 ms].
    #[arg(long)]
    rate: Option<u64>,
    /// Seconds of talk [default: 60; 2 to 5 with --find-max].
    #[arg(long)]
    seconds: Option<u64>,
    /// Core of the recorder [default: the last]. The relay's part runs on another.
    #[arg(long)]
    core: Option<usize>,
    /// Where the state directory is made, and removed again: on the file system to be measured [default: beside the build].
    #[arg(long)]
    state: Option<PathBuf>,
    /// Ends the calls at last and waits so many seconds at most for the archives of all of them.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "900")]
    archive: Option<u64>,
    /// Looks for the most calls that are captured without loss and without a ring that fills, in short runs.
    #[arg(long)]
    find_max: bool,
    /// All of it as a line of JSON at last.
    #[arg(long)]
    json: bool,
    /// The recorder to be measured [default: that of this tree, which is built].
    #[arg(long)]
    recorder: Option<PathBuf>,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn load(&self, calls: u32) -> Load {
        let rate = self.rate.unwrap_or(u64::from(calls) * PACKETS_PER_CALL);
        // A search takes no more disk than one whole run.
        let seconds = if self.find_max { (SEARCHED / rate).clamp(2, 5) } else { 60 };
        let seconds = self.seconds.unwrap_or(seconds);
        Load { calls, rate, seconds }
    }
}

/// What all runs share.
struct Bench {
    options: Options,
    program: PathBuf,
    folder: PathBuf,
    /// Of the recorder, and of the relay's part.
    cores: [usize; 2],
    interrupted: Arc<AtomicBool>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let program = match &options.recorder {
        Some(program) => program.canonicalize().context("--recorder")?,
        None => build()?,
    };
    let folder = match &options.state {
        Some(folder) => programs::repository("").join(folder),
        None => env!("CARGO_TARGET_TMPDIR").into(),
    };
    std::fs::create_dir_all(&folder)?;
    let cores = choose_cores(options.core)?;
    let bench = Bench { options, program, folder, cores, interrupted: interruption::interruption()? };
    println!(
        "{} on core {} of {}, spools on {}; load {}",
        bench.program.display(),
        cores[0],
        sched_getaffinity(None)?.count(),
        cores::file_system(&bench.folder)?,
        std::fs::read_to_string("/proc/loadavg")?.trim(),
    );
    take(cores[1])?;
    if bench.options.find_max {
        return find_max(&bench);
    }
    Figures::head();
    let figures = run(&bench, bench.options.load(bench.options.calls))?;
    figures.row();
    figures.details();
    if bench.options.json {
        println!("{}", figures.json());
    }
    Ok(())
}

/// Cargo builds no programs of other packages for a bench.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = std::process::Command::new(cargo);
    build.current_dir(programs::repository("")).args(["build", "--release", "--quiet", "-p", "recorder"]);
    ensure!(build.status()?.success(), "bauta-recorder is not built");
    Ok(programs::ours("bauta-recorder"))
}

/// The recorder's core, and the other side's.
fn choose_cores(wanted: Option<usize>) -> Result<[usize; 2]> {
    let allowed = sched_getaffinity(None)?;
    // Interrupts mostly go to the first.
    let usable: Vec<usize> = (0..CpuSet::MAX_CPU).rev().filter(|core| allowed.is_set(*core)).collect();
    let ours = wanted.or(usable.first().copied()).context("no core")?;
    ensure!(usable.contains(&ours), "core {ours} is not for this process to use");
    let Some(theirs) = usable.into_iter().find(|core| *core != ours) else {
        bail!("two cores are needed: one for the recorder, one for the relay's part")
    };
    Ok([ours, theirs])
}

/// This thread, and what it starts from now on, runs on `core` alone.
fn take(core: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).with_context(|| format!("run on core {core} alone"))
}

/// Refuses what the disk has no room for.
fn check_room(folder: &Path, load: Load) -> Result<()> {
    let needed = 2 * load.packets() * SPOOLED;
    let disk = rustix::fs::statvfs(folder)?;
    let free = disk.f_bavail * disk.f_frsize;
    ensure!(
        free > needed,
        "{} MB are free, and {} MB should be: take fewer --seconds",
        free >> 20,
        needed >> 20
    );
    Ok(())
}

/// One recorder, from its start to the last packet found in its spools.
fn run(bench: &Bench, load: Load) -> Result<Figures> {
    check_room(&bench.folder, load)?;
    let state = tempfile::Builder::new().prefix("capture-").tempdir_in(&bench.folder)?;
    let mut relay = Relay::start(state.path(), load)?;
    take(bench.cores[0])?;
    let recorder = Recorder::start(&bench.program, state.path(), bench.cores[0], &bench.interrupted);
    take(bench.cores[1])?;
    let mut recorder = recorder?;
    relay.attached(PATIENCE)?;
    let empty = recorder.memory()?;
    let ids = relay.open();
    recorder.until("all calls are open", PATIENCE, |m| m.value("calls") == u64::from(load.calls))?;
    let open = recorder.memory()?;
    let kernel = process::kernel_threads();
    let (played, usage) = play(bench, &mut relay, &mut recorder)?;
    let kernel = process::kernel_threads().saturating_sub(kernel);
    let spooled = spools::bytes(state.path())?;
    let mut figures = Figures { load, empty, open, kernel, spooled, ..Figures::new(played, usage) };
    if let Some(seconds) = bench.options.archive {
        relay.close();
        let began = Instant::now();
        let all = u64::from(load.calls);
        let made = recorder.until("all archives are made", Duration::from_secs(seconds), |m| {
            m.value("archives_total") + m.value("archive_failures_total") >= all
        })?;
        figures.archives = Some((began.elapsed(), made));
    }
    figures.counters = recorder.stop(PATIENCE)?;
    if bench.options.archive.is_none() {
        figures.found = Some(spools::count(state.path(), &ids)?);
    }
    Ok(figures)
}

/// The relay plays on a thread of its own; this one looks at the recorder meanwhile.
fn play(bench: &Bench, relay: &mut Relay, recorder: &mut Recorder) -> Result<(Played, Usage)> {
    let before = recorder.usage()?;
    let mut most = before.clone();
    let played = std::thread::scope(|scope| {
        let player = scope.spawn(|| relay.play(&bench.interrupted));
        while !player.is_finished() {
            std::thread::sleep(LOOK);
            most.highest(&recorder.usage()?);
        }
        player.join().expect("the relay's part ends well")
    })?;
    most.highest(&recorder.usage()?);
    Ok((played, most.since(&before)))
}

/// Doubles the calls until the recorder does not keep up, then halves the distance.
fn find_max(bench: &Bench) -> Result<()> {
    Figures::head();
    let holds = |calls: u32| -> Result<bool> {
        let figures = run(bench, bench.options.load(calls))?;
        figures.row();
        ensure!(figures.played.on_time(), "the relay's part did not keep up: not the recorder's limit");
        Ok(figures.kept_up())
    };
    let (mut good, mut bad) = (0, bench.options.calls);
    while holds(bad)? {
        (good, bad) = (bad, bad * 2);
    }
    while bad - good > bad / 8 {
        let middle = u32::midpoint(good, bad);
        if holds(middle)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    println!("\n{good} calls are captured, {bad} are not");
    Ok(())
}
