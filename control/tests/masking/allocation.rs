//! Trips made from several processes at once: stores of their own on one database file, many threads.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Condvar, Mutex};

use control::city::CityPlan;
use control::live::Later;
use control::moment::Moment;
use control::name::{City, TripId};
use control::number::PoolNumber;
use control::secret::DATABASE;
use control::store::sqlite::Sqlite;
use control::store::{AmendError, CreateError, Created, Page, Store, StoreError};
use control::trip::{Change, Trip, TripRequest};
use serde_json::json;

use crate::site::{folder, open_store};

const NOW: Moment = Moment::from_unix(1_800_000_000);
const PROCESSES: usize = 3;
const THREADS: usize = 4;

fn wait<T>(later: Later<'_, T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(later)
}

fn plan(numbers: u64) -> CityPlan {
    let numbers: Vec<_> = (1..=numbers).map(|n| format!("+44207946{n:04}")).collect();
    serde_json::from_value(json!({"country": "44", "numbers": numbers, "cooling": 3_600})).unwrap()
}

/// Several processes on one database with a city of so many numbers.
fn processes(state: &Path, numbers: u64) -> Vec<Sqlite> {
    let stores: Vec<_> = (0..PROCESSES).map(|_| open_store(state).0).collect();
    assert!(wait(stores[0].put_city(City::new("london").unwrap(), plan(numbers))).unwrap());
    stores
}

fn phone(n: usize) -> String {
    format!("+4477009{n:05}")
}

/// Makes a trip of two people; none when there is no number for one of them.
fn made(store: &Sqlite, id: &str, driver: usize, passenger: usize) -> Option<Trip> {
    let request = json!({"trip": id, "city": "london", "grace": 0, "parties": [
        {"role": "driver", "phone": phone(driver)}, {"role": "passenger", "phone": phone(passenger)}]});
    let request: TripRequest = serde_json::from_value(request).unwrap();
    loop {
        let order = request.order(&plan(1), |_| false, NOW).unwrap();
        match wait(store.create_trip(order, NOW)) {
            Ok(Created::New(made)) => return Some(made.trip),
            Err(CreateError::Exhausted { .. }) => return None,
            // Another process has the database: as a client would, ask again.
            Err(CreateError::Store(StoreError::Silent | StoreError::Busy(_))) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn ended(store: &Sqlite, trip: &Trip, change: &Change) {
    loop {
        match wait(store.amend_trip(trip.id.clone(), change.clone(), NOW)) {
            Ok(_) => return,
            Err(AmendError::Store(StoreError::Silent | StoreError::Busy(_))) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// Whoever holds (pool number, party): no two trips.
fn keys(store: &Sqlite) -> BTreeMap<(PoolNumber, String), TripId> {
    let trips = wait(store.page(Page { limit: 100_000, ..Page::default() }, NOW)).unwrap();
    let mut keys = BTreeMap::new();
    for trip in &trips {
        for (party, lost) in trip.parties.iter().zip(trip.lost) {
            for phone in party.phones.all().iter().filter(|_| !lost) {
                let key = (party.dial, phone.reveal().to_string());
                let other = keys.insert(key, trip.id.clone());
                assert_eq!(other, None, "{} has the number and the party of another trip", trip.id);
            }
        }
    }
    keys
}

#[test]
fn as_many_numbers_as_a_party_has_trips_are_enough_for_many_processes_at_once() {
    const TRIPS: usize = PROCESSES * THREADS;
    let folder = folder();
    let stores = processes(folder.path(), TRIPS as u64);
    let start = Barrier::new(TRIPS);
    // One driver, in all trips at once; and each passenger drives, too.
    let dials: Vec<PoolNumber> = std::thread::scope(|scope| {
        let one = |n: usize| {
            let (stores, start) = (&stores, &start);
            scope.spawn(move || {
                start.wait();
                made(&stores[n % PROCESSES], &format!("T-{n}"), 1, 10 + n).unwrap().parties[0].dial
            })
        };
        let threads: Vec<_> = (0..TRIPS).map(one).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(keys(&stores[1]).len(), 2 * TRIPS);
    let mut distinct = dials.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), TRIPS, "{dials:?}");
    // One more is one too many, for the driver alone.
    for store in &stores {
        assert!(made(store, "T-more", 1, 99).is_none());
    }
    assert!(made(&stores[0], "T-others", 98, 99).is_some());
    ended(
        &stores[2],
        &wait(stores[0].trip(TripId::new("T-3").unwrap(), NOW)).unwrap().unwrap(),
        &Change::Cancel,
    );
    assert_eq!(
        made(&stores[0], "T-more", 1, 99).unwrap().parties[0].dial,
        dials[3],
        "a tombstone is given up"
    );
}

/// So many trips at a time, for each person.
struct Turns {
    live: Mutex<Vec<u32>>,
    freed: Condvar,
    most: u32,
}

impl Turns {
    fn take(&self, pair: [usize; 2]) {
        let mut live = self.live.lock().unwrap();
        while pair.iter().any(|person| live[*person] >= self.most) {
            live = self.freed.wait(live).unwrap();
        }
        pair.iter().for_each(|person| live[*person] += 1);
    }

    fn give_back(&self, pair: [usize; 2]) {
        pair.iter().for_each(|person| self.live.lock().unwrap()[*person] -= 1);
        self.freed.notify_all();
    }
}

#[test]
fn no_pool_runs_dry_while_nobody_has_more_trips_than_it_has_numbers() {
    const PEOPLE: usize = 5;
    const NUMBERS: u32 = 3;
    const TRIPS: usize = 40;
    let folder = folder();
    let stores = processes(folder.path(), NUMBERS.into());
    let turns = Turns { live: Mutex::new(vec![0; PEOPLE]), freed: Condvar::new(), most: NUMBERS };
    let taken = Mutex::new(BTreeMap::new());
    let steps = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..PROCESSES * THREADS {
            let (store, turns, taken, steps) = (&stores[thread % PROCESSES], &turns, &taken, &steps);
            scope.spawn(move || {
                for n in 0..TRIPS {
                    let (driver, more) = ((thread + n) % PEOPLE, 1 + (thread * 7 + n * 3) % (PEOPLE - 1));
                    let pair = [driver, (driver + more) % PEOPLE];
                    turns.take(pair);
                    let trip = made(store, &format!("T-{thread}-{n}"), pair[0], pair[1]);
                    let trip = trip.expect("nobody has more trips than there are numbers");
                    let keys = trip
                        .parties
                        .each_ref()
                        .map(|p| (p.dial, p.phones.called().unwrap().reveal().to_string()));
                    for key in &keys {
                        let other = taken.lock().unwrap().insert(key.clone(), trip.id.clone());
                        assert_eq!(other, None, "{} has a key that is live", trip.id);
                    }
                    if n % 7 == 0 {
                        std::thread::yield_now();
                    }
                    // From here on another trip may have them.
                    keys.iter().for_each(|key| drop(taken.lock().unwrap().remove(key)));
                    ended(store, &trip, if n % 2 == 0 { &Change::Cancel } else { &Change::Close });
                    turns.give_back(pair);
                    steps.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(steps.into_inner(), (PROCESSES * THREADS * TRIPS) as u64);
    assert!(keys(&stores[0]).len() <= PEOPLE * NUMBERS as usize);
}

#[test]
fn the_database_itself_refuses_a_second_holder() {
    let folder = folder();
    let stores = processes(folder.path(), 2);
    made(&stores[0], "T-1", 1, 2).unwrap();
    let database = rusqlite::Connection::open(folder.path().join(DATABASE)).unwrap();
    let second = database.execute(
        "INSERT INTO held (lookup, number, trip, until, pin, cools, taken)
         SELECT lookup, number, 'T-2', until, NULL, cools, taken FROM held LIMIT 1",
        [],
    );
    assert!(matches!(
        second,
        Err(rusqlite::Error::SqliteFailure(failure, _))
            if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY
    ));
    let pins = database.execute("UPDATE held SET number = 1, pin = x'00'", []);
    assert!(pins.is_err(), "one PIN, two parties of a number");
}
