use super::*;
use crate::name::Role;
use crate::trip::{Life, Party, Phones, Pin, Rules};

const NOW: Moment = Moment::from_unix(1_000);

fn ours(n: u64) -> PoolNumber {
    PoolNumber::try_from(442_079_460_000 + n).unwrap()
}

fn phone(n: u64) -> E164 {
    E164::parse(&format!("+4477009{n:05}")).unwrap()
}

fn trip(id: &str, version: u64, a: (u64, u64), b: (u64, u64), expires_at: Moment) -> Trip {
    let party = |role: &str, (who, dial): (u64, u64)| Party {
        role: Role::new(role).unwrap(),
        phones: Phones::One(phone(who)),
        dial: ours(dial),
        pin: Pin::from_digits("12345").unwrap(),
    };
    Trip {
        id: TripId::new(id).unwrap(),
        city: City::new("london").unwrap(),
        version,
        life: Life {
            created_at: NOW,
            expires_at,
            ends_by: NOW.plus(999),
            closed_at: None,
            lives: 10,
            grace: 10,
            cooling: 10,
            sliding: false,
        },
        parties: [party("driver", a), party("passenger", b)],
        rules: Rules {
            record: true,
            callers: [true; 2],
            max_seconds: 60,
            ring_seconds: None,
            max_calls: None,
        },
        calls: 0,
        blocked: false,
        lost: [false; 2],
    }
}

fn plan(numbers: &[u64]) -> CityPlan {
    let text: Vec<String> = numbers.iter().map(|n| format!("\"{}\"", ours(*n))).collect();
    serde_json::from_str(&format!("{{\"country\":\"44\",\"numbers\":[{}]}}", text.join(","))).unwrap()
}

#[test]
fn keys_come_and_go_with_their_trip() {
    let mut directory = Directory::default();
    directory.put_city(&City::new("london").unwrap(), plan(&[1, 2]));
    directory.put_trip(trip("A", 1, (1, 1), (2, 2), NOW.plus(10)));
    assert_eq!(directory.key(ours(1), &phone(1), NOW).unwrap().party, 0);
    assert_eq!(directory.key(ours(2), &phone(2), NOW).unwrap().party, 1);
    assert!(directory.key(ours(2), &phone(1), NOW).is_none());
    assert!(directory.key(ours(1), &phone(1), NOW.plus(30)).is_none(), "purged before any sweep");
    assert_eq!((directory.sweep(NOW.plus(29), 99), directory.sweep(NOW.plus(30), 99)), (0, 1));
    assert!(directory.trip(&TripId::new("A").unwrap(), NOW).is_none());
    assert!(directory.is_ours(ours(1)), "the number stays in its pool");
}

#[test]
fn an_older_version_changes_nothing_and_a_newer_one_moves_the_end() {
    let mut directory = Directory::default();
    directory.put_trip(trip("A", 2, (1, 1), (2, 2), NOW.plus(10)));
    directory.put_trip(trip("A", 1, (1, 1), (2, 2), NOW.plus(99)));
    assert_eq!(directory.trip(&TripId::new("A").unwrap(), NOW).unwrap().version, 2);
    directory.put_trip(trip("A", 3, (1, 1), (2, 2), NOW.plus(50)));
    assert_eq!(directory.sweep(NOW.plus(30), 99), 0);
    assert_eq!(directory.sweep(NOW.plus(70), 99), 1);
    assert!(directory.numbers.is_empty() && directory.trips.is_empty());
}

#[test]
fn a_number_that_left_its_city_is_known_while_a_trip_holds_it() {
    let mut directory = Directory::default();
    let london = City::new("london").unwrap();
    directory.put_city(&london, plan(&[1, 2, 3]));
    directory.put_trip(trip("A", 1, (1, 1), (2, 2), NOW.plus(10)));
    directory.put_city(&london, plan(&[2]));
    assert!(directory.is_ours(ours(1)) && directory.is_ours(ours(2)) && !directory.is_ours(ours(3)));
    assert_eq!(directory.city_of(ours(1)), Some(&london));
    directory.sweep(NOW.plus(99), 99);
    assert!(!directory.is_ours(ours(1)) && directory.is_ours(ours(2)));
}

#[test]
fn a_key_that_passed_to_a_later_trip_outlives_the_earlier_one() {
    let mut directory = Directory::default();
    directory.put_trip(trip("A", 1, (1, 1), (2, 2), NOW.plus(10)));
    directory.put_trip(trip("B", 2, (1, 1), (3, 2), NOW.plus(99)));
    directory.sweep(NOW.plus(30), 99);
    assert_eq!(directory.key(ours(1), &phone(1), NOW.plus(30)).unwrap().trip.id.as_str(), "B");
}

#[test]
fn a_key_that_passed_to_a_later_trip_stays_there() {
    let mut directory = Directory::default();
    directory.put_trip(trip("B", 3, (1, 1), (3, 2), NOW.plus(99)));
    // The earlier one comes again, as an answer of the store that was under way.
    directory.put_trip(trip("A", 1, (1, 1), (2, 2), NOW.plus(10)));
    directory.put_trip(trip("A", 2, (1, 1), (2, 2), NOW.plus(20)));
    assert_eq!(directory.key(ours(1), &phone(1), NOW).unwrap().trip.id.as_str(), "B");
    assert_eq!(directory.key(ours(2), &phone(2), NOW).unwrap().trip.id.as_str(), "A");
    directory.sweep(NOW.plus(50), 99);
    assert_eq!(directory.key(ours(1), &phone(1), NOW).unwrap().trip.id.as_str(), "B");
}

#[test]
fn a_key_that_was_handed_on_does_not_come_back_with_a_later_change() {
    let mut directory = Directory::default();
    directory.put_trip(trip("A", 1, (1, 1), (2, 2), NOW.plus(10)));
    directory.put_trip(Trip { lost: [true, false], ..trip("A", 2, (1, 1), (2, 2), NOW.plus(10)) });
    directory.put_trip(trip("B", 3, (1, 1), (3, 2), NOW.plus(99)));
    directory.put_trip(Trip { lost: [true, false], ..trip("A", 4, (1, 1), (2, 2), NOW.plus(10)) });
    assert_eq!(directory.key(ours(1), &phone(1), NOW).unwrap().trip.id.as_str(), "B");
    assert_eq!(directory.key(ours(2), &phone(2), NOW).unwrap().trip.id.as_str(), "A");
    let lost = directory.trip(&TripId::new("A").unwrap(), NOW).unwrap();
    assert!(!lost.connects(NOW), "its other party would be called back by a stranger");
}

#[test]
fn every_phone_of_a_party_is_a_key_until_the_person_is_erased() {
    let mut directory = Directory::default();
    let mut two = trip("A", 1, (1, 1), (2, 2), NOW.plus(10));
    two.parties[0].phones = Phones::new(vec![phone(1), phone(7)]);
    directory.put_trip(two.clone());
    assert_eq!([1, 7, 2].map(|n| directory.key(ours(1), &phone(n), NOW).is_some()), [true, true, false]);
    two.parties[0].phones = Phones::none();
    directory.put_trip(Trip { version: 2, ..two });
    assert!([1, 7].iter().all(|n| directory.key(ours(1), &phone(*n), NOW).is_none()));
    assert!(directory.key(ours(2), &phone(2), NOW).is_some());
}

#[test]
fn slots_are_used_again_and_a_trip_that_was_extended_is_swept_at_its_new_end() {
    let mut directory = Directory::default();
    for round in 0..40_i64 {
        let now = NOW.plus(round * 100);
        for n in 0..10 {
            let name = format!("{round}-{n}");
            let version = round.cast_unsigned() * 20 + n;
            let made = trip(&name, version * 2, (n, 1), (n + 100, 2), now.plus(10));
            directory.put_trip(Trip { life: Life { created_at: now, ..made.life }, ..made.clone() });
            if n == 0 {
                let longer = Life { expires_at: now.plus(100), ..made.life };
                directory.put_trip(Trip { version: version * 2 + 1, life: longer, ..made });
            }
        }
        assert_eq!(directory.sweep(now.plus(29), 99), usize::from(round != 0));
        assert_eq!(directory.sweep(now.plus(30), 99), 9, "round {round}");
    }
    assert_eq!(directory.sweep(NOW.plus(9_999), 99), 1);
    assert!(directory.numbers.is_empty() && directory.trips.is_empty());
}

#[test]
fn the_same_trip_again_takes_no_more_room() {
    let mut directory = Directory::default();
    for _ in 0..9 {
        directory.put_trip(trip("A", 1, (1, 1), (2, 2), NOW.plus(10)));
    }
    for version in 2..9 {
        directory.put_trip(trip("A", version, (1, 1), (2, 2), NOW.plus(10)));
    }
    assert_eq!(directory.trips.room(), (1, 1));
    assert_eq!(directory.sweep(NOW.plus(30), 99), 1);
}

#[test]
fn a_suspended_number_is_known_as_such() {
    let mut directory = Directory::default();
    let mut plan = plan(&[1, 2]);
    plan.set_state(ours(2), NumberState::Suspended).unwrap();
    directory.put_city(&City::new("london").unwrap(), plan);
    assert!(
        directory.is_suspended(ours(2))
            && !directory.is_suspended(ours(1))
            && !directory.is_suspended(ours(3))
    );
}

#[test]
fn a_trunk_is_read_as_its_cities_say() {
    let mut directory = Directory::default();
    let named = |country: &str| -> CityPlan {
        let text = r#"{"country":"44","numbers":[],"trunks":{"a":{"country":"XX"}}}"#;
        serde_json::from_str(&text.replace("XX", country)).unwrap()
    };
    directory.put_city(&City::new("london").unwrap(), named("44"));
    directory.put_city(&City::new("leeds").unwrap(), named("44"));
    directory.put_city(&City::new("paris").unwrap(), named("33"));
    let count = |trunk| directory.profiles(trunk).len();
    assert_eq!((count(Some("a")), count(None), count(Some("default")), count(Some("b"))), (2, 1, 1, 1));
}
