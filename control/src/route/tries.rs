//! Tries at PINs: how many wrong ones an unknown caller has before no PIN of its is looked at.
//!
//! Asked by the route decision for a call that comes with a PIN. Pure and in memory. Wrong PINs are counted twice:
//! for the caller on the pool number, and for the pool number, so that changing caller IDs does not help.
//!
//! **Ask [`Tries::locked`] first**, and compare the PIN only when it says no: whoever is locked must not learn whether
//! the PIN was right. Then call [`Tries::wrong`] or [`Tries::right`].
//!
//! A clock that jumps forward unlocks early by its jump; one that jumps back does not unlock, and locks for no longer
//! than a whole lock from then on.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::moment::Moment;
use crate::number::PoolNumber;

/// Wrong PINs of one caller on one pool number that lock it.
pub const TRIES: u8 = 3;
/// Seconds that a caller stays locked; also how long its wrong PINs count.
pub const LOCK_SECONDS: u32 = 900;
/// Wrong PINs of all callers on one pool number, within [`NUMBER_SECONDS`], that lock it for all unknown callers.
pub const NUMBER_TRIES: usize = 10;
/// Seconds in which the wrong PINs on a pool number count, and that it then stays locked.
pub const NUMBER_SECONDS: u32 = 600;

/// Callers remembered at most. Beyond that the one goes whose time is over first; the locks of pool numbers, of which
/// there are no more than pool numbers, hold all the same.
const KEPT_MOST: usize = 65_536;

/// A caller by the pseudonym of its number; all whose number is withheld are one.
pub type Caller = Option<[u8; 16]>;

type Key = (PoolNumber, Caller);

/// The wrong PINs of this process.
#[derive(Debug, Default)]
pub struct Tries {
    callers: HashMap<Key, Wrong>,
    /// The same, by when they are forgotten.
    ends: BTreeSet<(Moment, Key)>,
    numbers: HashMap<PoolNumber, Number>,
}

#[derive(Debug, Clone, Copy)]
struct Wrong {
    count: u8,
    /// Until when they count, and lock if there are enough.
    until: Moment,
}

#[derive(Debug, Default)]
struct Number {
    /// The last wrong PINs, oldest first; fewer than [`NUMBER_TRIES`].
    wrong: VecDeque<Moment>,
    locked_until: Option<Moment>,
}

impl Tries {
    /// Until when no PIN of this caller on this number may be looked at; none when one may.
    pub fn locked(&mut self, number: PoolNumber, caller: Caller, now: Moment) -> Option<Moment> {
        self.expire(now);
        let own = self.callers.get(&(number, caller)).filter(|wrong| wrong.count >= TRIES).map(|w| w.until);
        let all = self.number(number, now).and_then(|number| number.locked_until);
        own.max(all)
    }

    /// Counts a wrong PIN. Changes nothing for who is locked already: no lock is prolonged from outside.
    pub fn wrong(&mut self, number: PoolNumber, caller: Caller, now: Moment) {
        if self.locked(number, caller, now).is_some() {
            return;
        }
        let key = (number, caller);
        let count = self.forget(&key).map_or(0, |wrong| wrong.count).saturating_add(1);
        if self.callers.len() >= KEPT_MOST
            && let Some((_, soonest)) = self.ends.first().copied()
        {
            self.forget(&soonest);
        }
        self.keep(key, Wrong { count, until: now.plus(LOCK_SECONDS.into()) });
        self.numbers.entry(number).or_default().wrong(now);
    }

    /// Clears the caller's wrong PINs: this one was right. Those that the number has seen still count.
    pub fn right(&mut self, number: PoolNumber, caller: Caller, now: Moment) {
        if self.locked(number, caller, now).is_none() {
            self.forget(&(number, caller));
        }
    }

    /// The number's own count as it is `now`; none when there is nothing to remember.
    fn number(&mut self, number: PoolNumber, now: Moment) -> Option<&Number> {
        let state = self.numbers.get_mut(&number)?;
        state.settle(now);
        if state.wrong.is_empty() && state.locked_until.is_none() {
            self.numbers.remove(&number);
        }
        self.numbers.get(&number)
    }

    /// Forgets callers whose time is over, and shortens what a clock that was ahead has left.
    fn expire(&mut self, now: Moment) {
        while let Some((_, key)) = self.ends.first().copied().filter(|(until, _)| *until <= now) {
            self.forget(&key);
        }
        let last = now.plus(LOCK_SECONDS.into());
        while let Some((_, key)) = self.ends.last().copied().filter(|(until, _)| *until > last) {
            if let Some(wrong) = self.forget(&key) {
                self.keep(key, Wrong { until: last, ..wrong });
            }
        }
    }

    fn keep(&mut self, key: Key, wrong: Wrong) {
        self.callers.insert(key, wrong);
        self.ends.insert((wrong.until, key));
    }

    fn forget(&mut self, key: &Key) -> Option<Wrong> {
        let wrong = self.callers.remove(key)?;
        self.ends.remove(&(wrong.until, *key));
        Some(wrong)
    }
}

impl Number {
    fn wrong(&mut self, now: Moment) {
        self.settle(now);
        self.wrong.push_back(now);
        if self.wrong.len() >= NUMBER_TRIES {
            self.wrong.clear();
            self.locked_until = Some(now.plus(NUMBER_SECONDS.into()));
        }
    }

    /// Forgets what no longer counts; what lies in the future, after a jump of the clock, counts as of now.
    fn settle(&mut self, now: Moment) {
        self.wrong.iter_mut().for_each(|at| *at = (*at).min(now));
        self.wrong.retain(|at| now < at.plus(NUMBER_SECONDS.into()));
        self.locked_until = self.locked_until.filter(|until| now < *until);
        self.locked_until = self.locked_until.map(|until| until.min(now.plus(NUMBER_SECONDS.into())));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Moment = Moment::from_unix(10_000);

    fn number(n: u64) -> PoolNumber {
        PoolNumber::try_from(442_079_460_000 + n).unwrap()
    }

    /// The caller of that number; withheld for 0.
    fn caller(n: u8) -> Caller {
        (n > 0).then_some([n; 16])
    }

    #[test]
    fn the_third_wrong_pin_locks_its_caller_alone_for_a_quarter_of_an_hour() {
        let mut tries = Tries::default();
        for pause in [0, 100] {
            tries.wrong(number(1), caller(1), NOW.plus(pause));
            assert_eq!(tries.locked(number(1), caller(1), NOW.plus(pause)), None);
        }
        tries.wrong(number(1), caller(1), NOW.plus(200));
        assert_eq!(tries.locked(number(1), caller(1), NOW.plus(200)), Some(NOW.plus(1_100)));
        assert_eq!(tries.locked(number(1), caller(1), NOW.plus(1_099)), Some(NOW.plus(1_100)));
        assert_eq!(tries.locked(number(1), caller(2), NOW.plus(200)), None);
        assert_eq!(tries.locked(number(2), caller(1), NOW.plus(200)), None);
        assert_eq!(tries.locked(number(1), None, NOW.plus(200)), None);
        assert_eq!(tries.locked(number(1), caller(1), NOW.plus(1_100)), None);
        tries.wrong(number(1), caller(1), NOW.plus(1_100));
        assert_eq!(tries.locked(number(1), caller(1), NOW.plus(1_100)), None, "it has three tries again");
    }

    #[test]
    fn a_right_pin_clears_the_callers_tries_but_opens_no_lock() {
        let mut tries = Tries::default();
        let wrong = |tries: &mut Tries, count| (0..count).for_each(|_| tries.wrong(number(1), None, NOW));
        wrong(&mut tries, 2);
        tries.right(number(1), None, NOW);
        wrong(&mut tries, 2);
        assert_eq!(tries.locked(number(1), None, NOW), None);
        wrong(&mut tries, 1);
        tries.right(number(1), None, NOW);
        assert_eq!(tries.locked(number(1), None, NOW), Some(NOW.plus(900)));
    }

    #[test]
    fn changing_the_caller_id_does_not_help() {
        let mut tries = Tries::default();
        for n in 0..9 {
            tries.wrong(number(1), caller(n), NOW.plus(n.into()));
            tries.right(number(1), caller(n), NOW.plus(n.into()));
        }
        assert_eq!(tries.locked(number(1), caller(99), NOW.plus(599)), None);
        tries.wrong(number(1), caller(50), NOW.plus(599));
        for who in [caller(50), caller(99), None] {
            assert_eq!(tries.locked(number(1), who, NOW.plus(599)), Some(NOW.plus(1_199)));
        }
        assert_eq!(tries.locked(number(1), caller(99), NOW.plus(1_199)), None);
        assert_eq!(tries.locked(number(2), caller(99), NOW.plus(599)), None);

        for n in 0..30 {
            tries.wrong(number(3), caller(n), NOW.plus(70 * i64::from(n)));
            assert_eq!(
                tries.locked(number(3), caller(99), NOW.plus(70 * i64::from(n))),
                None,
                "nine in ten minutes"
            );
        }
    }

    #[test]
    fn memory_is_bounded_and_what_is_over_is_forgotten() {
        let mut tries = Tries::default();
        for n in 0..KEPT_MOST as u64 + 500 {
            let mut name = [0; 16];
            name[..8].copy_from_slice(&n.to_be_bytes());
            tries.wrong(number(n / 5), Some(name), NOW);
        }
        assert_eq!((tries.callers.len(), tries.ends.len()), (KEPT_MOST, KEPT_MOST));
        let later = NOW.plus(900);
        for n in 0..=(KEPT_MOST as u64 + 500) / 5 {
            assert_eq!(tries.locked(number(n), None, later), None);
        }
        assert_eq!((tries.callers.len(), tries.ends.len(), tries.numbers.len()), (0, 0, 0));
    }

    /// When locks end in real time, from nothing but the list of wrong PINs.
    #[derive(Default)]
    struct Oracle {
        wrong: Vec<(i64, PoolNumber, Caller)>,
        callers: HashMap<Key, (usize, i64)>,
        numbers: HashMap<PoolNumber, i64>,
    }

    impl Oracle {
        fn locked(&self, number: PoolNumber, caller: Caller, now: i64) -> bool {
            let own = self.callers.get(&(number, caller)).is_some_and(|(n, until)| *n >= 3 && now < *until);
            own || self.numbers.get(&number).is_some_and(|until| now < *until)
        }

        fn wrong(&mut self, number: PoolNumber, caller: Caller, now: i64) {
            if self.locked(number, caller, now) {
                return;
            }
            let own = self.callers.entry((number, caller)).or_default();
            *own = (if now < own.1 { own.0 + 1 } else { 1 }, now + 900);
            let since = self.numbers.get(&number).map_or(i64::MIN, |until| until - 600);
            self.wrong.push((now, number, caller));
            let recent = self.wrong.iter().filter(|(at, n, _)| *n == number && *at > now - 600);
            // What led to a lock does not lead to the next one.
            if recent.filter(|(at, ..)| *at > since || since == i64::MIN).count() >= 10 {
                self.numbers.insert(number, now + 600);
            }
        }
    }

    fn steps() -> impl Strategy<Value = Vec<(u8, u64, u8, i64)>> {
        let pause = prop_oneof![8 => 0i64..90, 1 => 0i64..700];
        proptest::collection::vec((0u8..10, 0u64..2, 0u8..6, pause), 1..250)
    }

    proptest! {
        #[test]
        fn locks_follow_the_oracle(steps in steps()) {
            let (mut tries, mut oracle) = (Tries::default(), Oracle::default());
            let mut now = NOW;
            for (step, of, who, pause) in steps {
                let (number, caller) = (number(of), caller(who));
                now = now.plus(pause);
                match step {
                    0..8 => {
                        tries.wrong(number, caller, now);
                        oracle.wrong(number, caller, now.unix());
                    }
                    8 => {
                        tries.right(number, caller, now);
                        if !oracle.locked(number, caller, now.unix()) {
                            oracle.callers.remove(&(number, caller));
                        }
                    }
                    _ => {}
                }
                let locked = tries.locked(number, caller, now);
                prop_assert_eq!(locked.is_some(), oracle.locked(number, caller, now.unix()));
                prop_assert!(locked.is_none_or(|until| now < until && until <= now.plus(900)));
            }
        }

        /// While the clock goes anywhere: no lock lasts longer than a whole one from the last jump on, and a lock that
        /// a clock without jumps would hold is opened early by no more than the clock has jumped forward.
        #[test]
        fn jumps_neither_lock_for_ever_nor_open_early(
            lead in 0u8..12, jumps in proptest::collection::vec((0i64..400, -100_000i64..100_000), 1..12),
        ) {
            let mut tries = Tries::default();
            for n in 0..lead {
                tries.wrong(number(1), caller(n % 4), NOW);
            }
            let (mut real, mut ahead, mut forward) = (0, 0, 0);
            let held: Vec<_> = (0..5).map(|n| tries.locked(number(1), caller(n), NOW)).collect();
            for (pause, jump) in jumps {
                real += pause;
                ahead += jump;
                forward += jump.max(0);
                let now = NOW.plus(real + ahead);
                for (n, until) in (0u8..).zip(&held) {
                    let locked = tries.locked(number(1), caller(n), now);
                    prop_assert!(locked.is_none_or(|until| until <= now.plus(900)), "for ever");
                    let left = until.map_or(0, |until| until.unix() - NOW.unix() - real);
                    prop_assert!(locked.is_some() || left <= forward, "opened {} s early", left);
                    prop_assert!(locked.is_none() || until.is_some(), "locked by a jump");
                }
            }
            let now = NOW.plus(real + ahead);
            for n in 0..5 {
                tries.locked(number(1), caller(n), now);
                prop_assert_eq!(tries.locked(number(1), caller(n), now.plus(900)), None);
            }
        }
    }
}
