//! The free-list of one address: shuffled once, then first in, first out, and a rest after each use, so that late
//! packets of an old call find its ports closed. Where every other pair is in use, the rest is cut short, to a tenth at
//! least: a caller who is turned away has lost his call for certain, and a late packet that comes after a tenth of the
//! rest still has to pass the source check of the new call. Pure: the time comes in.

use std::collections::{HashSet, VecDeque};

use crate::settings::PortRange;

/// Even ports whose odd neighbour belongs to them, each free, resting, or taken by a call.
#[derive(Debug)]
pub(super) struct Pool {
    free: VecDeque<u16>,
    /// In the order in which they become free, with the time of it.
    resting: VecDeque<(u16, u64)>,
    rest_ns: u64,
    total: usize,
}

/// Of its rest a pair has at least this part.
const LEAST: u64 = 10;

impl Pool {
    /// All pairs of `range`, in an order drawn from `seed`; each rests for `rest_ns` after its use.
    pub(super) fn new(range: PortRange, rest_ns: u64, seed: u64) -> Self {
        let first = range.first + range.first % 2;
        let mut list: Vec<u16> = (first..range.last).step_by(2).collect();
        let mut random = seed | 1;
        for place in (1..list.len()).rev() {
            // Xorshift: the order must differ between starts, nothing hangs on its quality.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            list.swap(place, usize::try_from(random % (place as u64 + 1)).unwrap_or(0));
        }
        Self { total: list.len(), free: list.into(), resting: VecDeque::new(), rest_ns }
    }

    /// Takes the pair that was free the longest; with none free, the one that has rested the longest, if that is enough.
    pub(super) fn take(&mut self, now_ns: u64) -> Option<u16> {
        self.wake(now_ns);
        self.free.pop_front().or_else(|| match self.resting.front() {
            Some(resting) if self.hurries(resting, now_ns) => self.resting.pop_front().map(|(rtp, _)| rtp),
            _ => None,
        })
    }

    /// Whether a pair has rested for as long as it must.
    const fn hurries(&self, (_, until_ns): &(u16, u64), now_ns: u64) -> bool {
        until_ns.saturating_sub(now_ns) <= self.rest_ns - self.rest_ns / LEAST
    }

    /// Takes back a pair that carried a call until `now_ns` (which never runs backwards).
    pub(super) fn give(&mut self, rtp: u16, now_ns: u64) {
        self.resting.push_back((rtp, now_ns.saturating_add(self.rest_ns)));
    }

    /// Takes back a pair that nobody was told of: it needs no rest.
    pub(super) fn put_back(&mut self, rtp: u16) {
        self.free.push_back(rtp);
    }

    /// Pairs that can be taken.
    pub(super) fn free(&mut self, now_ns: u64) -> usize {
        self.wake(now_ns);
        self.free.len()
    }

    /// Pairs that rest.
    pub(super) fn resting(&mut self, now_ns: u64) -> usize {
        self.wake(now_ns);
        self.resting.len()
    }

    /// Pairs in the range.
    pub(super) const fn total(&self) -> usize {
        self.total
    }

    /// Pairs that rest, with the time until which they do.
    pub(super) fn export(&self) -> Vec<(u16, u64)> {
        self.resting.iter().copied().collect()
    }

    /// Every pair that can be taken, nothing resting.
    pub(super) fn all_free(&self) -> HashSet<u16> {
        self.free.iter().copied().collect()
    }

    /// Keeps only `free` of the free pairs, and lets others rest, in the order in which they become free.
    pub(super) fn adopt(&mut self, free: &HashSet<u16>, resting: impl Iterator<Item = (u16, u64)>) {
        self.free.retain(|rtp| free.contains(rtp));
        self.resting.extend(resting);
    }

    fn wake(&mut self, now_ns: u64) {
        let rested = self.resting.iter().take_while(|(_, until_ns)| *until_ns <= now_ns).count();
        self.free.extend(self.resting.drain(..rested).map(|(rtp, _)| rtp));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REST: u64 = 20;
    const LEAST_REST: u64 = REST / LEAST;

    fn pool(first: u16, last: u16) -> Pool {
        Pool::new(PortRange { first, last }, REST, 7)
    }

    #[test]
    fn pairs_are_even_and_odd_inside_the_range_and_come_once() {
        for (first, last, expected) in
            [(28_801, 28_808, &[28_802, 28_804, 28_806][..]), (65_532, 65_535, &[65_532, 65_534])]
        {
            let mut pool = pool(first, last);
            let mut taken: Vec<u16> = std::iter::from_fn(|| pool.take(0)).collect();
            taken.sort_unstable();
            assert_eq!(taken, expected);
            assert_eq!(PortRange { first, last }.pairs(), expected.len());
        }
    }

    #[test]
    fn the_order_is_the_seeds() {
        let order = |seed| {
            let mut pool = Pool::new(PortRange { first: 30_000, last: 30_999 }, REST, seed);
            std::iter::from_fn(|| pool.take(0)).collect::<Vec<_>>()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        assert!(!order(3).is_sorted());
    }

    #[test]
    fn a_pair_given_back_rests_and_then_stands_last() {
        let mut pool = pool(100, 105);
        let first = pool.take(0).unwrap();
        pool.give(first, 10);
        assert_eq!((pool.free(29), pool.resting(29)), (2, 1));
        assert_eq!((pool.free(30), pool.resting(30)), (3, 0));
        assert!(
            pool.take(30).is_some_and(|rtp| rtp != first) && pool.take(30).is_some_and(|rtp| rtp != first)
        );
        assert_eq!((pool.take(30), pool.take(30)), (Some(first), None));
    }

    #[test]
    fn a_rest_is_cut_short_only_where_nothing_else_is_free_and_to_a_tenth_at_least() {
        let mut pool = pool(100, 105);
        let [first, second] = [pool.take(0).unwrap(), pool.take(0).unwrap()];
        pool.give(first, 10);
        pool.give(second, 11);
        assert!(pool.take(12).is_some_and(|rtp| rtp != first && rtp != second));
        assert_eq!((pool.take(12), pool.take(12)), (Some(first), None), "the second has not rested enough");
        assert_eq!((pool.free(13), pool.resting(13)), (0, 1), "it is not called free");
        assert_eq!(pool.take(13), Some(second));
    }

    #[test]
    fn a_pair_nobody_was_told_of_needs_no_rest() {
        let mut pool = pool(100, 103);
        let (first, second) = (pool.take(0).unwrap(), pool.take(0).unwrap());
        pool.give(first, 0);
        pool.put_back(second);
        assert_eq!((pool.take(1), pool.take(1)), (Some(second), None));
    }

    proptest! {
        /// Whatever is taken and given back when: no pair is in two places, none is lost, none comes before its rest
        /// is over while another is free, nor before the least of it ever.
        #[test]
        fn no_pair_is_lost_doubled_or_hurried(steps in proptest::collection::vec((0..3_u8, 0..6_u64), 0..80)) {
            let mut pool = pool(100, 109);
            let (mut now, mut held, mut given) = (0, Vec::new(), std::collections::HashMap::new());
            for (step, passed) in steps {
                now += passed;
                match (step, held.pop()) {
                    (0, Some(rtp)) => {
                        pool.give(rtp, now);
                        given.insert(rtp, now);
                    }
                    (1, Some(rtp)) => pool.put_back(rtp),
                    (_, last) => {
                        held.extend(last);
                        let rest = if pool.free(now) > 0 { REST } else { LEAST_REST };
                        if let Some(rtp) = pool.take(now) {
                            prop_assert!(!held.contains(&rtp));
                            prop_assert!(given.remove(&rtp).is_none_or(|at| now >= at + rest));
                            held.push(rtp);
                        }
                    }
                }
                prop_assert_eq!(pool.free(now) + pool.resting(now) + held.len(), pool.total());
            }
        }
    }
}
