//! A driver calls a passenger: real proxy, real phones, all three processes.
#![allow(clippy::similar_names, reason = "caller and callee are the field's words")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use tests::archive::Archive;
use tests::pop::Lane;
use tests::programs::{A_CALL, installed};
use tests::stage::Stage;
use tests::trip::trip;

/// The whole promise on one lane.
fn masked_and_recorded(lane: Lane) -> Option<Stage> {
    if !installed(&A_CALL) {
        return None;
    }
    let stage = Stage::set(lane);
    let trip = trip(&stage.pop, "T-1001", 1);

    let wire = stage.call(std::slice::from_ref(&trip)).finish();

    stage.both_directions_complete(&wire, 1);
    stage.nobody_learns_the_other_number(&wire, &trip);
    shows_only_pool_numbers(&stage, &wire, &trip);
    let archives = Archive::of_trip(&stage.pop, &trip.name, 1);
    let archive = &archives[0];
    stage.sounds_like_the_call(archive, &wire);
    assert!(archive.gaps().is_empty(), "gaps: {:?}", archive.gaps());
    archive.holds_and_tells_changes();
    stage.pop.wait_until_idle();
    stage.nothing_keeps_the_numbers(&trip);
    Some(stage)
}

/// The callee sees the number that it would dial itself; the caller is shown what it dialled.
fn shows_only_pool_numbers(stage: &Stage, wire: &tests::capture::Wire, trip: &tests::trip::Trip) {
    let line = |message: &str, name: &str| {
        message.lines().find(|l| l.starts_with(name)).unwrap_or_default().to_owned()
    };
    let at_callee = wire.sip(stage.pop.ports.callee());
    let invite = at_callee.iter().find(|m| m.starts_with("INVITE")).expect("the callee got an INVITE");
    assert!(line(invite, "From:").contains(&trip.passenger.dial), "From: {}", line(invite, "From:"));
    let own = line(invite, "INVITE");
    assert!(own.contains(&trip.passenger.phone), "request line: {own}");
    let at_caller = wire.sip(stage.pop.ports.caller());
    let answer = at_caller.iter().find(|m| m.starts_with("SIP/2.0 200")).expect("the caller got a 200");
    assert!(line(answer, "To:").contains(&trip.driver.dial), "To: {}", line(answer, "To:"));
    assert_ne!(line(invite, "Call-ID:"), line(answer, "Call-ID:"), "one Call-ID on both legs");
    assert!(!line(answer, "Contact:").contains('+'), "Contact: {}", line(answer, "Contact:"));
}

#[test]
fn a_call_is_masked_complete_and_recorded() {
    masked_and_recorded(Lane::Chosen);
}

#[test]
fn the_fallback_lane_carries_the_same_call() {
    if let Some(stage) = masked_and_recorded(Lane::Mmsg) {
        let ready = stage.pop.client("operator").get("/readyz").body;
        assert!(ready.contains("\"mmsg\""), "/readyz does not name the lane: {ready}");
        let metrics = stage.pop.client("operator").get("/metrics").body;
        assert!(metrics.contains("mmsg"), "/metrics does not name the lane");
    }
}
