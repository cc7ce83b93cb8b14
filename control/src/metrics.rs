//! Prometheus text (exposition format 0.0.4), written by hand: families, labels, values.
//!
//! Label values come from closed sets (reasons, states, roles) and never from callers.

use std::fmt::{Display, Write};
use std::sync::{Mutex, PoisonError};

/// Collects metric families as text.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Starts a family; its samples must follow before the next family starts.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) -> &mut Self {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        self
    }

    /// One sample of the family that was started last.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, escape(text));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
        self
    }

    /// A family that has a single sample without labels.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) -> &mut Self {
        self.family(name, kind, help).sample(name, &[], value)
    }

    /// One histogram of the family that was started last, which is of [`Kind::Histogram`].
    pub fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) -> &mut Self {
        let Counts { buckets, beyond, sum } = histogram.counts();
        let mut sample = |suffix: &str, le: Option<&str>, value: &dyn Display| {
            let labels: Vec<_> = labels.iter().copied().chain(le.map(|le| ("le", le))).collect();
            self.sample(&format!("{name}_{suffix}"), &labels, value);
        };
        let mut count = 0;
        for (bound, more) in histogram.bounds.iter().zip(buckets) {
            count += more;
            sample("bucket", Some(&bound.to_string()), &count);
        }
        count += beyond;
        sample("bucket", Some("+Inf"), &count);
        sample("sum", None, &sum);
        sample("count", None, &count);
        self
    }

    /// Appends text that is in the format already.
    pub fn append(&mut self, text: &str) -> &mut Self {
        self.0.push_str(text);
        if !text.is_empty() && !text.ends_with('\n') {
            self.0.push('\n');
        }
        self
    }

    /// The text so far.
    pub fn finish(self) -> String {
        self.0
    }
}

/// What a family's numbers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often values up to so much were seen.
    Histogram,
}

/// Values seen, by size. Locked for each: for what happens once per call, not once per packet.
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds, each part of its bucket, ascending.
    bounds: &'static [f64],
    counts: Mutex<Counts>,
}

#[derive(Debug, Clone, Default)]
struct Counts {
    /// Values of each bucket alone.
    buckets: Vec<u64>,
    /// Values above the last bound.
    beyond: u64,
    sum: f64,
}

impl Histogram {
    /// An empty one with these upper bounds, ascending.
    pub fn new(bounds: &'static [f64]) -> Self {
        let counts = Counts { buckets: vec![0; bounds.len()], ..Counts::default() };
        Self { bounds, counts: Mutex::new(counts) }
    }

    /// Counts a value.
    pub fn observe(&self, value: f64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.bounds.partition_point(|bound| *bound < value);
        counts.sum += value;
        match counts.buckets.get_mut(at) {
            Some(bucket) => *bucket += 1,
            None => counts.beyond += 1,
        }
    }

    fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_samples_are_in_the_exposition_format() {
        let mut text = Text::default();
        text.family("a_total", Kind::Counter, "How many.").sample("a_total", &[("r", "x\"y"), ("s", "z")], 3);
        text.single("b", Kind::Gauge, "Now.", 1.5).append("c 1");
        let want = "# HELP a_total How many.\n# TYPE a_total counter\na_total{r=\"x\\\"y\",s=\"z\"} 3\n\
                    # HELP b Now.\n# TYPE b gauge\nb 1.5\nc 1\n";
        assert_eq!(text.finish(), want);
    }

    #[test]
    fn a_histogram_adds_up_its_buckets() {
        let histogram = Histogram::new(&[0.5, 1.0, 2.5]);
        for value in [0.25, 0.5, 1.0, 2.0, 7.25] {
            histogram.observe(value);
        }
        let mut text = Text::default();
        text.family("h", Kind::Histogram, "Sizes.").histogram("h", &[("of", "x")], &histogram);
        let want = "# HELP h Sizes.\n# TYPE h histogram\n\
                    h_bucket{of=\"x\",le=\"0.5\"} 2\nh_bucket{of=\"x\",le=\"1\"} 3\nh_bucket{of=\"x\",le=\"2.5\"} 4\n\
                    h_bucket{of=\"x\",le=\"+Inf\"} 5\nh_sum{of=\"x\"} 11\nh_count{of=\"x\"} 5\n";
        assert_eq!(text.finish(), want);
    }
}
