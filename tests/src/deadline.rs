//! Waiting for a condition, never for a time alone.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(20);

/// Asks `probe` until it answers; panics with `what` when it has not within `limit`.
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        thread::sleep(STEP);
    }
}

/// Seconds, as the tests write them.
pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
