//! Interarrival jitter of one SSRC (RFC 3550 section 6.4.1 and appendix A.8), in nanoseconds instead of ticks, so that
//! payload types of different clocks share one figure. Pure.

use serde::{Deserialize, Serialize};

/// A transit time that changes by so much at once is not the network's doing: the sender's clock has jumped.
const JUMP_NS: u64 = 10_000_000_000;

/// The estimate, and the packet that the next one is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Jitter {
    /// When the last packet came; none if the next one is not to be compared with it.
    arrival_ns: Option<u64>,
    timestamp: u32,
    /// The clock that it counts in.
    hz: u32,
    /// Nanoseconds per tick of it, times 2^24: less than 2^54.
    tick: i64,
    /// In sixteenths of a nanosecond.
    scaled: u64,
}

impl Jitter {
    /// Takes a packet in order of arrival, time-stamped in a clock of `hz` ticks a second. Gives the jitter in
    /// nanoseconds; none for the first packet in a clock, which there is nothing to compare with, nor where `hz` is 0.
    /// A talkspurt needs no care: time-stamps go on through silence, as arrival times do.
    #[inline]
    pub fn packet(&mut self, timestamp: u32, hz: u32, arrival_ns: u64) -> Option<u64> {
        if self.hz != hz {
            self.clock(hz);
        }
        let ticks = timestamp.wrapping_sub(self.timestamp).cast_signed();
        self.timestamp = timestamp;
        let before_ns = self.arrival_ns.replace(arrival_ns)?;
        if hz == 0 {
            return None;
        }
        // Less than 2^31 ticks of 2^30 nanoseconds each.
        #[allow(clippy::cast_possible_truncation, reason = "less than 2^61")]
        let sent = ((i128::from(ticks) * i128::from(self.tick)) >> 24) as i64;
        let arrived = arrival_ns.wrapping_sub(before_ns).cast_signed();
        let change = arrived.saturating_sub(sent).unsigned_abs();
        if change >= JUMP_NS {
            return None;
        }
        self.scaled = self.scaled + change - ((self.scaled + 8) >> 4);
        Some(self.scaled >> 4)
    }

    /// Time-stamps count in another clock from now on.
    #[cold]
    fn clock(&mut self, hz: u32) {
        self.hz = hz;
        self.tick = (1_000_000_000_i64 << 24).checked_div(i64::from(hz)).unwrap_or(0);
        self.interrupt();
    }

    /// The next packet is not to be compared with those before.
    pub const fn interrupt(&mut self) {
        self.arrival_ns = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_sixteenth_of_each_change_of_transit_time() {
        let mut jitter = Jitter::default();
        assert_eq!(jitter.packet(u32::MAX - 79, 8000, 100 * MS), None);
        assert_eq!(jitter.packet(80, 8000, 120 * MS), Some(0), "in time, across the wrap");
        assert_eq!(jitter.packet(240, 8000, 156 * MS), Some(MS), "16 ms late");
        assert_eq!(jitter.packet(400, 8000, 160 * MS), Some(MS + MS * 15 / 16), "and in time again");
        assert_eq!(
            jitter.packet(8400, 8000, 1160 * MS),
            Some((MS + MS * 15 / 16) * 15 / 16),
            "after silence"
        );
    }

    #[test]
    fn neither_another_clock_nor_a_jump_of_it_is_jitter() {
        let mut jitter = Jitter::default();
        jitter.packet(0, 8000, 0);
        assert_eq!(jitter.packet(160, 8000, 36 * MS), Some(MS));
        assert_eq!(jitter.packet(77, 48_000, 40 * MS), None);
        assert_eq!(jitter.packet(77 + 960, 48_000, 60 * MS), Some(MS * 15 / 16));
        assert_eq!(jitter.packet(5, 0, 80 * MS), None);
        assert_eq!(jitter.packet(77 + 2880, 48_000, 100 * MS), None);
        assert_eq!(jitter.packet(3_000_000_000, 48_000, 120 * MS), None, "time-stamps that begin anew");
        assert!(jitter.packet(3_000_000_960, 48_000, 140 * MS).is_some_and(|j| j < MS));
    }
}
