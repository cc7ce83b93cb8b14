//! Offers and answers in unusual messages: media before the answer, and an offer that the other side makes.
#![allow(clippy::similar_names, reason = "caller and callee are the field's words")]
#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::slice::from_ref;

use serde_json::Value;
use tests::archive::Archive;
use tests::pop::Lane;
use tests::programs::{A_CALL, installed};
use tests::sipp::Part;
use tests::stage::Stage;
use tests::trip::trip;

/// A call in which the phones play these scenarios is complete, masked, and archived with each voice in its place.
fn complete(caller: &str, callee: &str) {
    if !installed(&A_CALL) {
        return;
    }
    let stage = Stage::set(Lane::Chosen);
    let trip = trip(&stage.pop, "T-1", 1);
    let (caller, callee) = (Part::speaks(caller, &stage.caller), Part::speaks(callee, &stage.callee));
    let wire = stage.start(from_ref(&trip), &caller, &callee).finish();

    stage.both_directions_complete(&wire, 1);
    stage.nobody_learns_the_other_number(&wire, &trip);
    stage.pop.wait_until_idle();
    let archives = Archive::of_trip(&stage.pop, &trip.name, 1);
    stage.sounds_like_the_call(&archives[0], &wire);
    assert!(archives[0].gaps().is_empty(), "gaps: {:?}", archives[0].gaps());
}

#[test]
fn an_offer_in_a_reply_leaves_each_voice_on_its_channel() {
    complete("asks", "asked");
}

#[test]
fn what_is_said_before_the_answer_is_in_the_archive() {
    complete("caller", "early");
}

#[test]
fn early_media_is_no_answer() {
    if !installed(&A_CALL) {
        return;
    }
    let stage = Stage::set(Lane::Chosen);
    let trip = trip(&stage.pop, "T-1", 1);
    let callee = Part { scenario: "early_refuses", speech: Some(&stage.callee), code: 486 };
    let caller = Part::with_code("rejected", 486);
    let calls = stage.start(from_ref(&trip), &caller, &callee);
    calls.wait_for_media_to_callers(&stage, 10);
    let metrics = || stage.pop.client("operator").get("/metrics").expect(200).body;
    let during = metrics();
    assert!(during.contains("bauta_calls{state=\"offered\"} 1\n"), "{during}");
    let wire = calls.finish();

    stage.nobody_learns_the_other_number(&wire, &trip);
    stage.pop.wait_until_idle();
    let after = metrics();
    assert!(after.contains("bauta_calls_ended_total{reason=\"unanswered\"} 1\n"), "{after}");
    // What was said before the refusal is kept, as that of a call without an answer.
    let archives = Archive::of_trip(&stage.pop, &trip.name, 1);
    let manifest = &archives[0].manifest;
    assert_eq!(
        (&manifest["answered_at"], &manifest["ended"]),
        (&Value::Null, &"unanswered".into()),
        "{manifest:#}"
    );
}
