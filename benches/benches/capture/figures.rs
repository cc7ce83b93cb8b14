//! The figures of a run: a row of a table in Markdown, lines below it, a line of JSON.

use std::time::Duration;

use serde_json::json;

use super::process::{Counters, IO_WQ, Memory, Usage};
use super::relay_side::{Load, Played};
use super::spools::Found;

/// A ring that took longer than this to be emptied was filling.
const CAUGHT_UP: Duration = Duration::from_secs(1);

/// One run.
#[derive(Debug)]
pub struct Figures {
    /// What was asked for.
    pub load: Load,
    /// What the relay saw.
    pub played: Played,
    /// The recorder's CPU time and most memory while the packets came.
    pub usage: Usage,
    /// Its memory before the first call.
    pub empty: Memory,
    /// Its memory when all calls were open and nobody had spoken.
    pub open: Memory,
    /// CPU time of the kernel's own threads meanwhile.
    pub kernel: Duration,
    /// Its counters at last.
    pub counters: Counters,
    /// Bytes of all spools.
    pub spooled: u64,
    /// What is in the spools.
    pub found: Option<Found>,
    /// How long the archives took, and what they needed.
    pub archives: Option<(Duration, Usage)>,
}

impl Figures {
    /// Of what was played; the rest is to be filled in.
    pub fn new(played: Played, usage: Usage) -> Self {
        Self {
            load: Load { calls: 0, rate: 0, seconds: 0 },
            played,
            usage,
            empty: Memory::default(),
            open: Memory::default(),
            kernel: Duration::ZERO,
            counters: Counters::default(),
            spooled: 0,
            found: None,
            archives: None,
        }
    }

    /// Whether all was captured and the ring did not fill.
    pub fn kept_up(&self) -> bool {
        let whole = self.found.is_none_or(|f| f.packets == self.played.offered && f.unexplained == 0);
        whole && self.played.lost == 0 && self.played.drained.is_some_and(|time| time < CAUGHT_UP)
    }

    /// Time that was measured: until the recorder had taken the last packet.
    fn lasted(&self) -> Duration {
        self.played.lasted + self.played.drained.unwrap_or_default()
    }

    /// Packets captured: as the spools say, else as the recorder does.
    fn captured(&self) -> u64 {
        self.found.map_or_else(|| self.counters.value("packets_total"), |found| found.packets)
    }

    fn each(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.captured().max(1) as f64
    }

    fn percent(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.lasted().as_secs_f64() * 100.0
    }

    /// KiB of private memory for each call, at most.
    fn kib_per_call(&self) -> f64 {
        self.usage.memory.private.saturating_sub(self.empty.private) as f64
            / f64::from(self.load.calls.max(1))
    }

    fn megabytes_a_second(&self) -> f64 {
        self.spooled as f64 / 1e6 / self.lasted().as_secs_f64()
    }

    /// Prints the head of the table.
    pub fn head() {
        println!();
        println!(
            "| calls | packets/s offered | captured/s | lost | gaps | ring at most | CPU µs a packet | of the core | capture | io-wq | sync | archiver | KiB a call | MB/s | alarms |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    }

    /// Prints the row.
    pub fn row(&self) {
        let seconds = self.played.lasted.as_secs_f64();
        let thread = |name| self.percent(self.usage.thread(name));
        println!(
            "| {} | {:.0} | {:.0} | {} | {} | {:.1} of {} MiB | {:.2} | {:.1} % | {:.1} % | {:.1} % | {:.1} % | {:.1} % | {:.1} | {:.1} | {} |",
            self.load.calls,
            self.played.offered as f64 / seconds,
            self.captured() as f64 / seconds,
            self.played.lost,
            self.played.gaps,
            mebibytes(self.played.backlog),
            self.played.ring >> 20,
            self.each(self.usage.cpu),
            self.percent(self.usage.cpu),
            thread("capture"),
            thread(IO_WQ),
            thread("sync"),
            thread("archiver"),
            self.kib_per_call(),
            self.megabytes_a_second(),
            self.counters.value("alarms_total"),
        );
    }

    /// Prints what the row does not say.
    pub fn details(&self) {
        let Self { played, usage, empty, open, .. } = self;
        println!();
        println!(
            "{} packets in {:.1} s, the last one out of the ring {}; {}",
            played.offered,
            played.lasted.as_secs_f64(),
            played.drained.map_or_else(|| "never".to_owned(), |t| format!("{} ms later", t.as_millis())),
            if self.kept_up() { "all captured, no gap" } else { "NOT ALL CAPTURED, or the ring was filling" },
        );
        if let Some(found) = self.found {
            println!(
                "spools: {} packets, {} told as lost, {} holes without a word, {:.0} MB",
                found.packets,
                found.told_lost,
                found.unexplained,
                self.spooled as f64 / 1e6
            );
        }
        println!(
            "memory of the recorder, private: {} KiB without a call, {} with all open, {} at most; at most {} KiB resident ({} as shares) with the ring",
            empty.private,
            open.private,
            usage.memory.private,
            usage.memory.resident,
            usage.memory.proportional
        );
        println!(
            "the relay's part {:.1} % of its own core, {} packets in its largest batch; the kernel's own threads {:.1} % of a core, for everybody; {} threads astray",
            self.percent(played.cpu),
            played.largest_batch,
            self.percent(self.kernel),
            usage.astray
        );
        if let Some((took, usage)) = &self.archives {
            println!(
                "{} archives ({} attempts failed) after {:.1} s, {:.1} s of CPU; private memory {} KiB at most",
                self.counters.value("archives_total"),
                self.counters.value("archive_failures_total"),
                took.as_secs_f64(),
                usage.cpu.as_secs_f64(),
                usage.memory.private
            );
        }
    }

    /// All of it as one line.
    pub fn json(&self) -> serde_json::Value {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let threads: serde_json::Map<_, _> =
            self.usage.threads.iter().map(|(name, time)| (name.clone(), json!(micros(*time)))).collect();
        json!({
            "calls": self.load.calls, "seconds": self.load.seconds, "rate": self.load.rate,
            "lasted_s": self.played.lasted.as_secs_f64(),
            "drained_ms": self.played.drained.map(|time| time.as_secs_f64() * 1e3),
            "packets": {
                "offered": self.played.offered, "lost": self.played.lost, "gaps": self.played.gaps,
                "counted": self.counters.value("packets_total"),
                "counted_lost": self.counters.value("lost_packets_total"),
                "counted_gaps": self.counters.value("gaps_total"),
                "found": self.found.map(|found| found.packets),
                "unexplained": self.found.map(|found| found.unexplained),
            },
            "kept_up": self.kept_up(), "alarms": self.counters.value("alarms_total"),
            "ring_bytes": {"most": self.played.backlog, "size": self.played.ring},
            "cpu_us": {
                "all": micros(self.usage.cpu), "a_packet": self.each(self.usage.cpu), "threads": threads,
                "relay_side": micros(self.played.cpu), "kernel_threads": micros(self.kernel),
            },
            "private_kib": {
                "empty": self.empty.private, "open": self.open.private, "most": self.usage.memory.private,
                "a_call": self.kib_per_call(),
                "archiving": self.archives.as_ref().map(|(_, usage)| usage.memory.private),
            },
            "resident_kib": self.usage.memory.resident, "proportional_kib": self.usage.memory.proportional,
            "spool_bytes": self.spooled,
            "archives": self.archives.as_ref().map(|(took, usage)| json!({
                "made": self.counters.value("archives_total"),
                "failed": self.counters.value("archive_failures_total"),
                "seconds": took.as_secs_f64(), "cpu_s": usage.cpu.as_secs_f64(),
            })),
        })
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
