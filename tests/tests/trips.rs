//! What a trip lets its parties do: how long it rings, who may call, and what becomes of a call when the trip ends.
#![allow(clippy::similar_names, reason = "caller and callee are the field's words")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::slice::from_ref;
use std::time::Instant;

use serde_json::json;
use tests::archive::Archive;
use tests::capture::Wire;
use tests::leak::Canary;
use tests::pop::Lane;
use tests::programs::{A_CALL, installed};
use tests::raw::Raw;
use tests::sipp::{Dials, Part};
use tests::stage::Stage;
use tests::trip::{Party, Trip, trip, trip_with};

fn nobody_was_called(stage: &Stage, wire: &Wire) {
    assert!(wire.sip(stage.pop.ports.callee()).is_empty(), "the callee was called");
    assert_eq!(tests::ng::calls(stage.pop.ports.ng()), 0, "control lists a call");
}

#[test]
fn it_rings_as_long_as_the_trip_says() {
    if !installed(&A_CALL) {
        return;
    }
    let stage = Stage::set(Lane::Chosen);
    let trip = trip_with(&stage.pop, "T-1", 1, &json!({"ring_seconds": 5}));
    let (caller, callee) = (Part::with_code("rejected", 408), Part::with_code("unanswered", 0));
    let began = Instant::now();
    let wire = stage.start(from_ref(&trip), &caller, &callee).finish();
    // The proxy's own time is 90 seconds, and the phone says every second that it still rings.
    assert!((5..40).contains(&began.elapsed().as_secs()), "it rang for {:?}", began.elapsed());
    stage.nobody_learns_the_other_number(&wire, &trip);
    stage.pop.wait_until_idle();
}

#[test]
fn a_call_outlives_its_trip_and_no_other_begins() {
    if !installed(&A_CALL) {
        return;
    }
    let stage = Stage::set(Lane::Chosen);
    let trip = trip(&stage.pop, "T-1", 1);
    let call = stage.call(from_ref(&trip));
    call.wait_for_media(&stage, 25);
    let _ = stage.pop.client("business").post("/v1/trips/T-1/cancel", &json!({})).expect(200);
    let again = Raw::on(stage.pop.ports.second_caller());
    let answer = again.call(stage.kamailio.address(), &trip.driver_dials(), "again", &[]);
    assert!(answer.starts_with("SIP/2.0 403 "), "{answer}");
    assert!(stage.kamailio.log().contains("rejected with 403 (trip_ended)"), "{}", stage.kamailio.log());
    let wire = call.finish();

    stage.both_directions_complete(&wire, 1);
    stage.nobody_learns_the_other_number(&wire, &trip);
    stage.pop.wait_until_idle();
    let archives = Archive::of_trip(&stage.pop, &trip.name, 1);
    stage.sounds_like_the_call(&archives[0], &wire);
    assert!(archives[0].gaps().is_empty(), "gaps: {:?}", archives[0].gaps());
    assert_eq!(archives[0].manifest["ended"], "hangup", "{:#}", archives[0].manifest);
}

#[test]
fn who_is_called_can_call_back_when_the_trip_lets_it() {
    if !installed(&A_CALL) {
        return;
    }
    let stage = Stage::set(Lane::Chosen);
    let trip = trip_with(&stage.pop, "T-1", 1, &json!({"callers": ["driver"]}));
    let rang = stage.rings(&trip);

    let mut back = trip.called_back();
    back.driver.dial = rang;
    nobody_was_called(&stage, &stage.refused(back.driver_dials(), 403));
    assert!(stage.kamailio.log().contains("rejected with 403 (direction)"), "{}", stage.kamailio.log());

    let both = json!({"callers": ["driver", "passenger"]});
    let _ = stage.pop.client("business").patch("/v1/trips/T-1", &both).expect(200);
    let wire = stage.call(from_ref(&back)).finish();
    stage.both_directions_complete(&wire, 1);
    stage.nobody_learns_the_other_number(&wire, &back);
    stage.pop.wait_until_idle();
    let archives = Archive::of_trip(&stage.pop, &trip.name, 1);
    let sides = ["/left/role", "/right/role"].map(|side| archives[0].manifest.pointer(side).cloned());
    assert_eq!(sides, [Some("passenger".into()), Some("driver".into())]);
}

#[test]
fn an_unknown_phone_gets_through_once_when_it_is_announced() {
    if !installed(&A_CALL) {
        return;
    }
    let stage = Stage::set(Lane::Chosen);
    let trip = trip(&stage.pop, "T-1", 1);
    let borrowed = Party { phone: "+447700920001".into(), dial: trip.driver.dial.clone() };
    let unknown = Trip { driver: borrowed, ..trip.clone() };
    let dials = || Dials { own: unknown.driver.phone.clone(), dial: unknown.driver.dial.clone() };
    nobody_was_called(&stage, &stage.refused(dials(), 404));

    let intent = json!({"role": "driver"});
    let _ = stage.pop.client("business").post("/v1/trips/T-1/intents", &intent).expect(201);
    assert_eq!(stage.rings(&unknown), trip.passenger.dial, "what the passenger's phone showed");
    nobody_was_called(&stage, &stage.refused(dials(), 404));
    stage.nothing_keeps_the_numbers(&unknown);
    Canary::new(&trip.driver.phone).absent_from("a log of ours", stage.pop.logs().as_bytes());
}
