//! What becomes of a call.

use control::number::PoolNumber;
use control::route::Reason;
use control::route::tries::{LOCK_SECONDS, NUMBER_SECONDS, NUMBER_TRIES, TRIES};

use super::{Intent, Oracle, Phase};
use crate::people::Caller;

/// A call as the proxy asks about it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Stands for its Call-ID.
    pub id: u32,
    pub caller: Caller,
    pub number: PoolNumber,
    /// What was typed.
    pub pin: Option<String>,
}

/// What may become of a call.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It may connect, as this party's call in this trip.
    pub connect: Option<(usize, usize)>,
    /// It may be refused for one of these.
    pub refuse: Vec<Reason>,
}

impl Verdict {
    fn refused(reason: Reason) -> Self {
        Self { connect: None, refuse: vec![reason] }
    }

    pub fn or(mut self, reason: Reason) -> Self {
        self.refuse.push(reason);
        self
    }
}

impl Oracle {
    /// Decides about a call.
    pub fn route(&mut self, call: &Call) -> Verdict {
        if !self.is_ours(call.number) {
            return Verdict::refused(Reason::NoTrip);
        }
        if self.is_suspended(call.number) {
            return Verdict::refused(Reason::NumberSuspended);
        }
        if let Caller::Handset(handset) = call.caller {
            // Who is not found in memory is looked for in the store, which brings its trip back.
            if let Some((owner, _)) =
                self.keys.get(&(call.number, handset)).copied().filter(|(t, _)| self.is_there(*t))
            {
                self.trips[owner].loaded = true;
            }
            // Whose own trip is over may have borrowed the phone of somebody whose is not: a PIN says so.
            if let Some((trip, party)) = self.holder(call.number, handset)
                && (self.trips[trip].connects(self.now) || call.pin.is_none())
            {
                return self.lets(trip, party, call.id);
            }
        }
        if let Some(pin) = &call.pin {
            return self.typed(call, pin);
        }
        if let Some((trip, party)) = self.awaited_from_elsewhere(call)
            && self.is_there(trip)
            && self.trips[trip].loaded
        {
            return self.lets(trip, party, call.id);
        }
        self.stranger(call)
    }

    /// The call was let through.
    pub fn connected(&mut self, index: usize, call: u32) {
        let now = self.now;
        if !self.is_awaited(index, call) {
            let trip = &mut self.trips[index];
            trip.calls += 1;
            trip.counted += u32::from(trip.max_calls.is_some());
            // Not every call is worth a write: a thirty-second of its life is. A call in grace brings nothing back.
            let later = (now + trip.lives).min(trip.ends_by);
            let worth = trip.expires + (trip.lives / 32).max(1);
            if trip.sliding && now < trip.expires && later >= worth {
                trip.expires = later;
            }
        }
        self.awaited.insert(call, (index, now));
    }

    /// The call was refused.
    pub fn refused(&mut self, call: u32) {
        self.awaited.remove(&call);
    }

    fn is_awaited(&self, trip: usize, call: u32) -> bool {
        self.awaited.get(&call).is_some_and(|(of, at)| *of == trip && self.now < at + 180)
    }

    /// The trip, and its party, whose call from this handset to this number it is.
    pub fn holder(&self, number: PoolNumber, handset: usize) -> Option<(usize, usize)> {
        let (trip, party) = *self.keys.get(&(number, handset))?;
        let holds = self.is_there(trip) && !self.trips[trip].lost[party];
        (holds && self.trips[trip].has(party, handset)).then_some((trip, party))
    }

    /// Whether the trip lets this party call the other at all.
    fn may(&self, index: usize, party: usize) -> Result<(), Reason> {
        let trip = &self.trips[index];
        if !trip.connects(self.now) || trip.people[1 - party].is_empty() {
            return Err(Reason::TripEnded);
        }
        if self.blocked(index) {
            return Err(Reason::Blocked);
        }
        if trip.callers[party] { Ok(()) } else { Err(Reason::Direction) }
    }

    /// What becomes of a call that is this party's in this trip.
    pub fn lets(&self, index: usize, party: usize, call: u32) -> Verdict {
        if let Err(reason) = self.may(index, party) {
            return Verdict::refused(reason);
        }
        let trip = &self.trips[index];
        let connect = Verdict { connect: Some((index, party)), refuse: Vec::new() };
        match trip.max_calls {
            _ if self.is_awaited(index, call) => connect,
            Some(most) if trip.counted >= most => Verdict::refused(Reason::Limit),
            // What came before there was a limit may count.
            Some(most) if trip.calls >= most => connect.or(Reason::Limit),
            _ => connect,
        }
    }

    fn typed(&mut self, call: &Call, pin: &str) -> Verdict {
        let who = (
            call.number,
            match call.caller {
                Caller::Named => Caller::Withheld,
                other => other,
            },
        );
        let found = self.with_pin(call.number, pin);
        let locked = self.tries.locked(who, self.now);
        if self.tries.vague {
            let connect = found.map(|(trip, party)| self.lets(trip, party, call.id)).unwrap_or_default();
            return connect.or(Reason::PinLocked).or(Reason::PinWrong);
        }
        if locked {
            return Verdict::refused(Reason::PinLocked);
        }
        let Some((trip, party)) = found else {
            self.tries.wrong(who, self.now);
            return Verdict::refused(Reason::PinWrong);
        };
        self.tries.callers.remove(&who);
        self.trips[trip].loaded = true;
        self.lets(trip, party, call.id)
    }

    /// A PIN is as good as its party's hold on the number is.
    pub fn with_pin(&self, number: PoolNumber, pin: &str) -> Option<(usize, usize)> {
        (0..self.trips.len()).flat_map(|trip| [(trip, 0), (trip, 1)]).find(|(index, party)| {
            let trip = &self.trips[*index];
            let first = trip.people[*party].first();
            trip.dials[*party] == number
                && trip.pins[*party] == pin
                && self.is_there(*index)
                && first
                    .is_some_and(|first| self.keys.get(&(number, first.handset)) == Some(&(*index, *party)))
        })
    }

    fn stranger(&self, call: &Call) -> Verdict {
        let used = (0..self.trips.len()).any(|trip| self.is_there(trip) && self.keeps(trip, call.number));
        match call.caller {
            Caller::Withheld => Verdict::refused(Reason::Withheld),
            Caller::Named => Verdict::refused(Reason::UnknownCaller),
            _ if used => Verdict::refused(Reason::UnknownCaller),
            // Whether nobody uses a number may be noticed late: both are told as "not found".
            _ => Verdict::refused(Reason::NoTrip).or(Reason::UnknownCaller),
        }
    }

    /// A loaded trip one of whose parties dials the number.
    fn keeps(&self, index: usize, number: PoolNumber) -> bool {
        let trip = &self.trips[index];
        let dials =
            |party: usize| trip.dials[party] == number && !trip.lost[party] && !trip.people[party].is_empty();
        trip.loaded && (dials(0) || dials(1))
    }

    fn is_ours(&self, number: PoolNumber) -> bool {
        self.cities.iter().any(|city| city.numbers.contains_key(&number))
            || (0..self.trips.len()).any(|trip| self.keeps(trip, number))
    }

    fn is_suspended(&self, number: PoolNumber) -> bool {
        let state = self.cities.iter().find_map(|city| city.numbers.get(&number));
        state == Some(&control::city::NumberState::Suspended)
    }

    /// A party says that it will call from elsewhere; answers until when that is good, or why not.
    pub fn intend(&mut self, index: usize, party: usize) -> Result<i64, &'static str> {
        let now = self.now;
        let trip = &self.trips[index];
        if trip.purged || !trip.loaded || trip.phase(now) == Phase::Over {
            return Err("no trip");
        }
        self.may(index, party).map_err(|_| "refused")?;
        let number = self.trips[index].dials[party];
        if self.is_suspended(number) {
            return Err("refused");
        }
        self.forget_intents();
        let open = self.intents.iter().position(|intent| intent.number == number && intent.call.is_none());
        if let Some(open) = open {
            let intent = &self.intents[open];
            if (intent.trip, intent.party) != (index, party) {
                return Err("pending");
            }
            self.intents.remove(open);
        }
        let until = self.now + 60;
        self.intents.push(Intent { number, trip: index, party, until, call: None });
        Ok(until)
    }

    fn awaited_from_elsewhere(&mut self, call: &Call) -> Option<(usize, usize)> {
        self.forget_intents();
        let find =
            |by| self.intents.iter().position(|intent| intent.number == call.number && intent.call == by);
        let found = find(Some(call.id)).or_else(|| find(None))?;
        let intent = &mut self.intents[found];
        intent.call = Some(call.id);
        Some((intent.trip, intent.party))
    }

    /// Over, or of a clock that was ahead.
    fn forget_intents(&mut self) {
        let now = self.now;
        self.intents.retain(|intent| now < intent.until && intent.until <= now + 60);
    }
}

impl super::Tries {
    /// Whether any count.
    pub(super) fn any(&self, now: i64) -> bool {
        self.recent.values().flatten().any(|at| now < at + i64::from(NUMBER_SECONDS))
            || self.numbers.values().any(|until| now < *until)
            || self.callers.values().any(|(_, until)| now < *until)
    }

    fn locked(&self, who: (PoolNumber, Caller), now: i64) -> bool {
        self.callers.get(&who).is_some_and(|(count, until)| *count >= u32::from(TRIES) && now < *until)
            || self.numbers.get(&who.0).is_some_and(|until| now < *until)
    }

    fn wrong(&mut self, who: (PoolNumber, Caller), now: i64) {
        let own = self.callers.entry(who).or_default();
        *own = (if now < own.1 { own.0 + 1 } else { 1 }, now + i64::from(LOCK_SECONDS));
        let recent = self.recent.entry(who.0).or_default();
        recent.push(now);
        recent.retain(|at| now < at + i64::from(NUMBER_SECONDS));
        if recent.len() >= NUMBER_TRIES {
            recent.clear();
            self.numbers.insert(who.0, now + i64::from(NUMBER_SECONDS));
        }
    }
}
