//! What packets teach, as the engine carries it out: both rows of a leg, the cap, the sockets to connect.

use super::*;
use crate::program::message::StreamKind;
use crate::source::HANDOVER_NS;

const STRANGER: ([u8; 4], u16) = ([203, 0, 113, 9], 7);

/// With this of the caller's leg.
fn rig_of(change: impl FnOnce(&mut LegMedia)) -> (Rig, Stream) {
    let mut stream = stream();
    change(&mut stream.legs[0]);
    (rig(None, stream), stream)
}

fn nat() -> (Rig, Stream) {
    rig_of(|caller| caller.learning = Learning::Nat)
}

/// From an address to a slot: where it is sent, if it is.
fn comes(rig: &mut Rig, slot: usize, from: SocketAddr, packet: &[u8], at: Now) -> Option<Outgoing> {
    let mut buffer = [0; 200];
    buffer[..packet.len()].copy_from_slice(packet);
    rig.engine.receive(rig.slots[slot], from, &mut buffer, packet.len(), at)
}

fn rtp(ssrc: u8) -> [u8; 14] {
    [0x80, 8, 0, 7, 0, 0, 0, 80, 0, 0, 0, ssrc, b'h', b'i']
}

/// An empty receiver report.
const REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 5];
const CALLER_RTP: usize = 0;
const CALLER_RTCP: usize = 1;
const CALLEE_RTCP: usize = 3;

fn rtcp_of(leg: Leg) -> SocketAddr {
    (phone(leg).ip(), 4001).into()
}

/// Where the caller is sent RTCP.
fn rtcp_destination(rig: &mut Rig, seconds: u64) -> SocketAddr {
    comes(rig, CALLEE_RTCP, rtcp_of(Leg::Callee), &REPORT, at(seconds)).unwrap().to.unwrap()
}

#[test]
fn whoever_was_taken_for_the_phone_loses_its_rtcp_as_well() {
    for settled in [false, true] {
        let (mut rig, _) = nat();
        let (stranger, his_rtcp) = (STRANGER.into(), (STRANGER.0, 8).into());
        comes(&mut rig, CALLER_RTP, stranger, &rtp(9), at(1)).unwrap();
        comes(&mut rig, CALLER_RTCP, his_rtcp, &REPORT, at(1)).unwrap();
        assert_eq!(rtcp_destination(&mut rig, 1), his_rtcp);
        if settled {
            comes(&mut rig, CALLER_RTCP, his_rtcp, &REPORT, at(4)).unwrap();
            assert_eq!(
                connections(&mut rig),
                [
                    (rig.slots[CALLEE_RTCP], Some(rtcp_of(Leg::Callee))),
                    (rig.slots[CALLER_RTCP], Some(his_rtcp))
                ]
            );
        }
        // The phone speaks; it sends no RTCP.
        assert!(rig.rtp(Leg::Caller, 8, 5).is_some());
        assert!(comes(&mut rig, CALLER_RTCP, his_rtcp, &REPORT, at(5)).is_none());
        assert_eq!(rtcp_destination(&mut rig, 5), rtcp_of(Leg::Caller));
        if settled {
            let expected =
                [(rig.slots[CALLER_RTP], Some(phone(Leg::Caller))), (rig.slots[CALLER_RTCP], None)];
            assert_eq!(connections(&mut rig), expected, "the kernel lets the phone's RTCP through again");
        }
    }
}

/// What the lane is to connect.
fn connections(rig: &mut Rig) -> Vec<(Slot, Option<SocketAddr>)> {
    std::iter::from_fn(|| rig.engine.connection()).collect()
}

#[test]
fn a_settled_socket_is_connected_until_the_next_offer_that_moves_it_or_holds_it() {
    let (mut rig, mut stream) = nat();
    let (slot, here) = (rig.slots[CALLER_RTP], phone(Leg::Caller));
    comes(&mut rig, CALLER_RTP, STRANGER.into(), &rtp(9), at(1)).unwrap();
    assert_eq!(connections(&mut rig), [], "only a candidate");
    rig.rtp(Leg::Caller, 8, 1).unwrap();
    assert_eq!(connections(&mut rig), [(slot, Some(here))]);
    assert_eq!(rig.rtp(Leg::Callee, 8, 1).unwrap().0.to, None, "no address is needed");
    connections(&mut rig);
    rig.engine.not_connected(slot);
    assert_eq!(rig.rtp(Leg::Callee, 8, 1).unwrap().0.to, Some(here), "it could not be connected");

    rig.engine.update(CALL, None, &[stream], vec![], at(2)).unwrap();
    assert_eq!(connections(&mut rig), [], "the same offer again");
    let remote = stream.legs[0].remote.take();
    rig.engine.update(CALL, None, &[stream], vec![], at(2)).unwrap();
    assert_eq!(connections(&mut rig), [(slot, None)], "on hold");
    stream.legs[0].remote = remote;
    rig.engine.update(CALL, None, &[stream], vec![], at(3)).unwrap();
    rig.rtp(Leg::Caller, 8, 3).unwrap();
    stream.legs[0].remote = remote.map(|r| Remote { rtp: STRANGER.into(), ..r });
    rig.engine.update(CALL, None, &[stream], vec![], at(3)).unwrap();
    assert_eq!(
        rig.rtp(Leg::Callee, 8, 3).unwrap().0.to,
        Some(STRANGER.into()),
        "before the lane has had its turn"
    );
    assert_eq!(connections(&mut rig), [(slot, None); 2], "what was overtaken is not carried out");
    rig.engine.close(CALL, None, at(4)).unwrap();
    assert_eq!(connections(&mut rig), [], "nothing for a row that is gone");
}

#[test]
fn a_stranger_takes_nothing_from_the_phones_own_rate() {
    let (mut rig, _) = rig_of(|caller| {
        caller.learning = Learning::Nat;
        caller.packets_per_second = 10;
    });
    let sent =
        (0..20).filter(|_| comes(&mut rig, CALLER_RTP, STRANGER.into(), &rtp(9), at(1)).is_some()).count();
    assert_eq!(sent, 10);
    assert_eq!((0..20).filter(|_| rig.rtp(Leg::Caller, 8, 1).is_some()).count(), 10);
}

#[test]
fn a_leg_is_handed_over_with_its_ssrc_alone_and_its_rtcp_follows() {
    let (mut rig, _) = rig_of(|caller| caller.handover = true);
    let (there, rtcp_there) = (STRANGER.into(), (STRANGER.0, 8).into());
    rig.rtp(Leg::Caller, 8, 0).unwrap();
    comes(&mut rig, CALLER_RTCP, rtcp_of(Leg::Caller), &REPORT, at(0)).unwrap();
    assert_eq!(connections(&mut rig), [], "the next one must be heard");
    let silent = HANDOVER_NS / SECOND;
    let mut wrong = rtp(5);
    wrong[1] = 9;
    for packet in [rtp(6), wrong] {
        assert!(
            comes(&mut rig, CALLER_RTP, there, &packet, at(silent)).is_none(),
            "not its SSRC, not its codec"
        );
    }
    assert!(comes(&mut rig, CALLER_RTP, there, &rtp(5), at(silent - 1)).is_none(), "it may still be there");
    assert!(comes(&mut rig, CALLER_RTCP, rtcp_there, &REPORT, at(silent)).is_none(), "not before RTP");
    assert!(comes(&mut rig, CALLER_RTP, there, &rtp(5), at(silent)).is_some());
    assert_eq!(rig.rtp(Leg::Callee, 8, silent).unwrap().0.to, Some(there));
    assert!(comes(&mut rig, CALLER_RTCP, rtcp_there, &REPORT, at(silent)).is_some());
    assert_eq!(rtcp_destination(&mut rig, silent), rtcp_there);
    assert!(rig.rtp(Leg::Caller, 8, silent).is_none(), "the old source is a stranger now");
    assert_eq!(rig.drops(Leg::Caller), [("payload_type".to_owned(), 1), ("source_mismatch".to_owned(), 4)]);
}

#[test]
fn an_asymmetric_leg_is_heard_from_where_it_sends_and_sent_to_where_it_was_signalled() {
    let (mut rig, _) = rig_of(|caller| (caller.learning, caller.asymmetric) = (Learning::Nat, true));
    for seconds in [1, 4] {
        assert!(comes(&mut rig, CALLER_RTP, STRANGER.into(), &rtp(5), at(seconds)).is_some());
        assert_eq!(rig.rtp(Leg::Callee, 8, seconds).unwrap().0.to, Some(phone(Leg::Caller)));
    }
    assert!(comes(&mut rig, CALLER_RTP, (STRANGER.0, 8).into(), &rtp(5), at(5)).is_none(), "it has settled");
    assert_eq!(connections(&mut rig), [(rig.slots[2], Some(phone(Leg::Callee)))], "the other leg's alone");
}

#[test]
fn rtcp_that_is_broken_teaches_nothing() {
    let (mut rig, _) = nat();
    comes(&mut rig, CALLER_RTP, STRANGER.into(), &rtp(9), at(1)).unwrap();
    let mut broken = REPORT;
    broken[3] = 9;
    for from in [(STRANGER.0, 8).into(), rtcp_of(Leg::Caller)] {
        assert!(comes(&mut rig, CALLER_RTCP, from, &broken, at(1)).is_none());
    }
    assert_eq!(rig.drops(Leg::Caller), [("malformed_rtcp".to_owned(), 2)]);
    assert_eq!(rtcp_destination(&mut rig, 1), rtcp_of(Leg::Caller), "as it was signalled");
}

#[test]
fn a_stream_that_is_not_looked_at_has_no_second_door() {
    let mut stream = stream();
    stream.kind = StreamKind::Opaque;
    stream.legs[0].learning = Learning::Nat;
    let mut rig = rig(None, stream);
    assert!(comes(&mut rig, CALLER_RTP, phone(Leg::Caller), b"fax", at(1)).is_some());
    for from in [STRANGER.into(), rtcp_of(Leg::Caller)] {
        assert!(comes(&mut rig, CALLER_RTCP, from, b"fax", at(1)).is_none());
    }
    assert_eq!(rig.drops(Leg::Caller), [("unexpected_rtp".to_owned(), 2)]);
}
