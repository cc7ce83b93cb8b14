//! What is measured: two sides that bear the same load one after the other, in rounds, in changing order.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::rounds::Target;
use clap::ValueEnum;

use super::Bench;
use super::contestant::{Contestant, Who};
use super::generator::{Generator, Load};
use super::measure::{Snapshot, packets, samples};

/// How long a load may take until it comes evenly.
const SETTLE: Duration = Duration::from_secs(60);
/// After that, before anything is measured.
const SKIP: Duration = Duration::from_secs(1);
/// The time in which it is looked at whether it does.
const WINDOW: Duration = Duration::from_millis(500);
/// How often it is looked at memory while calls are opened.
const LOOK: Duration = Duration::from_millis(100);

/// Which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// 500 calls of 50 packets a second and leg: CPU a packet, added delay, loss.
    Calls,
    /// 100 calls, more packets than either forwards: CPU a packet.
    FlatOut,
    /// 4,000 calls without media: memory.
    Memory,
    /// Offer, answer, delete, by four clients.
    Setups,
    /// 500 calls, not recorded and recorded.
    Recorded,
    /// As many packets of 100 calls as of 4,000.
    Scale,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("none is skipped").get_name())
    }
}

/// Figures of one run, by name.
pub type Figures = BTreeMap<&'static str, f64>;

/// Two sides, and what is asked of the second against the first.
pub struct Scenario {
    /// Its name.
    pub name: Name,
    /// Both sides.
    pub sides: [Side; 2],
    /// What is shown.
    pub rows: Vec<Row>,
}

/// One side.
pub struct Side {
    /// How the table calls it.
    pub label: String,
    who: Who,
    load: Load,
}

/// A figure, and what is asked of it.
#[derive(Clone, Copy)]
pub struct Row {
    /// What the table says.
    pub what: &'static str,
    /// Its name among the figures. A side that has no such figure is shown without.
    pub key: &'static str,
    /// What is asked.
    pub target: Option<Target>,
}

const fn told(key: &'static str, what: &'static str) -> Row {
    Row { what, key, target: None }
}

const fn asked(key: &'static str, what: &'static str, target: Target) -> Row {
    Row { what, key, target: Some(target) }
}

impl Scenario {
    /// All that is known about one.
    pub fn new(name: Name, bench: &Bench) -> Self {
        let seconds = bench.options.seconds;
        let peers =
            |load: Load| [Who::Rtpengine, Who::Ours].map(|who| Side { label: who.to_string(), who, load });
        let sides = match name {
            Name::Calls => peers(Load::media(500, 50.0, seconds)),
            Name::FlatOut => {
                peers(Load { flat_out: true, ..Load::media(100, bench.options.flat_out, seconds) })
            }
            Name::Memory => peers(Load::silent(4_000, 3)),
            Name::Setups => peers(Load::setups(4, seconds)),
            Name::Recorded => [Who::Ours, Who::Recorded].map(|who| {
                let load = Load { record: who == Who::Recorded, ..Load::media(500, 50.0, seconds) };
                Side { label: who.to_string(), who, load }
            }),
            Name::Scale => [100_u32, 4_000].map(|calls| {
                let rate = f64::from(bench.options.scale_rate) / f64::from(2 * calls);
                Side {
                    label: format!("ours, {calls} calls"),
                    who: Who::Ours,
                    // A leg sends as many reports a second however few packets it sends, and these cost more.
                    load: Load { rtcp: false, ..Load::media(calls, rate, seconds) },
                }
            }),
        };
        Self { name, sides, rows: rows(name) }
    }

    /// One run of a side, from its start to its end.
    pub fn run(&self, bench: &Bench, side: usize) -> Result<Figures> {
        let Side { label, who, load } = &self.sides[side];
        let mut contestant = Contestant::start(bench, *who)?;
        let figures = match self.name {
            Name::Memory => memory(bench, &mut contestant, load),
            Name::Setups => setups(bench, &mut contestant, load),
            _ => media(bench, &mut contestant, load),
        };
        let figures = figures.with_context(|| format!("{label}\n{}", contestant.tail()))?;
        contestant.stop(bench.options.keep)?;
        Ok(figures)
    }
}

fn rows(name: Name) -> Vec<Row> {
    let cpu = |target| asked("cpu_us", "CPU a packet, µs (ours: relay + control)", target);
    let parts = [told("relay_us", "of it relay"), told("control_us", "of it control")];
    let core = [
        told("busy_us", "its core's busy time a packet, µs, whoever worked"),
        told("others", "its core, % busy with anything but its processes"),
        told("stolen", "its core, % taken by the hypervisor"),
        told("rate", "packets forwarded a second"),
    ];
    let full = [
        told("share", "its processes, % of the core (saturated: 90 and more)"),
        told("offered", "packets that came a second"),
    ];
    let delay = [
        told("delay_p50_us", "added delay p50, µs"),
        asked("delay_p99_us", "added delay p99, µs", Target::AtMost(0.5)),
        told("delay_p999_us", "added delay p99.9, µs"),
    ];
    let whole = [
        asked("failed", "calls that were not set up or ended", Target::Zero),
        asked("lost", "packets lost", Target::Zero),
        asked("wrong", "packets damaged or doubled", Target::Zero),
    ];
    let pacing = [told("pacing_us", "p99 by which the generator itself was late, µs")];
    match name {
        Name::Calls => [&[cpu(Target::AtMost(0.5))], &parts[..], &core, &delay, &pacing, &whole].concat(),
        Name::FlatOut => [&[cpu(Target::AtMost(0.65))], &parts[..], &core, &full].concat(),
        Name::Memory => vec![
            asked("kib", "resident memory a call, KiB", Target::AtMost(0.5)),
            told("before", "all of it before the first call, KiB"),
            told("with", "all of it with 4,000 calls, KiB"),
            asked("failed", "calls that were not set up or ended", Target::Zero),
        ],
        Name::Setups => vec![
            asked("setups", "set-ups a second", Target::AtLeast(3.0)),
            told("setup_p50_ms", "set-up p50, ms"),
            asked("setup_p99_ms", "set-up p99, ms", Target::AtMost(0.5)),
            told("delete_p99_ms", "delete p99, ms"),
            told("setup_us", "CPU a set-up, µs"),
            asked("failed", "set-ups and deletes that failed", Target::Zero),
            told("repeated", "requests that had to be sent again"),
        ],
        Name::Recorded => {
            let cpu = [
                asked("relay_us", "the relay's CPU a packet, µs", Target::AtMost(1.15)),
                told("control_us", "control's"),
                told("recorder_us", "the recorder's, on the generator's core"),
            ];
            let captured = [asked("not_captured", "packets that the tap has lost", Target::Zero)];
            [&cpu[..], &core, &pacing, &whole, &captured].concat()
        }
        Name::Scale => [&[cpu(Target::AtMost(1.1))], &parts[..], &core, &pacing, &whole].concat(),
    }
}

/// Calls with media: what a packet costs.
fn media(bench: &Bench, contestant: &mut Contestant, load: &Load) -> Result<Figures> {
    let mut generator = Generator::start(bench, contestant, load);
    settle(bench, contestant, &mut generator, load)?;
    let core = bench.cores.relay;
    let before = Snapshot::take(contestant, core)?;
    bench.watch(Duration::from_secs(load.seconds), contestant, &mut generator)?;
    let cost = Snapshot::take(contestant, core)?.since(&before);
    let report = generator.finish(bench, contestant)?;
    let mut figures = Figures::from([
        ("delay_p50_us", report.number("/added_delay_us/p50")?),
        ("delay_p99_us", report.number("/added_delay_us/p99")?),
        ("delay_p999_us", report.number("/added_delay_us/p99_9")?),
        ("failed", report.failed()?),
        ("lost", report.lost()?),
        ("wrong", report.number("/packets_corrupt")? + report.number("/packets_duplicated")?),
        ("pacing_us", report.number("/pacing_error_us/p99")?),
    ]);
    let each = |names: &[&str]| cost.a_packet(cost.of(names));
    for (name, key) in [("relay", "relay_us"), ("control", "control_us"), ("recorder", "recorder_us")] {
        if cost.cpu.contains_key(name) {
            figures.insert(key, each(&[name]));
        }
    }
    ensure!(cost.forwarded > 0, "no packet was forwarded");
    let forwarders = ["rtpengine", "relay", "control"];
    figures.extend([
        ("cpu_us", each(&forwarders)),
        ("share", cost.percent(cost.of(&forwarders))),
        ("busy_us", cost.a_packet(cost.busy())),
        ("others", cost.percent(cost.busy().saturating_sub(cost.of(&forwarders)))),
        ("stolen", cost.percent(cost.core.stolen)),
        ("rate", cost.forwarded as f64 / cost.seconds),
        ("offered", cost.offered as f64 / cost.seconds),
    ]);
    if let Some(lost) = contestant.not_captured() {
        figures.insert("not_captured", lost);
    }
    Ok(figures)
}

/// Waits until packets come as they are to come, and a second more.
fn settle(bench: &Bench, contestant: &mut Contestant, generator: &mut Generator, load: &Load) -> Result<()> {
    let (began, mut last, mut even) = (Instant::now(), packets(contestant)?, 0);
    let mut before = f64::INFINITY;
    while even < 2 {
        ensure!(began.elapsed() < SETTLE, "the load did not come within {SETTLE:?}\n{}", generator.said());
        let at = Instant::now();
        bench.watch(WINDOW, contestant, generator)?;
        let now = packets(contestant)?;
        let rate = (now[0] - last[0]) as f64 / at.elapsed().as_secs_f64();
        let all = if load.flat_out {
            // Nobody knows how many come; calls that are still being set up make it more each time.
            rate > load.expected() * 0.2 && rate < before * 1.1
        } else {
            rate > load.expected() * 0.9
        };
        even = if all { even + 1 } else { 0 };
        (last, before) = (now, rate);
    }
    bench.watch(SKIP, contestant, generator)
}

/// Calls without media: how much memory they take. What is most is with all of them open.
fn memory(bench: &Bench, contestant: &mut Contestant, load: &Load) -> Result<Figures> {
    let all = |contestant: &Contestant| -> Result<f64> {
        Ok(samples(contestant, 0.0)?.values().map(|sample| sample.resident).sum())
    };
    let before = all(contestant)?;
    let mut most = before;
    let mut generator = Generator::start(bench, contestant, load);
    while !generator.done()? {
        most = most.max(all(contestant)?);
        bench.pause(LOOK)?;
        contestant.alive()?;
    }
    let report = generator.finish(bench, contestant)?;
    let kib = (most - before) / report.number("/calls")?;
    Ok([("kib", kib), ("before", before), ("with", most), ("failed", report.failed()?)].into())
}

/// Calls that end as soon as they are answered.
fn setups(bench: &Bench, contestant: &mut Contestant, load: &Load) -> Result<Figures> {
    let core = bench.cores.relay;
    let generator = Generator::start(bench, contestant, load);
    let before = Snapshot::take(contestant, core)?;
    let report = generator.finish(bench, contestant)?;
    let cost = Snapshot::take(contestant, core)?.since(&before);
    let cpu: Duration = cost.cpu.values().sum();
    Ok([
        ("setups", report.number("/setups_per_second")?),
        ("setup_p50_ms", report.number("/setup_us/p50")? / 1e3),
        ("setup_p99_ms", report.number("/setup_us/p99")? / 1e3),
        ("delete_p99_ms", report.number("/delete_us/p99")? / 1e3),
        ("failed", report.failed()?),
        ("repeated", report.number("/requests_repeated")?),
        ("setup_us", cpu.as_secs_f64() * 1e6 / report.number("/calls_set_up")?),
    ]
    .into())
}
