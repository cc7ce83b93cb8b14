//! Pages of lists: `limit` says how long, `after` where the one before ended, `next` is the `after` of the next one.

use super::problem::Problem;

/// Entries on a page at most.
const MOST: usize = 1_000;
/// Entries on a page when nothing is said.
const USUAL: usize = 100;

/// How many entries a page has. A list takes one more, to know whether there is a next page.
pub(super) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(USUAL);
    if (1..=MOST).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::invalid(format!("limit must be from 1 to {MOST}")))
    }
}

/// Cuts `entries` to a page; gives the last one's key when there is more.
pub(super) fn cut<T, K>(entries: &mut Vec<T>, limit: usize, key: impl FnOnce(&T) -> K) -> Option<K> {
    let more = entries.len() > limit;
    entries.truncate(limit);
    entries.last().filter(|_| more).map(key)
}
