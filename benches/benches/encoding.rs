//! What encoding costs and how it sounds: which of Opus's coders, what a core carries, and what others take for the same.
//!
//! `cargo bench -p benches --bench encoding` takes a few minutes; `-- --only quality`, `cost` or `peers` a part of it. It
//! needs espeak-ng, sox, opusenc and ffmpeg.
//!
//! The measure is ITU-T P.862 (PESQ), by the crate `pesq`; the reference is what came over the line (G.711 A-law), not
//! what was said: the archive is to be as good as the line. Times are CPU times (a shared machine), the least of several
//! rounds, and peers are run in turn with ours. A call is two sides: a core that encodes 1,000 s of one side in a second
//! carries 500 calls.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench that cannot be set up ends; figures are rounded when they are printed"
)]

#[path = "masking/cores.rs"]
#[allow(dead_code, reason = "the bench of masking uses more of it")]
mod cores;
#[path = "encoding/cost.rs"]
mod cost;
#[path = "encoding/peers.rs"]
mod peers;
#[path = "encoding/quality.rs"]
mod quality;
#[path = "encoding/speech.rs"]
mod speech;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};

use recorder::encode::Quality;
use recorder::settings::Settings;
use speech::{Call, Talk};

/// As in `bauta-recorder`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What encoding costs and how it sounds.
#[derive(Parser)]
struct Options {
    /// What is measured; all of it when nothing is said.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Seconds of the calls that are encoded.
    #[arg(long, default_value_t = 300)]
    seconds: usize,
    /// Rounds, after one that does not count.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part of the bench.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Coders, complexities and bitrates: CPU against PESQ.
    Quality,
    /// Calls per core, from a spool and by the encoder alone.
    Cost,
    /// The same audio through opusenc and ffmpeg's libopus.
    Peers,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let needed = ["espeak-ng", "sox", "opusenc", "ffmpeg"];
    ensure!(tests::programs::installed(&needed), "not everything is installed");
    let cores = cores::Cores::choose()?;
    cores.take_ours()?;
    let quality = Quality::from(&Settings::default());
    println!(
        "{}; {} bit/s, complexity {}, silence {:?} dBFS; core {} of {}; load {}",
        recorder::encode::library(),
        quality.bitrate,
        quality.complexity,
        quality.silence_dbfs,
        cores.ours,
        cores.count,
        std::fs::read_to_string("/proc/loadavg")?.trim(),
    );
    let wants = |part| options.only.is_empty() || options.only.contains(&part);
    if wants(Part::Quality) {
        quality::measure(options.rounds)?;
    }
    if wants(Part::Cost) || wants(Part::Peers) {
        for talk in [Talk::Ordinary, Talk::Continuous] {
            let call = Call::of(talk, options.seconds)?;
            let ours = cost::ways(&call, quality)?;
            let peers = if wants(Part::Peers) { peers::ways(&call, quality)? } else { Vec::new() };
            cost::race(&call, &ours, &peers, options.rounds)?;
        }
    }
    Ok(())
}
