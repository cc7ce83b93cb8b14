//! What masking costs: trips made, calls decided and control started, with as many trips as `--trips` says.
//!
//! `cargo bench -p benches --bench masking` takes a minute. The figures of `RESULTS.md`, and a folder that is filled once:
//! `cargo bench -p benches --bench masking -- --trips 1000000 --state var/million`
//!
//! Everything of ours that is measured has one core, [`cores::Cores::ours`]: control's library inside this process,
//! then `bauta-control` itself. What asks it over HTTP runs on another. Times on a shared machine say little, so each
//! row also says what CPU time one operation took and what share of the core that made.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench that cannot be set up ends; figures are rounded when they are printed"
)]

#[path = "masking/asker.rs"]
mod asker;
#[path = "masking/cores.rs"]
mod cores;
#[path = "masking/fill.rs"]
mod fill;
#[path = "masking/inside.rs"]
mod inside;
#[path = "masking/outside.rs"]
mod outside;
#[path = "masking/people.rs"]
mod people;
#[path = "masking/table.rs"]
mod table;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Parser, ValueEnum};

use cores::Cores;
use people::People;
use tests::programs;

/// As in `bauta-control`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What masking costs.
#[derive(Parser)]
struct Options {
    /// Trips that live while calls are decided.
    #[arg(long, default_value_t = 20_000)]
    trips: u32,
    /// State directory: filled if it is new, used again if this bench has filled it with as many trips. A relative path
    /// starts at the repository. Without it, one beside the build that goes afterwards.
    #[arg(long)]
    state: Option<PathBuf>,
    /// What is measured; all of it when nothing is said.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Clients that make trips at a time.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// HTTP connections, each with one request at a time.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Seconds that each load over HTTP lasts.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Seconds that control runs before it is asked over HTTP: forecasts and sweeps begin a while after its start.
    #[arg(long, default_value_t = 0)]
    idle: u64,
    /// Decisions inside the process, per row.
    #[arg(long, default_value_t = 200_000)]
    decisions: u32,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part of the bench.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Trips made inside the process: always, when the state directory is new.
    Fill,
    /// Decisions inside the process.
    Inside,
    /// Starting `bauta-control`.
    Start,
    /// Decisions over HTTP.
    Route,
    /// Trips made over HTTP.
    Create,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let beside = tempfile::Builder::new().prefix("masking-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let state =
        programs::repository("").join(options.state.as_deref().unwrap_or(&beside.path().join("state")));
    std::fs::create_dir_all(&state)?;
    let people = People { trips: options.trips };
    let cores = Cores::choose()?;
    introduce(&options, &state, &cores)?;
    cores.take_ours()?;
    fill::unless_filled(&state, people, options.clients)?;
    if options.only == [Part::Fill] {
        return Ok(());
    }
    let loaded = inside::Loaded::load(&state)?;
    if options.wants(Part::Inside) {
        loaded.measure(&state, people, options.decisions)?;
    }
    let dials = loaded.dials(people);
    drop(loaded);
    if [Part::Start, Part::Route, Part::Create].into_iter().any(|part| options.wants(part)) {
        outside::measure(&options, &state, people, &dials, &cores)?;
    }
    Ok(())
}

/// The conditions, without which the figures say nothing.
fn introduce(options: &Options, state: &Path, cores: &Cores) -> Result<()> {
    println!(
        "{} trips and {} that were closed, {} people, {} cities of {} numbers; {} on {}; core {} of {}; load {}",
        options.trips,
        People { trips: options.trips }.closed(),
        People { trips: options.trips }.count(),
        People { trips: options.trips }.cities(),
        people::CITY_NUMBERS,
        state.display(),
        cores::file_system(state)?,
        cores.ours,
        cores.count,
        std::fs::read_to_string("/proc/loadavg")?.trim(),
    );
    Ok(())
}
