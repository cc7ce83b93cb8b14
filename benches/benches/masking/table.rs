//! Figures as rows of a table in Markdown.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::cores;

/// How long operations took, while they are counted.
pub struct Times {
    what: String,
    pid: u32,
    histogram: Histogram<u64>,
    began: Instant,
    cpu: Duration,
}

/// Prints the head of a table of [`Times`].
pub fn head() {
    println!();
    println!("| what | a second | p50 µs | p99 µs | p99.9 µs | max µs | CPU µs each | of the core |");
    println!("|---|---|---|---|---|---|---|---|");
}

impl Times {
    /// Begins; CPU time is that of the process `pid`.
    pub fn begin(what: &str, pid: u32) -> Self {
        let histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds that fit");
        let cpu = cores::cpu(pid);
        Self { what: what.to_owned(), pid, histogram, began: Instant::now(), cpu }
    }

    /// One operation took so long.
    pub fn add(&mut self, took: Duration) {
        self.histogram.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Ends, and prints the row.
    pub fn end(self) {
        let (wall, cpu) = (self.began.elapsed(), cores::cpu(self.pid).saturating_sub(self.cpu));
        let count = self.count().max(1) as f64;
        let at = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        println!(
            "| {} | {:.0} | {:.1} | {:.1} | {:.1} | {:.0} | {:.1} | {:.0} % |",
            self.what,
            count / wall.as_secs_f64(),
            at(0.5),
            at(0.99),
            at(0.999),
            self.histogram.max() as f64 / 1_000.0,
            cpu.as_secs_f64() * 1e6 / count,
            cpu.as_secs_f64() / wall.as_secs_f64() * 100.0,
        );
    }
}
