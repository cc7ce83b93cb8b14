//! Trips as rows: written, read, found.

use std::num::{NonZeroU16, NonZeroU32};

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, ToSql, params};

use super::rows::integer;
use super::sealed;
use crate::moment::Moment;
use crate::name::{City, Role, TripId};
use crate::number::PoolNumber;
use crate::secret::{Keys, Lookup};
use crate::store::{Page, StoreError};
use crate::trip::{Life, Party, Pin, Rules, Trip, TripState};

/// What of a trip is written when it is made and never changes, then what may.
const COLUMNS: &str = "id, city, created_at, role_a, dial_a, role_b, dial_b, cooling, \
    version, expires_at, ends_by, closed_at, lives, grace, sliding, held_until, \
    record, callers, max_seconds, ring_seconds, max_calls, calls, blocked, lost, secret";

/// A trip, and what the request that made it said.
pub(super) struct Kept {
    /// The trip.
    pub trip: Trip,
    /// The request's pseudonym.
    pub content: [u8; 16],
}

/// Adds a trip.
pub(super) fn insert(
    db: &Connection,
    keys: &Keys,
    trip: &Trip,
    content: &[u8; 16],
) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached(&format!(
        "INSERT INTO trips (content, {COLUMNS}) VALUES \
         (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23,?24,?25,?26)"
    ))?;
    let [first, second] = &trip.parties;
    statement.raw_bind_parameter(1, content)?;
    bind(
        &mut statement,
        2,
        &[
            &trip.id.as_str(),
            &trip.city.as_str(),
            &trip.life.created_at.unix(),
            &first.role.as_str(),
            &integer(first.dial),
            &second.role.as_str(),
            &integer(second.dial),
            &trip.life.cooling,
        ],
    )?;
    bind_changing(&mut statement, 10, keys, trip)?;
    statement.raw_execute()?;
    Ok(())
}

/// Writes what may have changed of a trip.
pub(super) fn update(db: &Connection, keys: &Keys, trip: &Trip) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached(
        "UPDATE trips SET version = ?2, expires_at = ?3, ends_by = ?4, closed_at = ?5, lives = ?6, grace = ?7,
         sliding = ?8, held_until = ?9, record = ?10, callers = ?11, max_seconds = ?12, ring_seconds = ?13,
         max_calls = ?14, calls = ?15, blocked = ?16, lost = ?17, secret = ?18 WHERE id = ?1",
    )?;
    statement.raw_bind_parameter(1, trip.id.as_str())?;
    bind_changing(&mut statement, 2, keys, trip)?;
    statement.raw_execute()?;
    Ok(())
}

fn bind_changing(
    statement: &mut CachedStatement<'_>,
    first: usize,
    keys: &Keys,
    trip: &Trip,
) -> Result<(), StoreError> {
    let secret =
        sealed::seal(keys, &trip.id, &trip.parties).map_err(|e| damaged(trip.id.as_str(), &e.to_string()))?;
    let (life, rules) = (&trip.life, &trip.rules);
    let values: [&dyn ToSql; 17] = [
        &trip.version.cast_signed(),
        &life.expires_at.unix(),
        &life.ends_by.unix(),
        &life.closed_at.map(Moment::unix),
        &life.lives,
        &life.grace,
        &life.sliding,
        &life.held_until().unix(),
        &rules.record,
        &bits(rules.callers),
        &rules.max_seconds,
        &rules.ring_seconds.map(NonZeroU16::get),
        &rules.max_calls.map(NonZeroU32::get),
        &trip.calls,
        &trip.blocked,
        &bits(trip.lost),
        &secret,
    ];
    bind(statement, first, &values)
}

fn bind(statement: &mut CachedStatement<'_>, first: usize, values: &[&dyn ToSql]) -> Result<(), StoreError> {
    for (index, value) in values.iter().enumerate() {
        statement.raw_bind_parameter(first + index, value)?;
    }
    Ok(())
}

/// One trip, whatever its state.
pub(super) fn read(db: &Connection, keys: &Keys, id: &TripId) -> Result<Option<Kept>, StoreError> {
    let mut statement = db.prepare_cached(&format!("SELECT {COLUMNS}, content FROM trips WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Kept { trip: trip(row, keys)?, content: row.get(COUNT)? }))
}

/// Gives every trip whose numbers are held at `now` to `each`.
pub(super) fn held(
    db: &Connection,
    keys: &Keys,
    now: Moment,
    each: &mut dyn FnMut(Trip),
) -> Result<(), StoreError> {
    let mut statement = db.prepare(&format!("SELECT {COLUMNS} FROM trips WHERE +held_until > ?1"))?;
    let mut rows = statement.query([now.unix()])?;
    while let Some(row) = rows.next()? {
        sound(trip(row, keys))?.into_iter().for_each(&mut *each);
    }
    Ok(())
}

/// A page of trips that are not purged at `now`.
pub(super) fn page(db: &Connection, keys: &Keys, page: &Page, now: Moment) -> Result<Vec<Trip>, StoreError> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM trips WHERE id > ?1 AND +held_until > ?2 AND (?3 IS NULL OR city = ?3) ORDER BY id"
    ))?;
    let after = page.after.as_ref().map_or("", TripId::as_str);
    let mut rows = statement.query(params![after, now.unix(), page.city.as_ref().map(City::as_str)])?;
    let mut trips = Vec::new();
    while let Some(row) = rows.next()?.filter(|_| trips.len() < page.limit) {
        if page.state.is_none_or(|state| life(row).is_ok_and(|life| life.state(now) == state)) {
            trips.extend(sound(trip(row, keys))?);
        }
    }
    Ok(trips)
}

/// How many trips are in each state.
pub(super) fn census(db: &Connection, now: Moment) -> Result<[u64; 4], StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT min(ifnull(closed_at, expires_at), expires_at), grace, held_until FROM trips",
    )?;
    let mut rows = statement.query([])?;
    let mut count = [0; 4];
    while let Some(row) = rows.next()? {
        let (ends, grace, until): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let state = match now.unix() {
            now if now < ends => TripState::Active,
            now if now < ends.saturating_add(grace) => TripState::Grace,
            now if now < until => TripState::Cooling,
            _ => TripState::Purged,
        };
        if let Some(sum) = count.get_mut(state as usize) {
            *sum += 1;
        }
    }
    Ok(count)
}

/// The trip that holds (pool number, party) at `now`.
pub(super) fn holding(
    db: &Connection,
    keys: &Keys,
    dialled: PoolNumber,
    party: &Lookup,
    now: Moment,
) -> Result<Option<Trip>, StoreError> {
    let mut statement =
        db.prepare_cached("SELECT trip FROM held WHERE lookup = ?1 AND number = ?2 AND until > ?3")?;
    let id: Option<String> =
        statement.query_row(params![party, integer(dialled), now.unix()], |row| row.get(0)).optional()?;
    by_name(db, keys, id.as_deref())
}

/// The trip in which somebody has `pin` on this number at `now`, and which of its parties that is.
pub(super) fn with_pin(
    db: &Connection,
    keys: &Keys,
    dialled: PoolNumber,
    pin: &Pin,
    now: Moment,
) -> Result<Option<(Trip, usize)>, StoreError> {
    let mut statement =
        db.prepare_cached("SELECT trip FROM held WHERE number = ?1 AND pin = ?2 AND until > ?3")?;
    let found = params![integer(dialled), pin_pseudonym(keys, pin), now.unix()];
    let id: Option<String> = statement.query_row(found, |row| row.get(0)).optional()?;
    let Some(trip) = by_name(db, keys, id.as_deref())? else { return Ok(None) };
    let party = trip.parties.iter().position(|party| party.dial == dialled && party.pin == *pin);
    Ok(party.map(|party| (trip, party)))
}

fn by_name(db: &Connection, keys: &Keys, id: Option<&str>) -> Result<Option<Trip>, StoreError> {
    let Some(id) = id.and_then(|id| TripId::new(id).ok()) else { return Ok(None) };
    Ok(read(db, keys, &id)?.map(|kept| kept.trip))
}

/// The next change number.
pub(super) fn next_version(db: &Connection) -> Result<u64, StoreError> {
    // RETURNING would make a temporary table each time.
    db.prepare_cached("UPDATE counter SET version = version + 1")?.execute([])?;
    let version: i64 = db.prepare_cached("SELECT version FROM counter")?.query_row([], |row| row.get(0))?;
    Ok(version.cast_unsigned())
}

/// How many columns [`COLUMNS`] names.
const COUNT: usize = 25;

fn life(row: &Row<'_>) -> rusqlite::Result<Life> {
    let moment = |index: usize| row.get(index).map(Moment::from_unix);
    Ok(Life {
        created_at: moment(2)?,
        expires_at: moment(9)?,
        ends_by: moment(10)?,
        closed_at: row.get::<_, Option<i64>>(11)?.map(Moment::from_unix),
        lives: row.get(12)?,
        grace: row.get(13)?,
        cooling: row.get(7)?,
        sliding: row.get(14)?,
    })
}

fn rules(row: &Row<'_>) -> rusqlite::Result<Rules> {
    Ok(Rules {
        record: row.get(16)?,
        callers: both(row.get(17)?),
        max_seconds: row.get(18)?,
        ring_seconds: row.get::<_, Option<u16>>(19)?.and_then(NonZeroU16::new),
        max_calls: row.get::<_, Option<u32>>(20)?.and_then(NonZeroU32::new),
    })
}

/// The trip of a row of [`COLUMNS`].
pub(super) fn trip(row: &Row<'_>, keys: &Keys) -> Result<Trip, StoreError> {
    let text = |index: usize| row.get_ref(index)?.as_str().map_err(rusqlite::Error::from);
    let name = text(0)?;
    let wrong = |what: &dyn std::fmt::Display| damaged(name, &what.to_string());
    let id = TripId::new(name).map_err(|e| wrong(&e))?;
    let secret = row.get_ref(24)?.as_blob().map_err(rusqlite::Error::from)?;
    let secrets = sealed::open(keys, &id, secret).map_err(|e| wrong(&e))?;
    let [first, second] = secrets.ok_or_else(|| wrong(&"what is sealed is no pair of parties"))?;
    let party = |(phones, pin), role: usize, dial: usize| -> Result<Party, StoreError> {
        let dial = PoolNumber::try_from(row.get::<_, i64>(dial)?.cast_unsigned());
        Ok(Party {
            role: Role::new(text(role)?).map_err(|e| wrong(&e))?,
            phones,
            dial: dial.map_err(|e| wrong(&e))?,
            pin,
        })
    };
    Ok(Trip {
        city: City::new(text(1)?).map_err(|e| wrong(&e))?,
        version: row.get::<_, i64>(8)?.cast_unsigned(),
        life: life(row)?,
        parties: [party(first, 3, 4)?, party(second, 5, 6)?],
        rules: rules(row)?,
        calls: row.get(21)?,
        blocked: row.get(22)?,
        lost: both(row.get(23)?),
        id,
    })
}

/// What many trips are read for goes on without one that does not open; the log names it. Its keys stay held, so that
/// nobody else gets them.
pub(super) fn sound<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::error!(%error, "a trip is passed over");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A stored value that makes no sense.
pub(super) fn damaged(trip: &str, what: &str) -> StoreError {
    StoreError::Damaged { trip: trip.to_owned(), what: what.to_owned() }
}

/// The stand-in by which a PIN is found.
pub(super) fn pin_pseudonym(keys: &Keys, pin: &Pin) -> [u8; 16] {
    keys.pseudonym("pin", &pin.reveal())
}

/// First party: 1; second: 2.
const fn bits([first, second]: [bool; 2]) -> u8 {
    first as u8 | (second as u8) << 1
}

const fn both(bits: u8) -> [bool; 2] {
    [bits & 1 != 0, bits & 2 != 0]
}
