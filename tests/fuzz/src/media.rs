//! What parties, and strangers, send to the media ports: through a whole engine, without its sockets.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use relay::call::{CallKey, Leg};
use relay::engine::{Engine, NewCall, NewStream, Spans};
use relay::packet::Packet;
use relay::program::message::{
    Clock, Extensions, Learning, LegMedia, PayloadTypes, Remote, Stream, StreamKind,
};
use relay::rewrite::rtcp;
use relay::sys::clock::Now;
use relay::table::Slot;
use relay::tap;

/// Bytes of a lane's buffer.
const BUFFER: usize = 2048;
const CALL: CallKey = CallKey(1);
const MILLISECOND: u64 = 1_000_000;

/// A recorded call with an RTP stream (the callee with rtcp-mux and behind NAT) and a T.38 stream.
struct Call {
    engine: Engine,
    slots: Vec<Slot>,
    now: Now,
}

fn phone(leg: Leg) -> SocketAddr {
    ([192, 0, 2, 1 + leg as u8], 4000).into()
}

fn media(leg: Leg) -> LegMedia {
    let rtp = phone(leg);
    LegMedia {
        remote: Some(Remote { rtp, rtcp: (rtp.ip(), rtp.port() + 1).into() }),
        accepts: [0, 8, 96, 101].into_iter().collect(),
        tapped: [8, 101].into_iter().collect(),
        events: PayloadTypes::NONE.with(101),
        extensions: Extensions::NONE.with(1),
        clocks: [
            Clock { payload_types: PayloadTypes::ALL, hz: 8000 },
            Clock::default(),
            Clock::default(),
            Clock::default(),
        ],
        rtcp_mux: leg == Leg::Callee,
        learning: if leg == Leg::Callee { Learning::Nat } else { Learning::Strict },
        handover: leg == Leg::Callee,
        ..LegMedia::default()
    }
}

impl Call {
    fn new() -> Self {
        let (tap, _) = tap::create(512 * 1024, 1).unwrap();
        let spans = Spans { learn_window_ns: 300 * MILLISECOND, silence_ns: 1000 * MILLISECOND };
        let mut engine = Engine::new(16, tap, spans);
        // Nothing is received or sent here: any descriptor will do.
        let socket = || -> OwnedFd { File::open("/dev/null").unwrap().into() };
        let stream = |kind| NewStream {
            stream: Stream { kind, legs: Leg::BOTH.map(media), ..Stream::default() },
            sockets: [[socket(), socket()], [socket(), socket()]],
            seeds: [3, 4],
        };
        let now = Now { mono_ns: 1_000_000_000, wall_ns: 5_000_000_000 };
        let streams = vec![stream(StreamKind::Rtp), stream(StreamKind::Opaque)];
        let new = NewCall { call: CALL, label: Some(b"{}".to_vec()), max_seconds: 0, streams };
        let slots = engine.open(new, now).unwrap().into_iter().map(|opening| opening.slot).collect();
        Self { engine, slots, now }
    }

    /// What leaves for a datagram that came to slot number `slot`.
    fn receive(&mut self, slot: usize, source: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = [0; BUFFER];
        let length = datagram.len().min(BUFFER - rtcp::SDES);
        buffer[..length].copy_from_slice(&datagram[..length]);
        let out = self.engine.receive(self.slots[slot], source, &mut buffer, length, self.now)?;
        assert!(out.length <= length + rtcp::SDES, "it grows by the names at most");
        let streams = [0..4, 4..8];
        let same =
            streams.iter().any(|stream| stream.contains(&slot) && stream.contains(&(out.via as usize)));
        assert!(same, "it stays in its stream");
        assert_ne!(out.via as usize / 2, slot / 2, "it leaves towards the other leg");
        Some(buffer[..out.length].to_vec())
    }

    /// The call's end: its figures can be read, whatever came.
    fn end(mut self) {
        self.engine.watch(self.now, &mut Vec::new());
        self.engine.batch_done();
        let counters = self.engine.read(CALL, self.now).unwrap();
        for leg in counters.streams.iter().flatten() {
            assert!(leg.quality.is_none_or(|quality| quality.total.received <= leg.rtp.packets + drops(leg)));
        }
        assert!(self.engine.close(CALL, None, self.now).is_ok());
    }
}

fn drops(leg: &relay::program::message::LegCounters) -> u64 {
    leg.drops.iter().map(|(_, count)| count).sum()
}

/// A RTP packet of G.711.
fn speech(sequence: u8, ssrc: u8) -> [u8; 16] {
    [0x80, 8, 0, sequence, 0, 0, sequence, 0, 0, 0, 0, ssrc, 0xd5, 0xd5, 0xd5, 0xd5]
}

/// Datagrams one after the other: a byte for slot and source, one for the milliseconds since the last, one for the
/// length.
pub fn packet(mut bytes: &[u8]) {
    let mut call = Call::new();
    while let [place, pause, length, rest @ ..] = bytes {
        let (datagram, after) = rest.split_at(usize::from(*length).min(rest.len()));
        bytes = after;
        call.now.mono_ns += u64::from(*pause) * MILLISECOND;
        let slot = usize::from(place & 7);
        let leg = if slot & 2 == 0 { Leg::Caller } else { Leg::Callee };
        let mut source = phone(leg);
        source.set_port(source.port() + u16::from(place >> 3 & 3));
        let Some(out) = call.receive(slot, source, datagram) else { continue };
        if slot >= 4 {
            assert_eq!(out, datagram, "it passes untouched");
            continue;
        }
        match Packet::parse(&out) {
            Ok(Packet::Rtp { .. }) => {
                assert_eq!(out[0] & 0x2f, 0, "no contributing sources, no padding");
            }
            Ok(Packet::Rtcp) => {}
            other => panic!("{other:?} leaves"),
        }
    }
    call.end();
}

/// A compound RTCP packet, in a call whose parties have spoken: the caller under SSRC 5, the callee under 6.
pub fn rtcp(compound: &[u8]) {
    let mut call = Call::new();
    for sequence in 0..3 {
        assert!(call.receive(0, phone(Leg::Caller), &speech(sequence, 5)).is_some());
        assert!(call.receive(2, phone(Leg::Callee), &speech(sequence, 6)).is_some());
    }
    let mut source = phone(Leg::Caller);
    source.set_port(source.port() + 1);
    for (slot, source) in [(1, source), (2, phone(Leg::Callee))] {
        if let Some(out) = call.receive(slot, source, compound)
            && slot == 1
        {
            assert_eq!(Packet::parse(&out), Ok(Packet::Rtcp));
            assert!(out.len().is_multiple_of(4), "RFC 3550 section 6.4.1: 32-bit words");
        }
    }
    call.end();
}
