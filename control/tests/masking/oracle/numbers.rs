//! Who may be given which number.

use std::collections::BTreeSet;

use control::city::NumberState;
use control::name::TripId;
use control::number::PoolNumber;

use super::{City, Oracle, Phase, Trip};
use crate::people::Phone;

/// What a party of a new trip must be given.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice {
    /// One of these.
    OneOf(BTreeSet<PoolNumber>),
    /// All are held by its trips.
    Exhausted,
}

impl City {
    pub fn active(&self) -> BTreeSet<PoolNumber> {
        let active = self.numbers.iter().filter(|(_, state)| **state == NumberState::Active);
        active.map(|(number, _)| *number).collect()
    }
}

impl Oracle {
    /// Whether the trips that have this id leave room for another.
    pub fn by_id(&self, id: &TripId) -> Option<usize> {
        self.trips.iter().rposition(|trip| trip.id == *id && !trip.purged && self.now < trip.until())
    }

    /// Trips in grace of the same two people, whose numbers may still be given: one of them goes on. Each with the
    /// numbers, in the order of `people`.
    pub fn continuable(&self, city: usize, people: &[Vec<Phone>; 2]) -> Vec<(usize, [PoolNumber; 2])> {
        let near = self.near(city);
        let mut found = Vec::new();
        for (index, trip) in self.trips.iter().enumerate() {
            if trip.purged || trip.phase(self.now) != Phase::Grace || trip.lost != [false; 2] {
                continue;
            }
            let [a, b] =
                [0, 1].map(|party| [0, 1].into_iter().find(|i| same(&trip.people[*i], &people[party])));
            let Some((a, b)) = a.zip(b) else { continue };
            let dials = [trip.dials[a], trip.dials[b]];
            if a != b && dials.iter().all(|dial| near.iter().flatten().any(|number| number == dial)) {
                found.push((index, dials));
            }
        }
        found
    }

    /// What a party may be given; `other` is what the other party was given before.
    pub fn choice(&self, city: usize, people: &[Phone], other: Option<PoolNumber>) -> Choice {
        let near = self.near(city);
        for numbers in &near {
            let free = numbers.iter().filter(|number| self.held(**number, people) <= self.now);
            // The one used longest ago, never-used ones first; what the other party has last of all.
            let rank = |number: &PoolNumber| (Some(*number) == other, self.held(*number, people));
            if let Some(best) = free.clone().map(rank).min() {
                return Choice::OneOf(free.filter(|number| rank(number) == best).copied().collect());
            }
        }
        let ended = |number: &PoolNumber| {
            let cools = self.holders(*number, people).map(Trip::cools).max()?;
            (cools <= self.now).then_some((cools, *number))
        };
        match near.iter().flatten().filter_map(ended).min() {
            Some((_, oldest)) => Choice::OneOf(BTreeSet::from([oldest])),
            None => Choice::Exhausted,
        }
    }

    /// Active numbers of the city, then of each of its neighbours.
    fn near(&self, city: usize) -> Vec<BTreeSet<PoolNumber>> {
        let city = &self.cities[city];
        let neighbours = city.neighbours.iter().map(|neighbour| self.cities[*neighbour].active());
        std::iter::once(city.active()).chain(neighbours).collect()
    }

    /// The trips that had this number last for one of these phones.
    fn holders<'a>(&'a self, number: PoolNumber, people: &'a [Phone]) -> impl Iterator<Item = &'a Trip> {
        let owner = move |phone: &Phone| self.keys.get(&(number, phone.handset));
        people.iter().filter_map(owner).map(|(trip, _)| &self.trips[*trip])
    }

    /// Until when trips of this party hold the number.
    pub fn held(&self, number: PoolNumber, people: &[Phone]) -> i64 {
        self.holders(number, people).map(Trip::until).max().unwrap_or(i64::MIN)
    }

    /// A trip was made: whoever had its keys has lost them, and the trip that had its id is no more.
    pub fn made(&mut self, trip: Trip) {
        let index = self.trips.len();
        for old in self.trips.iter_mut().filter(|old| old.id == trip.id) {
            old.purged = true;
            old.loaded = false;
        }
        for (party, (dial, people)) in trip.dials.iter().zip(&trip.people).enumerate() {
            for phone in people {
                let before = self.keys.insert((*dial, phone.handset), (index, party));
                if let Some((loser, side)) = before.filter(|(loser, _)| !self.trips[*loser].purged) {
                    self.trips[loser].lost[side] = true;
                    self.touched(loser);
                }
            }
        }
        self.intents.retain(|intent| !self.trips[intent.trip].purged);
        self.trips.push(trip);
    }
}

fn same(one: &[Phone], other: &[Phone]) -> bool {
    let handsets = |phones: &[Phone]| phones.iter().map(|phone| phone.handset).collect::<BTreeSet<_>>();
    !one.is_empty() && handsets(one) == handsets(other)
}
