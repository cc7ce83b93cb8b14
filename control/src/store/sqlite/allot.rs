//! Making a trip: numbers chosen by [`Pool::choose`], kept unique by the primary key of `held`.

use std::collections::BTreeSet;

use rusqlite::params;

use super::queue::Desk;
use super::rows::{self, integer};
use super::trips::{self, Kept, damaged, next_version, pin_pseudonym};
use crate::city::CityPlan;
use crate::moment::Moment;
use crate::name::{Role, TripId};
use crate::number::PoolNumber;
use crate::pool::{Hold, Holds, Pool, Rung};
use crate::secret::Lookup;
use crate::store::{CreateError, Created, NewTrip, StoreError};
use crate::trip::{Party, Phones, Pin, Trip, TripOrder, TripState};

/// Tries to find a PIN that nobody has on the same pool number.
const PIN_TRIES: usize = 20;

impl From<rusqlite::Error> for CreateError {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::from(error).into()
    }
}

/// The numbers of a trip that is being made.
struct Numbers {
    dials: [PoolNumber; 2],
    rungs: [Rung; 2],
    continues: Option<TripId>,
}

/// Makes a trip, or finds that it is made.
pub(super) fn create(desk: &mut Desk<'_>, order: &TripOrder, now: Moment) -> Result<Created, CreateError> {
    let content = desk.keys.pseudonym("trip content", &order.content);
    if let Some(kept) = trips::read(desk.db, desk.keys, &order.id)? {
        if now < kept.trip.life.held_until() {
            let same = kept.content == content;
            return if same {
                Ok(Created::Known(kept.trip))
            } else {
                Err(CreateError::Conflict(kept.trip.id))
            };
        }
        // Purged in fact, erased only with the next sweep.
        desk.db.execute("DELETE FROM trips WHERE id = ?1", [order.id.as_str()])?;
    }
    let Some(plan) = rows::city(desk.db, &order.city)? else {
        return Err(CreateError::NoCity(order.city.clone()));
    };
    let pool = pool(desk, &plan)?;
    let lookups = order.parties.each_ref().map(|(_, phones)| lookups(desk, phones));
    let numbers = match going_on(desk, order, &lookups, &pool, now)? {
        Some(numbers) => numbers,
        None => choose(desk, order, &lookups, &pool, now)?,
    };
    let forfeited = forfeit(desk, &numbers.dials, &lookups)?;
    let [first, second] = &order.parties;
    let [dial_a, dial_b] = numbers.dials;
    let trip = Trip {
        id: order.id.clone(),
        city: order.city.clone(),
        version: next_version(desk.db)?,
        life: order.life,
        parties: [
            Party {
                role: first.0.clone(),
                phones: first.1.clone(),
                dial: dial_a,
                pin: pin(desk, dial_a, now)?,
            },
            Party {
                role: second.0.clone(),
                phones: second.1.clone(),
                dial: dial_b,
                pin: pin(desk, dial_b, now)?,
            },
        ],
        rules: order.rules,
        calls: 0,
        blocked: are_apart(desk, &lookups)?,
        lost: [false; 2],
    };
    let trip = take(desk, trip, &lookups, now)?;
    trips::insert(desk.db, desk.keys, &trip, &content)?;
    let Numbers { rungs, continues, .. } = numbers;
    Ok(Created::New(NewTrip { trip, forfeited, continues, rungs }))
}

/// What a party's phones are found by.
pub(super) fn lookups(desk: &Desk<'_>, phones: &Phones) -> Vec<Lookup> {
    phones.all().iter().map(|phone| desk.keys.lookup(phone)).collect()
}

/// The active numbers of a city and of its neighbours.
fn pool(desk: &Desk<'_>, plan: &CityPlan) -> Result<Pool, StoreError> {
    let mut neighbours = Vec::new();
    for name in &plan.neighbours {
        neighbours.extend(rows::city(desk.db, name)?.map(|plan| plan.active().collect()));
    }
    Ok(Pool { own: plan.active().collect(), neighbours })
}

/// The numbers of a trip of the same two people that is in grace: theirs stay what they are.
fn going_on(
    desk: &Desk<'_>,
    order: &TripOrder,
    lookups: &[Vec<Lookup>; 2],
    pool: &Pool,
    now: Moment,
) -> Result<Option<Numbers>, StoreError> {
    let of_one = |party: &[Lookup]| live_trips(desk, &party.first().copied().unwrap_or_default(), now);
    let [first, second] = lookups;
    let (of_first, of_second) = (of_one(first)?, of_one(second)?);
    // None for one that is being drained, or suspended, or of a city far away.
    let rung = |dial| {
        let near = pool.neighbours.iter().flatten().any(|number| *number == dial);
        if pool.own.contains(&dial) { Some(Rung::Own) } else { near.then_some(Rung::Neighbour) }
    };
    let mut latest: Option<(u64, Numbers)> = None;
    for id in of_first.intersection(&of_second) {
        let Ok(id) = TripId::new(id) else { continue };
        let Some(Kept { trip: before, .. }) = trips::sound(trips::read(desk.db, desk.keys, &id))?.flatten()
        else {
            continue;
        };
        let in_grace = before.life.state(now) == TripState::Grace && before.lost == [false; 2];
        if !in_grace || latest.as_ref().is_some_and(|(version, _)| *version > before.version) {
            continue;
        }
        // Roles belong to the trip, numbers to the people.
        let of = |phones: &Phones| Some(before.parties.iter().find(|p| p.phones.same(phones))?.dial);
        let [a, b] = &order.parties;
        let Some(dials) = of(&a.1).zip(of(&b.1)) else { continue };
        let Some(rungs) = rung(dials.0).zip(rung(dials.1)) else { continue };
        let numbers = Numbers { dials: dials.into(), rungs: rungs.into(), continues: Some(before.id) };
        latest = Some((before.version, numbers));
    }
    Ok(latest.map(|(_, numbers)| numbers))
}

/// Ids of the trips of a phone that are not tombstones. Two of these meet here and not in SQL: INTERSECT would make
/// a temporary table for each trip that is made.
fn live_trips(desk: &Desk<'_>, phone: &Lookup, now: Moment) -> Result<BTreeSet<String>, StoreError> {
    let mut statement = desk.db.prepare_cached("SELECT trip FROM held WHERE lookup = ?1 AND cools > ?2")?;
    let ids = statement.query_map(params![phone, now.unix()], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

fn choose(
    desk: &Desk<'_>,
    order: &TripOrder,
    lookups: &[Vec<Lookup>; 2],
    pool: &Pool,
    now: Moment,
) -> Result<Numbers, CreateError> {
    let one =
        |role: &Role, party: &[Lookup], other: Option<PoolNumber>| {
            let spread = party.first().copied().unwrap_or_default();
            pool.choose(&holds(desk, party)?, &spread, other, now).map_err(|exhausted| {
                CreateError::Exhausted { city: order.city.clone(), role: role.clone(), exhausted }
            })
        };
    let ([first, second], [(role_a, _), (role_b, _)]) = (lookups, &order.parties);
    let (dial_a, rung_a) = one(role_a, first, None)?;
    let (dial_b, rung_b) = one(role_b, second, Some(dial_a))?;
    Ok(Numbers { dials: [dial_a, dial_b], rungs: [rung_a, rung_b], continues: None })
}

/// What a party, with all its phones, has to do with pool numbers.
fn holds(desk: &Desk<'_>, party: &[Lookup]) -> Result<Holds, StoreError> {
    let mut statement = desk.db.prepare_cached("SELECT number, cools, until FROM held WHERE lookup = ?1")?;
    let mut holds = Holds::new();
    for lookup in party {
        let mut rows = statement.query([lookup])?;
        while let Some(row) = rows.next()? {
            let Ok(number) = PoolNumber::try_from(row.get::<_, i64>(0)?.cast_unsigned()) else { continue };
            let hold =
                Hold { cools_at: Moment::from_unix(row.get(1)?), until: Moment::from_unix(row.get(2)?) };
            holds.entry(number).and_modify(|known| *known = known.or(hold)).or_insert(hold);
        }
    }
    Ok(holds)
}

/// Trips that have what is about to be taken learn that they have lost it: those that are over, too, or a clock that goes
/// back would bring them to life with a key that is another's.
fn forfeit(
    desk: &Desk<'_>,
    dials: &[PoolNumber; 2],
    lookups: &[Vec<Lookup>; 2],
) -> Result<Vec<Trip>, StoreError> {
    let ever = Moment::from_unix(i64::MIN);
    let mut forfeited: Vec<Trip> = Vec::new();
    for (dial, party) in dials.iter().zip(lookups) {
        for lookup in party {
            let Some(holder) =
                trips::sound(trips::holding(desk.db, desk.keys, *dial, lookup, ever))?.flatten()
            else {
                continue;
            };
            let known = forfeited.iter_mut().find(|trip| trip.id == holder.id);
            let mut trip = known.map_or(holder, |known| known.clone());
            let before = trip.lost;
            for (party, lost) in trip.parties.iter().zip(&mut trip.lost) {
                let has = |phone| desk.keys.lookup(phone) == *lookup;
                *lost |= party.dial == *dial && party.phones.all().iter().any(has);
            }
            if trip.lost == before {
                continue;
            }
            trip.version = next_version(desk.db)?;
            trips::update(desk.db, desk.keys, &trip)?;
            forfeited.retain(|known| known.id != trip.id);
            forfeited.push(trip);
        }
    }
    Ok(forfeited)
}

/// Takes both parties' keys for the trip, each with a PIN that is unique on its number.
fn take(
    desk: &Desk<'_>,
    mut trip: Trip,
    lookups: &[Vec<Lookup>; 2],
    now: Moment,
) -> Result<Trip, CreateError> {
    // Only what is a tombstone may pass to another trip, or what this trip goes on with: its holder has lost it.
    let mut statement = desk.db.prepare_cached(
        "INSERT INTO held (lookup, number, trip, until, cools, taken, pin) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (lookup, number) DO UPDATE
         SET trip = excluded.trip, until = excluded.until, cools = excluded.cools, taken = excluded.taken,
             freed = iif(held.cools <= ?6, held.cools, NULL), pin = excluded.pin
         WHERE held.cools <= ?6 OR ifnull((SELECT lost FROM trips WHERE id = held.trip), 3) = 3",
    )?;
    for (party, lookups) in trip.parties.iter_mut().zip(lookups) {
        for (index, lookup) in lookups.iter().enumerate() {
            let mut tries = 0..PIN_TRIES;
            loop {
                // The PIN stands with the party's first phone.
                let pin = (index == 0).then(|| pin_pseudonym(desk.keys, &party.pin));
                let taken = statement.execute(params![
                    lookup,
                    integer(party.dial),
                    trip.id.as_str(),
                    trip.life.held_until().unix(),
                    trip.life.cools_at().unix(),
                    now.unix(),
                    pin
                ]);
                match taken {
                    Ok(1) => break,
                    Ok(_) => {
                        return Err(
                            damaged(trip.id.as_str(), "chose a number that another trip holds").into()
                        );
                    }
                    Err(rusqlite::Error::SqliteFailure(failure, _))
                        if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
                            && tries.next().is_some() =>
                    {
                        // Somebody has that PIN on this number.
                        party.pin = random_pin(u32::try_from(party.pin.reveal().len()).unwrap_or(9))?;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok(trip)
}

/// A PIN as long as its number is crowded.
fn pin(desk: &mut Desk<'_>, dial: PoolNumber, now: Moment) -> Result<Pin, StoreError> {
    random_pin(desk.crowd.digits(desk.db, dial, now)?)
}

fn random_pin(digits: u32) -> Result<Pin, StoreError> {
    Pin::random(digits).map_err(|e| StoreError::Database(format!("no random bytes: {e}")))
}

/// Whether any two of their phones are kept apart.
pub(super) fn are_apart(desk: &Desk<'_>, [first, second]: &[Vec<Lookup>; 2]) -> Result<bool, StoreError> {
    let mut statement = desk.db.prepare_cached("SELECT 1 FROM blocks WHERE one = ?1 AND other = ?2")?;
    for a in first {
        for b in second {
            if statement.exists([a.min(b), a.max(b)])? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
