//! How crowded each pool number is with PINs: a guess must stay hopeless, so a crowded number gets longer ones.
//!
//! Owned by the writer's thread. Counted once from the database, then kept along; counted anew now and then, since
//! PINs that are freed are not subtracted. To count too many only makes a PIN longer.

use std::collections::HashMap;

use rusqlite::Connection;

use super::rows::integer;
use crate::moment::Moment;
use crate::number::PoolNumber;
use crate::store::StoreError;

/// PINs that there are for each one in use: one guess in so many hits somebody.
const SPARSE: u64 = 10_000;
/// Seconds until PINs are counted anew.
const FRESH: i64 = 600;

/// PINs in use, by number.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    pins: HashMap<PoolNumber, u64>,
    counted_at: Moment,
}

impl Crowd {
    /// Digits of a further PIN on `number`, 5 to 9, which is counted as given.
    pub fn digits(&mut self, db: &Connection, number: PoolNumber, now: Moment) -> Result<u32, StoreError> {
        if !(self.counted_at..self.counted_at.plus(FRESH)).contains(&now) {
            self.pins.clear();
            self.counted_at = now;
        }
        let count = match self.pins.get(&number) {
            Some(count) => *count,
            None => db
                .prepare_cached("SELECT COUNT(pin) FROM held WHERE number = ?1 AND pin IS NOT NULL")?
                .query_row([integer(number)], |row| row.get::<_, i64>(0))?
                .cast_unsigned(),
        };
        self.pins.insert(number, count + 1);
        Ok(digits(count + 1))
    }
}

fn digits(pins: u64) -> u32 {
    (5..9).find(|digits| pins * SPARSE <= 10_u64.pow(*digits)).unwrap_or(9)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_crowded_number_has_longer_pins() {
        for (pins, length) in [(1, 5), (10, 5), (11, 6), (100, 6), (101, 7), (10_000, 8), (10_000_000, 9)] {
            assert_eq!(super::digits(pins), length, "{pins}");
        }
    }
}
