//! What keeps the database small, current and safe: purging, sealing anew, copies; and what it tells of pools.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::queue::Desk;
use super::rows;
use super::trips;
use crate::city::NumberState;
use crate::forecast::{PartyUse, PoolUse};
use crate::moment::Moment;
use crate::name::{City, TripId};
use crate::secret::Lookup;
use crate::store::{Purged, Resealed, StoreError};

/// Seconds that a key which is not held any more is remembered, so that its number comes last for its party.
const REMEMBERED: i64 = 90 * 86_400;
/// Rows that one purge or one step of sealing takes: others wait meanwhile.
const STEP: i64 = 2_000;
/// How long the log's end is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Parties that a forecast looks at, the busiest of each kind.
const BUSIEST: i64 = 16;

/// Erases trips that are over. The keys stay for a while as pseudonyms, without a PIN.
pub(super) fn purge(desk: &Desk<'_>, now: Moment) -> Result<Purged, StoreError> {
    let freed = desk.db.execute(
        "UPDATE held SET pin = NULL WHERE (lookup, number) IN
         (SELECT lookup, number FROM held WHERE pin IS NOT NULL AND until <= ?1 LIMIT ?2)",
        params![now.unix(), STEP],
    )?;
    let forgotten = desk.db.execute(
        "DELETE FROM held WHERE (lookup, number) IN
         (SELECT lookup, number FROM held WHERE pin IS NULL AND until <= ?1 LIMIT ?2)",
        params![now.plus(-REMEMBERED).unix(), STEP],
    )?;
    let trips = desk.db.execute(
        "DELETE FROM trips WHERE id IN (SELECT id FROM trips WHERE held_until <= ?1 LIMIT ?2)",
        params![now.unix(), STEP],
    )?;
    let more = i64::try_from(freed.max(forgotten).max(trips)).is_ok_and(|most| most >= STEP);
    Ok(Purged { trips, more })
}

/// Seals trips anew that an older key sealed, some at a time.
pub(super) fn reseal(desk: &Desk<'_>, after: Option<&TripId>) -> Result<Resealed, StoreError> {
    let mut statement = desk.db.prepare_cached(
        "SELECT id, substr(secret, 1, 1) = ?2 FROM trips WHERE id > ?1 ORDER BY id LIMIT ?3",
    )?;
    let newest = [desk.keys.newest_id()];
    let after = after.map_or("", TripId::as_str);
    let rows = statement.query_map(params![after, newest, STEP], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?))
    })?;
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let last = rows.last().filter(|_| i64::try_from(rows.len()) == Ok(STEP)).map(|(id, _)| id.clone());
    let mut resealed = Resealed { trips: 0, next: last.and_then(|id| TripId::new(&id).ok()) };
    for (id, current) in &rows {
        let Some(id) = TripId::new(id).ok().filter(|_| !current) else { continue };
        if let Some(kept) = trips::sound(trips::read(desk.db, desk.keys, &id))?.flatten() {
            trips::update(desk.db, desk.keys, &kept.trip)?;
            resealed.trips += 1;
        }
    }
    Ok(resealed)
}

/// Writes a copy of the database, as it is at one moment, to `file`; returns its size in bytes.
pub(super) fn back_up(db: &Path, file: &Path) -> Result<u64, StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |e: std::io::Error| StoreError::Database(format!("{}: {e}", file.display()));
    // SQLite writes into an empty file; made here, so that nobody else can read it.
    let made =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    let name = file.to_str().ok_or_else(|| StoreError::Database("the path is no UTF-8".into()))?;
    let copied = Connection::open(db)
        .and_then(|connection| connection.execute("VACUUM INTO ?1", [name]))
        .map_err(StoreError::from)
        .and_then(|_| made.sync_all().map_err(failed));
    match copied {
        Ok(()) => Ok(made.metadata().map_err(failed)?.len()),
        Err(error) => {
            // A copy that is not whole is none.
            let _ = std::fs::remove_file(file);
            Err(error)
        }
    }
}

/// Writes the write-ahead log into the database and cuts it off: it holds rows as they were before.
pub(super) fn cut_log(db: &Path) -> Result<(), StoreError> {
    let connection = Connection::open(db)?;
    connection.busy_timeout(PATIENCE)?;
    let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy { Err(StoreError::Database("somebody reads it".into())) } else { Ok(()) }
}

/// What a city's numbers are used for at `now`.
pub(super) fn pool_use(db: &Connection, city: &City, now: Moment) -> Result<PoolUse, StoreError> {
    let plan = rows::city(db, city)?;
    let count = |state: NumberState| {
        plan.iter().flat_map(|plan| plan.numbers.values()).filter(|s| **s == state).count() as u64
    };
    let (at, day) = (now.unix(), now.plus(-86_400).unix());
    let number = |sql: &str, from: i64| -> Result<u64, StoreError> {
        let value: Option<i64> =
            db.prepare_cached(sql)?.query_row(params![city.as_str(), from], |r| r.get(0))?;
        Ok(value.unwrap_or(0).cast_unsigned())
    };
    let shortest: Option<i64> = db
        .prepare_cached(
            "SELECT MIN(taken - freed) FROM held JOIN pool_numbers USING (number)
             WHERE city = ?1 AND taken > ?2 AND freed IS NOT NULL",
        )?
        .query_row(params![city.as_str(), day], |row| row.get(0))?;
    Ok(PoolUse {
        active: count(NumberState::Active),
        reserved: count(NumberState::Reserved),
        draining: count(NumberState::Draining),
        suspended: count(NumberState::Suspended),
        in_use: number(
            "SELECT COUNT(*) FROM pool_numbers p WHERE city = ?1
             AND EXISTS (SELECT 1 FROM held WHERE number = p.number AND pin IS NOT NULL AND until > ?2)",
            at,
        )?,
        parties: parties(db, city, usize::try_from(count(NumberState::Active)).unwrap_or(usize::MAX), now)?,
        shortest_reuse: shortest.map(|seconds| u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)),
        trips_last_day: number("SELECT COUNT(*) FROM trips WHERE city = ?1 AND created_at > ?2", day)?,
        exhausted_last_day: 0,
        borrowed: number(
            "SELECT COUNT(*) FROM trips WHERE city = ?1 AND held_until > ?2 AND
             (dial_a NOT IN (SELECT number FROM pool_numbers WHERE city = ?1)
              OR dial_b NOT IN (SELECT number FROM pool_numbers WHERE city = ?1))",
            at,
        )?,
    })
}

/// The parties that hold most numbers of the city, and those that took most in the last day.
fn parties(db: &Connection, city: &City, pool: usize, now: Moment) -> Result<Vec<PartyUse>, StoreError> {
    let mut busiest: Vec<Lookup> = Vec::new();
    for (column, from) in [("until", now), ("taken", now.plus(-86_400))] {
        let mut statement = db.prepare_cached(&format!(
            "SELECT lookup FROM held JOIN pool_numbers USING (number) WHERE city = ?1 AND {column} > ?2
             GROUP BY lookup ORDER BY COUNT(*) DESC LIMIT ?3"
        ))?;
        let found = statement.query_map(params![city.as_str(), from.unix(), BUSIEST], |row| row.get(0))?;
        for lookup in found {
            let lookup = lookup?;
            if !busiest.contains(&lookup) {
                busiest.push(lookup);
            }
        }
    }
    busiest.iter().map(|lookup| party(db, city, pool, lookup, now)).collect()
}

fn party(
    db: &Connection,
    city: &City,
    pool: usize,
    lookup: &Lookup,
    now: Moment,
) -> Result<PartyUse, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT until, taken FROM held JOIN pool_numbers USING (number) WHERE lookup = ?1 AND city = ?2",
    )?;
    let rows = statement.query_map(params![lookup, city.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(i64, i64)> = rows.collect::<Result<_, _>>()?;
    let day = now.plus(-86_400).unix();
    let recent: Vec<&(i64, i64)> = rows.iter().filter(|(_, taken)| *taken > day).collect();
    let spans = recent.iter().map(|(until, taken)| until.saturating_sub(*taken).max(0));
    let mean = spans.sum::<i64>().checked_div(i64::try_from(recent.len()).unwrap_or(i64::MAX)).unwrap_or(0);
    let held = rows.iter().filter(|(until, _)| *until > now.unix());
    Ok(PartyUse {
        held: held.map(|(until, _)| Moment::from_unix(*until)).collect(),
        taken_last_day: per_day(&recent, pool, now),
        hold_seconds: u32::try_from(mean).unwrap_or(u32::MAX),
    })
}

/// Numbers that a party takes in a day. Each number remembers its last taking alone: where all of the pool were taken
/// within the day, they may have been taken more than once, and the time since the oldest tells the pace.
fn per_day(recent: &[&(i64, i64)], pool: usize, now: Moment) -> u32 {
    let oldest = recent.iter().map(|(_, taken)| *taken).min().unwrap_or(now.unix());
    let count = i64::try_from(recent.len()).unwrap_or(i64::MAX);
    let span = now.unix().saturating_sub(oldest);
    let all = recent.len() >= pool && count > 1 && span > 0;
    let pace = if all { count.saturating_mul(86_400) / span } else { count };
    u32::try_from(pace).unwrap_or(u32::MAX)
}

/// The keys by which the database is sealed, and how many trips by each.
pub(super) fn sealed_by(db: &Connection) -> Result<Vec<(u8, u64)>, StoreError> {
    let mut statement =
        db.prepare_cached("SELECT substr(secret, 1, 1), COUNT(*) FROM trips GROUP BY 1 ORDER BY 1")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, [u8; 1]>(0)?[0], row.get::<_, i64>(1)?)))?;
    Ok(rows.map(|row| row.map(|(id, count)| (id, count.cast_unsigned()))).collect::<Result<_, _>>()?)
}
