//! Changing trips: times and rules, who may not talk to whom, and a person who is to be forgotten.

use rusqlite::params;

use super::queue::Desk;
use super::rows::integer;
use super::trips::{self, next_version};
use crate::moment::Moment;
use crate::name::TripId;
use crate::number::E164;
use crate::secret::Lookup;
use crate::store::{AmendError, StoreError};
use crate::trip::{Change, Phones, Trip};

impl From<rusqlite::Error> for AmendError {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::from(error).into()
    }
}

/// Changes a trip that is not purged yet.
pub(super) fn amend(desk: &Desk<'_>, id: &TripId, change: &Change, now: Moment) -> Result<Trip, AmendError> {
    let trip = live(desk, id, now)?;
    match change.apply(&trip, now) {
        Ok(Some(changed)) => Ok(keep(desk, changed)?),
        Ok(None) => Ok(trip),
        Err(why) => Err(AmendError::Unchanged { trip: trip.id, why }),
    }
}

/// A trip that is not purged at `now`.
fn live(desk: &Desk<'_>, id: &TripId, now: Moment) -> Result<Trip, AmendError> {
    let kept = trips::read(desk.db, desk.keys, id)?.filter(|kept| now < kept.trip.life.held_until());
    kept.map(|kept| kept.trip).ok_or_else(|| AmendError::NoTrip(id.clone()))
}

/// Writes a changed trip, and for how long it holds the keys that it still has.
fn keep(desk: &Desk<'_>, mut trip: Trip) -> Result<Trip, StoreError> {
    trip.version = next_version(desk.db)?;
    trips::update(desk.db, desk.keys, &trip)?;
    let mut statement = desk.db.prepare_cached(
        "UPDATE held SET until = ?4, cools = ?5 WHERE lookup = ?1 AND number = ?2 AND trip = ?3",
    )?;
    let (until, cools) = (trip.life.held_until().unix(), trip.life.cools_at().unix());
    for party in &trip.parties {
        for phone in party.phones.all() {
            let lookup = desk.keys.lookup(phone);
            statement.execute(params![lookup, integer(party.dial), trip.id.as_str(), until, cools])?;
        }
    }
    Ok(trip)
}

/// Keeps the two people of a trip apart, or not any more. The named trip comes first.
pub(super) fn block_pair(
    desk: &Desk<'_>,
    id: &TripId,
    blocked: bool,
    now: Moment,
) -> Result<Vec<Trip>, AmendError> {
    let named = live(desk, id, now)?;
    let [first, second] = named
        .parties
        .each_ref()
        .map(|p| p.phones.all().iter().map(|n| desk.keys.lookup(n)).collect::<Vec<_>>());
    let mut ids = vec![named.id.clone()];
    for (a, b) in first.iter().flat_map(|a| second.iter().map(move |b| (a, b))) {
        let pair = [a.min(b), a.max(b)];
        let statement = if blocked {
            "INSERT OR IGNORE INTO blocks VALUES (?1, ?2)"
        } else {
            "DELETE FROM blocks WHERE one = ?1 AND other = ?2"
        };
        desk.db.prepare_cached(statement)?.execute(pair)?;
        ids.extend(shared(desk, a, b, now)?);
    }
    let mut changed: Vec<Trip> = Vec::new();
    for id in ids {
        if !changed.iter().any(|trip| trip.id == id) {
            let trip = live(desk, &id, now)?;
            let differs = trip.blocked != blocked;
            changed.push(if differs { keep(desk, Trip { blocked, ..trip })? } else { trip });
        }
    }
    Ok(changed)
}

/// The trips that both hold numbers for.
fn shared(desk: &Desk<'_>, a: &Lookup, b: &Lookup, now: Moment) -> Result<Vec<TripId>, StoreError> {
    let mut statement = desk.db.prepare_cached(
        "SELECT trip FROM held WHERE lookup = ?1 AND until > ?3
         INTERSECT SELECT trip FROM held WHERE lookup = ?2 AND until > ?3",
    )?;
    let rows = statement.query_map(params![a, b, now.unix()], |row| row.get::<_, String>(0))?;
    let names = rows.collect::<Result<Vec<_>, _>>()?;
    Ok(names.iter().filter_map(|name| TripId::new(name).ok()).collect())
}

/// Removes a person's number from every trip, which ends, and from what is remembered about numbers and blocks.
pub(super) fn erase(desk: &Desk<'_>, person: &E164, now: Moment) -> Result<Vec<Trip>, StoreError> {
    let lookup = desk.keys.lookup(person);
    // A trip that has lost its key to a later one is not found by it.
    let mut statement = desk
        .db
        .prepare("SELECT trip FROM held WHERE lookup = ?1 UNION SELECT id FROM trips WHERE lost <> 0")?;
    let names =
        statement.query_map([lookup], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    let mut erased = Vec::new();
    for id in names.iter().filter_map(|name| TripId::new(name).ok()) {
        let Some(kept) = trips::read(desk.db, desk.keys, &id)? else { continue };
        if !kept.trip.parties.iter().any(|party| party.phones.have(&person.handset())) {
            continue;
        }
        let mut trip = Change::Cancel.apply(&kept.trip, now).ok().flatten().unwrap_or(kept.trip);
        for party in &mut trip.parties {
            if party.phones.have(&person.handset()) {
                // A party's other phones are the same person's.
                for phone in party.phones.all() {
                    forget(desk, &desk.keys.lookup(phone))?;
                }
                party.phones = Phones::none();
            }
        }
        erased.push(keep(desk, trip)?);
    }
    forget(desk, &lookup)?;
    Ok(erased)
}

fn forget(desk: &Desk<'_>, lookup: &Lookup) -> Result<(), StoreError> {
    desk.db.execute("DELETE FROM held WHERE lookup = ?1", [lookup])?;
    desk.db.execute("DELETE FROM blocks WHERE one = ?1 OR other = ?1", [lookup])?;
    Ok(())
}
