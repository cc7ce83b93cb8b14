//! PINs: whose they are, and what a stranger learns by trying.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use control::city::CityPlan;
use control::moment::Moment;
use control::name::City;
use control::number::PoolNumber;
use control::route::tries::{LOCK_SECONDS, NUMBER_SECONDS, NUMBER_TRIES};
use control::route::{Decision, Reason, document};
use control::trip::Trip;
use serde_json::json;

use crate::site::Site;

const NOW: Moment = Moment::from_unix(1_800_000_000);

/// A site whose city has so many numbers.
async fn site(numbers: u64) -> Site {
    let site = Site::start(NOW).await;
    let numbers: Vec<_> = (1..=numbers).map(|n| format!("+44207946{n:04}")).collect();
    let plan: CityPlan = serde_json::from_value(json!({"country": "44", "numbers": numbers})).unwrap();
    site.masking.put_city(City::new("london").unwrap(), plan).await.unwrap();
    site
}

/// The trip of the `n`th driver and passenger.
async fn trip(site: &Site, n: usize) -> Arc<Trip> {
    let request = json!({"trip": format!("T{n}"), "city": "london", "parties": [
        {"role": "driver", "phone": format!("+44770090{n:04}")},
        {"role": "passenger", "phone": format!("+44770190{n:04}")}]});
    site.masking.open_trip(&serde_json::from_value(request).unwrap(), NOW).await.unwrap().trip
}

/// What becomes of a call of `from` to `to` with this PIN, and the answer as the proxy gets it.
async fn call(site: &Site, from: &str, to: PoolNumber, pin: &str, now: Moment) -> (Decision, Vec<u8>) {
    let question = json!({"call_id": "c@192.0.2.1", "from": from, "to": to.to_string(), "pin": pin});
    let routing = site.masking.route(&serde_json::from_value(question).unwrap(), now).await;
    let answer = document::render(&routing.decision, routing.plan.as_deref(), "sbc.example").unwrap();
    (routing.decision, answer)
}

fn refused(reason: Reason) -> Decision {
    Decision::Reject(reason)
}

/// A PIN that nobody of the trip has.
fn wrong(trip: &Trip, n: usize) -> String {
    let right = trip.parties.each_ref().map(|party| party.pin.reveal().to_string());
    (n..n + 3).map(|n| format!("{:05}", n % 100_000)).find(|pin| !right.contains(pin)).unwrap()
}

#[tokio::test]
async fn a_pin_is_one_party_on_its_number_however_many_there_are() {
    const TRIPS: usize = 250;
    let site = site(2).await;
    let mut pins: BTreeMap<PoolNumber, BTreeSet<String>> = BTreeMap::new();
    let mut trips = Vec::new();
    for n in 0..TRIPS {
        let trip = trip(&site, n).await;
        for party in &trip.parties {
            let pin = party.pin.reveal().to_string();
            assert!((5..=9).contains(&pin.len()));
            assert!(
                pins.entry(party.dial).or_default().insert(pin),
                "two parties have one PIN on {}",
                party.dial
            );
        }
        trips.push(trip);
    }
    assert_eq!(pins.values().map(BTreeSet::len).sum::<usize>(), 2 * TRIPS);
    // More parties, longer PINs: a guess stays hopeless.
    assert!(pins.values().all(|all| all.iter().any(|pin| pin.len() >= 7)));
    for trip in trips.iter().step_by(10) {
        for (index, party) in trip.parties.iter().enumerate() {
            let (decision, _) = call(&site, "anonymous", party.dial, &party.pin.reveal(), NOW).await;
            let Decision::Connect(connect) = decision else { panic!("{decision:?}") };
            let (_, other) = trip.sides(index);
            assert_eq!((&connect.routed.trip, connect.shown), (&trip.id, other.dial));
            assert_eq!(Some(&connect.callee), other.phones.called());
        }
    }
}

#[tokio::test]
async fn three_wrong_pins_lock_even_among_a_hundred_asked_at_once() {
    // Where a look-up took its whole time the machine was too slow to say anything.
    for _ in 0..20 {
        let site = Arc::new(site(2).await);
        let trip = trip(&site, 1).await;
        let (to, right) = (trip.parties[0].dial, trip.parties[0].pin.reveal().to_string());
        let begun = std::time::Instant::now();
        let calls = (0..101).map(|n| {
            let pin = if n == 57 { right.clone() } else { wrong(&trip, n * 31) };
            let site = Arc::clone(&site);
            tokio::spawn(async move { call(&site, "anonymous", to, &pin, NOW).await.0 })
        });
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for call in calls.collect::<Vec<_>>() {
            let decision = call.await.unwrap();
            let Decision::Reject(reason) = decision else { panic!("{decision:?}") };
            *reasons.entry(reason.as_str()).or_default() += 1;
        }
        if begun.elapsed().as_millis() < 50 {
            assert_eq!(reasons, BTreeMap::from([("pin_wrong", 3), ("pin_locked", 98)]));
            assert_eq!(site.store.pins_compared(), 3, "a PIN was compared for who is locked");
            return;
        }
    }
    panic!("the machine is too slow: 101 route decisions took more than 50 ms, each time");
}

#[tokio::test]
async fn a_lock_tells_nothing_and_ends() {
    let site = site(2).await;
    let trip = trip(&site, 1).await;
    let (to, right) = (trip.parties[0].dial, trip.parties[0].pin.reveal().to_string());
    for n in 0..3 {
        assert_eq!(call(&site, "anonymous", to, &wrong(&trip, n), NOW).await.0, refused(Reason::PinWrong));
    }
    let compared = site.store.pins_compared();
    let mut answers = BTreeSet::new();
    for pin in [right.as_str(), &wrong(&trip, 9), "1", ""] {
        let (decision, answer) =
            call(&site, "anonymous", to, pin, NOW.plus(i64::from(LOCK_SECONDS) - 1)).await;
        assert_eq!(decision, refused(Reason::PinLocked));
        answers.insert(answer);
    }
    assert_eq!((answers.len(), site.store.pins_compared()), (1, compared));
    // Another caller, another number, the party itself: not locked.
    let others = [
        ("sip:+447700900777@carrier.example", to, right.as_str()),
        ("anonymous", trip.parties[1].dial, &trip.parties[1].pin.reveal()),
        ("sip:+447700900001@carrier.example", to, ""),
    ];
    for (from, to, pin) in others {
        assert!(
            matches!(
                call(&site, from, to, pin, NOW.plus(i64::from(LOCK_SECONDS) - 1)).await.0,
                Decision::Connect(_)
            ),
            "{from}"
        );
    }
    let (decision, _) = call(&site, "anonymous", to, &right, NOW.plus(LOCK_SECONDS.into())).await;
    assert!(matches!(decision, Decision::Connect(_)), "after the lock: {decision:?}");
}

#[tokio::test]
async fn changing_the_caller_id_helps_for_so_many_tries_on_a_number() {
    let site = site(2).await;
    let trip = trip(&site, 1).await;
    let (to, right) = (trip.parties[0].dial, trip.parties[0].pin.reveal().to_string());
    for n in 0..NUMBER_TRIES {
        let from = format!("sip:+447700955{n:03}@carrier.example");
        assert_eq!(call(&site, &from, to, &wrong(&trip, n), NOW).await.0, refused(Reason::PinWrong));
    }
    for from in ["anonymous", "sip:+447700955999@carrier.example"] {
        assert_eq!(
            call(&site, from, to, &right, NOW.plus(i64::from(NUMBER_SECONDS) - 1)).await.0,
            refused(Reason::PinLocked)
        );
    }
    let known = call(&site, "sip:+447700900001@carrier.example", to, "", NOW).await.0;
    assert!(matches!(known, Decision::Connect(_)), "who is known needs no PIN: {known:?}");
    let later = call(&site, "anonymous", to, &right, NOW.plus(NUMBER_SECONDS.into())).await.0;
    assert!(matches!(later, Decision::Connect(_)), "after the lock: {later:?}");
}

#[tokio::test]
async fn a_store_that_does_not_answer_says_nothing_of_a_pin() {
    let site = site(2).await;
    let trip = trip(&site, 1).await;
    let (to, right) = (trip.parties[0].dial, trip.parties[0].pin.reveal().to_string());
    for pin in [right.clone(), wrong(&trip, 1), wrong(&trip, 2), wrong(&trip, 3)] {
        let held = site.store.hold_next();
        let (decision, answer) = call(&site, "anonymous", to, &pin, NOW).await;
        assert_eq!(decision, refused(Reason::Unavailable));
        assert!(String::from_utf8(answer).unwrap().contains("\"sip_code\":480"));
        held.release();
    }
    let (decision, _) = call(&site, "anonymous", to, &right, NOW).await;
    assert!(matches!(decision, Decision::Connect(_)), "none of them counts as a wrong one: {decision:?}");
}

#[tokio::test]
async fn who_is_locked_waits_for_nobody() {
    let site = Arc::new(site(2).await);
    let trip = trip(&site, 1).await;
    let (to, other) = (trip.parties[0].dial, trip.parties[1].dial);
    for n in 0..3 {
        assert_eq!(call(&site, "anonymous", to, &wrong(&trip, n), NOW).await.0, refused(Reason::PinWrong));
    }
    // Somebody else's PIN is looked up, and the store takes its time.
    let mut held = site.store.hold_next();
    let (slow, pin) = (Arc::clone(&site), wrong(&trip, 4));
    let slow = tokio::spawn(async move { call(&slow, "anonymous", other, &pin, NOW).await.0 });
    assert!(held.answered().await);
    let mut locked = pin!(call(&site, "anonymous", to, "12345", NOW));
    let Poll::Ready((decision, _)) = locked.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("a locked caller stands in the queue")
    };
    assert_eq!(decision, refused(Reason::PinLocked));
    held.release();
    slow.await.unwrap();
}
