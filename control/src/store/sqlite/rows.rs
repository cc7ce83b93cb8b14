//! Cities and recordings as rows.

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use crate::city::{CityPlan, NumberState};
use crate::moment::Moment;
use crate::name::{City, TripId};
use crate::number::PoolNumber;
use crate::store::{PutCityError, RecordingEntry, StoreError};

/// Every city.
pub(super) fn cities(db: &Connection) -> Result<Vec<(City, CityPlan)>, StoreError> {
    let mut statement = db.prepare_cached("SELECT name, plan FROM cities")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let mut cities = Vec::new();
    for row in rows {
        let (name, plan) = row?;
        let damaged = |what: String| StoreError::Database(format!("city {name}: {what}"));
        let plan = serde_json::from_str(&plan).map_err(|e| damaged(e.to_string()))?;
        cities.push((City::new(&name).map_err(|e| damaged(e.to_string()))?, plan));
    }
    Ok(cities)
}

/// One city.
pub(super) fn city(db: &Connection, name: &City) -> Result<Option<CityPlan>, StoreError> {
    let mut statement = db.prepare_cached("SELECT plan FROM cities WHERE name = ?1")?;
    let plan: Option<String> = statement.query_row([name.as_str()], |row| row.get(0)).optional()?;
    plan.map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|e| StoreError::Database(format!("city {name}: {e}")))
}

/// Makes or replaces a city; says whether it is new.
pub(super) fn put_city(db: &Connection, name: &City, plan: &CityPlan) -> Result<bool, PutCityError> {
    let database = |e: rusqlite::Error| PutCityError::from(StoreError::from(e));
    let text = serde_json::to_string(plan).map_err(|e| StoreError::Database(e.to_string()))?;
    let known = city(db, name)?.is_some();
    db.execute(
        "INSERT INTO cities VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET plan = excluded.plan",
        params![name.as_str(), text],
    )
    .map_err(database)?;
    db.execute("DELETE FROM pool_numbers WHERE city = ?1", [name.as_str()]).map_err(database)?;
    for number in plan.numbers.keys() {
        let stored = integer(*number);
        let added = db
            .execute("INSERT OR IGNORE INTO pool_numbers VALUES (?1, ?2)", params![stored, name.as_str()])
            .map_err(database)?;
        if added == 0 {
            let owner: String = db
                .query_row("SELECT city FROM pool_numbers WHERE number = ?1", [stored], |row| row.get(0))
                .map_err(database)?;
            let city = City::new(&owner).map_err(|e| StoreError::Database(e.to_string()))?;
            return Err(PutCityError::Taken { number: *number, city });
        }
    }
    Ok(!known)
}

/// Changes what one number of a city is used for; answers the city's plan.
pub(super) fn set_number(
    db: &Connection,
    name: &City,
    number: PoolNumber,
    state: NumberState,
) -> Result<CityPlan, PutCityError> {
    let mut plan = city(db, name)?.ok_or_else(|| PutCityError::Unknown(format!("city {name}")))?;
    plan.set_state(number, state).map_err(|_| PutCityError::Unknown(format!("{number} in {name}")))?;
    put_city(db, name, &plan)?;
    Ok(plan)
}

/// A number as the store keeps it: 15 digits fit in 50 bits.
pub(super) fn integer(number: PoolNumber) -> i64 {
    number.to_integer().cast_signed()
}

/// Notes a recording; noting it twice changes nothing.
pub(super) fn recording_started(db: &Connection, recording: &RecordingEntry) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached("INSERT OR IGNORE INTO recordings VALUES (?1, ?2, ?3, ?4)")?;
    statement.execute(params![
        recording.id.as_bytes(),
        recording.trip.as_ref().map(TripId::as_str),
        recording.call,
        recording.started_at.unix()
    ])?;
    Ok(())
}

/// The recordings of a trip, oldest first.
pub(super) fn recordings(db: &Connection, trip: &TripId) -> Result<Vec<RecordingEntry>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT id, trip, call, started_at FROM recordings WHERE trip = ?1 ORDER BY started_at, id",
    )?;
    let rows = statement.query_map([trip.as_str()], recording_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// One recording.
pub(super) fn recording(db: &Connection, id: Uuid) -> Result<Option<RecordingEntry>, StoreError> {
    let mut statement =
        db.prepare_cached("SELECT id, trip, call, started_at FROM recordings WHERE id = ?1")?;
    Ok(statement.query_row([id.as_bytes()], recording_row).optional()?)
}

fn recording_row(row: &Row<'_>) -> rusqlite::Result<RecordingEntry> {
    let trip: Option<String> = row.get(1)?;
    Ok(RecordingEntry {
        id: Uuid::from_bytes(row.get(0)?),
        trip: trip.and_then(|trip| TripId::new(&trip).ok()),
        call: row.get(2)?,
        started_at: Moment::from_unix(row.get(3)?),
    })
}
