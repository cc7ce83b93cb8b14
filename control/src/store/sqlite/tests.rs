use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;
use crate::name::Role;
use crate::number::E164;
use crate::trip::{Life, TripState};

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
        record: true,
        max_seconds: 60,
        life: Life {
            created_at: now,
            expires_at: now.plus(life.0),
            closed_at: None,
            grace: life.1,
            cooling: life.2,
        },
        parties: [(Role::new("driver").unwrap(), phone(a)), (Role::new("passenger").unwrap(), phone(b))],
        content: zeroize::Zeroizing::new(format!("{a}|{b}|{life:?}")),
    }
}

fn create(store: &Sqlite, order: TripOrder, now: Moment) -> Result<Created, CreateError> {
    wait(store.create_trip(order, now))
}

#[test]
fn the_same_request_gives_the_same_trip_and_another_is_a_conflict() {
    let place = Place::new();
    let store = place.open();
    assert!(matches!(create(&store, order("T", 1, 2, NOW, (9, 9, 9)), NOW), Err(CreateError::NoCity(_))));
    assert!(wait(store.put_city(city("london"), pool(1, 4))).unwrap());
    let Ok(Created::New(first)) = create(&store, order("T", 1, 2, NOW, (9, 9, 9)), NOW) else { panic!() };
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
        let Ok(Created::New(trip)) = create(&store, order(&format!("T{n}"), 1, 10 + n, NOW, (9, 9, 9)), NOW)
        else {
            panic!()
        };
        assert!(dials.insert(trip.parties[0].dial));
    }
    let error = create(&store, order("T9", 1, 20, NOW, (9, 9, 9)), NOW).unwrap_err().to_string();
    assert_eq!(error, "london: all 3 numbers are held by trips of the driver; 4 numbers would be enough");
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
    let Ok(Created::New(trip)) = create(&store, order("A", 1, 2, NOW, (100, 5, 5)), NOW) else { panic!() };
    let extended =
        wait(store.amend_trip(trip.id.clone(), Change::Expire(NOW.plus(200)), NOW.plus(102))).unwrap();
    assert!(extended.version > trip.version && extended.life.state(NOW.plus(150)) == TripState::Active);
    let held = order("B", 1, 3, NOW.plus(150), (9, 9, 9));
    assert!(matches!(create(&store, held.clone(), NOW.plus(150)), Err(CreateError::Exhausted { .. })));

    let closed = wait(store.amend_trip(trip.id.clone(), Change::Close, NOW.plus(150))).unwrap();
    assert_eq!(wait(store.amend_trip(trip.id.clone(), Change::Close, NOW.plus(151))).unwrap(), closed);
    let extend = Change::Expire(NOW.plus(300));
    assert!(matches!(
        wait(store.amend_trip(trip.id.clone(), extend, NOW.plus(151))),
        Err(AmendError::Ended(_))
    ));
    assert!(matches!(create(&store, held.clone(), NOW.plus(159)), Err(CreateError::Exhausted { .. })));
    assert!(create(&store, held, NOW.plus(160)).is_ok());
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
    assert_eq!(wait(store.load(NOW)).unwrap().cities.len(), 2);
}

#[test]
fn a_restart_keeps_trips_and_recordings() {
    let place = Place::new();
    let store = place.open();
    wait(store.put_city(city("london"), pool(1, 3))).unwrap();
    let Ok(Created::New(trip)) = create(&store, order("A", 1, 2, NOW, (100, 5, 5)), NOW) else { panic!() };
    let Ok(Created::New(over)) = create(&store, order("B", 1, 2, NOW, (10, 0, 0)), NOW) else { panic!() };
    let recording =
        RecordingEntry { id: Uuid::now_v7(), trip: Some(trip.id.clone()), call: [7; 16], started_at: NOW };
    wait(store.recording_started(recording.clone())).unwrap();
    wait(store.recording_started(recording.clone())).unwrap();
    drop(store);

    let store = place.open();
    let later = NOW.plus(20);
    assert_eq!(wait(store.load(later)).unwrap().trips, std::slice::from_ref(&trip));
    assert_eq!(wait(store.recordings(trip.id.clone())).unwrap(), std::slice::from_ref(&recording));
    assert_eq!(wait(store.recording(recording.id)).unwrap(), Some(recording));
    assert_eq!(wait(store.recording(Uuid::now_v7())).unwrap(), None);
    let lookup = place.keys.lookup(&phone(1));
    let found = |dial, now| wait(store.find_key(dial, lookup, now)).unwrap().map(|t| t.id.to_string());
    assert_eq!(found(trip.parties[0].dial, later).as_deref(), Some("A"));
    assert_eq!(found(over.parties[0].dial, later), None);
    assert_eq!((wait(store.purge(later)).unwrap(), wait(store.purge(later)).unwrap()), (1, 0));
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
                            Ok(Created::New(trip)) => trip.parties[0].dial,
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
    let copied = db.execute("INSERT INTO held SELECT lookup, number, 'B', until, NULL FROM held", []);
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

/// What the model does in one step.
#[derive(Debug, Clone)]
enum Step {
    Create { a: u32, b: u32, lives: i64 },
    Close(usize),
    Extend(usize, i64),
    Pass(i64),
    Purge,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u32..4, 4_u32..8, 1_i64..30).prop_map(|(a, b, lives)| Step::Create { a, b, lives }),
        1 => (0_usize..40).prop_map(Step::Close),
        1 => (0_usize..40, 1_i64..30).prop_map(|(n, s)| Step::Extend(n, s)),
        2 => (0_i64..20).prop_map(Step::Pass),
        1 => Just(Step::Purge),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Against a plain list of trips: no key is ever held twice, creation fails only when one party holds
    /// every number, a party gets the number that it used longest ago, and memory and store agree.
    #[test]
    fn allocation_follows_the_oracle(steps in steps()) {
        const K: u64 = 3;
        let place = Place::new();
        let store = place.open();
        wait(store.put_city(city("london"), pool(1, K))).unwrap();
        let mut now = NOW;
        let mut trips: Vec<Trip> = Vec::new();
        let mut last_held: HashMap<(u32, PoolNumber), Moment> = HashMap::new();
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Pass(seconds) => now = now.plus(seconds),
                Step::Purge => { wait(store.purge(now)).unwrap(); }
                Step::Close(n) | Step::Extend(n, _) if n >= trips.len() => {}
                Step::Close(n) => if let Ok(trip) = wait(store.amend_trip(trips[n].id.clone(), Change::Close, now)) {
                    trips[n] = trip;
                },
                Step::Extend(n, s) => {
                    let outcome = wait(store.amend_trip(trips[n].id.clone(), Change::Expire(now.plus(s)), now));
                    prop_assert_eq!(outcome.is_ok(), trips[n].life.connects(now));
                    if let Ok(trip) = outcome { trips[n] = trip; }
                }
                Step::Create { a, b, lives } => {
                    let live = |who: u32| trips.iter().filter(|t| now < t.life.held_until())
                        .flat_map(|t| t.parties.iter()).filter(|p| p.phone == phone(who)).map(|p| p.dial)
                        .collect::<BTreeSet<_>>();
                    let full = live(a).len() as u64 == K || live(b).len() as u64 == K;
                    match create(&store, order(&format!("T{n}"), a, b, now, (lives, 3, 3)), now) {
                        Ok(Created::New(trip)) => {
                            prop_assert!(!full);
                            for (who, party) in [a, b].into_iter().zip(&trip.parties) {
                                prop_assert!(!live(who).contains(&party.dial), "a held key was given again");
                            }
                            let chosen = trip.parties[0].dial;
                            let free = (1..=K).map(|n| PoolNumber::try_from(442_079_400_000 + n).unwrap())
                                .filter(|number| !live(a).contains(number));
                            let used = |number| last_held.get(&(a, number)).copied();
                            prop_assert!(free.map(used).min() == Some(used(chosen)), "not the number used longest ago");
                            trips.push(trip);
                        }
                        Err(CreateError::Exhausted { .. }) => prop_assert!(full),
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
            }
            for trip in &trips {
                for party in &trip.parties {
                    let who = (0..8).find(|n| phone(*n) == party.phone).unwrap();
                    let until = trip.life.held_until();
                    // The latest trip on a key is the last in the list.
                    last_held.insert((who, party.dial), until);
                }
            }
        }
        let mut stored = wait(store.load(now)).unwrap().trips;
        let mut expected: Vec<Trip> = trips.into_iter().filter(|t| now < t.life.held_until()).collect();
        stored.sort_by(|a, b| a.id.cmp(&b.id));
        expected.sort_by(|a, b| a.id.cmp(&b.id));
        prop_assert_eq!(stored, expected);
    }
}

#[test]
fn adding_a_key_keeps_numbers_unique() {
    let mut place = Place::new();
    let store = place.open();
    wait(store.put_city(city("london"), pool(60_001, 2))).unwrap();
    let Created::New(first) = wait(store.create_trip(order("T-1", 1, 2, NOW, (100, 0, 0)), NOW)).unwrap()
    else {
        panic!("it is new")
    };
    drop(store);
    let path = place.folder.path().join("keys/numbers.key");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}2 {}\n", *crate::secret::random_hex().unwrap())).unwrap();
    place.keys = Arc::new(Keys::open_or_make(place.folder.path()).unwrap());

    let store = place.open();
    let [driver, _] = &first.parties;
    let found = wait(store.find_key(driver.dial, place.keys.lookup(&driver.phone), NOW)).unwrap();
    assert_eq!(found, Some(first.clone()));
    let Created::New(second) = wait(store.create_trip(order("T-2", 1, 3, NOW, (100, 0, 0)), NOW)).unwrap()
    else {
        panic!("it is new")
    };
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
    let held = store.run(move |_, _| {
        waits.wait();
        Ok::<_, StoreError>(())
    });
    std::thread::sleep(Duration::from_millis(50));
    let before = store.create_trip(order("T-1", 1, 2, NOW, (100, 0, 0)), NOW);
    let fails = store.run(|db, _| db.execute_batch("ROLLBACK").map_err(StoreError::from));
    let after = store.create_trip(order("T-2", 3, 4, NOW, (100, 0, 0)), NOW);
    go.wait();
    wait(held).unwrap();
    assert!(wait(before).is_err() && wait(fails).is_err());
    assert!(matches!(wait(after), Err(CreateError::Store(StoreError::Silent))));
    assert!(wait(store.load(NOW)).unwrap().trips.is_empty(), "nothing that was refused is kept");
    assert!(wait(store.create_trip(order("T-2", 3, 4, NOW, (100, 0, 0)), NOW)).is_ok());
}

#[test]
fn a_store_whose_thread_panics_says_so() {
    let mut store = Place::new().open();
    let ended = store.ended();
    let failed = wait(store.run(|_, _| -> Result<(), StoreError> { panic!("a test's panic") }));
    assert!(matches!(failed, Err(StoreError::Silent)));
    wait(Box::pin(ended));
    assert!(matches!(wait(store.ping()), Err(StoreError::Silent)));
}
