//! Whether a system that works for a long time stays as it is. Pure.

use std::fmt;

/// Growth of memory that is no growth, in percent of what there is, over the time that was watched.
const FLAT_PERCENT: f64 = 2.0;
/// The same in KiB: what an allocator may still take in.
const FLAT_KIB: f64 = 1024.0;

/// A process at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sample {
    /// Seconds since the first.
    pub seconds: f64,
    /// Resident memory in KiB.
    pub resident: f64,
    /// Open descriptors.
    pub descriptors: f64,
    /// Threads.
    pub threads: f64,
}

/// What is wrong with a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Too little was seen to say anything.
    Unknown,
    /// Memory grows by so many KiB an hour.
    Memory(f64),
    /// More descriptors are open without a call than before the first one.
    Descriptors(f64),
    /// More threads run than before the first call.
    Threads(f64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => write!(f, "too few samples to say anything"),
            Self::Memory(kib) => write!(f, "memory grows by {kib:.0} KiB an hour"),
            Self::Descriptors(more) => write!(f, "{more} descriptors more than before the first call"),
            Self::Threads(more) => write!(f, "{more} threads more than before the first call"),
        }
    }
}

/// KiB an hour by which memory grows in the second half: the least squares' line. None of fewer than three samples.
pub fn growth(working: &[Sample]) -> Option<f64> {
    let half = working.get(working.len() / 2..).filter(|half| half.len() >= 2)?;
    let count = f64::from(u32::try_from(half.len()).ok()?);
    let mean = |of: fn(&Sample) -> f64| half.iter().map(of).sum::<f64>() / count;
    let (time, memory) = (mean(|s| s.seconds), mean(|s| s.resident));
    let product: f64 = half.iter().map(|s| (s.seconds - time) * (s.resident - memory)).sum();
    let square: f64 = half.iter().map(|s| (s.seconds - time).powi(2)).sum();
    (square > 0.0).then(|| product / square * 3600.0)
}

/// A process before its first call, while calls came and went, and after the last one.
pub fn faults(before: &Sample, working: &[Sample], after: &Sample) -> Vec<Fault> {
    let mut faults = Vec::new();
    match (growth(working), working.first(), working.last()) {
        (Some(an_hour), Some(first), Some(last)) => {
            let grown = an_hour * (last.seconds - first.seconds) / 3600.0;
            if grown > FLAT_KIB.max(last.resident * FLAT_PERCENT / 100.0) {
                faults.push(Fault::Memory(an_hour));
            }
        }
        _ => faults.push(Fault::Unknown),
    }
    let more = after.descriptors - before.descriptors;
    if more > 0.0 {
        faults.push(Fault::Descriptors(more));
    }
    let more = after.threads - before.threads;
    if more > 0.0 {
        faults.push(Fault::Threads(more));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample every 10 s for half an hour.
    fn series(resident: impl Fn(f64) -> f64) -> Vec<Sample> {
        let at = |n: i32| f64::from(n) * 10.0;
        let sample =
            |seconds| Sample { seconds, resident: resident(seconds), descriptors: 900.0, threads: 3.0 };
        (0..180).map(at).map(sample).collect()
    }

    const IDLE: Sample = Sample { seconds: 0.0, resident: 9_000.0, descriptors: 20.0, threads: 3.0 };

    #[test]
    fn a_leak_is_told_by_its_slope() {
        // 1 KiB a second, with a saw-tooth of calls over it.
        let leaking = series(|t| 20_000.0 + t + (t / 10.0) % 7.0 * 30.0);
        let an_hour = growth(&leaking).unwrap();
        assert!((3_500.0..3_700.0).contains(&an_hour), "{an_hour}");
        let found = faults(&IDLE, &leaking, &IDLE);
        assert!(matches!(found[..], [Fault::Memory(_)]), "{found:?}");
    }

    #[test]
    fn memory_that_was_taken_at_the_start_is_no_leak() {
        // Grows for five minutes, then stays.
        let warmed = series(|t| 10_000.0 + 40.0 * t.min(300.0) + (t / 10.0) % 5.0 * 20.0);
        assert_eq!(faults(&IDLE, &warmed, &IDLE), []);
    }

    #[test]
    fn a_small_leak_of_a_large_process_is_within_what_an_allocator_does() {
        let slow = series(|t| 400_000.0 + t / 2.0);
        assert_eq!(faults(&IDLE, &slow, &IDLE), [], "900 KiB of 400 MB");
    }

    #[test]
    fn what_is_left_open_is_told() {
        let flat = series(|_| 20_000.0);
        let after = Sample { descriptors: 24.0, threads: 4.0, ..IDLE };
        assert_eq!(faults(&IDLE, &flat, &after), [Fault::Descriptors(4.0), Fault::Threads(1.0)]);
        let fewer = Sample { descriptors: 12.0, ..IDLE };
        assert_eq!(faults(&IDLE, &flat, &fewer), []);
    }

    #[test]
    fn nothing_is_said_of_a_moment() {
        assert_eq!(growth(&series(|_| 1.0)[..2]), None);
        assert_eq!(faults(&IDLE, &[IDLE], &IDLE), [Fault::Unknown]);
    }
}
