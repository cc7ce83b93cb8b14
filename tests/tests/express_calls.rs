//! Calls of real phones, through the real proxy, on the express lane: what parties hear and what is archived is what it
//! is without.
//!
//! Needs root, and a kernel that lets the relay load programs; says so where it is missing.
#![allow(clippy::similar_names, reason = "caller and callee are the field's words")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tests::archive::Archive;
use tests::audio::Stereo;
use tests::capture::Wire;
use tests::deadline::{seconds, until};
use tests::namespaces::Link;
use tests::pop::Lane;
use tests::ports::Ports;
use tests::programs::{A_CALL, installed};
use tests::rtp::Packet;
use tests::sipp::Part;
use tests::stage::Stage;
use tests::trip::trip;

/// Does `test` on a POP whose phones are on a host of their own. None where that cannot be.
fn on_a_link<T: Send>(lane: Lane, test: impl FnOnce(&Stage) -> T + Send) -> Option<T> {
    if !installed(&A_CALL) {
        return None;
    }
    let link = Arc::new(Link::for_a_test("phones")?);
    let done = link.relay.inside(|| test(&Stage::on(Ports::over(&link), lane)));
    Some(done.expect("namespace"))
}

/// Rows that the program executes now.
fn rows(stage: &Stage) -> u64 {
    stage.pop.metric("bauta_relay_express_rows", "")
}

/// Fails if the express lane had anything to complain of.
#[track_caller]
fn in_agreement(stage: &Stage) {
    for trouble in ["express_disagreed", "express_untold"] {
        assert_eq!(stage.pop.metric("bauta_relay_lane_events_total", trouble), 0, "{trouble}");
    }
}

/// What of an archive is the same whenever the same is said.
#[derive(Debug, PartialEq)]
struct Content {
    /// What the manifest says of each side.
    sides: [Value; 2],
    gaps: usize,
}

/// Calls at once on this lane: what their archives hold.
fn calls_on(lane: Lane) -> Option<Vec<Content>> {
    on_a_link(lane, |stage| {
        let trips: Vec<_> = (1..=6).map(|n| trip(&stage.pop, &format!("T-{n}"), n)).collect();
        let calls = stage.call(&trips);
        if lane == Lane::Express {
            let both = 2 * trips.len() as u64;
            until("they are promoted while they talk", seconds(20), || (rows(stage) == both).then_some(()));
        }
        let wire = calls.finish();
        stage.both_directions_complete(&wire, trips.len());
        in_agreement(stage);
        let archives = trips.iter().map(|trip| {
            stage.nobody_learns_the_other_number(&wire, trip);
            Archive::of_trip(&stage.pop, &trip.name, 1).remove(0)
        });
        let archives: Vec<_> = archives.collect();
        archives[0].holds_and_tells_changes();
        stage.each_voice_on_its_channel(&Stereo::decode(&archives[0].audio(), stage.pop.folder()));
        stage.pop.wait_until_idle();
        archives.iter().map(Content::of).collect()
    })
}

impl Content {
    fn of(archive: &Archive) -> Self {
        let side = |name: &str| {
            let mut side = archive.manifest[name].clone();
            let streams = side["streams"].as_array_mut().expect("streams").len();
            // When packets came is never twice the same.
            for pointer in [String::new()].into_iter().chain((0..streams).map(|n| format!("/streams/{n}"))) {
                let stream = side.pointer_mut(&pointer).and_then(Value::as_object_mut).expect("an object");
                stream.retain(|name, _| !["jitter_us", "from_ms", "to_ms"].contains(&name.as_str()));
            }
            side
        };
        Self { sides: ["left", "right"].map(side), gaps: archive.gaps().len() }
    }
}

#[test]
fn calls_that_are_promoted_while_they_talk_are_archived_as_they_are_without() {
    let Some(express) = calls_on(Lane::Express) else { return };
    assert_eq!(Some(express), calls_on(Lane::Mmsg));
}

/// Fails unless what went into the relay on `from` came out to `to`, once and in order; the end may be on its way.
#[track_caller]
fn carried(stage: &Stage, wire: &Wire, from: (u16, u16), to: (u16, u16)) {
    let payloads = |streams: BTreeMap<_, Vec<Packet<'_>>>| -> Vec<Vec<u8>> {
        streams.into_values().flatten().map(|packet| packet.payload.to_vec()).collect()
    };
    let relay = stage.pop.ports.media();
    let (sent, received) = (payloads(wire.streams(from, relay)), payloads(wire.streams(relay, to)));
    assert_eq!(wire.lost, 0, "the capture lost packets");
    assert!(received.len() > 200 && received.len() + 3 > sent.len(), "{} of {}", received.len(), sent.len());
    let wrong = received.iter().zip(&sent).position(|(received, sent)| received != sent);
    assert_eq!(wrong, None, "the first that is not what was sent");
}

#[test]
fn a_call_that_is_offered_anew_leaves_the_express_lane_and_comes_back() {
    on_a_link(Lane::Express, |stage| {
        let trip = trip(&stage.pop, "T-1", 1);
        let (caller, callee) =
            (Part::speaks("reinvites", &stage.caller), Part::speaks("reinvited", &stage.callee));
        let calls = stage.start(std::slice::from_ref(&trip), &caller, &callee);
        let promoted = || until("it is promoted", seconds(20), || (rows(stage) == 2).then_some(()));
        promoted();
        until("it is offered anew", seconds(20), || {
            (stage.pop.metric("bauta_ng_requests_total", "offer") == 2).then_some(())
        });
        promoted();
        let wire = calls.finish();
        let ports = &stage.pop.ports;
        carried(stage, &wire, ports.caller_media(), ports.callee_media());
        carried(stage, &wire, ports.callee_media(), ports.caller_media());
        stage.nobody_learns_the_other_number(&wire, &trip);
        in_agreement(stage);
        stage.pop.wait_until_idle();
        assert!(Archive::of_trip(&stage.pop, &trip.name, 1)[0].gaps().is_empty());
    });
}
