//! Route decisions: who may call whom, how often, and what a refused caller gets.

use std::sync::Arc;

use control::moment::Moment;
use control::name::TripId;
use serde_json::{Value, json};

use crate::server::{Calls, DRIVER, PASSENGER, Server, between, dialling, phone, until, wish};

/// A server whose city london has this beside four numbers.
fn with_plan(more: Value) -> Server {
    let server = Server::start(Calls::default());
    let numbers: Vec<_> = (1..=4).map(|n| format!("+4420794600{n:02}")).collect();
    let mut plan = json!({"country": "44", "numbers": numbers});
    plan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.operator("PUT", "/v1/cities/london", plan).expect(201);
    server
}

#[test]
fn one_way_trips_let_one_party_call() {
    let server = with_plan(json!({}));
    let mut request = wish("T-1");
    request["callers"] = json!(["driver"]);
    let made = server.business("POST", "/v1/trips", request).expect(201);
    assert_eq!(server.call(DRIVER, &made["parties"][0])["decision"], "connect");
    let want = json!({"decision": "reject", "sip_code": 403, "reason": "direction", "announcement": "direction"});
    assert_eq!(server.call(PASSENGER, &made["parties"][1]), want);
    for callers in [json!([]), json!(["driver", "guest"])] {
        let mut request = wish("T-2");
        request["callers"] = callers;
        server.business("POST", "/v1/trips", request).problem(400, "callers lists");
    }
}

#[test]
fn a_trip_has_so_many_calls_and_no_more_over_restarts_too() {
    let mut server = with_plan(json!({"max_calls": 3}));
    let made = server.trip("T-1");
    let driver = &made["parties"][0];
    let ask = |server: &Server, call_id: &str| {
        let from = format!("sip:{DRIVER}@x");
        server.decide(json!({"call_id": call_id, "from": from, "to": dialling(driver)}))["bauta"]["decision"].clone()
    };
    // A proxy that asks again about a call has not made another one.
    for call in ["a", "a", "b", "a", "b"] {
        assert_eq!(ask(&server, call), "connect", "{call}");
    }
    let stored = || {
        let trip = server.store.trip(TripId::new("T-1").unwrap(), Moment::now());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(trip).unwrap().filter(|trip| trip.calls == 2)
    };
    until(stored);
    server.stop();
    let server = Server::over(Arc::clone(&server.folder), Calls::default());
    assert_eq!(server.call(PASSENGER, &made["parties"][1])["decision"], "connect");
    let limit = server.call(DRIVER, driver);
    assert_eq!((&limit["reason"], &limit["sip_code"]), (&json!("limit"), &json!(403)));
    server.business("PATCH", "/v1/trips/T-1", json!({"max_calls": 4})).expect(200);
    assert_eq!(server.call(DRIVER, driver)["decision"], "connect");
}

#[test]
fn calls_that_begin_too_fast_are_refused_by_the_citys_paces() {
    let paces = json!({"trip_pace": {"most": 2, "seconds": 3600}, "party_pace": {"most": 3, "seconds": 3600}});
    let server = with_plan(paces);
    let one = server.trip("T-1");
    let other = server.business("POST", "/v1/trips", between("T-2", DRIVER, &phone(1))).expect(201);
    let driver = |trip: &Value| server.call(DRIVER, &trip["parties"][0]);
    for _ in 0..2 {
        assert_eq!(driver(&one)["decision"], "connect");
    }
    for _ in 0..2 {
        let want = json!({"decision": "reject", "sip_code": 480, "reason": "trip_rate", "announcement": "trip_rate"});
        assert_eq!(driver(&one), want, "a refusal costs nothing");
    }
    assert_eq!(driver(&other)["decision"], "connect");
    assert_eq!(driver(&other)["reason"], "party_rate", "over all trips of the party");
    assert_eq!(server.call(&phone(1), &other["parties"][1])["decision"], "connect", "the other party has its own");
}

#[test]
fn who_is_blocked_is_so_in_every_trip_of_the_two() {
    let server = with_plan(json!({}));
    let trips = ["T-1", "T-2"].map(|id| server.trip(id));
    let other = server.business("POST", "/v1/trips", between("T-3", DRIVER, &phone(1))).expect(201);
    let reasons = |trip: &Value| {
        [(DRIVER, 0), (PASSENGER, 1)].map(|(who, n)| server.call(who, &trip["parties"][n])["reason"].clone())
    };
    assert_eq!(server.business("PUT", "/v1/trips/T-1/block", Value::Null).expect(200)["blocked"], true);
    let blocked = |id: &str| server.business("GET", &format!("/v1/trips/{id}"), Value::Null).expect(200)["blocked"].clone();
    assert_eq!(["T-1", "T-2", "T-3"].map(blocked), [json!(true), json!(true), json!(false)]);
    for trip in &trips {
        assert_eq!(reasons(trip), [json!("blocked"), json!("blocked")]);
    }
    assert_eq!(server.call(DRIVER, &other["parties"][0])["decision"], "connect");
    // Those to come, whoever drives.
    let later = server.business("POST", "/v1/trips", between("T-4", PASSENGER, DRIVER)).expect(201);
    assert_eq!(server.call(DRIVER, &later["parties"][1])["reason"], "blocked");
    server.business("POST", "/v1/trips/T-4/intents", json!({"role": "driver"})).problem(409, "blocked");
    assert_eq!(server.business("DELETE", "/v1/trips/T-2/block", Value::Null).expect(200)["blocked"], false);
    for trip in &trips {
        assert_eq!(reasons(trip), [Value::Null, Value::Null]);
    }
    assert_eq!(server.call(DRIVER, &later["parties"][1])["decision"], "connect");
}

#[test]
fn what_a_refused_caller_gets_is_the_citys_to_say() {
    let answers = json!({
        "trip_ended": {"sip_code": 410, "announcement": "trip-over.v2"},
        "unknown_caller": {"announcement": "enter-pin"},
        "withheld": {"sip_code": 603},
    });
    let server = with_plan(json!({"answers": answers}));
    let made = server.trip("T-1");
    let driver = &made["parties"][0];
    server.business("POST", "/v1/trips/T-1/close", Value::Null).expect(200);
    for (from, sip_code, reason, announcement) in [
        (DRIVER, 410, "trip_ended", "trip-over.v2"),
        (&phone(9), 404, "unknown_caller", "enter-pin"),
        ("anonymous", 603, "withheld", "withheld"),
    ] {
        let want = json!({"decision": "reject", "sip_code": sip_code, "reason": reason, "announcement": announcement});
        assert_eq!(server.call(from, driver), want);
    }
}

#[test]
fn a_call_that_connects_says_how_long_it_rings_and_what_is_played() {
    let server = with_plan(json!({"consent_prompt": "recorded-call", "ring_seconds": 25, "max_seconds": 900}));
    let made = server.trip("T-1");
    let want = json!({"decision": "connect", "trip": "T-1", "caller": "driver", "callee": "passenger",
        "record": true, "max_seconds": 900, "ring_seconds": 25, "consent_prompt": "recorded-call"});
    assert_eq!(server.call(DRIVER, &made["parties"][0]), want);
    server.business("PATCH", "/v1/trips/T-1", json!({"record": false})).expect(200);
    let silent = server.call(DRIVER, &made["parties"][0]);
    assert_eq!((&silent["record"], &silent["consent_prompt"]), (&json!(false), &Value::Null));
}

#[test]
fn a_callers_number_is_worth_what_its_trunk_says_of_it() {
    let trunks = json!({
        "lax": {"country": "44"},
        "careful": {"country": "44", "verstat": "refuse_failed"},
        "strict": {"country": "44", "verstat": "require_passed"},
    });
    let server = with_plan(json!({"trunks": trunks}));
    let made = server.trip("T-1");
    let (passed, failed, none) = ("TN-Validation-Passed", "TN-Validation-Failed", "No-TN-Validation");
    for (trunk, verdict, connects) in [
        ("lax", failed, true),
        ("careful", passed, true),
        ("careful", none, true),
        ("careful", failed, false),
        ("strict", passed, true),
        ("strict", none, false),
        ("strict", failed, false),
    ] {
        let plain = format!("sip:{DRIVER}@x");
        for (from, verstat) in [(format!("{plain};verstat={verdict}"), Value::Null), (plain, json!(verdict))] {
            let call_id = format!("{trunk}-{verdict}-{}", verstat.is_null());
            let question = json!({"call_id": call_id, "from": from, "to": dialling(&made["parties"][0]),
                "trunk": trunk, "verstat": verstat});
            let reason = if connects { Value::Null } else { json!("unverified") };
            assert_eq!(server.decide(question)["bauta"]["reason"], reason, "{trunk} {verdict}");
        }
    }
}

#[test]
fn what_is_no_callers_number_is_withheld_or_unknown_and_never_guessed() {
    let server = with_plan(json!({}));
    let made = server.trip("T-1");
    let to = dialling(&made["parties"][0]);
    for (from, reason) in [
        ("\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1", "withheld"),
        ("sip:restricted@x", "withheld"),
        ("sip:unavailable@x", "withheld"),
        ("", "withheld"),
        ("sip:alice@x", "unknown_caller"),
    ] {
        assert_eq!(server.route(from, &to)["bauta"]["reason"], reason, "{from}");
    }
    let malformed = server.decide(json!({"call_id": " ", "from": format!("sip:{DRIVER}@x"), "to": to}));
    assert_eq!((&malformed["bauta"]["reason"], &malformed["bauta"]["sip_code"]), (&json!("malformed"), &json!(400)));
}
