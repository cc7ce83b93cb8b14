//! The ways in for a caller that is not known: a PIN, and an intent.

use serde_json::{Value, json};

use crate::server::{Calls, DRIVER, PASSENGER, Server, between, dialling, phone};

fn served() -> (Server, Value) {
    let server = Server::start(Calls::default());
    server.city(2);
    let made = server.trip("T-1");
    (server, made)
}

fn with_pin(server: &Server, from: &str, party: &Value, pin: &Value) -> Value {
    let question = json!({"call_id": format!("{from}-{pin}"), "from": from, "to": dialling(party), "pin": pin});
    server.decide(question)["bauta"].clone()
}

/// A PIN that is none of these parties'.
fn wrong(parties: &Value) -> Value {
    let used = |pin: &String| parties.as_array().unwrap().iter().any(|party| party["pin"] == *pin);
    json!((10_000..10_003).map(|pin| pin.to_string()).find(|pin| !used(pin)).unwrap())
}

#[test]
fn a_pin_opens_the_trip_to_its_party_from_any_number() {
    let (server, made) = served();
    let (driver, passenger) = (&made["parties"][0], &made["parties"][1]);
    for from in [format!("sip:{}@x", phone(1)), "sip:anonymous@anonymous.invalid".into()] {
        let connect = with_pin(&server, &from, driver, &driver["pin"]);
        assert_eq!((&connect["decision"], &connect["caller"]), (&json!("connect"), &json!("driver")), "{from}");
        assert_eq!(with_pin(&server, &from, driver, &passenger["pin"])["reason"], "pin_wrong", "the other's");
        assert_eq!(with_pin(&server, &from, driver, &json!("12"))["reason"], "pin_wrong", "no PIN at all");
    }
    server.business("POST", "/v1/trips/T-1/close", Value::Null).expect(200);
    let from = format!("sip:{}@x", phone(2));
    assert_eq!(with_pin(&server, &from, driver, &driver["pin"])["reason"], "trip_ended");
}

#[test]
fn three_wrong_pins_lock_their_caller_out_even_with_the_right_one() {
    let (server, made) = served();
    let driver = &made["parties"][0];
    let wrong = wrong(&made["parties"]);
    let from = |n| format!("sip:{}@x", phone(n));
    // A right one in between clears what was wrong.
    for (pin, reason) in [
        (&wrong, json!("pin_wrong")),
        (&wrong, json!("pin_wrong")),
        (&driver["pin"], Value::Null),
        (&wrong, json!("pin_wrong")),
        (&wrong, json!("pin_wrong")),
        (&wrong, json!("pin_wrong")),
        (&driver["pin"], json!("pin_locked")),
        (&wrong, json!("pin_locked")),
    ] {
        assert_eq!(with_pin(&server, &from(1), driver, pin)["reason"], reason);
    }
    assert_eq!(with_pin(&server, &from(2), driver, &driver["pin"])["decision"], "connect", "others are not locked");
    assert_eq!(server.call(DRIVER, driver)["decision"], "connect", "nor who is known");
    // Changing the caller's number does not help: ten wrong ones lock the pool number to all unknown callers.
    let mut reasons = (3..20).map(|n| with_pin(&server, &from(n), driver, &wrong)["reason"].clone());
    assert!(reasons.any(|reason| reason == "pin_locked"));
    assert_eq!(with_pin(&server, &from(30), driver, &driver["pin"])["reason"], "pin_locked");
    assert_eq!(server.call(DRIVER, driver)["decision"], "connect");
}

#[test]
fn an_intent_lets_one_call_of_an_unknown_number_through() {
    let (server, made) = served();
    let driver = &made["parties"][0];
    let unknown = |call_id: &str| {
        let from = format!("sip:{}@x", phone(1));
        server.decide(json!({"call_id": call_id, "from": from, "to": dialling(driver)}))["bauta"].clone()
    };
    assert_eq!(unknown("a")["reason"], "unknown_caller");
    let opened = server.business("POST", "/v1/trips/T-1/intents", json!({"role": "driver"})).expect(201);
    assert_eq!(opened["role"], "driver");
    let connect = unknown("b");
    assert_eq!((&connect["decision"], &connect["caller"]), (&json!("connect"), &json!("driver")));
    assert_eq!(unknown("b")["decision"], "connect", "the proxy asks again about the same call");
    assert_eq!(unknown("c")["reason"], "unknown_caller", "once");
    // One that is not used goes with its trip.
    server.business("POST", "/v1/trips/T-1/intents", json!({"role": "driver"})).expect(201);
    server.business("POST", "/v1/trips/T-1/close", Value::Null).expect(200);
    server.business("POST", "/v1/trips/T-1/reopen", Value::Null).expect(200);
    assert_eq!(unknown("d")["reason"], "unknown_caller");
}

#[test]
fn an_intent_is_refused_where_its_call_would_be_or_could_be_somebody_elses() {
    let (server, made) = served();
    // With two numbers both trips have both: on each, one party of either.
    let other = server.business("POST", "/v1/trips", between("T-2", &phone(1), &phone(2))).expect(201);
    let intend = |trip: &str, role: &str| server.business("POST", &format!("/v1/trips/{trip}/intents"), json!({"role": role}));
    intend("T-1", "driver").expect(201);
    intend("T-1", "driver").expect(201);
    let same = other["parties"].as_array().unwrap().iter().find(|party| party["dial"] == made["parties"][0]["dial"]);
    let role = same.unwrap()["role"].as_str().unwrap();
    let pending = intend("T-2", role);
    assert_eq!(pending.problem(409, "is awaited")["type"], "urn:bauta:problem:intent_pending");
    assert!((1..=60).contains(&pending.header("retry-after").parse::<u32>().unwrap()));

    intend("T-1", "guest").problem(400, "has no guest");
    intend("T-9", "driver").problem(404, "no such trip");
    server.business("PATCH", "/v1/trips/T-1", json!({"callers": ["passenger"]})).expect(200);
    assert_eq!(intend("T-1", "driver").problem(409, "direction")["reason"], "direction");
    server.business("POST", "/v1/trips/T-1/close", Value::Null).expect(200);
    let refused = intend("T-1", "passenger").problem(409, "trip_ended");
    assert_eq!((&refused["type"], &refused["reason"]), (&json!("urn:bauta:problem:call_refused"), &json!("trip_ended")));
    assert_eq!(server.call(PASSENGER, &made["parties"][1])["reason"], "trip_ended");
}
