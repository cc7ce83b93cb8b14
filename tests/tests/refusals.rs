//! Calls that must not be: refused with the right code, no media port taken, nothing recorded, nobody called.
#![allow(clippy::similar_names, reason = "caller and callee are the field's words")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use tests::archive::files;
use tests::capture::Wire;
use tests::pop::Lane;
use tests::programs::{A_CALL, installed};
use tests::sipp::{Dials, Part};
use tests::stage::Stage;
use tests::trip::{close, pool, trip};

/// Nobody was called, nothing was opened, nothing is kept.
fn left_no_trace(stage: &Stage, wire: &Wire) {
    assert!(wire.sip(stage.pop.ports.callee()).is_empty(), "the callee was called");
    assert_eq!(tests::ng::calls(stage.pop.ports.ng()), 0, "control lists a call");
    assert!(stage.pop.ports.media_in_use().is_empty(), "media ports are taken");
    for folder in ["spool", "archive"] {
        let kept = files(&stage.pop.state().join(folder));
        let kept: Vec<_> = kept.iter().filter(|f| f.extension().is_some_and(|e| e != "lock")).collect();
        assert!(kept.is_empty(), "something was recorded: {kept:?}");
    }
}

#[test]
fn who_has_no_trip_is_not_connected() {
    if !installed(&A_CALL) {
        return;
    }
    let stage = Stage::set(Lane::Chosen);
    let trip = trip(&stage.pop, "T-1", 1);

    // A number that control has never seen dials a pool number that is in use.
    let stranger = Dials { own: "+447700999999".into(), dial: trip.driver.dial.clone() };
    left_no_trace(&stage, &stage.refused(stranger, 404));

    // A party dials a pool number on which it has no trip.
    let unused = pool().into_iter().find(|n| *n != trip.driver.dial && *n != trip.passenger.dial);
    let nowhere = Dials { own: trip.driver.phone.clone(), dial: unused.expect("an unused pool number") };
    left_no_trace(&stage, &stage.refused(nowhere, 404));

    // The trip is over.
    close(&stage.pop, &trip);
    left_no_trace(&stage, &stage.refused(trip.driver_dials(), 403));
}

#[test]
fn without_control_nobody_is_connected() {
    if !installed(&A_CALL) {
        return;
    }
    let mut stage = Stage::set(Lane::Chosen);
    let trip = trip(&stage.pop, "T-1", 1);
    stage.pop.kill_control();
    let wire = stage.refused(trip.driver_dials(), 503);
    assert!(wire.sip(stage.pop.ports.callee()).is_empty(), "the callee was called");
    stage.pop.start_control();
    left_no_trace(&stage, &wire);
}

#[test]
fn a_callee_that_refuses_says_nothing_about_itself() {
    if !installed(&A_CALL) {
        return;
    }
    let stage = Stage::set(Lane::Chosen);
    let trip = trip(&stage.pop, "T-1", 1);
    for (says, shown) in [(486, 486), (302, 480), (407, 503)] {
        let caller = Part::with_code("rejected", shown);
        let callee = Part::with_code("refuses", says);
        let wire = stage.start(std::slice::from_ref(&trip), &caller, &callee).finish();
        stage.nobody_learns_the_other_number(&wire, &trip);
        stage.pop.wait_until_idle();
    }
}

#[test]
fn a_caller_that_gives_up_leaves_nothing_open() {
    if !installed(&A_CALL) {
        return;
    }
    let stage = Stage::set(Lane::Chosen);
    let trip = trip(&stage.pop, "T-1", 1);
    let (caller, callee) = (Part::with_code("cancelled", 0), Part::with_code("unanswered", 0));
    let wire = stage.start(std::slice::from_ref(&trip), &caller, &callee).finish();
    stage.nobody_learns_the_other_number(&wire, &trip);
    stage.pop.wait_until_idle();
}
