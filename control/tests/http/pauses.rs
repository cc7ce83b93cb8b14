//! Recordings paused and resumed over HTTP: which calls, by whom, and what is said where there is none.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::server::{Calls, Server, answered};

/// A server with trip T-1, which has a recorded call and one that is not, and trip T-2, whose call is not recorded.
fn served(deaf: bool) -> (Server, [Uuid; 3]) {
    let ids = [(); 3].map(|()| Uuid::now_v7());
    let calls = Calls { deaf, ..Calls::default() };
    *calls.live.lock().unwrap() =
        vec![answered(ids[0], "T-1", true), answered(ids[1], "T-1", false), answered(ids[2], "T-2", false)];
    let server = Server::start(calls);
    server.city(4);
    for trip in ["T-1", "T-2"] {
        server.trip(trip);
    }
    (server, ids)
}

#[test]
fn the_business_pauses_the_recorded_calls_of_its_trip() {
    let (server, [recorded, ..]) = served(false);
    let ask = |what: &str| server.business("POST", &format!("/v1/trips/T-1/recording/{what}"), Value::Null);
    let shown = || {
        server.operator("GET", &format!("/v1/calls/{recorded}"), Value::Null).expect(200)["paused"].clone()
    };
    assert_eq!(shown(), Value::Null);
    let answer = |paused: bool| json!({"trip": "T-1", "calls": [{"id": recorded, "call": "f3".repeat(16), "paused": paused}]});
    assert_eq!(ask("pause").expect(200), answer(true));
    let pause = shown();
    assert_eq!(pause["by"], "business");
    // Again: nothing changes, and the operator's asking does not make it the operator's.
    assert_eq!(ask("pause").expect(200), answer(true));
    let again =
        server.operator("POST", &format!("/v1/calls/{recorded}/recording/pause"), json!({})).expect(200);
    assert_eq!(again, answer(true)["calls"][0]);
    assert_eq!(shown(), pause);
    for _ in 0..2 {
        assert_eq!(ask("resume").expect(200), answer(false));
    }
    assert_eq!(shown(), Value::Null);
}

#[test]
fn the_operator_pauses_one_call() {
    let (server, [recorded, unrecorded, _]) = served(false);
    let ask = |id: Uuid, what: &str| {
        server.operator("POST", &format!("/v1/calls/{id}/recording/{what}"), Value::Null)
    };
    for (what, paused) in [("pause", true), ("resume", false)] {
        assert_eq!(ask(recorded, what).expect(200)["paused"], paused);
        let refused = ask(unrecorded, what).problem(409, "is not recorded");
        assert_eq!(refused["type"], "urn:bauta:problem:not_recorded");
        ask(Uuid::now_v7(), what).problem(404, "there is no such call");
        let unread = format!("/v1/calls/+447700900001/recording/{what}");
        server.operator("POST", &unread, Value::Null).problem(404, "there is no such call");
    }
}

#[test]
fn where_nothing_is_recorded_nothing_is_paused() {
    let (server, _) = served(false);
    for what in ["pause", "resume"] {
        let ask =
            |trip: &str| server.business("POST", &format!("/v1/trips/{trip}/recording/{what}"), Value::Null);
        let refused = ask("T-2").problem(409, "no call of this trip");
        assert_eq!(refused["type"], "urn:bauta:problem:not_recorded");
        ask("T-3").problem(404, "no such trip");
    }
}

#[test]
fn a_pause_that_the_relay_did_not_hear_of_is_none() {
    let (server, [recorded, ..]) = served(true);
    for what in ["pause", "resume"] {
        let trip = server.business("POST", &format!("/v1/trips/T-1/recording/{what}"), Value::Null);
        let call = server.operator("POST", &format!("/v1/calls/{recorded}/recording/{what}"), Value::Null);
        for reply in [trip, call] {
            assert_eq!(reply.problem(503, "ask again")["type"], "urn:bauta:problem:relay_unavailable");
            assert_eq!(reply.header("retry-after"), "1");
        }
    }
}
