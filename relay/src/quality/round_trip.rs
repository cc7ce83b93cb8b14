//! Round trip between relay and leg: when a time-stamp was sent to it, and when its echo came back (RFC 3550 section
//! 6.4.1: A - LSR - DLSR, by the relay's own clock). Pure.

use serde::{Deserialize, Serialize};

/// A longer round trip is none: the echo is wrong.
const MAX_NS: u64 = 60_000_000_000;
/// Time-stamps that are remembered: a leg echoes the last one that reached it.
const REMEMBERED: usize = 4;

/// What a leg says of the last time-stamp that it received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// The time-stamp: the middle 32 bits of an NTP time-stamp.
    pub stamp: u32,
    /// How long ago it received it, in 1/65536 s.
    pub delay: u32,
}

/// The time-stamps sent to one leg, and the last round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RoundTrip {
    /// Newest first: the time-stamp, and when it was sent (monotonic nanoseconds).
    stamps: [Option<(u32, u64)>; REMEMBERED],
    last_us: Option<u32>,
}

impl RoundTrip {
    /// Takes note of a time-stamp (the middle 32 bits of an NTP time-stamp) that is sent at `now_ns`.
    pub fn sent(&mut self, stamp: u32, now_ns: u64) {
        // 0 would say in an echo that there was none.
        if stamp != 0 {
            self.stamps.rotate_right(1);
            let [newest, ..] = &mut self.stamps;
            *newest = Some((stamp, now_ns));
        }
    }

    /// Takes an echo that came at `now_ns`. Ignored, if it is of no time-stamp that was sent lately, or its round trip
    /// would be negative or longer than a minute.
    pub fn echoed(&mut self, echo: Echo, now_ns: u64) {
        let sent = self.stamps.iter().flatten().find(|(stamp, _)| *stamp == echo.stamp);
        let Some((_, sent_ns)) = sent else { return };
        let delay_ns = (u64::from(echo.delay) * 1_000_000_000) >> 16;
        let trip = now_ns.checked_sub(*sent_ns).and_then(|passed| passed.checked_sub(delay_ns));
        if let Some(trip_ns) = trip.filter(|ns| *ns <= MAX_NS) {
            self.last_us = u32::try_from(trip_ns / 1000).ok();
        }
    }

    /// The last round trip, in microseconds.
    pub const fn last_us(&self) -> Option<u32> {
        self.last_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn trip(sent_ns: u64, delay: u32, now_ns: u64) -> Option<u32> {
        let mut trip = RoundTrip::default();
        trip.sent(0xb705_2000, sent_ns);
        trip.echoed(Echo { stamp: 0xb705_2000, delay }, now_ns);
        trip.last_us()
    }

    #[test]
    fn the_example_of_rfc_3550() {
        // Figure 2 of section 6.4.1: the report comes back at 46864.500 s, LSR is 46853.125 s, DLSR is 5.250 s.
        assert_eq!(
            trip(46_853_125 * SECOND / 1000, 0x0005_4000, 46_864_500 * SECOND / 1000),
            Some(6_125_000)
        );
    }

    #[test]
    fn round_trips_that_cannot_be_are_ignored() {
        assert_eq!(trip(0, 0, 60 * SECOND), Some(60_000_000));
        for (sent, delay, now) in
            [(0, 0, 60 * SECOND + 1), (0, 1 << 16, SECOND - 1), (SECOND, 0, 0), (0, u32::MAX, u64::MAX)]
        {
            assert_eq!(trip(sent, delay, now), None, "{sent} {delay} {now}");
        }
    }

    #[test]
    fn the_last_few_time_stamps_are_known_and_none_else() {
        let mut trip = RoundTrip::default();
        for stamp in 0..=5 {
            trip.sent(stamp, u64::from(stamp) * SECOND);
        }
        for (stamp, expected) in [(0, None), (1, None), (9, None), (2, Some(8_000_000)), (5, Some(5_000_000))]
        {
            trip.echoed(Echo { stamp, delay: 0 }, 10 * SECOND);
            assert_eq!(trip.last_us(), expected, "{stamp}");
        }
        // A time-stamp that is sent again counts from then.
        trip.sent(5, 9 * SECOND);
        trip.echoed(Echo { stamp: 5, delay: 0 }, 10 * SECOND);
        assert_eq!(trip.last_us(), Some(1_000_000));
    }
}
