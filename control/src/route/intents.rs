//! Call intents: a party says that it is about to call from a number that nobody knows.
//!
//! Opened by the business (`POST /v1/trips/{trip}/intents`), used up by the route decision when it meets an unknown
//! caller. Pure and in memory: after a restart an intent is simply opened again. At most one is open for a pool
//! number, since two could not be told apart: the caller is unknown. One intent lets one call through.
//!
//! A clock that jumps back ends every intent that was opened "later": no window is ever longer than it was said to be.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::moment::Moment;
use crate::name::TripId;
use crate::number::PoolNumber;

/// Seconds in which the call must come.
pub const WINDOW_SECONDS: u32 = 60;

/// Intents kept at most, open ones and those that a call has used.
const KEPT_MOST: usize = 65_536;

/// A call, by the pseudonym of its SIP Call-ID.
type Call = [u8; 16];

/// Whose intent: the pool number that is to be dialled, and the call that has used it up; none while it is open.
type Place = (PoolNumber, Option<Call>);

/// Another call is awaited on this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a call of another party is awaited on this number: try again in {retry_after} seconds")]
pub struct Pending {
    /// Seconds until the window closes: 1 to 60.
    pub retry_after: u32,
}

/// Every intent of this process.
#[derive(Debug, Default)]
pub struct Intents {
    by_place: BTreeMap<Place, Intent>,
    /// The same, by their end.
    ends: BTreeSet<(Moment, Place)>,
    /// The same, by their trip.
    of_trip: HashMap<TripId, BTreeSet<Place>>,
}

#[derive(Debug, Clone)]
struct Intent {
    trip: TripId,
    /// Position of the party in its trip.
    party: usize,
    until: Moment,
}

impl Intents {
    /// For 60 seconds, one call from an unknown number to `dial` counts as this party's. Says until when. Opening the
    /// party's own intent again renews it; the calls that it let through before stay as they are.
    pub fn open(
        &mut self,
        dial: PoolNumber,
        trip: TripId,
        party: usize,
        now: Moment,
    ) -> Result<Moment, Pending> {
        self.expire(now);
        let place = (dial, None);
        match self.by_place.get(&place) {
            Some(open) if open.trip != trip || open.party != party => return Err(pending(open.until, now)),
            Some(_) => self.remove(&place),
            None => {}
        }
        if self.by_place.len() >= KEPT_MOST {
            let soonest = self.ends.first().map_or(now, |(until, _)| *until);
            return Err(pending(soonest, now));
        }
        let until = now.plus(WINDOW_SECONDS.into());
        self.insert(place, Intent { trip, party, until });
        Ok(until)
    }

    /// Whose call this is: trip, and position of the party in it. Uses the open intent up; the same call to the same
    /// number gets the same answer until the window closes, since a proxy may ask twice. Any other call gets none.
    pub fn take(&mut self, dial: PoolNumber, call: Call, now: Moment) -> Option<(TripId, usize)> {
        self.expire(now);
        let used = (dial, Some(call));
        if !self.by_place.contains_key(&used) {
            let open = self.by_place.get(&(dial, None))?.clone();
            self.remove(&(dial, None));
            self.insert(used, open);
        }
        self.by_place.get(&used).map(|intent| (intent.trip.clone(), intent.party))
    }

    /// Takes back every intent of a trip, used ones too: it has been closed.
    pub fn withdraw(&mut self, trip: &TripId) {
        for place in self.of_trip.get(trip).cloned().unwrap_or_default() {
            self.remove(&place);
        }
    }

    /// How many are kept, open and used.
    pub fn len(&self) -> usize {
        self.by_place.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.by_place.is_empty()
    }

    /// Forgets what is over, and what a clock that was ahead has left.
    fn expire(&mut self, now: Moment) {
        while let Some((_, place)) = self.ends.first().copied().filter(|(until, _)| *until <= now) {
            self.remove(&place);
        }
        let last = now.plus(WINDOW_SECONDS.into());
        while let Some((_, place)) = self.ends.last().copied().filter(|(until, _)| *until > last) {
            self.remove(&place);
        }
    }

    fn insert(&mut self, place: Place, intent: Intent) {
        self.ends.insert((intent.until, place));
        self.of_trip.entry(intent.trip.clone()).or_default().insert(place);
        self.by_place.insert(place, intent);
    }

    fn remove(&mut self, place: &Place) {
        let Some(intent) = self.by_place.remove(place) else { return };
        self.ends.remove(&(intent.until, *place));
        if let Entry::Occupied(mut places) = self.of_trip.entry(intent.trip) {
            places.get_mut().remove(place);
            if places.get().is_empty() {
                places.remove();
            }
        }
    }
}

fn pending(until: Moment, now: Moment) -> Pending {
    let seconds = until.unix().saturating_sub(now.unix());
    Pending { retry_after: u32::try_from(seconds).unwrap_or(0).clamp(1, WINDOW_SECONDS) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Moment = Moment::from_unix(10_000);

    fn number(n: u64) -> PoolNumber {
        PoolNumber::try_from(442_079_460_000 + n).unwrap()
    }

    fn trip(n: u8) -> TripId {
        TripId::new(&format!("T-{n}")).unwrap()
    }

    #[test]
    fn one_call_is_let_through_and_asking_twice_is_the_same_call() {
        let mut intents = Intents::default();
        assert_eq!(intents.take(number(1), [1; 16], NOW), None);
        assert_eq!(intents.open(number(1), trip(1), 1, NOW), Ok(NOW.plus(60)));
        assert_eq!(intents.take(number(2), [1; 16], NOW), None, "another number");
        for _ in 0..2 {
            assert_eq!(intents.take(number(1), [1; 16], NOW.plus(59)), Some((trip(1), 1)));
        }
        assert_eq!(intents.take(number(1), [2; 16], NOW.plus(59)), None, "another call");
        assert_eq!(intents.take(number(1), [1; 16], NOW.plus(60)), None, "the window has closed");
        assert!(intents.is_empty());
    }

    #[test]
    fn two_parties_cannot_be_awaited_on_one_number() {
        let mut intents = Intents::default();
        intents.open(number(1), trip(1), 0, NOW).unwrap();
        for (other, party) in [(trip(2), 0), (trip(1), 1)] {
            let refused = intents.open(number(1), other, party, NOW.plus(20));
            assert_eq!(refused, Err(Pending { retry_after: 40 }));
        }
        assert_eq!(intents.open(number(2), trip(2), 0, NOW), Ok(NOW.plus(60)));
        assert_eq!(intents.open(number(1), trip(1), 0, NOW.plus(30)), Ok(NOW.plus(90)), "its own is renewed");
        assert_eq!(intents.take(number(1), [1; 16], NOW.plus(80)), Some((trip(1), 0)));
        intents.open(number(1), trip(2), 1, NOW.plus(80)).unwrap();
        assert_eq!(intents.take(number(1), [1; 16], NOW.plus(80)), Some((trip(1), 0)), "its own trip, still");
        assert_eq!(intents.take(number(1), [2; 16], NOW.plus(80)), Some((trip(2), 1)));
    }

    #[test]
    fn a_closed_trip_is_not_reached() {
        let mut intents = Intents::default();
        intents.open(number(1), trip(1), 0, NOW).unwrap();
        intents.open(number(2), trip(1), 1, NOW).unwrap();
        intents.open(number(3), trip(2), 0, NOW).unwrap();
        intents.take(number(1), [1; 16], NOW).unwrap();
        intents.withdraw(&trip(1));
        assert_eq!(intents.take(number(1), [1; 16], NOW), None);
        assert_eq!(intents.take(number(2), [2; 16], NOW), None);
        assert_eq!(intents.take(number(3), [3; 16], NOW), Some((trip(2), 0)));
        assert_eq!(intents.open(number(2), trip(3), 0, NOW), Ok(NOW.plus(60)));
    }

    #[test]
    fn a_clock_that_jumps_back_leaves_no_long_window() {
        let mut intents = Intents::default();
        intents.open(number(1), trip(1), 0, NOW.plus(3_600)).unwrap();
        assert_eq!(intents.take(number(1), [1; 16], NOW), None);
        assert_eq!(intents.take(number(1), [1; 16], NOW.plus(3_601)), None, "and it does not come back");
    }

    #[test]
    fn memory_is_bounded() {
        let mut intents = Intents::default();
        for n in 0..KEPT_MOST as u64 {
            intents.open(number(n), trip(1), 0, NOW).unwrap();
        }
        assert_eq!(intents.open(number(99_999), trip(2), 0, NOW), Err(Pending { retry_after: 60 }));
        intents.withdraw(&trip(1));
        assert_eq!((intents.len(), intents.ends.len(), intents.of_trip.len()), (0, 0, 0));
    }

    /// All that ever happened, searched from the end.
    #[derive(Default)]
    struct Oracle(Vec<Opened>);

    struct Opened {
        dial: PoolNumber,
        whose: (TripId, usize),
        at: Moment,
        call: Option<Call>,
        over: bool,
    }

    impl Oracle {
        fn live(&mut self, dial: PoolNumber, now: Moment) -> impl Iterator<Item = &mut Opened> {
            self.0.iter_mut().filter(move |o| o.dial == dial && !o.over && now < o.at.plus(60))
        }

        fn open(&mut self, dial: PoolNumber, whose: (TripId, usize), now: Moment) -> Result<Moment, Pending> {
            if let Some(open) = self.live(dial, now).find(|o| o.call.is_none()) {
                if open.whose != whose {
                    let left = open.at.plus(60).unix() - now.unix();
                    return Err(Pending { retry_after: u32::try_from(left).unwrap() });
                }
                open.over = true;
            }
            self.0.push(Opened { dial, whose, at: now, call: None, over: false });
            Ok(now.plus(60))
        }

        fn take(&mut self, dial: PoolNumber, call: Call, now: Moment) -> Option<(TripId, usize)> {
            if let Some(used) = self.live(dial, now).find(|o| o.call == Some(call)) {
                return Some(used.whose.clone());
            }
            let open = self.live(dial, now).find(|o| o.call.is_none())?;
            open.call = Some(call);
            Some(open.whose.clone())
        }
    }

    proptest! {
        #[test]
        fn intents_follow_the_oracle(
            steps in proptest::collection::vec((0u8..8, 0u64..2, 0u8..3, 0usize..2, 0u8..4, 0i64..30), 1..150)
        ) {
            let (mut intents, mut oracle) = (Intents::default(), Oracle::default());
            let mut now = NOW;
            for (step, dial, of, party, call, pause) in steps {
                let (dial, call) = (number(dial), [call; 16]);
                now = now.plus(pause);
                match step {
                    0..3 => prop_assert_eq!(
                        intents.open(dial, trip(of), party, now),
                        oracle.open(dial, (trip(of), party), now)
                    ),
                    3..7 => prop_assert_eq!(intents.take(dial, call, now), oracle.take(dial, call, now)),
                    _ => {
                        intents.withdraw(&trip(of));
                        oracle.0.iter_mut().filter(|o| o.whose.0 == trip(of)).for_each(|o| o.over = true);
                    }
                }
                prop_assert_eq!(intents.ends.len(), intents.len());
                prop_assert_eq!(intents.of_trip.values().map(BTreeSet::len).sum::<usize>(), intents.len());
            }
        }

        /// Whatever the clock does: never more calls than openings.
        #[test]
        fn no_opening_serves_two_calls(
            steps in proptest::collection::vec((any::<bool>(), -90i64..90), 1..100)
        ) {
            let mut intents = Intents::default();
            let (mut now, mut opened, mut through) = (NOW, 0, 0);
            for (call, (open, jump)) in (0u8..).zip(steps) {
                now = now.plus(jump);
                if open {
                    opened += usize::from(intents.open(number(1), trip(1), 0, now).is_ok());
                } else {
                    through += usize::from(intents.take(number(1), [call; 16], now).is_some());
                }
                prop_assert!(through <= opened);
            }
        }
    }
}
