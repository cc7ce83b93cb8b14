//! The two clocks, read once per batch (through the vDSO: no system call).

use rustix::time::{ClockId, clock_gettime};

/// A moment on both clocks, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Never jumps: for spans.
    pub mono_ns: u64,
    /// Since 1970 (UTC): for what is told to others.
    pub wall_ns: u64,
}

impl Now {
    /// This moment.
    #[inline]
    pub fn read() -> Self {
        Self { mono_ns: nanoseconds(ClockId::Monotonic), wall_ns: nanoseconds(ClockId::Realtime) }
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
