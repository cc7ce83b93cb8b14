//! What leaves towards the other party, through the whole engine.

use super::*;
use crate::program::message::{Extensions, StreamKind};
use crate::rewrite::rtcp;

/// RTP of `ssrc` with a contributing source, extension elements 3 and 4, and padding.
fn adorned(ssrc: u8) -> Vec<u8> {
    let header = [0xb1, 8, 0, 7, 0, 0, 0, 80, 0, 0, 0, ssrc];
    let rest =
        [&b"+447"[..], &[0xbe, 0xde, 0, 2, 0x30, 1, 0x43], b"7700", &[0], b"voice", b"09\x03"].concat();
    [&header[..], &rest].concat()
}

/// What is forwarded of a datagram that came to a leg's RTP or RTCP port.
fn forward(rig: &mut Rig, leg: Leg, port: usize, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut buffer = bytes.to_vec();
    buffer.resize(bytes.len() + rtcp::SDES, 0);
    let from = (phone(leg).ip(), phone(leg).port() + u16::try_from(port).unwrap()).into();
    let slot = rig.slots[leg as usize * 2 + port];
    let out = rig.engine.receive(slot, from, &mut buffer, bytes.len(), at(1))?;
    buffer.truncate(out.length);
    Some(buffer)
}

#[test]
fn the_recorder_gets_what_came_and_the_other_party_what_was_negotiated() {
    let mut stream = stream();
    stream.legs[0].extensions = Extensions::NONE.with(3);
    let mut rig = rig(Some(b"label"), stream);
    let out = forward(&mut rig, Leg::Caller, 0, &adorned(5)).unwrap();
    assert_eq!(
        (out[0], &out[12..]),
        (0x90, &[&[0xbe, 0xde, 0, 1, 0x30, 1, 0, 0], &b"voice"[..]].concat()[..])
    );
    let tapped = rig.taps().pop().unwrap().1;
    assert_eq!(tapped, adorned(5));
    let out = forward(&mut rig, Leg::Callee, 0, &adorned(6)).unwrap();
    assert_eq!((out[0], &out[12..]), (0x80, &b"voice"[..]), "the callee may send no extension");
}

#[test]
fn a_verbatim_stream_is_not_touched() {
    let mut rig = rig(None, Stream { verbatim: true, ..stream() });
    assert_eq!(forward(&mut rig, Leg::Caller, 0, &adorned(5)), Some(adorned(5)));
    let app = [0x80, 204, 0, 2, 0, 0, 0, 5, b'n', b'a', b'm', b'e'];
    assert_eq!(forward(&mut rig, Leg::Caller, 1, &app).as_deref(), Some(&app[..]));
}

#[test]
fn speech_under_way_does_not_slip_through_when_a_call_becomes_a_fax() {
    let speech = |kind| {
        let mut stream = Stream { kind, ..stream() };
        stream.legs.iter_mut().for_each(|leg| leg.rtcp_mux = true);
        stream
    };
    let mut rig = rig(None, speech(StreamKind::Rtp));
    let report = [0x80, 201, 0, 1, 0, 0, 0, 5];
    let before = forward(&mut rig, Leg::Caller, 0, &adorned(5)).unwrap();
    rig.engine.update(CALL, None, &[speech(StreamKind::Opaque)], Vec::new(), at(1)).unwrap();
    // UDPTL whose sequence number begins like RTP's version, and one that does not.
    for fax in [&[0x80, 8, 3, 1, 2, 3, 0, 0, 0, 0, 0, 9, 9][..], &[0, 1, 1, 0, 0]] {
        assert_eq!(forward(&mut rig, Leg::Caller, 0, fax).as_deref(), Some(fax));
    }
    assert_eq!(forward(&mut rig, Leg::Caller, 0, &adorned(5)), None);
    assert_eq!(forward(&mut rig, Leg::Caller, 0, &report), None);
    assert_eq!(rig.drops(Leg::Caller), [("unexpected_rtp".to_owned(), 2)]);
    let sealed = Stream { verbatim: true, ..speech(StreamKind::Opaque) };
    rig.engine.update(CALL, None, &[sealed], Vec::new(), at(1)).unwrap();
    let passes = forward(&mut rig, Leg::Caller, 0, &adorned(5));
    assert_eq!(passes, Some(adorned(5)), "what the parties protect themselves may go on under its SSRC");
    rig.engine.update(CALL, None, &[speech(StreamKind::Rtp)], Vec::new(), at(1)).unwrap();
    let after = forward(&mut rig, Leg::Caller, 0, &adorned(5)).unwrap();
    assert_eq!(after[8..12], before[8..12], "the same voice as before");
}

#[test]
fn an_echo_service_is_heard_and_two_of_them_make_no_loop() {
    let mut rig = rig(None, stream());
    let said = adorned(5);
    let heard = forward(&mut rig, Leg::Caller, 0, &said).unwrap();
    let echo = forward(&mut rig, Leg::Callee, 0, &heard).expect("the caller hears himself");
    assert_eq!(forward(&mut rig, Leg::Caller, 0, &echo), None);
    assert_eq!(rig.drops(Leg::Caller), [("looped".to_owned(), 1)]);
    assert!(forward(&mut rig, Leg::Caller, 0, &said).is_some());
}

#[test]
fn streams_of_a_leg_share_a_name_and_legs_do_not() {
    let mut rig = rig(None, stream());
    let added = rig.engine.update(CALL, None, &[stream()], vec![new_stream(stream())], at(1)).unwrap();
    rig.slots.extend(added.iter().map(|opening| opening.slot));
    let name = |rig: &mut Rig, leg: Leg, slot: usize| {
        let compound = [0x80, 201, 0, 1, 0, 0, 0, 5, 0x81, 202, 0, 2, 0, 0, 0, 5, 1, 1, b'x', 0];
        let mut buffer = [0; 64];
        buffer[..20].copy_from_slice(&compound);
        let from = (phone(leg).ip(), phone(leg).port() + 1).into();
        let out = rig.engine.receive(rig.slots[slot], from, &mut buffer, 20, at(1)).unwrap();
        assert_eq!(out.length, 36);
        (buffer[4..8].to_vec(), buffer[18..34].to_vec())
    };
    let (audio, video) = (name(&mut rig, Leg::Caller, 1), name(&mut rig, Leg::Caller, 5));
    let callee = name(&mut rig, Leg::Callee, 3);
    assert_eq!(audio.1, video.1);
    assert_ne!(audio.1, callee.1);
}
