use std::collections::BTreeSet;

use super::*;
use crate::name::Role;
use crate::number::E164;
use crate::pool::Rung;
use crate::store::{NewTrip, Purged};
use crate::trip::{Amendment, Life, Phones, Rules, TripState};

const NOW: Moment = Moment::from_unix(1_000_000);

fn wait<T>(later: Later<'_, T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(later)
}

struct Place {
    folder: tempfile::TempDir,
    keys: Arc<Keys>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = Arc::new(Keys::open_or_make(folder.path()).unwrap());
        Self { folder, keys }
    }

    fn open(&self) -> Sqlite {
        Sqlite::open(&self.folder.path().join("bauta.db"), Arc::clone(&self.keys)).unwrap()
    }
}

fn city(name: &str) -> City {
    City::new(name).unwrap()
}

fn pool(from: u64, count: u64) -> CityPlan {
    let numbers: Vec<String> = (from..from + count).map(|n| format!("\"+4420794{n:05}\"")).collect();
    serde_json::from_str(&format!("{{\"country\":\"44\",\"numbers\":[{}]}}", numbers.join(","))).unwrap()
}

fn phone(n: u32) -> E164 {
    E164::parse(&format!("+44770090{n:04}")).unwrap()
}

fn order(id: &str, a: u32, b: u32, now: Moment, life: (i64, u32, u32)) -> TripOrder {
    TripOrder {
        id: TripId::new(id).unwrap(),
        city: city("london"),
        rules: Rules {
            record: true,
            callers: [true; 2],
            max_seconds: 60,
            ring_seconds: None,
            max_calls: None,
        },
        life: Life {
            created_at: now,
            expires_at: now.plus(life.0),
            ends_by: now.plus(9_999),
            closed_at: None,
            lives: u32::try_from(life.0).unwrap(),
            grace: life.1,
            cooling: life.2,
            sliding: false,
        },
        parties: [
            (Role::new("driver").unwrap(), Phones::One(phone(a))),
            (Role::new("passenger").unwrap(), Phones::One(phone(b))),
        ],
        content: zeroize::Zeroizing::new(format!("{a}|{b}|{life:?}")),
    }
}

fn create(store: &Sqlite, order: TripOrder, now: Moment) -> Result<Created, CreateError> {
    wait(store.create_trip(order, now))
}

/// A trip that must be new.
fn made(store: &Sqlite, order: TripOrder, now: Moment) -> NewTrip {
    match create(store, order, now) {
        Ok(Created::New(made)) => made,
        other => panic!("{other:?}"),
    }
}

fn extend(lives: u32) -> Change {
    Change::Amend(Amendment { expires_in: Some(lives), ..Amendment::default() })
}

/// What a restart finds.
fn load(store: &Sqlite, now: Moment) -> (Vec<(City, CityPlan)>, Vec<Trip>) {
    let trips = Arc::new(std::sync::Mutex::new(Vec::new()));
    let each = Arc::clone(&trips);
    let cities = wait(store.load(now, Box::new(move |trip| each.lock().unwrap().push(trip)))).unwrap();
    (cities, Arc::into_inner(trips).unwrap().into_inner().unwrap())
}

#[test]
fn the_same_request_gives_the_same_trip_and_another_is_a_conflict() {
    let place = Place::new();
    let store = place.open();
    assert!(matches!(create(&store, order("T", 1, 2, NOW, (9, 9, 9)), NOW), Err(CreateError::NoCity(_))));
    assert!(wait(store.put_city(city("london"), pool(1, 4))).unwrap());
    let first = made(&store, order("T", 1, 2, NOW, (9, 9, 9)), NOW).trip;
    let later = NOW.plus(3);
    let Ok(Created::Known(again)) = create(&store, order("T", 1, 2, later, (9, 9, 9)), later) else {
        panic!()
    };
    assert_eq!(first, again);
    assert_ne!(first.parties[0].dial, first.parties[1].dial);
    assert!(matches!(create(&store, order("T", 1, 3, NOW, (9, 9, 9)), NOW), Err(CreateError::Conflict(_))));
    let past = NOW.plus(27);
    let Ok(Created::New(_)) = create(&store, order("T", 1, 3, past, (9, 9, 9)), past) else {
        panic!("an id is free again when its trip is purged")
    };
}

#[test]
fn a_party_never_has_one_number_twice_and_exhaustion_says_what_is_enough() {
    let place = Place::new();
    let store = place.open();
    wait(store.put_city(city("london"), pool(1, 3))).unwrap();
    let mut dials = BTreeSet::new();
    for n in 0..3 {
        let trip = made(&store, order(&format!("T{n}"), 1, 10 + n, NOW, (9, 9, 9)), NOW).trip;
        assert!(dials.insert(trip.parties[0].dial));
    }
    let error = create(&store, order("T9", 1, 20, NOW, (9, 9, 9)), NOW).unwrap_err().to_string();
    assert_eq!(
        error,
        "london: all 3 numbers are held by trips of the driver; 4 active numbers would be enough"
    );
    // The refused trip left nothing behind.
    assert!(matches!(
        wait(store.amend_trip(TripId::new("T9").unwrap(), Change::Close, NOW)),
        Err(AmendError::NoTrip(_))
    ));
    wait(store.put_city(city("london"), pool(1, 4))).unwrap();
    assert!(create(&store, order("T9", 1, 20, NOW, (9, 9, 9)), NOW).is_ok());
}

#[test]
fn closing_frees_the_numbers_after_grace_and_cooling_and_extending_keeps_them() {
    let place = Place::new();
    let store = place.open();
    wait(store.put_city(city("london"), pool(1, 1))).unwrap();
    let trip = made(&store, order("A", 1, 2, NOW, (100, 5, 5)), NOW).trip;
    let extended = wait(store.amend_trip(trip.id.clone(), extend(98), NOW.plus(102))).unwrap();
    assert!(extended.version > trip.version && extended.life.state(NOW.plus(150)) == TripState::Active);
    let held = order("B", 1, 3, NOW.plus(150), (9, 9, 9));
    assert!(matches!(create(&store, held.clone(), NOW.plus(150)), Err(CreateError::Exhausted { .. })));

    let closed = wait(store.amend_trip(trip.id.clone(), Change::Close, NOW.plus(150))).unwrap();
    assert_eq!(wait(store.amend_trip(trip.id.clone(), Change::Close, NOW.plus(151))).unwrap(), closed);
    assert!(matches!(
        wait(store.amend_trip(trip.id.clone(), extend(149), NOW.plus(151))),
        Err(AmendError::Unchanged { .. })
    ));
    assert!(matches!(create(&store, held.clone(), NOW.plus(154)), Err(CreateError::Exhausted { .. })));
    // From then on it is a tombstone, and given up when there is nothing else.
    let made = made(&store, held, NOW.plus(155));
    assert_eq!((made.rungs[0], made.forfeited.len()), (Rung::Tombstone, 1));
    assert_eq!(made.forfeited[0].lost, [true, false]);
}

#[test]
fn a_number_belongs_to_one_city() {
    let place = Place::new();
    let store = place.open();
    assert!(wait(store.put_city(city("london"), pool(1, 3))).unwrap());
    assert!(!wait(store.put_city(city("london"), pool(2, 3))).unwrap());
    let error = wait(store.put_city(city("leeds"), pool(4, 2))).unwrap_err().to_string();
    assert_eq!(error, "+442079400004 belongs to the city london already");
    assert!(wait(store.put_city(city("leeds"), pool(1, 1))).unwrap(), "a number that was given up is free");
    assert_eq!(load(&store, NOW).0.len(), 2);
}

#[test]
fn a_restart_keeps_trips_and_recordings() {
    let place = Place::new();
    let store = place.open();
    wait(store.put_city(city("london"), pool(1, 3))).unwrap();
    let trip = made(&store, order("A", 1, 2, NOW, (100, 5, 5)), NOW).trip;
    let over = made(&store, order("B", 1, 2, NOW, (10, 0, 0)), NOW).trip;
    let recording =
        RecordingEntry { id: Uuid::now_v7(), trip: Some(trip.id.clone()), call: [7; 16], started_at: NOW };
    wait(store.recording_started(recording.clone())).unwrap();
    wait(store.recording_started(recording.clone())).unwrap();
    drop(store);

    let store = place.open();
    let later = NOW.plus(20);
    assert_eq!(load(&store, later).1, std::slice::from_ref(&trip));
    assert_eq!(wait(store.recordings(trip.id.clone())).unwrap(), std::slice::from_ref(&recording));
    assert_eq!(wait(store.recording(recording.id)).unwrap(), Some(recording));
    assert_eq!(wait(store.recording(Uuid::now_v7())).unwrap(), None);
    let lookup = place.keys.lookup(&phone(1));
    let found = |dial, now| wait(store.find_key(dial, lookup, now)).unwrap().map(|t| t.id.to_string());
    assert_eq!(found(trip.parties[0].dial, later).as_deref(), Some("A"));
    assert_eq!(found(over.parties[0].dial, later), None);
    let purged = |trips| Purged { trips, more: false };
    assert_eq!([(); 2].map(|()| wait(store.purge(later)).unwrap()), [purged(1), purged(0)]);
}

#[test]
fn creators_in_several_stores_never_share_a_key() {
    let place = Place::new();
    let (stores, each) = (4_u32, 12_u32);
    wait(place.open().put_city(city("london"), pool(1, u64::from(stores * each)))).unwrap();
    let dials: Vec<PoolNumber> = std::thread::scope(|scope| {
        let creators: Vec<_> = (0..stores)
            .map(|s| {
                let store = place.open();
                scope.spawn(move || {
                    let one = |n| {
                        create(
                            &store,
                            order(&format!("T{s}-{n}"), 1, 100 + s * each + n, NOW, (9, 9, 9)),
                            NOW,
                        )
                    };
                    (0..each)
                        .map(|n| match one(n) {
                            Ok(Created::New(made)) => made.trip.parties[0].dial,
                            other => panic!("{other:?}"),
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        creators.into_iter().flat_map(|c| c.join().unwrap()).collect()
    });
    let distinct: BTreeSet<_> = dials.iter().collect();
    assert_eq!((dials.len(), distinct.len()), (48, 48), "exactly as many numbers as one party has trips");
}

#[test]
fn the_database_itself_refuses_a_key_that_is_held() {
    let place = Place::new();
    let store = place.open();
    wait(store.put_city(city("london"), pool(1, 1))).unwrap();
    create(&store, order("A", 1, 2, NOW, (100, 5, 5)), NOW).unwrap();
    let db = Connection::open(place.folder.path().join("bauta.db")).unwrap();
    let copied = db.execute(
        "INSERT INTO held SELECT lookup, number, 'B', until, NULL, cools, taken, freed FROM held",
        [],
    );
    assert!(copied.unwrap_err().to_string().contains("UNIQUE constraint failed: held.lookup, held.number"));
}

#[test]
fn no_file_holds_a_party_number_in_any_plain_spelling() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let store = place.open();
    wait(store.put_city(city("london"), pool(1, 3))).unwrap();
    create(&store, order("A", 1, 2, NOW, (100, 5, 5)), NOW).unwrap();
    create(&store, order("B", 1, 2, NOW, (1, 0, 0)), NOW).unwrap();
    wait(store.purge(NOW.plus(50))).unwrap();
    for digits in ["447700900001", "447700900002"] {
        let reversed: String = digits.chars().rev().collect();
        let swapped: Vec<u8> =
            digits.as_bytes().chunks(2).map(|p| (p[1] - b'0') << 4 | (p[0] - b'0')).collect();
        let bcd: Vec<u8> = digits.as_bytes().chunks(2).map(|p| (p[0] - b'0') << 4 | (p[1] - b'0')).collect();
        let integer: u64 = digits.parse().unwrap();
        let spellings: [&[u8]; 6] = [
            &digits.as_bytes()[5..],
            &reversed.as_bytes()[..7],
            &swapped,
            &bcd,
            &integer.to_be_bytes()[2..],
            &integer.to_le_bytes()[..6],
        ];
        for entry in std::fs::read_dir(place.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            let Ok(content) = std::fs::read(&path) else { continue };
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
            for spelling in spellings {
                assert!(
                    !content.windows(spelling.len()).any(|w| w == spelling),
                    "{}: {spelling:?}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn adding_a_key_keeps_numbers_unique() {
    let mut place = Place::new();
    let store = place.open();
    wait(store.put_city(city("london"), pool(60_001, 2))).unwrap();
    let first = made(&store, order("T-1", 1, 2, NOW, (100, 0, 0)), NOW).trip;
    drop(store);
    let path = place.folder.path().join("keys/numbers.key");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}2 {}\n", *crate::secret::random_hex().unwrap())).unwrap();
    place.keys = Arc::new(Keys::open_or_make(place.folder.path()).unwrap());

    let store = place.open();
    let [driver, _] = &first.parties;
    let found =
        wait(store.find_key(driver.dial, place.keys.lookup(driver.phones.called().unwrap()), NOW)).unwrap();
    assert_eq!(found, Some(first.clone()));
    let second = made(&store, order("T-2", 1, 3, NOW, (100, 0, 0)), NOW).trip;
    assert_ne!(second.parties[0].dial, driver.dial, "the driver has a number for each of two trips");
}

#[test]
fn a_transaction_that_sqlite_rolled_back_takes_its_batch_along() {
    let place = Place::new();
    let store = place.open();
    wait(store.put_city(city("london"), pool(60_001, 9))).unwrap();
    let go = Arc::new(std::sync::Barrier::new(2));
    let waits = Arc::clone(&go);
    // Holds the thread, so that the next three share a transaction.
    let held = store.writer.run(move |_| {
        waits.wait();
        Ok::<_, StoreError>(())
    });
    std::thread::sleep(Duration::from_millis(50));
    let before = store.create_trip(order("T-1", 1, 2, NOW, (100, 0, 0)), NOW);
    let fails = store.writer.run(|desk| desk.db.execute_batch("ROLLBACK").map_err(StoreError::from));
    let after = store.create_trip(order("T-2", 3, 4, NOW, (100, 0, 0)), NOW);
    go.wait();
    wait(held).unwrap();
    assert!(wait(before).is_err() && wait(fails).is_err());
    assert!(matches!(wait(after), Err(CreateError::Store(StoreError::Silent))));
    assert!(load(&store, NOW).1.is_empty(), "nothing that was refused is kept");
    assert!(wait(store.create_trip(order("T-2", 3, 4, NOW, (100, 0, 0)), NOW)).is_ok());
}

#[test]
fn a_store_whose_thread_panics_says_so() {
    let mut store = Place::new().open();
    let ended = store.ended();
    let failed = wait(store.writer.run(|_| -> Result<(), StoreError> { panic!("a test's panic") }));
    assert!(matches!(failed, Err(StoreError::Silent)));
    wait(Box::pin(ended));
    assert!(matches!(wait(store.ping()), Err(StoreError::Silent)));
    let readers: [fn(&Sqlite) -> &Reader; 2] = [|store| &store.lookups, |store| &store.reports];
    for reader in readers {
        let mut store = Place::new().open();
        let ended = store.ended();
        let failed = wait(reader(&store).run(|_, _| -> Result<(), StoreError> { panic!("a test's panic") }));
        assert!(matches!(failed, Err(StoreError::Silent)));
        wait(Box::pin(ended));
    }
}

/// A database as the first version made it: phones and PINs sealed one by one, without tombstones.
#[test]
fn a_database_of_the_first_schema_is_taken_over() {
    let place = Place::new();
    let path = place.folder.path().join("bauta.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "CREATE TABLE counter (version INTEGER NOT NULL) STRICT;
         INSERT INTO counter VALUES (7);
         CREATE TABLE cities (name TEXT PRIMARY KEY, plan TEXT NOT NULL) STRICT, WITHOUT ROWID;
         CREATE TABLE pool_numbers (number INTEGER PRIMARY KEY, city TEXT NOT NULL REFERENCES cities (name)) STRICT;
         CREATE TABLE trips (id TEXT PRIMARY KEY, city TEXT NOT NULL, content BLOB NOT NULL, version INTEGER NOT NULL,
            record INTEGER NOT NULL, max_seconds INTEGER NOT NULL, created_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL, closed_at INTEGER, grace INTEGER NOT NULL, cooling INTEGER NOT NULL,
            held_until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
         CREATE INDEX trips_by_end ON trips (held_until);
         CREATE TABLE parties (trip TEXT NOT NULL REFERENCES trips (id) ON DELETE CASCADE, position INTEGER NOT NULL,
            role TEXT NOT NULL, phone BLOB NOT NULL, dial INTEGER NOT NULL, pin BLOB NOT NULL,
            PRIMARY KEY (trip, position)) STRICT, WITHOUT ROWID;
         CREATE TABLE held (lookup BLOB NOT NULL, number INTEGER NOT NULL, trip TEXT NOT NULL, until INTEGER NOT NULL,
            pin BLOB, PRIMARY KEY (lookup, number)) STRICT, WITHOUT ROWID;
         CREATE UNIQUE INDEX held_pins ON held (number, pin);
         CREATE INDEX held_by_end ON held (until);
         CREATE TABLE recordings (id BLOB PRIMARY KEY, trip TEXT, call BLOB NOT NULL, started_at INTEGER NOT NULL)
            STRICT, WITHOUT ROWID;
         CREATE INDEX recordings_by_trip ON recordings (trip, started_at);
         INSERT INTO cities VALUES ('london', '{\"country\":\"44\",\"numbers\":[\"+442079400001\",\"+442079400002\"]}');
         INSERT INTO pool_numbers VALUES (442079400001, 'london'), (442079400002, 'london');
         PRAGMA user_version = 2;",
    )
    .unwrap();
    let (ends, until) = (NOW.plus(100), NOW.plus(120));
    db.execute(
        "INSERT INTO trips VALUES ('T', 'london', ?1, 7, 1, 60, ?2, ?3, NULL, 10, 10, ?4)",
        rusqlite::params![[9_u8; 16], NOW.unix(), ends.unix(), until.unix()],
    )
    .unwrap();
    for (position, role, dial) in [(0_u32, "driver", 442_079_400_001_i64), (1, "passenger", 442_079_400_002)]
    {
        let seal = |what: &str, plain: &str| {
            place.keys.seal(&format!("{what}/T/{position}"), plain.as_bytes()).unwrap()
        };
        let (phone, pin) = (phone(position + 1), if position == 0 { "01234" } else { "99999" });
        db.execute(
            "INSERT INTO parties VALUES ('T', ?1, ?2, ?3, ?4, ?5)",
            rusqlite::params![position, role, seal("phone", &phone.reveal()), dial, seal("pin", pin)],
        )
        .unwrap();
        db.execute(
            "INSERT INTO held VALUES (?1, ?2, 'T', ?3, ?4)",
            rusqlite::params![
                place.keys.lookup(&phone),
                dial,
                until.unix(),
                place.keys.pseudonym("pin", pin)
            ],
        )
        .unwrap();
    }
    drop(db);

    let store = place.open();
    let (_, trips) = load(&store, NOW);
    let [trip] = trips.as_slice() else { panic!("{trips:?}") };
    assert_eq!((trip.version, trip.life.held_until(), trip.rules.max_seconds), (7, until, 60));
    assert_eq!(trip.parties[1].phones, Phones::One(phone(2)));
    let pin = trip.parties[0].pin.clone();
    assert_eq!(*pin.reveal(), "01234");
    let found = wait(store.find_pin(trip.parties[0].dial, pin, NOW)).unwrap().unwrap();
    assert_eq!((&found.0, found.1), (trip, 0));
    let lookup = place.keys.lookup(&phone(2));
    assert_eq!(wait(store.find_key(trip.parties[1].dial, lookup, NOW)).unwrap().as_ref(), Some(trip));
    // Its keys are live until grace is over, tombstones after that.
    let second = made(&store, order("U", 1, 3, NOW, (500, 9, 9)), NOW).trip;
    assert_ne!(second.parties[0].dial, trip.parties[0].dial);
    assert!(create(&store, order("V", 1, 4, NOW, (9, 9, 9)), NOW.plus(109)).is_err());
    drop(store);
    assert_eq!(load(&place.open(), NOW).1.len(), 2, "the step is taken once");
}

#[test]
fn rotating_the_key_seals_every_trip_anew_and_finds_them_all() {
    let place = Place::new();
    let store = place.open();
    wait(store.put_city(city("london"), pool(1, 3))).unwrap();
    for n in 0..5 {
        made(&store, order(&format!("T{n}"), 10 + n, 20 + n, NOW, (100, 5, 5)), NOW);
    }
    assert_eq!(wait(store.sealed_by()).unwrap(), [(1, 5)]);
    assert_eq!(place.keys.rotate().unwrap(), 2);
    made(&store, order("T9", 30, 31, NOW, (100, 5, 5)), NOW);
    assert_eq!(wait(store.sealed_by()).unwrap(), [(1, 5), (2, 1)]);
    assert_eq!(wait(store.reseal(None)).unwrap(), Resealed { trips: 5, next: None });
    assert_eq!(wait(store.sealed_by()).unwrap(), [(2, 6)]);
    assert_eq!(wait(store.reseal(None)).unwrap().trips, 0);
    drop(store);
    let keys = Arc::new(Keys::open_or_make(place.folder.path()).unwrap());
    let store = Sqlite::open(&place.folder.path().join("bauta.db"), Arc::clone(&keys)).unwrap();
    assert_eq!((keys.newest_id(), load(&store, NOW).1.len()), (2, 6));
}

#[test]
fn a_copy_made_while_trips_come_is_whole() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let store = place.open();
    wait(store.put_city(city("london"), pool(1, 3))).unwrap();
    made(&store, order("T", 1, 2, NOW, (100, 5, 5)), NOW);
    let copy = place.folder.path().join("copy.db");
    let bytes = wait(store.back_up(copy.clone())).unwrap();
    made(&store, order("U", 3, 4, NOW, (100, 5, 5)), NOW);
    let file = copy.metadata().unwrap();
    assert_eq!((file.len(), file.permissions().mode() & 0o777), (bytes, 0o600));
    assert!(
        wait(store.back_up(copy.clone())).unwrap_err().to_string().contains("exists"),
        "never over another"
    );
    let copied = Sqlite::open(&copy, Arc::clone(&place.keys)).unwrap();
    assert_eq!(load(&copied, NOW).1.len(), 1);
}

#[test]
fn a_pool_is_described_by_what_its_parties_hold() {
    let place = Place::new();
    let store = place.open();
    wait(store.put_city(city("london"), pool(1, 3))).unwrap();
    for n in 0..3 {
        made(&store, order(&format!("T{n}"), 1, 10 + n, NOW, (100, 5, 5)), NOW);
    }
    let later = NOW.plus(150);
    made(&store, order("T9", 1, 20, later, (100, 5, 5)), later);
    let pool = wait(store.pool_use(city("london"), later)).unwrap();
    assert_eq!((pool.active, pool.trips_last_day, pool.borrowed), (3, 4, 0));
    let busiest = &pool.parties[0];
    assert_eq!((busiest.held.len(), busiest.hold_seconds), (1, 110));
    // The number came back 45 s after its trip's grace.
    assert_eq!(pool.shortest_reuse, Some(45));
    assert_eq!(wait(store.census(later)).unwrap(), [1, 0, 0, 3]);
}

#[test]
fn the_same_two_people_keep_their_numbers_within_grace() {
    let place = Place::new();
    let store = place.open();
    wait(store.put_city(city("london"), pool(1, 8))).unwrap();
    let first = made(&store, order("A", 1, 2, NOW, (100, 50, 5)), NOW).trip;
    let during = made(&store, order("B", 1, 2, NOW.plus(50), (10, 0, 0)), NOW.plus(50));
    assert_eq!(during.continues, None, "an active trip is not gone on with");
    let grace = NOW.plus(120);
    // The driver rides this time.
    let again = made(&store, order("C", 2, 1, grace, (100, 50, 5)), grace);
    assert_eq!(again.continues.as_ref(), Some(&first.id));
    assert_eq!(
        [again.trip.parties[1].dial, again.trip.parties[0].dial],
        [first.parties[0].dial, first.parties[1].dial]
    );
    let [over] = again.forfeited.as_slice() else { panic!("{again:?}") };
    assert!(over.handed_on() && !over.connects(grace));
    let reopen = wait(store.amend_trip(first.id.clone(), Change::Reopen { lives: None }, grace));
    assert!(matches!(reopen, Err(AmendError::Unchanged { .. })));
    let lookup = place.keys.lookup(&phone(1));
    let holder = wait(store.find_key(first.parties[0].dial, lookup, grace)).unwrap().unwrap();
    assert_eq!(holder.id.as_str(), "C");
}

#[test]
fn a_blocked_pair_is_blocked_in_every_trip_until_it_is_not() {
    let place = Place::new();
    let store = place.open();
    wait(store.put_city(city("london"), pool(1, 8))).unwrap();
    let first = made(&store, order("A", 1, 2, NOW, (100, 5, 5)), NOW).trip;
    made(&store, order("B", 2, 1, NOW, (100, 5, 5)), NOW);
    made(&store, order("C", 1, 3, NOW, (100, 5, 5)), NOW);
    let names = |trips: Vec<Trip>| trips.iter().map(|t| t.id.to_string()).collect::<String>();
    let blocked = wait(store.block_pair(first.id.clone(), true, NOW)).unwrap();
    assert!(blocked.iter().all(|trip| trip.blocked));
    assert_eq!(names(blocked), "AB");
    assert!(made(&store, order("D", 2, 1, NOW, (100, 5, 5)), NOW).trip.blocked);
    assert!(!made(&store, order("E", 3, 1, NOW, (100, 5, 5)), NOW).trip.blocked);
    let free = wait(store.block_pair(first.id, false, NOW)).unwrap();
    assert!(free.iter().all(|trip| !trip.blocked));
    assert_eq!(names(free), "ABD");
}

#[test]
fn an_erased_person_is_in_no_trip_and_no_log_and_the_other_one_stays() {
    let place = Place::new();
    let store = place.open();
    wait(store.put_city(city("london"), pool(1, 1))).unwrap();
    made(&store, order("A", 1, 2, NOW, (10, 0, 500)), NOW);
    let later = NOW.plus(20);
    // Takes the tombstone of A, which is found by its loss alone.
    assert_eq!(made(&store, order("B", 1, 3, later, (100, 0, 9)), later).forfeited.len(), 1);
    made(&store, order("C", 4, 5, later, (100, 0, 9)), later);
    let erased = wait(store.erase(phone(1), later)).unwrap();
    assert_eq!(erased.iter().map(|trip| trip.id.as_str()).collect::<String>(), "AB");
    wait(store.cut_log()).unwrap();
    assert_eq!(place.folder.path().join("bauta.db-wal").metadata().unwrap().len(), 0);
    for trip in load(&store, later).1 {
        let have = |n| trip.parties.iter().any(|party| party.phones.have(&phone(n)));
        assert!(!have(1) && (trip.id.as_str() == "C" || !trip.connects(later)), "{trip:?}");
        assert!(have(2) || have(3) || have(4));
    }
    let db = Connection::open(place.folder.path().join("bauta.db")).unwrap();
    let lookup = place.keys.lookup(&phone(1));
    let found: i64 =
        db.query_row("SELECT COUNT(*) FROM held WHERE lookup = ?1", [lookup], |row| row.get(0)).unwrap();
    assert_eq!(found, 0);
    assert!(wait(store.erase(phone(1), later)).unwrap().is_empty(), "asking again changes nothing");
    made(&store, order("D", 1, 6, later, (100, 0, 9)), later);
}

#[test]
fn a_trip_that_does_not_open_stops_nothing_and_its_keys_stay_held() {
    let place = Place::new();
    let store = place.open();
    wait(store.put_city(city("london"), pool(1, 2))).unwrap();
    let bad = made(&store, order("BAD", 1, 2, NOW, (100, 5, 5)), NOW).trip;
    made(&store, order("T", 3, 4, NOW, (100, 5, 5)), NOW);
    let db = Connection::open(place.folder.path().join("bauta.db")).unwrap();
    db.execute("UPDATE trips SET secret = x'01' WHERE id = 'BAD'", []).unwrap();
    let ids = |trips: Vec<Trip>| trips.iter().map(|trip| trip.id.to_string()).collect::<String>();
    assert_eq!(ids(load(&store, NOW).1), "T");
    assert_eq!(ids(wait(store.page(Page { limit: 9, ..Page::default() }, NOW)).unwrap()), "T");
    assert_eq!(place.keys.rotate().unwrap(), 2);
    assert_eq!(wait(store.reseal(None)).unwrap(), Resealed { trips: 1, next: None });
    let lookup = place.keys.lookup(&phone(1));
    assert!(wait(store.find_key(bad.parties[0].dial, lookup, NOW)).is_err(), "no certain answer");
    let next = made(&store, order("U", 1, 4, NOW, (100, 5, 5)), NOW).trip;
    assert_ne!(next.parties[0].dial, bad.parties[0].dial);
    assert!(matches!(
        create(&store, order("V", 1, 3, NOW, (100, 5, 5)), NOW),
        Err(CreateError::Exhausted { .. })
    ));
}
