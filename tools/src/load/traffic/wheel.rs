//! When each leg sends: a wheel of as many slots as fit between two packets of one leg. Pure.
//!
//! All legs send at the same rate, so each has a slot, and the wheel turns once per interval. New legs take the emptiest
//! slot: the packets of all legs are spread evenly over the interval.

/// Slots; 100 µs apart at 20 ms per packet.
pub const SLOTS: usize = 200;

/// Which leg sends when.
#[derive(Debug)]
pub struct Wheel {
    slots: Vec<Vec<u32>>,
    /// When slot 0 of turn 0 was due, and how long a slot is, in nanoseconds.
    began_ns: u64,
    slot_ns: f64,
    /// Slots done since then.
    done: u64,
    legs: usize,
}

/// Where a leg is.
#[derive(Debug, Clone, Copy)]
pub struct Place(usize);

impl Wheel {
    /// A wheel that turns so many times a second, from `now_ns` on.
    pub fn new(per_second: f64, now_ns: u64) -> Self {
        let slots = vec![Vec::new(); SLOTS];
        Self { slots, began_ns: now_ns, slot_ns: slot_ns(per_second), done: 0, legs: 0 }
    }

    /// Turns so many times a second from `now_ns` on.
    pub fn set_rate(&mut self, per_second: f64, now_ns: u64) {
        // The slot that is next stays the next.
        let next = self.done % SLOTS as u64;
        self.slot_ns = slot_ns(per_second);
        self.done = next;
        self.began_ns = now_ns.saturating_sub(self.at(next));
    }

    /// Gives a leg its place.
    pub fn add(&mut self, leg: u32) -> Place {
        let emptiest = (0..SLOTS).min_by_key(|n| self.slots.get(*n).map_or(0, Vec::len)).unwrap_or(0);
        self.slots.get_mut(emptiest).into_iter().for_each(|slot| slot.push(leg));
        self.legs += 1;
        Place(emptiest)
    }

    /// Takes a leg away.
    pub fn remove(&mut self, leg: u32, Place(slot): Place) {
        self.slots.get_mut(slot).into_iter().for_each(|slot| slot.retain(|l| *l != leg));
        self.legs -= 1;
    }

    /// Legs on the wheel.
    pub const fn legs(&self) -> usize {
        self.legs
    }

    /// The next slot that is due at `now_ns`: when it was due, and its legs.
    pub fn due(&mut self, now_ns: u64) -> Option<(u64, &[u32])> {
        let at_ns = self.began_ns + self.at(self.done);
        if at_ns > now_ns {
            return None;
        }
        let slot = usize::try_from(self.done % SLOTS as u64).unwrap_or(0);
        self.done += 1;
        self.slots.get(slot).map(|legs| (at_ns, legs.as_slice()))
    }

    /// When the next slot is due.
    pub fn next_ns(&self) -> u64 {
        self.began_ns + self.at(self.done)
    }

    /// Where the wheel is late by more than a turn, leaves out what was missed: how many packets.
    pub fn catch_up(&mut self, now_ns: u64) -> u64 {
        let late = now_ns.saturating_sub(self.next_ns());
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "slots, counted"
        )]
        let slots = (late as f64 / self.slot_ns) as u64;
        if slots <= SLOTS as u64 {
            return 0;
        }
        let first = self.done;
        self.done += slots;
        let turns = slots / SLOTS as u64;
        let part = (first + turns * SLOTS as u64..self.done).map(|n| {
            let slot = usize::try_from(n % SLOTS as u64).unwrap_or(0);
            self.slots.get(slot).map_or(0, Vec::len) as u64
        });
        turns * self.legs as u64 + part.sum::<u64>()
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "nanoseconds of days"
    )]
    fn at(&self, slot: u64) -> u64 {
        (slot as f64 * self.slot_ns) as u64
    }
}

#[allow(clippy::cast_precision_loss, reason = "a few hundred slots")]
fn slot_ns(per_second: f64) -> f64 {
    1e9 / per_second.max(0.001) / SLOTS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Every packet until `until`, as leg and time.
    fn turn(wheel: &mut Wheel, until: u64) -> Vec<(u32, u64)> {
        let mut sent = Vec::new();
        while let Some((at, legs)) = wheel.due(until) {
            sent.extend(legs.iter().map(|leg| (*leg, at)));
        }
        sent
    }

    #[test]
    fn legs_are_spread_and_each_sends_once_per_interval() {
        let mut wheel = Wheel::new(50.0, 1000);
        (0..400).for_each(|leg| _ = wheel.add(leg));
        let sent = turn(&mut wheel, 1000 + 60 * MS - 1);
        assert_eq!(sent.len(), 3 * 400);
        let times: Vec<u64> = sent.iter().filter(|(leg, _)| *leg == 7).map(|(_, at)| *at).collect();
        assert!(times.windows(2).all(|w| w[1] - w[0] == 20 * MS), "{times:?}");
        let in_first_ms = sent.iter().filter(|(_, at)| *at < 1000 + MS).count();
        assert_eq!(in_first_ms, 20, "two in each of ten slots");
    }

    #[test]
    fn a_leg_that_was_removed_sends_no_more() {
        let mut wheel = Wheel::new(50.0, 0);
        let places: Vec<Place> = (0..3).map(|leg| wheel.add(leg)).collect();
        wheel.remove(1, places[1]);
        let legs: Vec<u32> = turn(&mut wheel, 20 * MS - 1).into_iter().map(|(leg, _)| leg).collect();
        assert_eq!((legs, wheel.legs()), (vec![0, 2], 2));
    }

    #[test]
    fn being_late_costs_packets_only_beyond_an_interval() {
        let mut wheel = Wheel::new(50.0, 0);
        (0..200).for_each(|leg| _ = wheel.add(leg));
        assert_eq!(wheel.catch_up(20 * MS), 0);
        assert_eq!(turn(&mut wheel, 20 * MS).len(), 201);
        assert_eq!(wheel.catch_up(120 * MS), 999, "one is due now");
        assert_eq!(turn(&mut wheel, 120 * MS).len(), 1);
    }

    #[test]
    fn another_rate_begins_where_the_wheel_is() {
        let mut wheel = Wheel::new(50.0, 0);
        (0..200).for_each(|leg| _ = wheel.add(leg));
        turn(&mut wheel, 10 * MS);
        wheel.set_rate(100.0, 10 * MS);
        let sent = turn(&mut wheel, 20 * MS);
        assert_eq!(sent.len(), 201);
        assert_eq!(sent.first().map(|(leg, _)| *leg), Some(101));
    }
}
