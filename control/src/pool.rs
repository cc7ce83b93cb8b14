//! Which pool number a party of a new trip gets. Pure: what is taken and when comes in.
//!
//! The store calls this inside the transaction that takes the number; that (pool number, party) is unique
//! is the database's rule, not this module's.

use std::collections::{BTreeSet, HashMap};

use crate::moment::Moment;
use crate::number::PoolNumber;
use crate::secret::Lookup;

/// What one party has to do with pool numbers: for each number, until when a trip of the party holds it.
/// A moment in the past is when the party last had it.
pub type Holds = HashMap<PoolNumber, Moment>;

/// No number of the pool is free for a party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all {have} numbers are held by trips of one party; {enough} would be enough")]
pub struct Exhausted {
    /// Numbers in the pool.
    pub have: usize,
    /// Numbers that this request needs.
    pub enough: usize,
}

/// The number of `pool` that this party used longest ago, never-used ones first; `other`, which the trip's
/// other party has, only when nothing else is free (it would still be right: keys are per party).
///
/// Never-used numbers are tried from a place that depends on the party, so that parties spread over the pool.
pub fn choose(
    pool: &BTreeSet<PoolNumber>,
    holds: &Holds,
    party: &Lookup,
    other: Option<PoolNumber>,
    now: Moment,
) -> Result<PoolNumber, Exhausted> {
    let start = party.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let start = usize::try_from(start % (pool.len().max(1) as u64)).unwrap_or(0);
    pool.iter()
        .enumerate()
        .filter(|(_, number)| holds.get(number).is_none_or(|until| *until <= now))
        .min_by_key(|(index, number)| {
            let turn = (index + pool.len() - start) % pool.len();
            (Some(**number) == other, holds.get(number).copied(), turn)
        })
        .map(|(_, number)| *number)
        .ok_or(Exhausted { have: pool.len(), enough: pool.len() + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_unix(1_000);

    fn number(n: u64) -> PoolNumber {
        PoolNumber::try_from(442_079_460_000 + n).unwrap()
    }

    fn pool(n: u64) -> BTreeSet<PoolNumber> {
        (1..=n).map(number).collect()
    }

    #[test]
    fn the_number_used_longest_ago_comes_first_and_never_used_ones_before_it() {
        let party = [0; 32];
        let holds =
            Holds::from([(number(1), NOW.plus(-5)), (number(2), NOW.plus(-9)), (number(3), NOW.plus(1))]);
        assert_eq!(choose(&pool(4), &holds, &party, None, NOW), Ok(number(4)));
        assert_eq!(choose(&pool(3), &holds, &party, None, NOW), Ok(number(2)));
        assert_eq!(choose(&pool(3), &holds, &party, Some(number(2)), NOW), Ok(number(1)));
    }

    #[test]
    fn a_held_number_is_never_given_and_exhaustion_says_how_many_are_enough() {
        let holds: Holds = (1..=3).map(|n| (number(n), NOW.plus(1))).collect();
        assert_eq!(choose(&pool(3), &holds, &[7; 32], None, NOW), Err(Exhausted { have: 3, enough: 4 }));
        assert_eq!(
            choose(&pool(0), &Holds::new(), &[7; 32], None, NOW),
            Err(Exhausted { have: 0, enough: 1 })
        );
        assert_eq!(
            choose(&pool(3), &holds, &[7; 32], None, NOW.plus(1)).map(|n| n.to_integer() > 0),
            Ok(true)
        );
    }

    #[test]
    fn one_number_serves_both_parties_when_there_is_no_other() {
        assert_eq!(choose(&pool(1), &Holds::new(), &[0; 32], Some(number(1)), NOW), Ok(number(1)));
        assert_eq!(choose(&pool(2), &Holds::new(), &[0; 32], Some(number(1)), NOW), Ok(number(2)));
    }

    #[test]
    fn new_parties_spread_over_the_pool() {
        let given: BTreeSet<_> =
            (0..=255).filter_map(|b| choose(&pool(8), &Holds::new(), &[b; 32], None, NOW).ok()).collect();
        assert_eq!(given, pool(8));
    }
}
