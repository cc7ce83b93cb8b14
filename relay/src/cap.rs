//! The packet-rate cap of one row: how many packets a second a leg may send, by what was negotiated. Pure.
//!
//! A bucket that holds one second's packets: a burst after a stall passes, a flood does not.

use serde::{Deserialize, Serialize};

/// A bucket of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RateCap {
    /// Packets a second; 0 for no limit.
    per_second: u32,
    /// What is in the bucket, in billionths of a packet.
    left: u64,
    /// When it was filled last, monotonic nanoseconds.
    filled_ns: u64,
}

const ONE: u64 = 1_000_000_000;

impl RateCap {
    /// Sets the cap. A cap that changes starts with a full bucket.
    pub fn set(&mut self, per_second: u32, now_ns: u64) {
        if self.per_second != per_second {
            *self = Self { per_second, left: u64::from(per_second) * ONE, filled_ns: now_ns };
        }
    }

    /// Fills the bucket: who sends from now on has not taken anything out yet.
    pub fn refill(&mut self, now_ns: u64) {
        (self.left, self.filled_ns) = (u64::from(self.per_second) * ONE, self.filled_ns.max(now_ns));
    }

    /// Packets a second, and what is left of them since when: for who counts in its place.
    #[cfg(feature = "xdp")]
    pub const fn state(&self) -> (u32, u64, u64) {
        (self.per_second, self.left, self.filled_ns)
    }

    /// Takes one packet out; false when there is none.
    #[inline]
    pub fn admits(&mut self, now_ns: u64) -> bool {
        if self.per_second == 0 {
            return true;
        }
        let (rate, passed) = (u64::from(self.per_second), now_ns.saturating_sub(self.filled_ns).min(ONE));
        // At most 2^32 packets of 10^9 parts: no overflow.
        self.left = (self.left + passed * rate).min(rate * ONE);
        self.filled_ns = self.filled_ns.max(now_ns);
        match self.left.checked_sub(ONE) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cap(per_second: u32) -> RateCap {
        let mut cap = RateCap::default();
        cap.set(per_second, 0);
        cap
    }

    #[test]
    fn a_burst_of_a_second_passes_and_a_flood_does_not() {
        let mut cap = cap(250);
        assert_eq!((0..1000).filter(|_| cap.admits(5)).count(), 250);
        assert_eq!((1..=1000).filter(|ms| cap.admits(5 + ms * 1_000_000)).count(), 250, "one second later");
    }

    #[test]
    fn no_cap_admits_all_and_the_same_cap_again_refills_nothing() {
        let mut free = RateCap::default();
        assert!((0..10_000).all(|_| free.admits(0)));
        let mut cap = cap(1);
        assert!(cap.admits(0) && !cap.admits(0));
        cap.set(1, 0);
        assert!(!cap.admits(0));
        cap.set(2, 0);
        assert!(cap.admits(0) && cap.admits(0) && !cap.admits(0));
        cap.refill(0);
        assert!(cap.admits(0) && cap.admits(0) && !cap.admits(0), "full, and no more than that");
    }

    proptest! {
        /// Whatever the times, even backwards or far apart: never more than the rate allows, and no panic.
        #[test]
        fn never_more_than_its_rate(rate: u32, times in proptest::collection::vec(any::<u64>(), 0..200)) {
            let mut cap = cap(rate);
            for at in times {
                cap.admits(at);
                prop_assert!(cap.left <= u64::from(rate) * ONE);
            }
        }
    }
}
