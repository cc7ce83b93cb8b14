//! Which pool number a party of a new trip gets. Pure: what is taken and when comes in.
//!
//! The store calls this inside the transaction that takes the number; that (pool number, party) is unique
//! is the database's rule, not this module's.

use std::collections::HashMap;

use crate::moment::Moment;
use crate::number::PoolNumber;
use crate::secret::Lookup;

/// What one party has, or had, to do with a pool number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// When calls of the trip that holds it end: from here on the key is a tombstone.
    pub cools_at: Moment,
    /// Until when it is held. A moment in the past is when the party last had the number.
    pub until: Moment,
}

/// What one party has to do with pool numbers.
pub type Holds = HashMap<PoolNumber, Hold>;

/// Numbers that a trip may be given: the city's own, then those of its neighbours in their order.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    /// Active numbers of the trip's own city.
    pub own: Vec<PoolNumber>,
    /// Active numbers of each neighbour.
    pub neighbours: Vec<Vec<PoolNumber>>,
}

/// Where a chosen number came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// Free for the party, in its own city.
    Own,
    /// Free for the party, in a neighbour city.
    Neighbour,
    /// Held by a trip of the party that had ended: its tombstone is given up.
    Tombstone,
}

impl Rung {
    /// Every rung, from the first on.
    pub const ALL: [Self; 3] = [Self::Own, Self::Neighbour, Self::Tombstone];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Neighbour => "neighbour",
            Self::Tombstone => "tombstone",
        }
    }
}

/// No number is free for a party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all {have} numbers are held by live trips of one party; {enough} would be enough")]
pub struct Exhausted {
    /// Active numbers in the city's own pool.
    pub have: usize,
    /// Active numbers in it with which this request would have been served.
    pub enough: usize,
}

impl Hold {
    /// The later of both: what holds for a party that has several phones.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { cools_at: self.cools_at.max(other.cools_at), until: self.until.max(other.until) }
    }
}

impl Pool {
    /// Every number.
    fn all(&self) -> impl Iterator<Item = PoolNumber> {
        self.own.iter().chain(self.neighbours.iter().flatten()).copied()
    }

    /// The number for a party: the first rung of the ladder that has one. `other` is what the trip's other party has:
    /// taken only when nothing else on the rung is free (it would still be right: keys are per party).
    pub fn choose(
        &self,
        holds: &Holds,
        party: &Lookup,
        other: Option<PoolNumber>,
        now: Moment,
    ) -> Result<(PoolNumber, Rung), Exhausted> {
        let rungs = std::iter::once((&self.own, Rung::Own))
            .chain(self.neighbours.iter().map(|numbers| (numbers, Rung::Neighbour)));
        for (numbers, rung) in rungs {
            if let Some(number) = used_longest_ago(numbers, holds, party, other, now) {
                return Ok((number, rung));
            }
        }
        let buried = |number: PoolNumber| holds.get(&number).filter(|hold| hold.cools_at <= now);
        self.all()
            .filter_map(|number| Some((buried(number)?.cools_at, number)))
            .min()
            .map(|(_, number)| (number, Rung::Tombstone))
            .ok_or(Exhausted { have: self.own.len(), enough: self.own.len() + 1 })
    }
}

/// The free number of `numbers` that this party used longest ago, never-used ones first. These are tried from a place
/// that depends on the party, so that parties spread over the pool.
fn used_longest_ago(
    numbers: &[PoolNumber],
    holds: &Holds,
    party: &Lookup,
    other: Option<PoolNumber>,
    now: Moment,
) -> Option<PoolNumber> {
    let start = party.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let start = usize::try_from(start % (numbers.len().max(1) as u64)).unwrap_or(0);
    numbers
        .iter()
        .enumerate()
        .filter(|(_, number)| holds.get(number).is_none_or(|hold| hold.until <= now))
        .min_by_key(|(index, number)| {
            let turn = (index + numbers.len() - start) % numbers.len();
            (Some(**number) == other, holds.get(number).map(|hold| hold.until), turn)
        })
        .map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const NOW: Moment = Moment::from_unix(1_000);

    fn number(n: u64) -> PoolNumber {
        PoolNumber::try_from(442_079_460_000 + n).unwrap()
    }

    fn pool(n: u64) -> Pool {
        Pool { own: (1..=n).map(number).collect(), neighbours: Vec::new() }
    }

    /// A key whose trip's calls end at `cools`, ten seconds before it is free.
    fn hold(cools: i64) -> Hold {
        Hold { cools_at: NOW.plus(cools), until: NOW.plus(cools + 10) }
    }

    fn chosen(pool: &Pool, holds: &Holds, other: Option<PoolNumber>) -> Result<(u64, Rung), Exhausted> {
        pool.choose(holds, &[0; 32], other, NOW).map(|(n, rung)| (n.to_integer() - 442_079_460_000, rung))
    }

    #[test]
    fn the_number_used_longest_ago_comes_first_and_never_used_ones_before_it() {
        let holds = Holds::from([(number(1), hold(-15)), (number(2), hold(-19)), (number(3), hold(1))]);
        assert_eq!(chosen(&pool(4), &holds, None), Ok((4, Rung::Own)));
        assert_eq!(chosen(&pool(3), &holds, None), Ok((2, Rung::Own)));
        assert_eq!(chosen(&pool(3), &holds, Some(number(2))), Ok((1, Rung::Own)));
    }

    #[test]
    fn the_ladder_goes_over_neighbours_to_the_oldest_tombstone_and_never_to_a_live_key() {
        let mut holds: Holds = (1..=4).map(|n| (number(n), hold(1))).collect();
        let both = Pool { neighbours: vec![vec![number(3)], vec![number(4), number(5)]], ..pool(2) };
        assert_eq!(chosen(&both, &holds, None), Ok((5, Rung::Neighbour)));
        holds.insert(number(5), hold(-2));
        holds.insert(number(2), hold(-3));
        assert_eq!(chosen(&both, &holds, None), Ok((2, Rung::Tombstone)));
        assert_eq!(chosen(&both, &holds, Some(number(2))), Ok((2, Rung::Tombstone)));
        holds.insert(number(2), hold(0));
        assert_eq!(chosen(&both, &holds, None), Ok((5, Rung::Tombstone)));
        holds.extend([(number(2), hold(1)), (number(5), hold(1))]);
        assert_eq!(chosen(&both, &holds, None), Err(Exhausted { have: 2, enough: 3 }));
    }

    #[test]
    fn an_empty_pool_says_that_one_number_is_enough() {
        assert_eq!(chosen(&pool(0), &Holds::new(), None), Err(Exhausted { have: 0, enough: 1 }));
    }

    #[test]
    fn one_number_serves_both_parties_when_there_is_no_other() {
        assert_eq!(chosen(&pool(1), &Holds::new(), Some(number(1))), Ok((1, Rung::Own)));
        assert_eq!(chosen(&pool(2), &Holds::new(), Some(number(1))), Ok((2, Rung::Own)));
    }

    #[test]
    fn new_parties_spread_over_the_pool() {
        let given: BTreeSet<_> = (0..=255)
            .filter_map(|b| Some(pool(8).choose(&Holds::new(), &[b; 32], None, NOW).ok()?.0))
            .collect();
        assert_eq!(given.len(), 8);
    }

    #[test]
    fn several_phones_of_a_party_are_held_as_long_as_the_longest() {
        assert_eq!(hold(-5).or(hold(3)), hold(3));
    }
}
