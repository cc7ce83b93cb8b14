//! The two clocks, read once per batch (through the vDSO: no system call), and a thread's own, read once a second.

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A moment on both clocks, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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

/// A wall clock that no step of the system's clock touches: the system's at one moment, carried on by the monotonic
/// clock. Each recorded call has its own, taken when it opens, so that a correction of the system's clock in mid-call
/// does not tear the recording apart, and the next call has the corrected time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timeline {
    /// Wall clock less monotonic clock.
    offset_ns: u64,
}

impl Timeline {
    /// One that agrees with the system's clock now.
    pub const fn starting(now: Now) -> Self {
        Self { offset_ns: now.wall_ns.wrapping_sub(now.mono_ns) }
    }

    /// Its time at a moment: nanoseconds since 1970 (UTC).
    #[inline]
    pub const fn at(self, now: Now) -> u64 {
        self.offset_ns.wrapping_add(now.mono_ns)
    }
}

/// Time that the calling thread has spent on a core, in nanoseconds. A system call.
pub fn thread_cpu_ns() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
