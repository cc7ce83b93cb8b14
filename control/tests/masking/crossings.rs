//! Ways in which a call could have reached a party outside its trip, each as short as it gets.

use control::city::CityPlan;
use control::moment::Moment;
use control::name::{City, Role, TripId};
use control::number::{E164, PoolNumber};
use control::route::{Decision, Reason, document};
use control::trip::Change;
use serde_json::{Value, json};

use crate::site::Site;

const A: &str = "+447700900101";
const B: &str = "+447700900102";
const C: &str = "+447700900103";
const D: &str = "+447700900104";

const NOW: Moment = Moment::from_unix(1_800_000_000);

/// A site with one city.
async fn site(numbers: u64, cooling: u32) -> Site {
    let site = Site::start(NOW).await;
    pool(&site, numbers, cooling).await;
    site
}

async fn pool(site: &Site, numbers: u64, cooling: u32) {
    let numbers: Vec<_> = (1..=numbers).map(|n| format!("+44207946{n:04}")).collect();
    let plan = json!({"country": "44", "numbers": numbers, "cooling": cooling});
    let plan: CityPlan = serde_json::from_value(plan).unwrap();
    site.masking.put_city(City::new("london").unwrap(), plan).await.unwrap();
}

/// A trip of 60 s without grace, if nothing else is said: its numbers.
async fn trip(site: &Site, id: &str, people: [&[&str]; 2], more: Value, now: Moment) -> [PoolNumber; 2] {
    let [driver, passenger] = people;
    let mut request = json!({"trip": id, "city": "london", "expires_in": 60, "grace": 0, "parties": [
        {"role": "driver", "phones": driver}, {"role": "passenger", "phones": passenger}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        request[key] = value.clone();
    }
    let opened = site.masking.open_trip(&serde_json::from_value(request).unwrap(), now).await.unwrap();
    assert!(opened.new);
    opened.trip.parties.each_ref().map(|party| party.dial)
}

/// Trip and callee of a call, or why there is none.
async fn call(site: &Site, from: &str, to: PoolNumber, now: Moment) -> (String, String) {
    let question = json!({"call_id": format!("{from} {to} {now}"), "from": from, "to": to.to_string()});
    let question = serde_json::from_value(question).unwrap();
    match site.masking.route(&question, now).await.decision {
        Decision::Connect(connect) => (connect.routed.trip.to_string(), connect.callee.reveal().to_string()),
        Decision::Reject(reason) => (reason.as_str().to_owned(), String::new()),
    }
}

fn id(text: &str) -> TripId {
    TripId::new(text).unwrap()
}

fn reaches(trip: &str, callee: &str) -> (String, String) {
    (trip.to_owned(), callee.to_owned())
}

fn refused(reason: &str) -> (String, String) {
    reaches(reason, "")
}

#[tokio::test]
async fn a_closed_trip_stays_closed_when_the_clock_goes_back() {
    let site = site(2, 3_600).await;
    let [driver, _] = trip(&site, "T", [&[A], &[B]], Value::Null, NOW).await;
    site.masking.amend_trip(id("T"), Change::Close, NOW.plus(30)).await.unwrap();
    assert_eq!(call(&site, A, driver, NOW.plus(20)).await, refused("trip_ended"));
}

#[tokio::test]
async fn a_trip_that_is_over_does_not_come_back_with_a_key_that_is_anothers() {
    let mut site = site(1, 0).await;
    let [_, passenger] = trip(&site, "T-1", [&[A], &[B]], Value::Null, NOW).await;
    let [driver, _] = trip(&site, "T-2", [&[A], &[C]], Value::Null, NOW.plus(60)).await;
    for _ in 0..2 {
        // By the clock both are active. If B reached A, A would call C back.
        assert_eq!(call(&site, A, driver, NOW.plus(50)).await, reaches("T-2", C));
        assert_eq!(call(&site, B, passenger, NOW.plus(50)).await, refused("trip_ended"));
        site.restart(NOW.plus(50)).await;
    }
}

#[tokio::test]
async fn an_intent_does_not_pass_to_a_later_trip_of_the_same_id() {
    let site = site(4, 0).await;
    let short = json!({"expires_in": 10});
    let [driver, _] = trip(&site, "T", [&[A], &[B]], short, NOW).await;
    site.masking.open_intent(&id("T"), &Role::new("driver").unwrap(), NOW).unwrap();
    trip(&site, "T", [&[C], &[D]], Value::Null, NOW.plus(20)).await;
    assert_eq!(call(&site, "anonymous", driver, NOW.plus(30)).await, refused("withheld"));
}

#[tokio::test]
async fn a_trip_that_goes_on_takes_the_place_of_the_intents_before() {
    let site = site(2, 0).await;
    let driver = Role::new("driver").unwrap();
    trip(&site, "T-1", [&[A], &[B]], json!({"grace": 600}), NOW).await;
    site.masking.open_intent(&id("T-1"), &driver, NOW.plus(60)).unwrap();
    let [dial, _] = trip(&site, "T-2", [&[A], &[B]], Value::Null, NOW.plus(60)).await;
    site.masking.open_intent(&id("T-2"), &driver, NOW.plus(60)).unwrap();
    assert_eq!(call(&site, "anonymous", dial, NOW.plus(61)).await, reaches("T-2", B));
}

#[tokio::test]
async fn erasing_a_person_leaves_what_another_phone_has_in_other_trips() {
    let site = site(1, 0).await;
    // C has a trip of its own, and stands beside A in another.
    let [driver, _] = trip(&site, "T-1", [&[C], &[D]], Value::Null, NOW).await;
    pool(&site, 2, 0).await;
    trip(&site, "T-2", [&[A, C], &[B]], Value::Null, NOW).await;
    assert_eq!(site.masking.erase(E164::parse(A).unwrap(), NOW).await.unwrap(), 1);
    // No other trip of C is given the number that C dials.
    let [other, _] = trip(&site, "T-3", [&[C], &[B]], Value::Null, NOW).await;
    assert_ne!(driver, other);
    assert_eq!(call(&site, C, driver, NOW).await, reaches("T-1", D));
}

#[tokio::test]
async fn erasing_a_person_ends_no_trip_of_others_that_has_an_old_id() {
    let site = site(4, 0).await;
    trip(&site, "T", [&[A], &[B]], Value::Null, NOW).await;
    let [driver, _] = trip(&site, "T", [&[C], &[D]], Value::Null, NOW.plus(60)).await;
    assert_eq!(site.masking.erase(E164::parse(A).unwrap(), NOW.plus(60)).await.unwrap(), 0);
    assert_eq!(call(&site, C, driver, NOW.plus(61)).await, reaches("T", D));
}

#[tokio::test]
async fn erasing_a_person_reaches_trips_that_have_handed_their_numbers_on() {
    let site = site(2, 0).await;
    trip(&site, "T-1", [&[A], &[B]], json!({"grace": 600}), NOW).await;
    trip(&site, "T-2", [&[A], &[B]], Value::Null, NOW.plus(60)).await;
    assert_eq!(site.masking.erase(E164::parse(A).unwrap(), NOW.plus(61)).await.unwrap(), 2);
    let page = control::store::Page { limit: 10, ..Default::default() };
    for trip in site.masking.page(page, NOW.plus(61)).await.unwrap() {
        assert!(!trip.parties.iter().any(|party| party.phones.have(&E164::parse(A).unwrap())));
    }
}

#[tokio::test]
async fn blocking_a_pair_is_about_that_pair_alone() {
    let site = site(4, 3_600).await;
    let [one, _] = trip(&site, "T-1", [&[A], &[B]], Value::Null, NOW).await;
    // Here A and B are one party.
    let [other, _] = trip(&site, "T-2", [&[A, B], &[C]], Value::Null, NOW).await;
    site.masking.block_pair(id("T-1"), true, NOW).await.unwrap();
    assert_eq!(call(&site, A, one, NOW).await, refused("blocked"));
    assert_eq!(call(&site, A, other, NOW).await, reaches("T-2", C));
    // Of two pairs that are kept apart in one trip, one is let together again.
    trip(&site, "T-3", [&[A], &[C]], Value::Null, NOW).await;
    site.masking.block_pair(id("T-2"), true, NOW).await.unwrap();
    site.masking.block_pair(id("T-3"), false, NOW).await.unwrap();
    assert_eq!(call(&site, A, other, NOW).await, refused("blocked"));
}

#[tokio::test]
async fn a_pair_is_blocked_although_their_trip_before_is_purged() {
    let site = site(4, 0).await;
    trip(&site, "T-1", [&[A], &[B]], Value::Null, NOW).await;
    site.masking.sweep(NOW.plus(60)).await;
    // The clock goes back: keys of the trip that was purged look as if they were held.
    let [driver, _] = trip(&site, "T-2", [&[A], &[B]], Value::Null, NOW.plus(10)).await;
    site.masking.block_pair(id("T-2"), true, NOW.plus(10)).await.unwrap();
    assert_eq!(call(&site, A, driver, NOW.plus(10)).await, refused("blocked"));
}

#[tokio::test]
async fn the_same_pair_goes_on_whatever_trips_its_phones_share_besides() {
    let site = site(6, 0).await;
    let grace = || json!({"grace": 600});
    let before = trip(&site, "T-1", [&[A], &[B]], grace(), NOW).await;
    trip(&site, "T-2", [&[A, C], &[B]], grace(), NOW).await;
    assert_eq!(trip(&site, "T-3", [&[A], &[B]], Value::Null, NOW.plus(60)).await, before);
}

#[tokio::test]
async fn a_borrowed_number_plays_the_prompt_of_the_trips_own_city() {
    let site = Site::start(NOW).await;
    for (city, plan) in [
        ("london", json!({"country": "44", "numbers": ["+442079460001", "+442079460002"]})),
        (
            "york",
            json!({"country": "44", "numbers": ["+441904960001", "+441904960002"],
            "consent_prompt": "york-records"}),
        ),
        (
            "paris",
            json!({"country": "33", "numbers": [], "neighbours": ["london"],
            "consent_prompt": "paris-enregistre"}),
        ),
        ("leeds", json!({"country": "44", "numbers": [], "neighbours": ["york"]})),
    ] {
        let plan: CityPlan = serde_json::from_value(plan).unwrap();
        site.masking.put_city(City::new(city).unwrap(), plan).await.unwrap();
    }
    for (id, city, people, prompt) in
        [("T-1", "paris", [A, B], json!("paris-enregistre")), ("T-2", "leeds", [C, D], Value::Null)]
    {
        let [dial, _] = trip(&site, id, [&people[..1], &people[1..]], json!({"city": city}), NOW).await;
        let question = json!({"call_id": id, "from": people[0], "to": dial.to_string()});
        let routing = site.masking.route(&serde_json::from_value(question).unwrap(), NOW).await;
        let answer = document::render(&routing.decision, routing.plan.as_deref(), "sbc.example").unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!((&answer["bauta"]["trip"], &answer["bauta"]["consent_prompt"]), (&json!(id), &prompt));
    }
}

#[tokio::test]
async fn an_intent_is_not_for_a_caller_that_the_carrier_does_not_vouch_for() {
    let site = Site::start(NOW).await;
    let plan = json!({"country": "44", "numbers": ["+442079460001", "+442079460002"],
        "trunks": {"careful": {"country": "44", "verstat": "refuse_failed"}}});
    let plan: CityPlan = serde_json::from_value(plan).unwrap();
    site.masking.put_city(City::new("london").unwrap(), plan).await.unwrap();
    let [dial, _] = trip(&site, "T", [&[A], &[B]], Value::Null, NOW).await;
    site.masking.open_intent(&id("T"), &Role::new("driver").unwrap(), NOW).unwrap();
    let failed = json!({"call_id": "c", "trunk": "careful", "to": dial.to_string(),
        "from": format!("sip:{C};verstat=TN-Validation-Failed@carrier.example")});
    let routing = site.masking.route(&serde_json::from_value(failed).unwrap(), NOW).await;
    assert_eq!(routing.decision, Decision::Reject(Reason::Unverified));
    // It is still open for the call that it was meant for.
    assert_eq!(call(&site, "anonymous", dial, NOW).await, reaches("T", B));
}
