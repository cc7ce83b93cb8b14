//! Ours alone for a long time, at a good part of what it can bear, with calls that come and go: whether anything grows.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::steady::{Fault, Sample, faults, growth};
use serde_json::{Value, json};

use super::Bench;
use super::contestant::{Contestant, Who};
use super::generator::{Generator, Load, Report};
use super::measure::{packets, samples, sockets};

/// Of the capacity.
const SHARE: f64 = 0.7;
/// From sample to sample.
const EVERY: Duration = Duration::from_secs(10);
/// Packets a second and leg, as with packets of 20 ms.
const RATE: f64 = 50.0;
/// After the last call: until its ports are given back.
const PATIENCE: Duration = Duration::from_secs(60);

/// A sample of each process, in a row.
type Series = BTreeMap<&'static str, Vec<Sample>>;

/// All of it; whether nothing was lost and nothing grows.
pub fn run(bench: &Bench, minutes: u64) -> Result<(Value, bool)> {
    let capacity = match bench.options.capacity {
        Some(capacity) => capacity,
        None => find_capacity(bench)?,
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of calls")]
    let calls = (capacity * SHARE / (2.0 * RATE)) as u32;
    let load =
        Load { call_seconds: Some(bench.options.call_seconds), ..Load::media(calls, RATE, minutes * 60) };
    println!(
        "{minutes} minutes of {calls} calls of {} s, {:.0} packets a second: {:.0} % of {capacity:.0}",
        bench.options.call_seconds,
        load.expected(),
        SHARE * 100.0
    );
    let mut contestant = Contestant::start(bench, Who::Ours)?;
    // The first calls open files that stay open, like that of the call records.
    Generator::start(bench, &contestant, &Load::media(10, RATE, 1)).finish(bench, &mut contestant)?;
    let sockets_before = sockets(&contestant)?;
    let before = samples(&contestant, 0.0)?;
    let (series, report) =
        work(bench, &mut contestant, &load).with_context(|| format!("soak\n{}", contestant.tail()))?;
    let after = idle(bench, &mut contestant, &before, sockets_before)?;
    let sockets_after = sockets(&contestant)?;
    contestant.stop(bench.options.keep)?;
    let (lost, failed) = (report.lost()?, report.failed()?);
    ensure!(report.number("/seconds")? >= load.seconds as f64 - 1.0, "the load ended before its time");
    let (mut processes, mut steady) = (Vec::new(), true);
    println!(
        "\n| process | memory before, KiB | most | after | KiB an hour, second half | descriptors before | most | after | |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (name, series) in &series {
        let (before, after) = (&before[name], &after[name]);
        let faults = faults(before, series, after);
        steady &= faults.is_empty();
        print(name, before, series, after, &faults);
        processes.push(json!({
            "process": name, "before": sample(before), "after": sample(after),
            "series": series.iter().map(sample).collect::<Vec<_>>(),
            "kib_an_hour": growth(series), "faults": faults.iter().map(Fault::to_string).collect::<Vec<_>>(),
        }));
    }
    steady &= sockets_after <= sockets_before;
    println!("\nUDP sockets: {sockets_before} before, {sockets_after} after");
    let state = if steady { "nothing grows" } else { "NOT as it was" };
    println!("packets lost: {lost}; calls that were not set up or ended: {failed}; {state}");
    let all = json!({
        "minutes": minutes, "capacity": capacity, "calls": calls, "lost": lost, "failed": failed, "processes": processes,
        "sockets": {"before": sockets_before, "after": sockets_after},
        "load": report.0,
    });
    Ok((all, steady && lost == 0.0 && failed == 0.0))
}

/// The highest load without loss, in packets a second of all legs.
fn find_capacity(bench: &Bench) -> Result<f64> {
    let mut contestant = Contestant::start(bench, Who::Ours)?;
    let generator = Generator::find_max(bench, &contestant);
    let report = generator.finish(bench, &mut contestant)?;
    contestant.stop(bench.options.keep)?;
    report.capacity()
}

/// The load from its start to its end, with a sample every [`EVERY`].
fn work(bench: &Bench, contestant: &mut Contestant, load: &Load) -> Result<(Series, Report)> {
    let mut generator = Generator::start(bench, contestant, load);
    let (began, mut next, mut series) = (Instant::now(), EVERY, Series::new());
    let mut last = packets(contestant)?;
    while !generator.done()? {
        contestant.alive()?;
        bench.pause(Duration::from_millis(100))?;
        if began.elapsed() < next {
            continue;
        }
        next += EVERY;
        let seconds = began.elapsed().as_secs_f64();
        let now = packets(contestant)?;
        let mut line = format!("{seconds:.0} s: {} packets in, {} out", now[0] - last[0], now[1] - last[1]);
        // Writing to a String cannot fail.
        let _ = write!(line, "; {} sockets", sockets(contestant)?);
        last = now;
        for (name, sample) in samples(contestant, seconds)? {
            let Sample { resident, descriptors, threads, .. } = sample;
            let _ = write!(line, "; {name} {resident} KiB, {descriptors} open, {threads} threads");
            series.entry(name).or_default().push(sample);
        }
        eprintln!("{line}");
    }
    // While calls are ended there are fewer of them.
    for samples in series.values_mut() {
        samples.retain(|sample| sample.seconds <= load.seconds as f64);
    }
    Ok((series, generator.finish(bench, contestant)?))
}

/// Once as many descriptors and sockets are open as before the first call, or after [`PATIENCE`].
fn idle(
    bench: &Bench,
    contestant: &mut Contestant,
    before: &BTreeMap<&'static str, Sample>,
    sockets_before: u64,
) -> Result<BTreeMap<&'static str, Sample>> {
    let began = Instant::now();
    loop {
        let now = samples(contestant, began.elapsed().as_secs_f64())?;
        let closed = now.iter().all(|(name, sample)| sample.descriptors <= before[name].descriptors);
        let closed = closed && sockets(contestant)? <= sockets_before;
        if closed || began.elapsed() > PATIENCE {
            return Ok(now);
        }
        contestant.alive()?;
        bench.pause(Duration::from_millis(100))?;
    }
}

fn print(name: &str, before: &Sample, series: &[Sample], after: &Sample, faults: &[Fault]) {
    let most = |of: fn(&Sample) -> f64| series.iter().map(of).fold(0.0, f64::max);
    let faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
    println!(
        "| {name} | {} | {} | {} | {} | {} | {} | {} | {} |",
        before.resident,
        most(|s| s.resident),
        after.resident,
        growth(series).map(|kib| format!("{kib:.0}")).unwrap_or_default(),
        before.descriptors,
        most(|s| s.descriptors),
        after.descriptors,
        if faults.is_empty() { "as it was".to_owned() } else { faults.join("; ") },
    );
}

fn sample(sample: &Sample) -> Value {
    json!({
        "seconds": sample.seconds, "resident_kib": sample.resident, "descriptors": sample.descriptors,
        "threads": sample.threads,
    })
}
