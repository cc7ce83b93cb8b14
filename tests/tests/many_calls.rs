//! Calls at once, and calls that change while they last.
#![allow(clippy::similar_names, reason = "caller and callee are the field's words")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use tests::archive::Archive;
use tests::audio::Stereo;
use tests::pop::Lane;
use tests::programs::{A_CALL, installed};
use tests::sipp::Part;
use tests::stage::Stage;
use tests::trip::trip;

#[test]
fn twenty_calls_at_once_are_complete_and_archived() {
    if !installed(&A_CALL) {
        return;
    }
    let stage = Stage::set(Lane::Chosen);
    let trips: Vec<_> = (1..=20).map(|n| trip(&stage.pop, &format!("T-{n}"), n)).collect();
    let wire = stage.call(&trips).finish();

    stage.both_directions_complete(&wire, trips.len());
    for trip in &trips {
        stage.nobody_learns_the_other_number(&wire, trip);
        let archives = Archive::of_trip(&stage.pop, &trip.name, 1);
        assert!(archives[0].gaps().is_empty(), "gaps of {}: {:?}", trip.name, archives[0].gaps());
        for (packets, speech) in [("/left/packets", &stage.caller), ("/right/packets", &stage.callee)] {
            let said = speech.payloads().count() as u64;
            assert_eq!(archives[0].number(packets), said, "{packets} in the archive of {}", trip.name);
        }
        stage.each_voice_on_its_channel(&Stereo::decode(&archives[0].audio(), stage.pop.folder()));
    }
    assert_eq!(Archive::all(&stage.pop).len(), trips.len(), "one archive per call");
    stage.pop.wait_until_idle();
}

#[test]
fn either_side_can_hold_and_the_callee_can_hang_up() {
    if !installed(&A_CALL) {
        return;
    }
    let stage = Stage::set(Lane::Chosen);
    let trip = trip(&stage.pop, "T-1", 1);
    let (caller, callee) = (Part::speaks("holds", &stage.caller), Part::speaks("held", &stage.callee));
    let wire = stage.start(std::slice::from_ref(&trip), &caller, &callee).finish();

    stage.nobody_learns_the_other_number(&wire, &trip);
    let relay = stage.pop.ports.media();
    assert_eq!(
        wire.streams(stage.pop.ports.caller_media(), relay).len(),
        1,
        "a hold moved the media's ports"
    );
    assert_eq!(
        wire.streams(stage.pop.ports.callee_media(), relay).len(),
        1,
        "a hold moved the media's ports"
    );
    stage.pop.wait_until_idle();
    assert_eq!(Archive::of_trip(&stage.pop, &trip.name, 1).len(), 1);
}
