//! What a business's orders do to the list.

use super::{Oracle, Phase, pair};
use crate::steps::Order;

/// Why an order is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    NoTrip,
    HandedOn,
    Ended,
    PastEnd,
}

impl Oracle {
    /// Gives an order about a trip.
    pub fn order(&mut self, trip: usize, order: Order) -> Result<(), Refused> {
        if !self.is_there(trip) {
            return Err(Refused::NoTrip);
        }
        self.apply(trip, order)?;
        self.touched(trip);
        Ok(())
    }

    fn apply(&mut self, index: usize, order: Order) -> Result<(), Refused> {
        let now = self.now;
        let trip = &mut self.trips[index];
        match order {
            Order::Amend { lives, callers, max_calls, record } => {
                if !trip.connects(now) {
                    return Err(Refused::Ended);
                }
                if let Some(lives) = lives {
                    self.run_for(index, lives.into())?;
                }
                let trip = &mut self.trips[index];
                trip.callers = callers.map_or(trip.callers, may_call);
                trip.max_calls = max_calls.or(trip.max_calls);
                trip.record = record.unwrap_or(trip.record);
            }
            Order::Close => trip.closed = trip.closed.or(Some(now)),
            Order::RunOut => trip.expires = trip.expires.min(now),
            Order::Cancel => {
                trip.closed = trip.closed.or(Some(now));
                trip.grace = trip.grace.min((now - trip.ends()).max(0));
            }
            Order::Reopen(_) if trip.lost != [false; 2] => return Err(Refused::HandedOn),
            Order::Reopen(lives) => match trip.phase(now) {
                Phase::Active => {}
                Phase::Grace => {
                    match lives {
                        None if now < trip.ends_by => trip.expires = (now + trip.lives).min(trip.ends_by),
                        lives => {
                            let lives = lives.map_or(trip.lives, i64::from);
                            self.run_for(index, lives)?;
                        }
                    }
                    self.trips[index].closed = None;
                }
                Phase::Cooling | Phase::Over => return Err(Refused::Ended),
            },
        }
        Ok(())
    }

    fn run_for(&mut self, index: usize, lives: i64) -> Result<(), Refused> {
        let trip = &mut self.trips[index];
        if self.now + lives > trip.ends_by {
            return Err(Refused::PastEnd);
        }
        (trip.expires, trip.lives) = (self.now + lives, lives);
        Ok(())
    }

    /// The process has it in hand; when it connects no more, no call of its parties is awaited.
    pub(super) fn touched(&mut self, index: usize) {
        self.trips[index].loaded = true;
        if !self.trips[index].connects(self.now) {
            self.intents.retain(|intent| intent.trip != index);
        }
    }

    /// Keeps the people of a trip apart, or not any more.
    pub fn block(&mut self, index: usize, blocked: bool) -> Result<(), Refused> {
        if !self.is_there(index) {
            return Err(Refused::NoTrip);
        }
        let [first, second] = self.trips[index].people.clone();
        for (a, b) in first.iter().flat_map(|a| second.iter().map(move |b| (a.handset, b.handset))) {
            if blocked {
                self.apart.insert(pair(a, b));
            } else {
                self.apart.remove(&pair(a, b));
            }
            let has = |trip: usize, handset| {
                self.keys.iter().any(|((_, of), (owner, _))| *of == handset && *owner == trip)
            };
            let shared: Vec<usize> = (0..self.trips.len())
                .filter(|trip| !self.trips[*trip].purged && has(*trip, a) && has(*trip, b))
                .collect();
            shared.into_iter().for_each(|trip| self.touched(trip));
        }
        self.touched(index);
        Ok(())
    }

    /// Forgets a person; answers in how many trips it was.
    pub fn erase(&mut self, handset: usize) -> usize {
        let mut count = 0;
        for index in 0..self.trips.len() {
            let Some(party) = [0, 1].into_iter().find(|party| self.trips[index].has(*party, handset)) else {
                continue;
            };
            if self.trips[index].purged {
                continue;
            }
            count += 1;
            let _ = self.apply(index, Order::Cancel);
            self.trips[index].people[party].clear();
            self.keys.retain(|_, owner| *owner != (index, party));
            self.touched(index);
        }
        self.keys.retain(|(_, of), _| *of != handset);
        count
    }
}

/// Which party may call, as a wish says it.
pub fn may_call(callers: u8) -> [bool; 2] {
    [callers != 2, callers != 1]
}
