//! What forwarding a packet costs, kernel included, by the way it is moved. The same engine with the same rows decides and
//! rewrites in every contestant; phones on another host (a network namespace) send to all of them in turn.
//!
//! `cargo bench -p benches --bench lanes -- --calls 100,500,2000` (root, for the namespaces and the funnel)
//!
//! The figure is the CPU time of the forwarding thread per forwarded packet. Contestants alternate; the table has medians
//! over the rounds, with the least and the most.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench that cannot be set up ends; figures are rounded when they are printed"
)]

#[path = "masking/cores.rs"]
#[allow(dead_code, clippy::expect_used, reason = "the bench of masking uses the rest")]
mod cores;
#[path = "lanes/funnel.rs"]
mod funnel;
#[path = "lanes/load.rs"]
mod load;
#[path = "lanes/meter.rs"]
mod meter;
#[path = "lanes/network.rs"]
mod network;
#[path = "lanes/plain.rs"]
mod plain;
#[path = "lanes/rows.rs"]
mod rows;
#[path = "lanes/tasks.rs"]
mod tasks;
#[path = "lanes/ways.rs"]
mod ways;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum as _};

use cores::Cores;
use load::Phones;
use meter::{Cost, Meter, Stage};
use network::Network;
use rows::{MOST_CALLS, Plan};
use ways::Contestant;

/// As in `bauta-relay`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Ways to move packets, compared.
#[derive(Parser)]
struct Options {
    /// Calls; each has two legs that send, and four sockets.
    #[arg(long, value_delimiter = ',', default_value = "500", value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_CALLS)))]
    calls: Vec<u16>,
    /// Packets a second that are sent, over all calls; 0 is as many as can be.
    #[arg(long, value_delimiter = ',', default_value = "50000,0")]
    rates: Vec<u32>,
    /// Rounds over all contestants.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that each is measured in each round.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Microseconds that packets gather in the contestants where they do, as `gather_us` has it in the relay.
    #[arg(long, default_value_t = 200)]
    gather_us: u64,
    /// Who takes part; all when nothing is said.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Contestant>,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Sources are learned and sockets connected before it is measured.
const WARM_UP: Duration = Duration::from_millis(700);

fn main() -> Result<()> {
    let options = Options::parse();
    relay::sys::limits::raise_open_files()?;
    let cores = Cores::choose()?;
    let (network, refused) = Network::lay();
    match refused {
        None => println!("Two network namespaces and a veth pair."),
        Some(why) => println!("Loopback, and no funnel: {why:#}"),
    }
    ensure!(cores.count > 1, "the load wants a core of its own");
    let mut contestants = options.only.clone();
    if contestants.is_empty() {
        contestants = Contestant::value_variants().to_vec();
    }
    if network.near.namespace().is_none() {
        contestants.retain(|c| !c.is_funnel());
    }
    network.far.enter()?;
    cores.take_theirs()?;
    for &calls in &options.calls {
        let plan = Plan { calls, near: network.near.address, far: network.far.address };
        let mut phones = Phones::open(&plan)?;
        for &rate in &options.rates {
            let load = Load {
                rate: (rate > 0).then_some(rate),
                measured: Duration::from_secs_f64(options.seconds),
                gather: Duration::from_micros(options.gather_us),
            };
            let mut costs = vec![Vec::new(); contestants.len()];
            for _ in 0..options.rounds {
                for (contestant, costs) in contestants.iter().zip(&mut costs) {
                    costs.extend(run(*contestant, &plan, &network, cores, &mut phones, &load)?);
                }
            }
            table(calls, load.rate, &contestants, &costs);
        }
    }
    Ok(())
}

/// How a contestant is measured.
struct Load {
    /// Packets a second; none for as many as can be.
    rate: Option<u32>,
    measured: Duration,
    /// How long packets gather, in the contestants where they do.
    gather: Duration,
}

/// Has one contestant forward on a thread of its own while this one makes the load.
fn run(
    contestant: Contestant,
    plan: &Plan,
    network: &Network,
    cores: Cores,
    phones: &mut Phones,
    load: &Load,
) -> Result<Option<Cost>> {
    let stage = Arc::new(Stage::default());
    std::thread::scope(|scope| {
        let meter = Meter::new(Arc::clone(&stage));
        let forwarder = scope.spawn(move || {
            network.near.enter()?;
            cores.take_ours()?;
            contestant.run(plan, &network.near, meter, load.gather)
        });
        while !stage.is_open() && !forwarder.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let began = Instant::now();
        phones.play(load.rate, || began.elapsed() > WARM_UP || forwarder.is_finished());
        stage.measure();
        let delays =
            phones.play(load.rate, || began.elapsed() > WARM_UP + load.measured || forwarder.is_finished());
        stage.over();
        // The last turns need packets to end.
        phones.play(load.rate, || forwarder.is_finished());
        let cost = forwarder.join().unwrap_or_else(|_| anyhow::bail!("{} panicked", contestant.name()))?;
        Ok(cost.map(|cost| cost.with_delays(delays)))
    })
}

fn table(calls: u16, rate: Option<u32>, contestants: &[Contestant], costs: &[Vec<Cost>]) {
    let load = rate.map_or("as many packets as can be".to_owned(), |rate| format!("{rate} packets/s"));
    println!("\n{calls} calls, {load}\n");
    println!(
        "| way | CPU µs a packet: median (least, most) | packets/s | packets a turn | delay p50, p99 µs |"
    );
    println!("|---|---|---|---|---|");
    for (contestant, costs) in contestants.iter().zip(costs) {
        let name = contestant.name();
        let cpu = sorted(costs, |c| Some(c.cpu_us));
        let (Some(least), Some(most)) = (cpu.first(), cpu.last()) else {
            println!("| {name} | nothing was forwarded | | | |");
            continue;
        };
        let middle = |of: fn(&Cost) -> Option<f64>| {
            let values = sorted(costs, of);
            values.get(values.len() / 2).copied()
        };
        let delays = [|c: &Cost| Some(c.delay_us?[0]), |c: &Cost| Some(c.delay_us?[1])]
            .map(|of| middle(of).map_or("-".to_owned(), |us| format!("{us:.0}")));
        println!(
            "| {name} | {:.2} ({least:.2}, {most:.2}) | {:.0} | {:.1} | {} |",
            cpu[cpu.len() / 2],
            middle(|c| Some(c.packets_per_second)).unwrap_or(0.0),
            middle(|c| Some(c.batch)).unwrap_or(0.0),
            delays.join(", "),
        );
    }
}

fn sorted(costs: &[Cost], of: fn(&Cost) -> Option<f64>) -> Vec<f64> {
    let mut values: Vec<f64> = costs.iter().filter_map(of).collect();
    values.sort_by(f64::total_cmp);
    values
}
