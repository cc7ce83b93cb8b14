//! Ours beside rtpengine: the same load on each in turn, in two network namespaces of one machine.
//!
//! `cargo bench -p benches --bench peers` takes a quarter of an hour, on a machine with nothing else to do;
//! `-- --only calls --rounds 1 --seconds 4` a minute. It needs root, two cores and `rtpengine-daemon` (Debian's).
//!
//! Contestants take turns in each round, in changing order; the first round warms up and is not counted. What is measured
//! has one core, the generator (`bauta load`) and the recorder the other. CPU time is the kernel's account of each
//! contestant's processes, over an interval in which the load comes evenly; rtpengine is one process that does what
//! relay and control do, so it is held against the sum of these two. A packet is one that went out on the contestant's
//! device, and ratios are taken round by round. Namespaces and processes go whatever happens.
//!
//! `-- --soak 30` is something else: ours alone, at 70 % of what it can bear, with calls that come and go.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench that cannot be set up ends; figures are rounded when they are printed"
)]

#[path = "peers/contestant.rs"]
mod contestant;
#[path = "peers/generator.rs"]
mod generator;
#[path = "capture/interruption.rs"]
mod interruption;
#[path = "peers/measure.rs"]
mod measure;
#[path = "peers/scenario.rs"]
mod scenario;
#[path = "peers/soak.rs"]
mod soak;
#[path = "peers/table.rs"]
mod table;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};
use serde_json::{Value, json};
use tests::namespaces::Link;
use tests::programs;

use contestant::Contestant;
use generator::Generator;
use scenario::{Name, Scenario};
use table::Rounds;

/// How often it is looked whether all still run.
const LOOK: Duration = Duration::from_millis(100);

/// Ours beside rtpengine.
#[derive(Parser)]
struct Options {
    /// Rounds that count; one more comes before them.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds that are measured in each run.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// What is measured; all of it when nothing is said.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<Name>,
    /// Where all figures of all rounds are written.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keeps each run's folder: settings, logs, the load's report.
    #[arg(long)]
    keep: bool,
    /// Core of what is measured, and of the generator [default: the first two that this process may use].
    #[arg(long, value_delimiter = ',', num_args = 1, value_name = "CORE,CORE")]
    cores: Vec<usize>,
    /// Packets a second and leg of 100 calls that are more than either forwards.
    #[arg(long, default_value_t = 1_250.0, value_name = "PACKETS")]
    flat_out: f64,
    /// Packets a second of all legs where 100 calls are held against 4,000.
    #[arg(long, default_value_t = 20_000, value_name = "PACKETS")]
    scale_rate: u32,
    /// Further lines of our relay's settings, like 'lane = "mmsg"'.
    #[arg(long, default_value = "", value_name = "LINES")]
    relay: String,
    /// Where our programs are [default: those of this tree, which are built].
    #[arg(long, value_name = "FOLDER")]
    bin_dir: Option<PathBuf>,
    /// Ours alone for so many minutes, with calls that come and go.
    #[arg(long, value_name = "MINUTES")]
    soak: Option<u64>,
    /// With --soak: packets a second that ours can bear, if that is not to be found out first.
    #[arg(long, value_name = "PACKETS", requires = "soak")]
    capacity: Option<f64>,
    /// With --soak: how long a call lasts.
    #[arg(long, default_value_t = 30, value_name = "SECONDS", requires = "soak")]
    call_seconds: u64,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Who has which core.
#[derive(Debug, Clone, Copy)]
struct Cores {
    /// What is measured.
    relay: usize,
    /// What asks, and the recorder.
    generator: usize,
}

/// What all runs share.
struct Bench {
    options: Options,
    /// The folder of our programs.
    programs: PathBuf,
    /// Where runs have their folders.
    folder: PathBuf,
    cores: Cores,
    link: Link,
    interrupted: Arc<AtomicBool>,
}

impl Bench {
    fn make(options: Options) -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "network namespaces are root's to make");
        let cores = choose_cores(&options.cores)?;
        raise_open_files()?;
        let programs = match &options.bin_dir {
            Some(folder) => programs::repository("").join(folder).canonicalize().context("--bin-dir")?,
            None => build()?,
        };
        let folder = env!("CARGO_TARGET_TMPDIR").into();
        std::fs::create_dir_all(&folder)?;
        let interrupted = interruption::interruption()?;
        Ok(Self { options, programs, folder, cores, link: Link::make("peers", 1)?, interrupted })
    }

    /// Sleeps; an error where the bench is to end.
    fn pause(&self, time: Duration) -> Result<()> {
        ensure!(!self.interrupted.load(Relaxed), "interrupted");
        std::thread::sleep(time);
        Ok(())
    }

    /// Lets all work for a while; an error where one of them does not.
    fn watch(&self, time: Duration, contestant: &mut Contestant, generator: &mut Generator) -> Result<()> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            contestant.alive()?;
            contestant.keep_pinned();
            if generator.done()? {
                bail!("the load ended too early\n{}", generator.said());
            }
            self.pause(left.min(LOOK))?;
        }
        Ok(())
    }
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    if options.soak.is_none() {
        contestant::check_rtpengine()?;
    }
    let bench = Bench::make(options)?;
    println!(
        "{}; what is measured on core {}, the generator on core {}; load {}",
        bench.programs.display(),
        bench.cores.relay,
        bench.cores.generator,
        std::fs::read_to_string("/proc/loadavg")?.trim(),
    );
    let (results, met) = match bench.options.soak {
        Some(minutes) => soak::run(&bench, minutes)?,
        None => compare(&bench)?,
    };
    write(&bench, &results)?;
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every scenario that is wanted; whether all targets were met.
fn compare(bench: &Bench) -> Result<(Value, bool)> {
    let wanted = &bench.options.only;
    let names = Name::value_variants().iter().filter(|name| wanted.is_empty() || wanted.contains(name));
    let (mut results, mut met) = (Vec::new(), true);
    for name in names {
        let scenario = Scenario::new(*name, bench);
        let rounds = rounds(bench, &scenario)?;
        rounds.print(&scenario);
        met &= rounds.met(&scenario);
        results.push(rounds.json(&scenario));
        // What is measured stays, if what comes next should fail.
        write(bench, &json!(results))?;
    }
    println!("\n{}", if met { "every target is met" } else { "NOT every target is met" });
    Ok((json!(results), met))
}

/// The rounds of one scenario, the first of them for nothing.
fn rounds(bench: &Bench, scenario: &Scenario) -> Result<Rounds> {
    let mut rounds = Rounds { sides: [Vec::new(), Vec::new()] };
    for round in 0..=bench.options.rounds {
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            let figures = scenario.run(bench, side)?;
            let shown: Vec<String> =
                figures.iter().map(|(key, figure)| format!("{key} {}", table::rounded(*figure))).collect();
            let label = &scenario.sides[side].label;
            eprintln!("{}, round {round}, {label}: {}", scenario.name, shown.join(", "));
            if round > 0 {
                rounds.sides[side].push(figures);
            }
        }
    }
    Ok(rounds)
}

fn write(bench: &Bench, results: &Value) -> Result<()> {
    let Some(file) = &bench.options.json else { return Ok(()) };
    let all = json!({
        "rounds": bench.options.rounds, "seconds": bench.options.seconds, "results": results,
        "cores": [bench.cores.relay, bench.cores.generator],
    });
    let file = programs::repository("").join(file);
    std::fs::write(&file, format!("{all:#}\n")).with_context(|| file.display().to_string())
}

/// Cargo builds no programs of other packages for a bench.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.current_dir(programs::repository("")).args(["build", "--release", "--quiet", "--locked", "--bins"]);
    build.args(["-p", "tools", "-p", "relay", "-p", "control", "-p", "recorder"]);
    ensure!(build.status()?.success(), "our programs are not built");
    Ok(programs::target().with_file_name("release"))
}

fn choose_cores(wanted: &[usize]) -> Result<Cores> {
    let allowed = sched_getaffinity(None)?;
    let usable: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    let of = if wanted.is_empty() { &usable[..] } else { wanted };
    let [relay, generator, ..] = *of else { bail!("two cores are needed: one is measured, the other asks") };
    ensure!(relay != generator, "what is measured and what asks need a core each");
    ensure!(
        [relay, generator].iter().all(|core| usable.contains(core)),
        "{wanted:?}: not for this process to use"
    );
    Ok(Cores { relay, generator })
}

/// Every contestant's soft limit becomes the hard one: 4,000 calls are 16,000 sockets.
fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let files = limit.maximum.unwrap_or(u64::MAX);
    ensure!(files > 17_000, "at most {files} open files, which are too few for 4,000 calls: ulimit -Hn");
    Ok(())
}
