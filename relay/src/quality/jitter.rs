//! Interarrival jitter of one SSRC (RFC 3550 section 6.4.1 and appendix A.8), in nanoseconds instead of ticks, so that
//! payload types of different clocks share one figure. Pure.

use serde::{Deserialize, Serialize};

/// A transit time that changes by so much at once is not the network's doing: the sender's clock has jumped.
const JUMP_NS: u64 = 10_000_000_000;

/// The estimate, and the packet that the next one is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Jitter {
    before: Option<Before>,
    /// In sixteenths of a nanosecond.
    scaled: u64,
}

/// A packet, as far as the next one is compared with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Before {
    arrival_ns: u64,
    timestamp: u32,
    hz: u32,
}

impl Jitter {
    /// Takes a packet in order of arrival, time-stamped in a clock of `hz` ticks a second. Gives the jitter in
    /// nanoseconds; none for the first packet in a clock, which there is nothing to compare with, nor where `hz` is 0.
    /// A talkspurt needs no care: time-stamps go on through silence, as arrival times do.
    #[inline]
    pub fn packet(&mut self, timestamp: u32, hz: u32, arrival_ns: u64) -> Option<u64> {
        let before = self.before;
        if hz == 0 {
            self.before = None;
            return None;
        }
        self.before = Some(Before { arrival_ns, timestamp, hz });
        let before = before.filter(|b| b.hz == hz)?;
        let ticks = i64::from(timestamp.wrapping_sub(before.timestamp).cast_signed());
        // Less than 2^31 ticks of 2^30 nanoseconds each.
        let sent = ticks * 1_000_000_000 / i64::from(hz);
        let arrived = arrival_ns.wrapping_sub(before.arrival_ns).cast_signed();
        let change = arrived.saturating_sub(sent).unsigned_abs();
        if change >= JUMP_NS {
            return None;
        }
        self.scaled = self.scaled + change - ((self.scaled + 8) >> 4);
        Some(self.scaled >> 4)
    }

    /// The next packet is not to be compared with those before.
    pub const fn interrupt(&mut self) {
        self.before = None;
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
