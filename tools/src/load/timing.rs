//! How long requests took, by verb.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// A route decision over HTTP.
    Route,
    /// Offer; with a relay that is programmed directly, its open.
    Offer,
    /// Answer.
    Answer,
    /// Delete; with a relay that is programmed directly, its close.
    Delete,
    /// Offer and answer together: from the first's question to the second's reply.
    SetUp,
}

impl Verb {
    /// Its name, as NG has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::Delete => "delete",
            Self::SetUp => "set-up",
        }
    }
}

/// Durations in nanoseconds, `[Verb as usize]`. What came to nothing is not among them.
#[derive(Debug, Clone)]
pub struct Timing([Histogram<u64>; 5]);

/// A histogram of durations in nanoseconds, exact to three digits.
pub fn histogram() -> Histogram<u64> {
    #[allow(clippy::expect_used, reason = "three digits are allowed")]
    Histogram::new(3).expect("up to five digits")
}

impl Default for Timing {
    fn default() -> Self {
        Self(std::array::from_fn(|_| histogram()))
    }
}

impl Timing {
    /// Notes how long `verb` took.
    pub fn record(&mut self, verb: Verb, took: Duration) {
        if let Some(histogram) = self.0.get_mut(verb as usize) {
            // It grows as it needs to: there is nothing that would not fit.
            let _ = histogram.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// Runs `work` and notes how long it took, if it succeeded.
    pub fn time<T, E>(&mut self, verb: Verb, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let start = Instant::now();
        let done = work();
        if done.is_ok() {
            self.record(verb, start.elapsed());
        }
        done
    }

    /// What was noted of `verb`.
    pub fn of(&self, verb: Verb) -> Option<&Histogram<u64>> {
        self.0.get(verb as usize)
    }

    /// Takes in what another one noted.
    pub fn add(&mut self, other: &Self) {
        for (sum, part) in self.0.iter_mut().zip(&other.0) {
            let _ = sum.add(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_long_and_what_took_short_are_told_apart_and_failures_left_out() {
        let (mut sum, mut part) = (Timing::default(), Timing::default());
        part.record(Verb::Offer, Duration::from_millis(40));
        sum.record(Verb::Offer, Duration::from_micros(90));
        assert_eq!(sum.time(Verb::Offer, || Err::<(), _>("no")), Err("no"));
        sum.add(&part);
        let offers = sum.of(Verb::Offer).unwrap();
        assert_eq!(offers.len(), 2);
        assert!((39_900_000..40_100_000).contains(&offers.max()), "{}", offers.max());
        assert!((89_000..91_000).contains(&offers.min()), "{}", offers.min());
        assert!(sum.of(Verb::Delete).unwrap().is_empty());
    }
}
