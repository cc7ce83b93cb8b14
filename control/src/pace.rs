//! How often something may happen: a rate as data ([`Pace`]) and its keeper ([`Paces`]).
//!
//! Used by [`crate::http`] for tokens and source addresses, and wherever else something is limited by key. Pure: the
//! time comes in as milliseconds of any clock. The keeper is the generic cell rate algorithm (ITU-T I.371 annex A, as
//! virtual scheduling): of each key it keeps one time, the one at which all that was taken is paid off.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use serde::{Deserialize, Serialize};

/// Longest time that a pace may name, in seconds: a day.
const LONGEST: u32 = 86_400;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// So many at once; then one every `seconds / most`, until as much time has passed unused.
///
/// Written `{"most":10,"seconds":60}`. Over any stretch of time no more than `most` and what the stretch itself allows
/// is taken: in the first minute of this one up to 20, in each later one 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// How many at once, and how many in `seconds`; 1 or more.
    pub most: u32,
    /// In how many seconds; from 1 to 86400.
    pub seconds: u32,
}

/// A pace that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPace {
    /// Nothing would ever be allowed.
    #[error("most must be 1 or more")]
    Most,
    /// No time, or too long a time to keep keys for.
    #[error("seconds must be from 1 to {LONGEST}")]
    Seconds,
}

impl Pace {
    /// Refuses 0 and more than a day.
    pub const fn check(self) -> Result<Self, BadPace> {
        if self.most == 0 {
            return Err(BadPace::Most);
        }
        if self.seconds == 0 || self.seconds > LONGEST { Err(BadPace::Seconds) } else { Ok(self) }
    }

    /// Nanoseconds from one to the next, rounded up: never more than the pace allows.
    fn interval(self) -> u64 {
        (u64::from(self.seconds) * 1_000 * NANOS_PER_MILLI).div_ceil(u64::from(self.most.max(1)))
    }
}

/// Keeps the pace of up to so many keys.
///
/// A key that has paid off what it took is forgotten. When all places are held by keys that have not, the one that has
/// the least left to pay off goes, and begins anew when it comes again: with more keys at a time than places, a key may
/// take more than its pace. So the number of places is chosen above the number of keys that can come within a pace's
/// time; and keys that come once in a flood push out each other, not one that has taken all it may.
#[derive(Debug)]
pub struct Paces<K> {
    /// When each key has paid off what it took, in nanoseconds.
    free_at: HashMap<K, u64>,
    /// The same, soonest first.
    soonest: BTreeSet<(u64, K)>,
    most_keys: usize,
}

impl<K: Hash + Ord + Clone> Paces<K> {
    /// A keeper of up to `most_keys` keys (1 or more).
    pub fn new(most_keys: usize) -> Self {
        Self { free_at: HashMap::new(), soonest: BTreeSet::new(), most_keys: most_keys.max(1) }
    }

    /// Takes one for `key`, or says in how many milliseconds one is free. A refused take costs nothing.
    ///
    /// A clock that jumps back, or a pace that has become faster, never makes a key wait longer than this pace's time.
    pub fn take(&mut self, key: K, pace: Pace, now_ms: u64) -> Result<(), u64> {
        self.peek(&key, pace, now_ms)?;
        let now = now_ms.saturating_mul(NANOS_PER_MILLI);
        let paid_off = self.free_at.get(&key).copied().unwrap_or(0).max(now);
        self.make_room(&key, now);
        self.keep(key, paid_off.saturating_add(pace.interval()));
        Ok(())
    }

    /// Whether [`Self::take`] would succeed, without taking: for who must ask two paces before it takes from either.
    pub fn peek(&mut self, key: &K, pace: Pace, now_ms: u64) -> Result<(), u64> {
        let now = now_ms.saturating_mul(NANOS_PER_MILLI);
        let Some(&kept) = self.free_at.get(key) else { return Ok(()) };
        let (interval, most) = (pace.interval(), u64::from(pace.most.max(1)));
        // Nobody owes more than the whole pace: what goes beyond comes from a clock that was ahead, or a slower pace.
        let paid_off = kept.min(now.saturating_add(interval.saturating_mul(most)));
        if paid_off != kept {
            self.keep(key.clone(), paid_off);
        }
        let free = paid_off.saturating_sub(interval.saturating_mul(most - 1));
        if free <= now { Ok(()) } else { Err((free - now).div_ceil(NANOS_PER_MILLI)) }
    }

    /// How many keys are kept.
    pub fn keys(&self) -> usize {
        self.free_at.len()
    }

    fn keep(&mut self, key: K, paid_off: u64) {
        if let Some(before) = self.free_at.insert(key.clone(), paid_off) {
            self.soonest.remove(&(before, key.clone()));
        }
        self.soonest.insert((paid_off, key));
    }

    /// Forgets up to two keys that are paid off, so that more go than come; then whoever is in the way of `key`.
    fn make_room(&mut self, key: &K, now: u64) {
        for _ in 0..2 {
            if self.soonest.first().is_some_and(|(paid_off, _)| *paid_off <= now) {
                self.forget_soonest();
            }
        }
        if self.free_at.len() >= self.most_keys && !self.free_at.contains_key(key) {
            self.forget_soonest();
        }
    }

    fn forget_soonest(&mut self) {
        if let Some((_, key)) = self.soonest.pop_first() {
            self.free_at.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Pace = Pace { most: 3, seconds: 60 };

    #[test]
    fn so_many_at_once_and_then_evenly() {
        let mut paces = Paces::new(8);
        let takes: Vec<_> = (0..5).map(|n| paces.take("a", MINUTE, 1_000 + n)).collect();
        assert_eq!(takes, [Ok(()), Ok(()), Ok(()), Err(19_997), Err(19_996)]);
        assert_eq!(paces.take("b", MINUTE, 1_004), Ok(()), "a key pays for itself alone");
        assert_eq!((paces.peek(&"a", MINUTE, 20_999), paces.peek(&"a", MINUTE, 21_000)), (Err(1), Ok(())));
        assert_eq!((paces.take("a", MINUTE, 21_000), paces.take("a", MINUTE, 21_000)), (Ok(()), Err(20_000)));
        let rested: Vec<_> = (0..4).map(|_| paces.take("a", MINUTE, 500_000).is_ok()).collect();
        assert_eq!(rested, [true, true, true, false]);
    }

    #[test]
    fn a_pace_faster_than_the_clock_ticks_is_kept() {
        let (mut paces, fast) = (Paces::new(8), Pace { most: 50_000, seconds: 1 });
        let mut taken = |ms| (0..100_000).take_while(|_| paces.take((), fast, ms).is_ok()).count();
        assert_eq!((taken(0), taken(1), taken(3), taken(2_000)), (50_000, 50, 100, 50_000));
    }

    #[test]
    fn a_clock_that_jumps_back_locks_nobody() {
        let mut paces = Paces::new(8);
        while paces.take("a", MINUTE, 9_000_000).is_ok() {}
        for _ in 0..9 {
            assert_eq!(paces.peek(&"a", MINUTE, 5_000), Err(20_000));
        }
        assert_eq!(paces.peek(&"a", MINUTE, 25_000), Ok(()), "who only looks waits no longer");
        assert_eq!((paces.take("a", MINUTE, 25_000), paces.take("a", MINUTE, 25_000)), (Ok(()), Err(20_000)));
    }

    #[test]
    fn the_key_with_the_least_to_pay_off_makes_room() {
        let mut paces = Paces::new(2);
        while paces.take(0, MINUTE, 0).is_ok() {}
        for key in 1..1_000 {
            assert_eq!(paces.take(key, MINUTE, 1), Ok(()));
            assert_eq!(paces.keys(), 2);
        }
        assert!(paces.take(0, MINUTE, 1).is_err(), "a flood of others frees nobody who has taken all");
        paces.take(5_000, MINUTE, 100_000).unwrap();
        assert_eq!(paces.keys(), 1, "who has paid off is forgotten");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let read = |text| serde_json::from_str::<Pace>(text).map(Pace::check);
        assert_eq!(read(r#"{"most":10,"seconds":60}"#).unwrap(), Ok(Pace { most: 10, seconds: 60 }));
        assert_eq!(read(r#"{"most":0,"seconds":60}"#).unwrap(), Err(BadPace::Most));
        assert_eq!(read(r#"{"most":1,"seconds":0}"#).unwrap(), Err(BadPace::Seconds));
        let long = read(r#"{"most":1,"seconds":86401}"#).unwrap().unwrap_err();
        assert_eq!(long.to_string(), "seconds must be from 1 to 86400");
        assert!(read(r#"{"most":1,"seconds":1,"burst":2}"#).is_err());
        assert!(read(r#"{"most":-1,"seconds":1}"#).is_err());
    }

    /// Milliseconds until one more is allowed, from every take so far: of those since any one of them, `most` are
    /// free and each further one needs its share of the time.
    fn oracle(takes: &[u64], pace: Pace, now: u64) -> u64 {
        let (most, millis) = (u64::from(pace.most), u64::from(pace.seconds) * 1_000);
        let wait = |(index, at): (usize, &u64)| {
            let count = (takes.len() - index + 1) as u64;
            let share = (count.saturating_sub(most) * millis).div_ceil(most);
            (at + share).saturating_sub(now)
        };
        takes.iter().enumerate().map(wait).max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn takes_are_what_a_list_of_all_of_them_allows(
            pace in prop_oneof![Just((1, 1)), Just((3, 60)), Just((5, 2)), Just((250, 1)), Just((1_000, 3_600))],
            steps in proptest::collection::vec((0_u8..3, 0_u64..4_000, any::<bool>()), 1..200),
        ) {
            let pace = Pace { most: pace.0, seconds: pace.1 };
            let mut paces = Paces::new(3);
            let mut takes = [const { Vec::new() }; 3];
            let mut now = 7;
            for (key, pause, long) in steps {
                now += if long { pause } else { pause / 500 };
                let takes = &mut takes[usize::from(key)];
                let wait = oracle(takes, pace, now);
                let expected = if wait == 0 { Ok(()) } else { Err(wait) };
                prop_assert_eq!(paces.peek(&key, pace, now), expected);
                prop_assert_eq!(paces.take(key, pace, now), expected);
                if wait == 0 { takes.push(now); }
                prop_assert!(paces.keys() <= 3);
            }
        }

        /// With any pace, a clock that goes anywhere and too few places: nobody waits longer than the pace's time,
        /// and who waits as long as was said is let in.
        #[test]
        fn nobody_is_locked_out(
            steps in proptest::collection::vec((0_u8..5, 1_u32..20, 1_u32..90, any::<u32>()), 1..100),
        ) {
            let mut paces = Paces::new(2);
            for (key, most, seconds, now) in steps {
                let (pace, mut now) = (Pace { most, seconds }, u64::from(now));
                for _ in 0..=most {
                    if let Err(wait) = paces.take(key, pace, now) {
                        prop_assert!(wait <= u64::from(seconds) * 1_000);
                        now += wait;
                        prop_assert_eq!(paces.peek(&key, pace, now), Ok(()));
                        prop_assert!(paces.peek(&key, pace, now - 1).is_err(), "it said longer than needed");
                    }
                }
                prop_assert!(paces.keys() <= 2);
            }
        }
    }
}
