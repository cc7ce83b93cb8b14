//! The engine without sockets: what is forwarded where, what is tapped, what is reported.

use std::net::{SocketAddr, UdpSocket};

use super::*;
use crate::call::Leg;
use crate::program::message::{
    Clock, Event, Learning, LegMedia, PayloadTypes, Refusal, Remote, Stream, TelephoneEvent,
};
use crate::tap::{self, Attachment, Host, Kind, Record};

#[path = "learning_tests.rs"]
mod learning;
#[path = "privacy_tests.rs"]
mod privacy;
#[path = "quality_tests.rs"]
mod quality;

const CALL: CallKey = CallKey(42);
const SECOND: u64 = 1_000_000_000;
const SPANS: Spans = Spans { learn_window_ns: 3 * SECOND, silence_ns: 60 * SECOND };

fn at(seconds: u64) -> Now {
    Now { mono_ns: (1000 + seconds) * SECOND, wall_ns: (5000 + seconds) * SECOND }
}

fn phone(leg: Leg) -> SocketAddr {
    ([192, 0, 2, 1 + leg as u8], 4000).into()
}

fn media(leg: Leg) -> LegMedia {
    let rtp = phone(leg);
    LegMedia {
        remote: Some(Remote { rtp, rtcp: (rtp.ip(), rtp.port() + 1).into() }),
        accepts: PayloadTypes::NONE.with(8).with(101),
        tapped: PayloadTypes::NONE.with(8),
        rtcp_mux: false,
        learning: Learning::Strict,
        ..LegMedia::default()
    }
}

fn stream() -> Stream {
    Stream { legs: Leg::BOTH.map(media), ..Stream::default() }
}

fn new_stream(stream: Stream) -> NewStream {
    let socket = || UdpSocket::bind("127.0.0.1:0").unwrap().into();
    NewStream { stream, sockets: [[socket(), socket()], [socket(), socket()]], seeds: [1, 2] }
}

/// An engine with the tap that a recorder would have attached to.
struct Rig {
    engine: Engine,
    recorder: Attachment,
    slots: Vec<Slot>,
    _folder: tempfile::TempDir,
}

fn rig(label: Option<&[u8]>, stream: Stream) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tap.sock");
    let (writer, ring) = tap::create(512 * 1024, 1).unwrap();
    let host = Host::bind(&path, vec![ring], 1).unwrap();
    std::thread::spawn(move || host.serve(|_| {}));
    let recorder = tap::attach(&path).unwrap();
    let mut engine = Engine::new(8, writer, SPANS);
    let new = NewCall {
        call: CALL,
        label: label.map(<[u8]>::to_vec),
        max_seconds: 100,
        streams: vec![new_stream(stream)],
    };
    let slots = engine.open(new, at(0)).unwrap().into_iter().map(|o| o.slot).collect();
    Rig { engine, recorder, slots, _folder: folder }
}

impl Rig {
    fn slot(&self, leg: Leg) -> Slot {
        self.slots[leg as usize * 2]
    }

    fn rtp(&mut self, leg: Leg, payload_type: u8, seconds: u64) -> Option<(Outgoing, Vec<u8>)> {
        self.rtp_at(leg, payload_type, at(seconds))
    }

    fn rtp_at(&mut self, leg: Leg, payload_type: u8, now: Now) -> Option<(Outgoing, Vec<u8>)> {
        let mut buffer = [0; 200];
        buffer[..16].copy_from_slice(&[
            0x80,
            payload_type,
            0,
            7,
            0,
            0,
            0,
            80,
            0,
            0,
            0,
            5,
            b'a',
            b'b',
            b'c',
            b'd',
        ]);
        let out = self.engine.receive(self.slot(leg), phone(leg), &mut buffer, 16, now)?;
        Some((out, buffer[..out.length].to_vec()))
    }

    fn drops(&self, leg: Leg) -> Vec<(String, u64)> {
        let counters = self.engine.read(CALL, at(0)).unwrap();
        counters.streams[0][leg as usize].drops.clone()
    }

    fn taps(&mut self) -> Vec<(Kind, Vec<u8>)> {
        self.records().into_iter().map(|(record, payload)| (record.kind, payload)).collect()
    }

    fn records(&mut self) -> Vec<(Record, Vec<u8>)> {
        self.engine.batch_done();
        let (mut list, mut payload) = (Vec::new(), Vec::new());
        let ring = &mut self.recorder.rings[0];
        while let Some(record) = ring.next(&mut payload).unwrap() {
            list.push((record, payload.clone()));
        }
        ring.commit();
        list
    }
}

#[test]
fn each_leg_is_sent_to_from_the_port_that_faces_it() {
    let mut rig = rig(None, stream());
    for leg in Leg::BOTH {
        let (out, bytes) = rig.rtp(leg, 8, 1).unwrap();
        assert_eq!((out.via, out.to), (rig.slot(leg.other()).index, Some(phone(leg.other()))));
        assert_eq!((&bytes[..2], &bytes[12..]), (&[0x80, 8][..], &b"abcd"[..]));
        assert_ne!(bytes[8..12], [0, 0, 0, 5], "the SSRC is another");
    }
    assert!(rig.rtp(Leg::Caller, 9, 1).is_none());
    assert_eq!(rig.drops(Leg::Caller), [("payload_type".to_owned(), 1)]);
}

#[test]
fn rtcp_goes_to_the_rtcp_port_or_to_the_rtp_port_of_a_leg_that_multiplexes() {
    let report = [0x80_u8, 201, 0, 1, 0, 0, 0, 5];
    for mux in [false, true] {
        let mut stream = stream();
        stream.legs[1].rtcp_mux = mux;
        let mut rig = rig(None, stream);
        let mut buffer = [0; 64];
        buffer[..8].copy_from_slice(&report);
        let from = (phone(Leg::Caller).ip(), 4001).into();
        let out = rig.engine.receive(rig.slots[1], from, &mut buffer, 8, at(1)).unwrap();
        assert_eq!(out.via, rig.slots[if mux { 2 } else { 3 }].index);
        assert_eq!(out.to.unwrap().port(), if mux { 4000 } else { 4001 });
    }
}

#[test]
fn before_the_answer_nothing_is_forwarded_and_after_it_everything() {
    let mut unanswered = stream();
    unanswered.legs[1] = LegMedia::default();
    let mut rig = rig(None, unanswered);
    assert!(rig.rtp(Leg::Caller, 8, 1).is_none());
    assert!(rig.rtp(Leg::Callee, 8, 1).is_none());
    assert_eq!(rig.drops(Leg::Caller), [("no_destination".to_owned(), 1)]);
    rig.engine.update(CALL, None, &[stream()], vec![], at(2)).unwrap();
    assert!(rig.rtp(Leg::Caller, 8, 3).is_some() && rig.rtp(Leg::Callee, 8, 3).is_some());
}

#[test]
fn the_tap_carries_what_was_said_as_it_came_and_no_digits() {
    let mut rig = rig(Some(b"label"), stream());
    rig.rtp(Leg::Callee, 8, 1).unwrap();
    rig.rtp(Leg::Caller, 101, 1).unwrap();
    rig.engine.pause(CALL, true, at(2)).unwrap();
    rig.rtp(Leg::Callee, 8, 2).unwrap();
    rig.engine.pause(CALL, false, at(3)).unwrap();
    rig.engine.update(CALL, Some(b"answered".to_vec()), &[stream()], vec![], at(3)).unwrap();
    rig.rtp(Leg::Caller, 8, 3).unwrap();
    rig.engine.close(CALL, Some(b"ended".to_vec()), at(4)).unwrap();
    let packet = |leg| Kind::Packet { leg, stream: 0 };
    let as_it_came = vec![0x80, 8, 0, 7, 0, 0, 0, 80, 0, 0, 0, 5, b'a', b'b', b'c', b'd'];
    assert_eq!(
        rig.taps(),
        [
            (Kind::Open, b"label".to_vec()),
            (packet(Leg::Callee), as_it_came.clone()),
            (Kind::Pause, vec![]),
            (Kind::Resume, vec![]),
            (Kind::Label, b"answered".to_vec()),
            (packet(Leg::Caller), as_it_came),
            (Kind::Close, b"ended".to_vec()),
        ]
    );
}

#[test]
fn what_the_ring_could_not_take_is_told_as_a_gap_and_the_close_is_never_lost() {
    let mut rig = rig(Some(b"label"), stream());
    let mut sent = 0;
    while rig.engine.read(CALL, at(0)).unwrap().streams[0][0].tap_lost < 5 {
        rig.rtp(Leg::Caller, 8, sent).unwrap();
        sent += 1;
    }
    let taped = rig.taps().len() as u64 - 1;
    assert_eq!(taped + 5, sent, "every packet is in the ring or counted");
    rig.rtp(Leg::Caller, 8, sent).unwrap();
    let gap = Kind::Gap { leg: Leg::Caller, stream: 0, packets: 5, since_ns: at(sent - 5).wall_ns };
    let kinds: Vec<Kind> = rig.taps().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [gap, Kind::Packet { leg: Leg::Caller, stream: 0 }]);

    while rig.engine.read(CALL, at(0)).unwrap().streams[0][0].tap_lost < 6 {
        rig.rtp(Leg::Caller, 8, sent).unwrap();
    }
    // More labels than the ring's reserve holds: they wait outside of it.
    for _ in 0..20 {
        rig.engine.update(CALL, Some(vec![7; 40_000]), &[stream()], vec![], at(sent)).unwrap();
    }
    rig.engine.close(CALL, None, at(sent)).unwrap();
    let mut kinds = Vec::new();
    while kinds.last() != Some(&Kind::Close) {
        let more = rig.taps();
        assert!(!more.is_empty(), "the close never comes: {kinds:?}");
        kinds.extend(more.into_iter().map(|(kind, _)| kind));
    }
    assert_eq!(kinds.iter().filter(|k| **k == Kind::Label).count(), 20);
    assert_eq!(kinds.iter().filter(|k| matches!(k, Kind::Gap { packets: 1, .. })).count(), 1);
}

#[test]
fn what_a_broken_ring_held_is_told_events_as_they_were_and_packets_as_gaps() {
    let mut rig = rig(Some(b"label"), stream());
    rig.rtp(Leg::Caller, 8, 1).unwrap();
    assert_eq!(rig.taps().len(), 2);
    rig.engine.watch(at(2), &mut Vec::new());
    rig.rtp(Leg::Caller, 8, 3).unwrap();
    rig.rtp(Leg::Caller, 8, 4).unwrap();
    rig.rtp(Leg::Callee, 8, 5).unwrap();
    rig.engine.batch_done();
    rig.recorder.rings[0].go_mad();
    rig.engine.watch(at(6), &mut Vec::new());
    // From here on nothing is taken, and the row tells it itself.
    rig.rtp(Leg::Caller, 8, 7).unwrap();
    rig.engine.pause(CALL, true, at(8)).unwrap();
    rig.engine.recorder_attached(at(9));
    rig.engine.close(CALL, Some(b"ended".to_vec()), at(10)).unwrap();
    rig.recorder.rings[0].succeed().unwrap();
    let mut told = rig.taps();
    told[..2].sort_by_key(|(kind, _)| matches!(kind, Kind::Gap { leg: Leg::Callee, .. }));
    let gap = |leg, packets, since| Kind::Gap { leg, stream: 0, packets, since_ns: at(since).wall_ns };
    let told: Vec<(Kind, &[u8])> = told.iter().map(|(kind, payload)| (*kind, &payload[..])).collect();
    assert_eq!(
        told,
        [
            (gap(Leg::Caller, 2, 3), &b""[..]),
            (gap(Leg::Callee, 1, 5), b""),
            (Kind::Pause, b""),
            (Kind::Open, b"label"),
            (Kind::Pause, b""),
            (gap(Leg::Caller, 1, 7), b""),
            (Kind::Close, b"ended"),
        ]
    );
    assert_eq!(rig.engine.stats().tap_lost, 4);
}

#[test]
fn a_call_that_ends_in_a_ring_that_breaks_is_closed_all_the_same() {
    let mut rig = rig(Some(b"label"), stream());
    rig.rtp(Leg::Callee, 8, 1).unwrap();
    rig.engine.close(CALL, Some(b"ended".to_vec()), at(2)).unwrap();
    rig.engine.batch_done();
    rig.recorder.rings[0].go_mad();
    rig.engine.recorder_attached(at(3));
    rig.recorder.rings[0].succeed().unwrap();
    let gap = Kind::Gap { leg: Leg::Callee, stream: 0, packets: 1, since_ns: at(1).wall_ns };
    assert_eq!(
        rig.taps(),
        [(Kind::Open, b"label".to_vec()), (gap, vec![]), (Kind::Close, b"ended".to_vec())]
    );
}

#[test]
fn a_step_of_the_system_clock_does_not_reach_a_call_that_lives_and_reaches_the_next() {
    let mut rig = rig(Some(b"label"), stream());
    // The wall clock is set back by an hour.
    let stepped = |seconds| Now { wall_ns: at(seconds).wall_ns - 3600 * SECOND, ..at(seconds) };
    rig.engine.pause(CALL, true, stepped(1)).unwrap();
    rig.engine.pause(CALL, false, stepped(2)).unwrap();
    rig.rtp_at(Leg::Caller, 8, stepped(3)).unwrap();
    rig.engine.close(CALL, None, stepped(4)).unwrap();
    rig.slots.drain(..).for_each(|slot| rig.engine.release(slot));
    let next = NewCall {
        call: CallKey(43),
        label: Some(b"next".to_vec()),
        max_seconds: 0,
        streams: vec![new_stream(stream())],
    };
    rig.engine.open(next, stepped(5)).unwrap();
    rig.engine.batch_done();
    let times: Vec<u64> = rig.records().into_iter().map(|(record, _)| record.at_ns).collect();
    let kept = (0..5).map(|n| at(n).wall_ns);
    assert_eq!(times, kept.chain([stepped(5).wall_ns]).collect::<Vec<_>>());
}

#[test]
fn a_call_paused_before_it_is_recorded_begins_paused_and_a_new_recorder_hears_of_it() {
    let mut rig = rig(None, stream());
    rig.engine.pause(CALL, true, at(1)).unwrap();
    rig.engine.update(CALL, Some(b"label".to_vec()), &[stream()], vec![], at(2)).unwrap();
    rig.rtp(Leg::Caller, 8, 3).unwrap();
    rig.engine.recorder_attached(at(4));
    let kinds: Vec<Kind> = rig.taps().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [Kind::Open, Kind::Pause, Kind::Open, Kind::Pause]);
    rig.engine.pause(CALL, false, at(5)).unwrap();
    rig.rtp(Leg::Caller, 8, 6).unwrap();
    assert_eq!(rig.taps().len(), 2);
}

#[test]
fn streams_that_could_not_be_added_are_taken_away_and_the_call_goes_on() {
    let mut rig = rig(None, stream());
    let added = rig.engine.update(CALL, None, &[stream()], vec![new_stream(stream())], at(1)).unwrap();
    let slots = rig.engine.take_streams(CALL, 1);
    assert_eq!(slots, added.iter().map(|o| o.slot).collect::<Vec<_>>());
    slots.into_iter().for_each(|slot| rig.engine.release(slot));
    assert!(rig.rtp(Leg::Caller, 8, 2).is_some());
    assert_eq!((rig.engine.read(CALL, at(2)).unwrap().streams.len(), rig.engine.stats().sockets), (1, 4));
}

/// Sends an event of the caller: its end, or that it lasts.
fn key(rig: &mut Rig, event: u8, begins: u32, end: bool, seconds: u64) -> Option<Outgoing> {
    let mut buffer = [0; 200];
    let [t0, t1, t2, t3] = begins.to_be_bytes();
    let flags = if end { 0x8a } else { 10 };
    let packet = [0x80, 101, 0, 7, t0, t1, t2, t3, 0, 0, 0, 5, event, flags, 3, 0x20];
    buffer[..16].copy_from_slice(&packet);
    rig.engine.receive(rig.slot(Leg::Caller), phone(Leg::Caller), &mut buffer, 16, at(seconds))
}

fn digit_of(event: u8, duration_ms: u32) -> Event {
    Event::Digit { call: CALL, leg: Leg::Caller, event: TelephoneEvent(event), duration_ms, volume: 10 }
}

#[test]
fn keys_are_reported_once_passed_or_blocked_and_tapped_all_the_same() {
    for (blocked, hz, duration_ms) in [(false, 8000, 100), (true, 16_000, 50)] {
        let mut stream = stream();
        stream.legs[0].tapped = PayloadTypes::NONE.with(8).with(101);
        stream.legs[0].events = PayloadTypes::NONE.with(101);
        stream.legs[0].block_events = blocked;
        stream.legs[0].clocks[1] = Clock { payload_types: PayloadTypes::NONE.with(101), hz };
        let mut rig = rig(Some(b"label"), stream);
        for _ in 0..3 {
            assert_eq!(key(&mut rig, 4, 8000, true, 1).is_none(), blocked);
        }
        assert!(rig.rtp(Leg::Caller, 8, 1).is_some(), "speech passes");
        assert_eq!(rig.engine.next_digit(), Some(digit_of(4, duration_ms)));
        assert_eq!(rig.engine.next_digit(), None);
        let drops = if blocked { vec![("event_blocked".to_owned(), 3)] } else { vec![] };
        assert_eq!(rig.drops(Leg::Caller), drops);
        assert_eq!(rig.engine.read(CALL, at(1)).unwrap().streams[0].each_ref().map(|leg| leg.events), [1, 0]);
        assert_eq!(rig.taps().len(), 5, "the recorder knows that there was a key");

        key(&mut rig, 6, 16_000, false, 2);
        let mut events = Vec::new();
        rig.engine.watch(at(2), &mut events);
        assert_eq!((rig.engine.next_digit(), events.as_slice()), (None, &[][..]));
        rig.engine.watch(at(3), &mut events);
        assert_eq!(events, [digit_of(6, duration_ms)], "nobody hears of it any more");
    }
}

#[test]
fn what_is_protected_end_to_end_is_blocked_and_not_read() {
    let mut stream = stream();
    stream.verbatim = true;
    stream.legs[0].events = PayloadTypes::NONE.with(101);
    let mut rig = rig(None, stream);
    assert!(key(&mut rig, 4, 8000, true, 1).is_some());
    stream.legs[0].block_events = true;
    rig.engine.update(CALL, None, &[stream], vec![], at(2)).unwrap();
    assert!(key(&mut rig, 4, 16_000, true, 3).is_none());
    assert_eq!(rig.engine.next_digit(), None);
    assert_eq!(rig.drops(Leg::Caller), [("event_blocked".to_owned(), 1)]);
}

#[test]
fn more_keys_than_anyone_can_press_are_counted_as_lost() {
    let mut stream = stream();
    stream.legs[0].events = PayloadTypes::NONE.with(101);
    let mut rig = rig(None, stream);
    for n in 0..1030 {
        key(&mut rig, 1, n * 8000, true, 1).unwrap();
    }
    assert_eq!(std::iter::from_fn(|| rig.engine.next_digit()).count(), 1024);
    assert_eq!(rig.engine.stats().lane, [("digits_lost".to_owned(), 6)]);
}

#[test]
fn a_new_recorder_hears_of_every_recorded_call() {
    let mut rig = rig(Some(b"label"), stream());
    assert_eq!(rig.taps().len(), 1);
    rig.engine.recorder_attached(at(9));
    assert_eq!(rig.taps(), [(Kind::Open, b"label".to_vec())]);
}

#[test]
fn silence_and_the_end_of_time_are_reported_and_repeated() {
    let mut rig = rig(None, stream());
    let report = |rig: &mut Rig, seconds| {
        let mut events = Vec::new();
        rig.engine.watch(at(seconds), &mut events);
        events
    };
    assert_eq!(report(&mut rig, 59), []);
    assert_eq!(report(&mut rig, 60), [Event::Silent { call: CALL, seconds: 60 }]);
    assert_eq!(report(&mut rig, 61), []);
    rig.rtp(Leg::Caller, 8, 70).unwrap();
    assert_eq!(report(&mut rig, 120), [Event::Expired { call: CALL }]);
    assert_eq!(report(&mut rig, 129), []);
    assert_eq!(
        report(&mut rig, 130),
        [Event::Silent { call: CALL, seconds: 60 }, Event::Expired { call: CALL }]
    );
}

#[test]
fn slots_come_back_and_what_does_not_fit_is_refused_whole() {
    let mut rig = rig(None, stream());
    let second = |call| NewCall { call, label: None, max_seconds: 0, streams: vec![new_stream(stream())] };
    assert_eq!(rig.engine.open(second(CALL), at(0)).unwrap_err(), Refusal::CallExists);
    rig.engine.open(second(CallKey(1)), at(0)).unwrap();
    assert_eq!(rig.engine.open(second(CallKey(2)), at(0)).unwrap_err(), Refusal::OutOfFiles);
    let (_, slots) = rig.engine.close(CALL, None, at(1)).unwrap();
    assert!(rig.rtp(Leg::Caller, 8, 1).is_none(), "its rows are gone at once");
    assert_eq!(rig.engine.stats().drops.iter().find(|(n, _)| n == "stale"), Some(&("stale".to_owned(), 1)));
    assert_eq!(
        rig.engine.open(second(CallKey(2)), at(1)).unwrap_err(),
        Refusal::OutOfFiles,
        "its slots are not"
    );
    slots.into_iter().for_each(|slot| rig.engine.release(slot));
    rig.engine.open(second(CallKey(2)), at(1)).unwrap();
    assert!(rig.rtp(Leg::Caller, 8, 1).is_none(), "a late packet of the old call does not reach the new one");
}
