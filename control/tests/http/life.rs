//! A trip from its making to its end: extended, changed, closed, cancelled, reopened, continued.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::server::{Calls, DRIVER, PASSENGER, Server, answered, between, party, phone, until, wish};

fn served() -> Server {
    let server = Server::start(Calls::default());
    server.city(4);
    server
}

#[test]
fn a_trip_is_extended_up_to_its_absolute_end() {
    let server = served();
    let mut request = wish("T-1");
    (request["expires_in"], request["ends_in"]) = (json!(3600), json!(10_000));
    let made = server.business("POST", "/v1/trips", request).expect(201);
    let extended = server.business("PATCH", "/v1/trips/T-1", json!({"expires_in": 9_000})).expect(200);
    assert!(extended["expires_at"].as_str() > made["expires_at"].as_str());
    assert!(extended["ends_by"].as_str() > extended["expires_at"].as_str());
    let past = server.business("PATCH", "/v1/trips/T-1", json!({"expires_in": 20_000}));
    let end = extended["ends_by"].as_str().unwrap();
    assert_eq!(past.problem(409, end)["type"], "urn:bauta:problem:past_end");
    server.business("PATCH", "/v1/trips/T-1", json!({"expires_in": 0})).problem(400, "from 1 to 2592000");
    server.business("POST", "/v1/trips/T-1/close", Value::Null).expect(200);
    let reopen = server.business("POST", "/v1/trips/T-1/reopen", json!({"expires_in": 20_000}));
    assert_eq!(reopen.problem(409, end)["type"], "urn:bauta:problem:past_end");
    let read = server.business("GET", "/v1/trips/T-1", Value::Null).expect(200);
    assert_eq!(read["expires_at"], extended["expires_at"], "what is refused changes nothing");
}

#[test]
fn rules_change_from_the_next_call_on() {
    let server = served();
    let made = server.trip("T-1");
    let rules = json!({"record": false, "callers": ["passenger"], "max_seconds": 60, "ring_seconds": 20, "max_calls": 3});
    let changed = server.business("PATCH", "/v1/trips/T-1", rules.clone()).expect(200);
    for (name, value) in rules.as_object().unwrap() {
        assert_eq!(&changed[name], value, "{name}");
    }
    assert_eq!(server.call(DRIVER, &made["parties"][0])["reason"], "direction");
    let connect = server.call(PASSENGER, &made["parties"][1]);
    let want = json!({"decision": "connect", "trip": "T-1", "caller": "passenger", "callee": "driver",
        "record": false, "max_seconds": 60, "ring_seconds": 20});
    assert_eq!(connect, want);
    for (bad, part) in [
        (json!({"callers": ["guest"]}), "callers lists"),
        (json!({"max_calls": 0}), "max_calls must be from 1"),
        (json!({"ring_seconds": 4}), "ring_seconds must be from 5 to 180"),
        (json!({"grace": 5}), "unknown field `grace`"),
    ] {
        server.business("PATCH", "/v1/trips/T-1", bad).problem(400, part);
    }
    let same = server.business("PATCH", "/v1/trips/T-1", json!({})).expect(200);
    assert_eq!(same["version"], server.business("GET", "/v1/trips/T-1", Value::Null).expect(200)["version"]);
}

#[test]
fn a_closed_trip_is_reopened_within_grace_and_not_after() {
    let server = served();
    let made = server.trip("T-1");
    let driver = &made["parties"][0];
    let post = |what: &str, body: Value| server.business("POST", &format!("/v1/trips/T-1/{what}"), body);

    let closed = post("close", Value::Null).expect(200);
    assert_eq!((&closed["state"], closed["closed_at"].is_string()), (&json!("grace"), true));
    assert_eq!(server.call(DRIVER, driver)["reason"], "trip_ended");
    let reopened = post("reopen", json!({"expires_in": 60})).expect(200);
    assert_eq!((&reopened["state"], &reopened["closed_at"]), (&json!("active"), &Value::Null));
    assert_eq!(reopened["parties"], made["parties"], "numbers and PINs stay");
    assert_eq!(server.call(DRIVER, driver)["decision"], "connect");
    assert_eq!(
        post("reopen", Value::Null).expect(200)["version"],
        reopened["version"],
        "it is active already"
    );
    post("reopen", json!({"expires_in": 0})).problem(400, "expires_in must be");

    // What was left in the car.
    let over = post("close", json!({"calls_in_grace": true})).expect(200);
    assert_eq!((&over["state"], &over["closed_at"]), (&json!("grace"), &Value::Null));
    assert_eq!(server.call(DRIVER, driver)["decision"], "connect");
    assert_eq!(post("reopen", Value::Null).expect(200)["state"], "active");

    for _ in 0..2 {
        assert_eq!(post("cancel", Value::Null).expect(200)["state"], "cooling");
    }
    assert_eq!(server.call(DRIVER, driver)["reason"], "trip_ended");
    for (what, method, path) in
        [(json!({"expires_in": 60}), "PATCH", "/v1/trips/T-1"), (Value::Null, "POST", "/v1/trips/T-1/reopen")]
    {
        assert_eq!(
            server.business(method, path, what).problem(409, "has ended")["type"],
            "urn:bauta:problem:trip_ended"
        );
    }
}

#[test]
fn what_is_purged_is_gone_and_its_id_free() {
    let server = served();
    let plan =
        json!({"country": "44", "numbers": ["+442079460001", "+442079460002"], "grace": 0, "cooling": 0});
    server.operator("PUT", "/v1/cities/london", plan).expect(200);
    server.business("POST", "/v1/trips", between("T-1", DRIVER, PASSENGER)).expect(201);
    let cancelled = server.business("POST", "/v1/trips/T-1/cancel", json!({})).expect(200);
    assert_eq!(cancelled["state"], "purged");
    server.business("GET", "/v1/trips/T-1", Value::Null).problem(404, "no such trip");
    for what in ["close", "cancel", "reopen"] {
        server.business("POST", &format!("/v1/trips/T-1/{what}"), Value::Null).problem(404, "no such trip");
    }
    let page = server.business("GET", "/v1/trips", Value::Null).expect(200);
    assert_eq!(page, json!({"trips": [], "next": null}));
    server.business("POST", "/v1/trips", between("T-1", &phone(1), &phone(2))).expect(201);
}

#[test]
fn time_alone_ends_a_trip_and_calls_carry_a_sliding_one() {
    let server = served();
    let with = |id: &str, more: Value| {
        let mut request = between(id, DRIVER, PASSENGER);
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.business("POST", "/v1/trips", request).expect(201)
    };
    let state = |id: &str| server.business("GET", &format!("/v1/trips/{id}"), Value::Null).expect(200);
    let sliding = with("T-1", json!({"expires_in": 32, "sliding": true}));
    let graceful = with("T-2", json!({"expires_in": 1}));
    let strict = with("T-3", json!({"expires_in": 1, "grace": 0}));
    let late = until(|| Some(state("T-2")).filter(|trip| trip["state"] == "grace"));
    assert_eq!(server.call(DRIVER, &graceful["parties"][0])["decision"], "connect", "{late}");
    until(|| Some(()).filter(|()| state("T-3")["state"] == "cooling"));
    assert_eq!(server.call(DRIVER, &strict["parties"][0])["reason"], "trip_ended");
    server.business("POST", "/v1/trips/T-3/reopen", Value::Null).problem(409, "has ended");
    until(|| {
        assert_eq!(server.call(DRIVER, &sliding["parties"][0])["decision"], "connect");
        Some(()).filter(|()| state("T-1")["expires_at"].as_str() > sliding["expires_at"].as_str())
    });
}

#[test]
fn the_same_two_people_again_in_grace_go_on_with_their_numbers() {
    let server = served();
    let first = server.trip("T-1");
    server.business("POST", "/v1/trips/T-1/close", json!({})).expect(200);
    let second = server.trip("T-2");
    assert_eq!(second["continues"], "T-1");
    let dials = |trip: &Value| [trip["parties"][0]["dial"].clone(), trip["parties"][1]["dial"].clone()];
    assert_eq!(dials(&second), dials(&first));
    assert_eq!(server.call(DRIVER, &first["parties"][0])["trip"], "T-2");
    let old = server.business("GET", "/v1/trips/T-1", Value::Null).expect(200);
    assert_eq!((&old["state"], &old["handed_on"]), (&json!("grace"), &json!(true)));
    let reopen = server.business("POST", "/v1/trips/T-1/reopen", Value::Null);
    assert_eq!(reopen.problem(409, "later trip")["type"], "urn:bauta:problem:trip_handed_on");
    server.business("PATCH", "/v1/trips/T-1", json!({"expires_in": 60})).problem(409, "has ended");
    assert_eq!(server.business("POST", "/v1/trips", wish("T-2")).expect(200)["continues"], Value::Null);

    // A driver may ride: roles belong to the trip, numbers to the people.
    server.business("POST", "/v1/trips/T-2/close", json!({})).expect(200);
    let third = server.business("POST", "/v1/trips", between("T-3", PASSENGER, DRIVER)).expect(201);
    let [driver, passenger] = dials(&first);
    assert_eq!((&third["continues"], dials(&third)), (&json!("T-2"), [passenger, driver]));
    // A trip that is still active is none to go on with.
    let fourth = server.trip("T-4");
    assert_eq!(fourth["continues"], Value::Null);
    assert!(dials(&fourth).iter().zip(&dials(&first)).all(|(dial, held)| dial != held));
}

#[test]
fn a_party_may_have_several_phones() {
    let server = served();
    let phones: Vec<_> = (1..=9).map(phone).collect();
    let with = |driver: Value| json!({"trip": "T-1", "city": "london", "parties": [driver, party("passenger", PASSENGER)]});
    let made = with(json!({"role": "driver", "phones": phones[..3]}));
    let made = server.business("POST", "/v1/trips", made).expect(201);
    for phone in &phones[..3] {
        let connect = server.call(phone, &made["parties"][0]);
        assert_eq!((&connect["decision"], &connect["caller"]), (&json!("connect"), &json!("driver")));
    }
    assert_eq!(server.call(&phones[3], &made["parties"][0])["reason"], "unknown_caller");
    let back = server.route(&format!("sip:{PASSENGER}@x"), &crate::server::dialling(&made["parties"][1]));
    assert_eq!(back["routes"][0]["uri"], format!("sip:{}@sbc.example", phones[0]), "the first is called");
    for (driver, part) in [
        (json!({"role": "driver", "phones": phones}), "1 to 8 phones"),
        (json!({"role": "driver", "phones": []}), "1 to 8 phones"),
        (json!({"role": "driver", "phone": phones[0], "phones": phones[1..2]}), "either a phone or a list"),
        (json!({"role": "driver"}), "either a phone or a list"),
        (json!({"role": "driver", "phones": [phones[0], phones[0]]}), "given twice"),
        (json!({"role": "driver", "phones": [phones[0], PASSENGER]}), "given twice"),
    ] {
        server.business("POST", "/v1/trips", with(driver)).problem(400, part);
    }
}

#[test]
fn numbers_that_cost_the_caller_dearly_are_refused() {
    let server = served();
    for (phone, kind) in [
        ("+449098790001", "premium"),
        ("+46770123456", "shared_cost"),
        ("+881612345678", "satellite"),
        ("+882161234567", "satellite"),
        ("+88310001234567", "international_network"),
    ] {
        let request = server.business("POST", "/v1/trips", between("T-1", phone, PASSENGER));
        let refused = request.problem(400, &format!("phone of the driver is a {kind} number"));
        assert!(!refused.to_string().contains(&phone[4..]), "{refused}");
    }
    server.trip("T-1");
}

#[test]
fn a_page_of_trips_goes_through_the_calls_once() {
    let calls = Calls::default();
    let looks = Arc::clone(&calls.looks);
    for trip in ["T-2", "T-2", "T-3", "T-9"] {
        calls.live.lock().unwrap().push(answered(Uuid::now_v7(), trip, false));
    }
    let server = Server::start(calls);
    server.city(6);
    for id in ["T-1", "T-2", "T-3"] {
        server.trip(id);
    }
    let before = looks.load(Ordering::Relaxed);
    let page = server.business("GET", "/v1/trips", Value::Null).expect(200);
    assert_eq!([0, 1, 2].map(|n| page["trips"][n]["calls"].as_u64()), [Some(0), Some(2), Some(1)]);
    assert_eq!(looks.load(Ordering::Relaxed), before + 1);
}
