//! Trips as rows: making one with its numbers, changing, finding, erasing.

use rusqlite::{Connection, OptionalExtension, Row, params};
use zeroize::Zeroizing;

use super::rows;
use crate::moment::Moment;
use crate::name::{City, Role, TripId};
use crate::number::{E164, PoolNumber};
use crate::pool::{Holds, choose};
use crate::secret::{Keys, Lookup};
use crate::store::{AmendError, Change, CreateError, Created, StoreError};
use crate::trip::{Life, Party, Pin, Trip, TripOrder};

/// Tries to find a PIN that nobody has on the same pool number.
const PIN_TRIES: usize = 20;
/// Seconds that a key which is not held any more is remembered, so that its number comes last for its party.
const REMEMBERED: i64 = 90 * 86_400;

impl From<rusqlite::Error> for CreateError {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl From<rusqlite::Error> for AmendError {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::from(error).into()
    }
}

/// Makes a trip: numbers chosen by [`choose`], kept unique by the primary key of `held`.
pub(super) fn create(
    db: &Connection,
    keys: &Keys,
    order: &TripOrder,
    now: Moment,
) -> Result<Created, CreateError> {
    let content = keys.pseudonym("trip content", &order.content);
    if let Some((trip, known)) = read(db, keys, &order.id)? {
        match trip {
            trip if known == content && now < trip.life.held_until() => return Ok(Created::Known(trip)),
            trip if now < trip.life.held_until() => return Err(CreateError::Conflict(trip.id)),
            // Purged in fact, erased only with the next sweep.
            trip => erase(db, &trip.id)?,
        }
    }
    let Some(plan) = rows::city(db, &order.city)? else {
        return Err(CreateError::NoCity(order.city.clone()));
    };
    let version = next_version(db)?;
    insert_trip(db, order, &content, version)?;
    let mut parties: Vec<Party> = Vec::with_capacity(2);
    for (position, (role, phone)) in order.parties.iter().enumerate() {
        let lookup = keys.lookup(phone);
        let other = parties.first().map(|p| p.dial);
        let dial = choose(&plan.numbers, &holds(db, &lookup)?, &lookup, other, now).map_err(|exhausted| {
            CreateError::Exhausted { city: order.city.clone(), role: role.clone(), exhausted }
        })?;
        let pin = hold(db, keys, order, &lookup, dial, now)?;
        insert_party(
            db,
            keys,
            &order.id,
            position,
            &Party { role: role.clone(), phone: phone.clone(), dial, pin: pin.clone() },
        )?;
        parties.push(Party { role: role.clone(), phone: phone.clone(), dial, pin });
    }
    let parties = <[Party; 2]>::try_from(parties).map_err(|_| damaged(&order.id, "has not two parties"))?;
    Ok(Created::New(Trip {
        id: order.id.clone(),
        city: order.city.clone(),
        version,
        record: order.record,
        max_seconds: order.max_seconds,
        life: order.life,
        parties,
    }))
}

/// Takes (party, number) for the trip, with a PIN that is unique on the number. Returns the PIN.
fn hold(
    db: &Connection,
    keys: &Keys,
    order: &TripOrder,
    lookup: &Lookup,
    dial: PoolNumber,
    now: Moment,
) -> Result<Pin, CreateError> {
    let mut statement = db.prepare_cached(
        "INSERT INTO held (lookup, number, trip, until, pin) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (lookup, number) DO UPDATE
         SET trip = excluded.trip, until = excluded.until, pin = excluded.pin WHERE held.until <= ?6",
    )?;
    for attempt in 0..PIN_TRIES {
        // A crowded number gets longer PINs.
        let length = if attempt < 4 { 5 } else { 6 + u32::try_from(attempt / 8).unwrap_or(0) };
        let pin = Pin::random(length).map_err(|e| StoreError::Database(format!("no random bytes: {e}")))?;
        let taken = statement.execute(params![
            lookup,
            integer(dial),
            order.id.as_str(),
            order.life.held_until().unix(),
            pin_pseudonym(keys, &pin),
            now.unix()
        ]);
        match taken {
            Ok(1) => return Ok(pin),
            Ok(_) => return Err(damaged(&order.id, "chose a number that another trip holds").into()),
            Err(rusqlite::Error::SqliteFailure(failure, _))
                if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Database(format!("{dial}: no free PIN in {PIN_TRIES} tries")).into())
}

/// Extends or closes a trip.
pub(super) fn amend(
    db: &Connection,
    keys: &Keys,
    id: &TripId,
    change: Change,
    now: Moment,
) -> Result<Trip, AmendError> {
    let Some((mut trip, _)) = read(db, keys, id)?.filter(|(trip, _)| now < trip.life.held_until()) else {
        return Err(AmendError::NoTrip(id.clone()));
    };
    match change {
        Change::Close if trip.life.closed_at.is_some() => return Ok(trip),
        Change::Close => trip.life.closed_at = Some(now),
        // What still connects may go on; what does not must not come back under a key that others may expect.
        Change::Expire(at) if trip.life.connects(now) => trip.life.expires_at = at,
        Change::Expire(_) => return Err(AmendError::Ended(id.clone())),
    }
    trip.version = next_version(db)?;
    let until = trip.life.held_until().unix();
    db.execute(
        "UPDATE trips SET version = ?2, expires_at = ?3, closed_at = ?4, held_until = ?5 WHERE id = ?1",
        params![
            id.as_str(),
            trip.version.cast_signed(),
            trip.life.expires_at.unix(),
            trip.life.closed_at.map(Moment::unix),
            until
        ],
    )?;
    for party in &trip.parties {
        db.execute(
            "UPDATE held SET until = ?3 WHERE lookup = ?1 AND number = ?2 AND trip = ?4",
            params![keys.lookup(&party.phone), integer(party.dial), until, id.as_str()],
        )?;
    }
    Ok(trip)
}

/// Every trip whose numbers are held at `now`.
pub(super) fn held(db: &Connection, keys: &Keys, now: Moment) -> Result<Vec<Trip>, StoreError> {
    let mut statement = db.prepare("SELECT * FROM trips WHERE held_until > ?1")?;
    let heads = statement.query_map([now.unix()], TripRow::read)?.collect::<Result<Vec<_>, _>>()?;
    heads.into_iter().map(|head| Ok(head.complete(db, keys)?.0)).collect()
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
    let Some(id) = id.and_then(|id| TripId::new(&id).ok()) else { return Ok(None) };
    Ok(read(db, keys, &id)?.map(|(trip, _)| trip))
}

/// Erases trips that are over. The keys stay for a while as pseudonyms, without a PIN.
pub(super) fn purge(db: &Connection, now: Moment) -> Result<usize, StoreError> {
    db.execute("UPDATE held SET pin = NULL WHERE until <= ?1 AND pin IS NOT NULL", [now.unix()])?;
    db.execute("DELETE FROM held WHERE until <= ?1", [now.plus(-REMEMBERED).unix()])?;
    Ok(db.execute("DELETE FROM trips WHERE held_until <= ?1", [now.unix()])?)
}

fn erase(db: &Connection, id: &TripId) -> Result<(), StoreError> {
    db.execute("DELETE FROM trips WHERE id = ?1", [id.as_str()])?;
    Ok(())
}

fn next_version(db: &Connection) -> Result<u64, StoreError> {
    let version: i64 =
        db.query_row("UPDATE counter SET version = version + 1 RETURNING version", [], |row| row.get(0))?;
    Ok(version.cast_unsigned())
}

fn holds(db: &Connection, lookup: &Lookup) -> Result<Holds, StoreError> {
    let mut statement = db.prepare_cached("SELECT number, until FROM held WHERE lookup = ?1")?;
    let rows = statement.query_map([lookup], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))?;
    let mut holds = Holds::new();
    for row in rows {
        let (number, until) = row?;
        if let Ok(number) = PoolNumber::try_from(number.cast_unsigned()) {
            holds.insert(number, Moment::from_unix(until));
        }
    }
    Ok(holds)
}

fn insert_trip(
    db: &Connection,
    order: &TripOrder,
    content: &[u8; 16],
    version: u64,
) -> Result<(), StoreError> {
    let mut statement =
        db.prepare_cached("INSERT INTO trips VALUES (?1,?2,?3,?4,?5,?6,?7,?8,NULL,?9,?10,?11)")?;
    statement.execute(params![
        order.id.as_str(),
        order.city.as_str(),
        content,
        version.cast_signed(),
        order.record,
        order.max_seconds,
        order.life.created_at.unix(),
        order.life.expires_at.unix(),
        order.life.grace,
        order.life.cooling,
        order.life.held_until().unix()
    ])?;
    Ok(())
}

fn insert_party(
    db: &Connection,
    keys: &Keys,
    trip: &TripId,
    position: usize,
    party: &Party,
) -> Result<(), StoreError> {
    let sealed = |what: &str, plain: &str| {
        keys.seal(&purpose(what, trip, position), plain.as_bytes()).map_err(|e| damaged(trip, &e.to_string()))
    };
    let mut statement = db.prepare_cached("INSERT INTO parties VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    statement.execute(params![
        trip.as_str(),
        i64::try_from(position).unwrap_or(0),
        party.role.as_str(),
        sealed("phone", &party.phone.reveal())?,
        integer(party.dial),
        sealed("pin", party.pin.reveal())?
    ])?;
    Ok(())
}

/// A sealed value belongs to one place: another row cannot take it.
fn purpose(what: &str, trip: &TripId, position: usize) -> String {
    format!("{what}/{trip}/{position}")
}

fn read(db: &Connection, keys: &Keys, id: &TripId) -> Result<Option<(Trip, [u8; 16])>, StoreError> {
    let mut statement = db.prepare_cached("SELECT * FROM trips WHERE id = ?1")?;
    let head = statement.query_row([id.as_str()], TripRow::read).optional()?;
    head.map(|head| head.complete(db, keys)).transpose()
}

/// A row of `trips`, names still unchecked.
struct TripRow {
    id: String,
    city: String,
    content: [u8; 16],
    version: i64,
    record: bool,
    max_seconds: u32,
    life: Life,
}

impl TripRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let moment = |name: &str| row.get(name).map(Moment::from_unix);
        Ok(Self {
            id: row.get("id")?,
            city: row.get("city")?,
            content: row.get("content")?,
            version: row.get("version")?,
            record: row.get("record")?,
            max_seconds: row.get("max_seconds")?,
            life: Life {
                created_at: moment("created_at")?,
                expires_at: moment("expires_at")?,
                closed_at: row.get::<_, Option<i64>>("closed_at")?.map(Moment::from_unix),
                grace: row.get("grace")?,
                cooling: row.get("cooling")?,
            },
        })
    }

    fn complete(self, db: &Connection, keys: &Keys) -> Result<(Trip, [u8; 16]), StoreError> {
        let wrong = |what: &dyn std::fmt::Display| StoreError::Damaged {
            trip: self.id.clone(),
            what: what.to_string(),
        };
        let id = TripId::new(&self.id).map_err(|e| wrong(&e))?;
        let mut statement = db
            .prepare_cached("SELECT role, phone, dial, pin FROM parties WHERE trip = ?1 ORDER BY position")?;
        let mut rows = statement.query([id.as_str()])?;
        let mut parties = Vec::with_capacity(2);
        while let Some(row) = rows.next()? {
            let opened = |what: &str, sealed: Vec<u8>| -> Result<Zeroizing<String>, StoreError> {
                let plain = keys.open(&purpose(what, &id, parties.len()), &sealed).map_err(|e| wrong(&e))?;
                let text = std::str::from_utf8(&plain).map_err(|e| wrong(&e))?;
                Ok(Zeroizing::new(text.to_owned()))
            };
            let party = Party {
                role: Role::new(&row.get::<_, String>(0)?).map_err(|e| wrong(&e))?,
                phone: E164::parse(&opened("phone", row.get(1)?)?).map_err(|e| wrong(&e))?,
                dial: PoolNumber::try_from(row.get::<_, i64>(2)?.cast_unsigned()).map_err(|e| wrong(&e))?,
                pin: Pin::from_digits(&opened("pin", row.get(3)?)?)
                    .ok_or_else(|| wrong(&"a PIN is no PIN"))?,
            };
            parties.push(party);
        }
        let parties = <[Party; 2]>::try_from(parties).map_err(|_| wrong(&"has not two parties"))?;
        let trip = Trip {
            city: City::new(&self.city).map_err(|e| wrong(&e))?,
            version: self.version.cast_unsigned(),
            record: self.record,
            max_seconds: self.max_seconds,
            life: self.life,
            parties,
            id,
        };
        Ok((trip, self.content))
    }
}

fn damaged(trip: &TripId, what: &str) -> StoreError {
    StoreError::Damaged { trip: trip.to_string(), what: what.to_owned() }
}

fn pin_pseudonym(keys: &Keys, pin: &Pin) -> [u8; 16] {
    keys.pseudonym("pin", pin.reveal())
}

/// 15 digits fit in 50 bits.
fn integer(number: PoolNumber) -> i64 {
    number.to_integer().cast_signed()
}
