use super::*;
use crate::name::Role;
use crate::trip::{Life, Party, Pin};

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
        phone: phone(who),
        dial: ours(dial),
        pin: Pin::from_digits("12345").unwrap(),
    };
    Trip {
        id: TripId::new(id).unwrap(),
        city: City::new("london").unwrap(),
        version,
        record: true,
        max_seconds: 60,
        life: Life { created_at: NOW, expires_at, closed_at: None, grace: 10, cooling: 10 },
        parties: [party("driver", a), party("passenger", b)],
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
    assert_eq!((directory.sweep(NOW.plus(29)), directory.sweep(NOW.plus(30))), (0, 1));
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
    assert_eq!(directory.sweep(NOW.plus(30)), 0);
    assert_eq!(directory.sweep(NOW.plus(70)), 1);
    assert!(directory.numbers.is_empty() && directory.by_end.is_empty());
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
    directory.sweep(NOW.plus(99));
    assert!(!directory.is_ours(ours(1)) && directory.is_ours(ours(2)));
}

#[test]
fn a_key_that_passed_to_a_later_trip_outlives_the_earlier_one() {
    let mut directory = Directory::default();
    directory.put_trip(trip("A", 1, (1, 1), (2, 2), NOW.plus(10)));
    directory.put_trip(trip("B", 2, (1, 1), (3, 2), NOW.plus(99)));
    directory.sweep(NOW.plus(30));
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
    directory.sweep(NOW.plus(50));
    assert_eq!(directory.key(ours(1), &phone(1), NOW).unwrap().trip.id.as_str(), "B");
}

#[test]
fn pages_follow_each_other() {
    let mut directory = Directory::default();
    for (n, id) in ["A", "B", "C", "D"].iter().enumerate() {
        let n = n as u64 * 2;
        directory.put_trip(trip(id, n, (n, 1), (n + 1, 2), NOW.plus(if *id == "C" { 5 } else { 10 })));
    }
    let names = |trips: Vec<Arc<Trip>>| trips.iter().map(|t| t.id.to_string()).collect::<String>();
    assert_eq!(names(directory.page(None, 2, None, None, NOW)), "AB");
    assert_eq!(names(directory.page(Some(&TripId::new("B").unwrap()), 9, None, None, NOW)), "CD");
    assert_eq!(names(directory.page(None, 9, Some(TripState::Grace), None, NOW.plus(7))), "C");
    assert_eq!(directory.census(NOW.plus(7)), [3, 1, 0, 0]);
}
