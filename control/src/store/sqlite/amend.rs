//! Changing trips: times and rules, who may not talk to whom, and a person who is to be forgotten.

use rusqlite::params;

use super::allot::{are_apart, lookups};
use super::queue::Desk;
use super::rows::integer;
use super::trips::{self, Kept, next_version};
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

/// Writes a changed trip, and for how long it holds the keys that it still has. One that it has not is lost.
fn keep(desk: &Desk<'_>, mut trip: Trip) -> Result<Trip, StoreError> {
    let mut statement = desk.db.prepare_cached(
        "UPDATE held SET until = ?4, cools = ?5 WHERE lookup = ?1 AND number = ?2 AND trip = ?3",
    )?;
    let (until, cools) = (trip.life.held_until().unix(), trip.life.cools_at().unix());
    for (party, lost) in trip.parties.iter().zip(&mut trip.lost) {
        for lookup in lookups(desk, &party.phones) {
            let kept =
                statement.execute(params![lookup, integer(party.dial), trip.id.as_str(), until, cools])?;
            *lost |= kept == 0;
        }
    }
    trip.version = next_version(desk.db)?;
    trips::update(desk.db, desk.keys, &trip)?;
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
    let [first, second] = named.parties.each_ref().map(|party| lookups(desk, &party.phones));
    let mut ids = Vec::new();
    for (a, b) in first.iter().flat_map(|a| second.iter().map(move |b| (a, b))) {
        let pair = [a.min(b), a.max(b)];
        let statement = if blocked {
            "INSERT OR IGNORE INTO blocks VALUES (?1, ?2)"
        } else {
            "DELETE FROM blocks WHERE one = ?1 AND other = ?2"
        };
        desk.db.prepare_cached(statement)?.execute(pair)?;
        ids.extend(shared(desk, a, b)?);
    }
    let mut changed = vec![blocked_or_not(desk, named, blocked)?];
    for id in ids {
        if changed.iter().any(|trip| trip.id == id) {
            continue;
        }
        // None when only the keys remember the trip.
        let Some(Kept { trip, .. }) = trips::sound(trips::read(desk.db, desk.keys, &id))?.flatten() else {
            continue;
        };
        let parties = trip.parties.each_ref().map(|party| lookups(desk, &party.phones));
        // Two phones of one party are no pair, and another pair of theirs may still be kept apart.
        let apart = are_apart(desk, &parties)?;
        changed.push(blocked_or_not(desk, trip, apart)?);
    }
    Ok(changed)
}

fn blocked_or_not(desk: &Desk<'_>, trip: Trip, blocked: bool) -> Result<Trip, StoreError> {
    if trip.blocked == blocked { Ok(trip) } else { keep(desk, Trip { blocked, ..trip }) }
}

/// The trips that both have keys of; those that are over too, since a clock may go back.
fn shared(desk: &Desk<'_>, a: &Lookup, b: &Lookup) -> Result<Vec<TripId>, StoreError> {
    let mut statement = desk.db.prepare_cached(
        "SELECT trip FROM held WHERE lookup = ?1 INTERSECT SELECT trip FROM held WHERE lookup = ?2",
    )?;
    let rows = statement.query_map(params![a, b], |row| row.get::<_, String>(0))?;
    let names = rows.collect::<Result<Vec<_>, _>>()?;
    Ok(names.iter().filter_map(|name| TripId::new(name).ok()).collect())
}

/// Removes a person's number from every trip, which ends, and from what is remembered about numbers. Other phones of the
/// same party go from these trips; what they have in other trips stays. So do blocks, which are pseudonyms and protect
/// somebody else.
pub(super) fn erase(desk: &Desk<'_>, person: &E164, now: Moment) -> Result<Vec<Trip>, StoreError> {
    let lookup = desk.keys.lookup(person);
    // The keys of a trip that has handed them on stand under the later trip's name.
    let mut statement = desk
        .db
        .prepare("SELECT trip FROM held WHERE lookup = ?1 UNION SELECT id FROM trips WHERE lost <> 0")?;
    let names =
        statement.query_map([lookup], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    let mut erased = Vec::new();
    for id in names.iter().filter_map(|name| TripId::new(name).ok()) {
        let Some(Kept { trip, .. }) = trips::sound(trips::read(desk.db, desk.keys, &id))?.flatten() else {
            continue;
        };
        // A key that is over may name a trip whose id others have used again.
        if !trip.parties.iter().any(|party| party.phones.have(&person.handset())) {
            continue;
        }
        let mut trip = Change::Cancel.apply(&trip, now).ok().flatten().unwrap_or(trip);
        for party in trip.parties.iter_mut().filter(|party| party.phones.have(&person.handset())) {
            for key in lookups(desk, &party.phones) {
                let mut statement = desk
                    .db
                    .prepare_cached("DELETE FROM held WHERE lookup = ?1 AND number = ?2 AND trip = ?3")?;
                statement.execute(params![key, integer(party.dial), id.as_str()])?;
            }
            party.phones = Phones::none();
        }
        erased.push(keep(desk, trip)?);
    }
    desk.db.execute("DELETE FROM held WHERE lookup = ?1", [lookup])?;
    Ok(erased)
}
