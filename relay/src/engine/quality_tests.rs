//! What the engine tells of a call's quality: measured from RTP, and learned from the RTCP that passes.

use super::*;
use crate::program::message::{Clock, LegCounters, Report, StreamKind};

fn clocked() -> Stream {
    let clock = Clock { payload_types: PayloadTypes::NONE.with(8).with(101), hz: 8000 };
    let mut stream = stream();
    for leg in &mut stream.legs {
        leg.clocks[0] = clock;
        leg.events = PayloadTypes::NONE.with(101);
    }
    stream
}

impl Rig {
    /// Sends `bytes` from `leg` at `now` to its RTP or RTCP port; gives what leaves.
    fn send(&mut self, leg: Leg, rtcp: bool, bytes: &[u8], now: Now) -> Vec<u8> {
        let slot = self.slots[leg as usize * 2 + usize::from(rtcp)];
        let source = (phone(leg).ip(), phone(leg).port() + u16::from(rtcp)).into();
        let mut buffer = [0; 256];
        buffer[..bytes.len()].copy_from_slice(bytes);
        let out = self.engine.receive(slot, source, &mut buffer, bytes.len(), now).unwrap();
        buffer[..out.length].to_vec()
    }

    /// A packet of A-law with sequence number `n` of SSRC 5 at its time; gives what leaves.
    fn voice(&mut self, leg: Leg, n: u16) -> Vec<u8> {
        let mut bytes = vec![0x80, 8];
        bytes.extend(n.to_be_bytes());
        bytes.extend((u32::from(n) * 160).to_be_bytes());
        bytes.extend([0, 0, 0, 5]);
        self.send(leg, false, &bytes, ms(u64::from(n) * 20))
    }

    fn counters(&self, leg: Leg) -> LegCounters {
        self.engine.read(CALL, at(0)).unwrap().streams[0][leg as usize].clone()
    }
}

fn ms(ms: u64) -> Now {
    let now = at(1);
    Now { mono_ns: now.mono_ns + ms * SECOND / 1000, ..now }
}

fn words(list: &[u32]) -> Vec<u8> {
    list.iter().flat_map(|w| w.to_be_bytes()).collect()
}

fn word(bytes: &[u8], index: usize) -> u32 {
    u32::from_be_bytes(bytes[index * 4..index * 4 + 4].try_into().unwrap())
}

#[test]
fn what_comes_from_a_leg_is_measured_and_what_the_leg_says_of_the_other_is_told() {
    for mux in [false, true] {
        let mut stream = clocked();
        stream.legs.iter_mut().for_each(|leg| leg.rtcp_mux = mux);
        let mut rig = rig(None, stream);
        assert_eq!((rig.counters(Leg::Caller).quality, rig.counters(Leg::Caller).report), (None, None));
        let (mut shown, mut last) = (0, Vec::new());
        for n in (0..100).filter(|n| n % 10 != 7) {
            shown = word(&rig.voice(Leg::Caller, n), 2);
            last = rig.voice(Leg::Callee, n);
        }
        let quality = rig.counters(Leg::Caller).quality.unwrap();
        assert_eq!((quality.total.expected, quality.total.lost(), quality.total.jitter_us), (100, 10, 0));
        assert_eq!((quality.ssrc, quality.sequence, quality.round_trip_us), (5, 99, None));

        // The caller's report reaches the callee at 3 s; it answers 90 ms later, having waited for half of them.
        let sender = words(&[0x80c8_0006, 5, 0x1111_b705, 0x2000_9999, 99 * 160, 90, 1080]);
        let out = rig.send(Leg::Caller, !mux, &sender, ms(3000));
        let stamp = word(&out, 2) << 16 | word(&out, 3) >> 16;
        let report =
            |about, stamp| words(&[0x81c9_0007, 5, about, 0x2000_000a, 99, 44, stamp, 65_536 * 45 / 1000]);
        rig.send(Leg::Callee, !mux, &report(shown, stamp), ms(3090));
        let callee = rig.counters(Leg::Callee);
        assert_eq!(callee.report, Some(Report { fraction_lost: 0x20, lost: 10, jitter: 44 }), "mux {mux}");
        let trip = callee.quality.unwrap().round_trip_us.unwrap();
        assert!((45_000..45_020).contains(&trip), "{trip}");

        // The other direction has heard nothing yet; and what is said of an SSRC that was never shown is not believed.
        let caller = rig.counters(Leg::Caller);
        assert_eq!((caller.report, caller.quality.unwrap().round_trip_us), (None, None));
        rig.send(Leg::Caller, !mux, &report(shown, stamp), ms(3100));
        assert_eq!(rig.counters(Leg::Caller).report, None);
        rig.send(Leg::Caller, !mux, &report(word(&last, 2), stamp), ms(3200));
        let caller = rig.counters(Leg::Caller);
        assert_eq!(caller.report.map(|r| r.lost), Some(10));
        assert_eq!(caller.quality.unwrap().round_trip_us, None, "the time-stamp was sent to the other leg");
    }
}

#[test]
fn a_leg_is_measured_before_there_is_anyone_to_forward_to() {
    let mut stream = clocked();
    stream.legs[1].remote = None;
    let mut rig = rig(None, stream);
    assert!(rig.rtp(Leg::Caller, 8, 1).is_none());
    assert_eq!(rig.counters(Leg::Caller).quality.unwrap().total.received, 1);
}

#[test]
fn packets_between_the_parties_are_measured_and_their_rtcp_is_not_read() {
    let mut rig = rig(None, Stream { verbatim: true, ..clocked() });
    for n in [0, 1, 3] {
        rig.voice(Leg::Caller, n);
    }
    assert_eq!(rig.counters(Leg::Caller).quality.unwrap().total.lost(), 1);
    let report = words(&[0x81c9_0007, 5, 5, 0x2000_000a, 99, 44, 1, 1]);
    assert_eq!(rig.send(Leg::Callee, true, &report, ms(100)), report);
    assert_eq!(rig.counters(Leg::Callee).report, None);
}

#[test]
fn datagrams_that_are_nobodys_business_are_not_measured() {
    let mut rig = rig(None, Stream { kind: StreamKind::Opaque, ..clocked() });
    rig.voice(Leg::Caller, 0);
    let counters = rig.counters(Leg::Caller);
    assert_eq!((counters.rtp.packets, counters.quality), (1, None));
}
