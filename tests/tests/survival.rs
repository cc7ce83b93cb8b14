//! Processes that are killed in mid-call and started again, and relays that follow each other.
#![allow(clippy::similar_names, reason = "caller and callee are the field's words")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use tests::archive::Archive;
use tests::pop::Lane;
use tests::programs::{A_CALL, installed};
use tests::stage::Stage;
use tests::trip::trip;

/// Packets of a callee's stream after which a process is killed: a second of talk.
const IN_THE_MIDDLE: usize = 50;

#[test]
fn a_call_survives_control() {
    if !installed(&A_CALL) {
        return;
    }
    let mut stage = Stage::set(Lane::Chosen);
    let trip = trip(&stage.pop, "T-1", 1);
    let call = stage.call(std::slice::from_ref(&trip));
    call.wait_for_media(&stage, IN_THE_MIDDLE);
    stage.pop.kill_control();
    stage.pop.start_control();
    assert_eq!(tests::ng::calls(stage.pop.ports.ng()), 1, "control did not find the call again");
    let wire = call.finish();

    stage.both_directions_complete(&wire, 1);
    // The BYE was answered by the new control: the proxy's `delete` found the call.
    assert!(!stage.kamailio.log().contains("\"delete\""), "{}", stage.kamailio.log());
    stage.pop.wait_until_idle();
    let archives = Archive::of_trip(&stage.pop, &trip.name, 1);
    stage.sounds_like_the_call(&archives[0], &wire);
    assert_eq!(archives[0].manifest.pointer("/left/role").and_then(|r| r.as_str()), Some("driver"));
    archives[0].holds_and_tells_changes();
}

#[test]
fn a_recording_survives_the_recorder() {
    if !installed(&A_CALL) {
        return;
    }
    let mut stage = Stage::set(Lane::Chosen);
    let trip = trip(&stage.pop, "T-1", 1);
    let call = stage.call(std::slice::from_ref(&trip));
    call.wait_for_media(&stage, IN_THE_MIDDLE);
    stage.pop.kill_recorder();
    let killed = Instant::now();
    // Away long enough for both sides to have said something.
    tests::deadline::until("a second of talk goes by", Duration::from_secs(20), || {
        (killed.elapsed() >= Duration::from_secs(1)).then_some(())
    });
    stage.pop.start_recorder();
    assert!(killed.elapsed() < Duration::from_secs(2), "the recorder took {:?} to be back", killed.elapsed());
    let wire = call.finish();

    stage.both_directions_complete(&wire, 1);
    let archives = Archive::of_trip(&stage.pop, &trip.name, 1);
    let archive = &archives[0];
    assert!(archive.gaps().is_empty(), "gaps: {:?}", archive.gaps());
    let said = |speech: &tests::speech::Speech| speech.payloads().count() as u64;
    assert_eq!(archive.number("/left/packets"), said(&stage.caller), "packets of the caller in the archive");
    assert_eq!(archive.number("/right/packets"), said(&stage.callee), "packets of the callee in the archive");
    stage.sounds_like_the_call(archive, &wire);
    archive.holds_and_tells_changes();
}

#[test]
fn a_recorded_call_does_not_notice_that_the_relay_is_upgraded() {
    if !installed(&A_CALL) {
        return;
    }
    let mut stage = Stage::set(Lane::Chosen);
    let trip = trip(&stage.pop, "T-1", 1);
    let call = stage.call(std::slice::from_ref(&trip));
    for upgrade in 1..=3 {
        call.wait_for_media(&stage, upgrade * IN_THE_MIDDLE);
        stage.pop.upgrade_relay();
    }
    let wire = call.finish();

    stage.both_directions_complete(&wire, 1);
    stage.pop.wait_until_idle();
    let archives = Archive::of_trip(&stage.pop, &trip.name, 1);
    let archive = &archives[0];
    assert!(archive.gaps().is_empty(), "gaps: {:?}", archive.gaps());
    let said = |speech: &tests::speech::Speech| speech.payloads().count() as u64;
    assert_eq!(archive.number("/left/packets"), said(&stage.caller), "packets of the caller in the archive");
    assert_eq!(archive.number("/right/packets"), said(&stage.callee), "packets of the callee in the archive");
    stage.sounds_like_the_call(archive, &wire);
    archive.holds_and_tells_changes();
    // Neither control nor recorder has seen a relay go.
    assert!(!stage.pop.logs().contains("connection to the relay ended"), "{}", stage.pop.logs());
}
