//! What a packet costs without any system call: the engine's decision and rewriting, and the tap ring.
//!
//! `cargo bench -p benches --bench packet`

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up ends")]

use std::hint::black_box;
use std::net::SocketAddr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use relay::call::{CallKey, Leg};
use relay::engine::{Engine, NewCall, NewStream, Spans};
use relay::program::message::{Learning, LegMedia, PayloadTypes, Remote, Stream};
use relay::sys::clock::Now;
use relay::tap::{self, Attachment, Host, Kind, Record};

const RTP: [u8; 172] = {
    let mut packet = [0x55; 172];
    packet[0] = 0x80;
    packet[1] = 8;
    packet
};

const BATCH: u64 = 1024;

fn media(address: &str) -> LegMedia {
    let rtp: SocketAddr = address.parse().unwrap();
    let accepts = PayloadTypes::NONE.with(8);
    let remote = Some(Remote { rtp, rtcp: rtp });
    LegMedia {
        remote,
        accepts,
        tapped: accepts,
        rtcp_mux: false,
        learning: Learning::Strict,
        ..LegMedia::default()
    }
}

/// The packet number `n` of its stream, and not the same one again.
fn sequenced(packet: &mut [u8; 256], n: u64) {
    let [_, _, _, _, _, _, high, low] = n.to_be_bytes();
    if let Some(place) = packet.get_mut(2..4) {
        place.copy_from_slice(&[high, low]);
    }
}

/// A ring with both ends in this process.
fn ring() -> (tap::Writer, Attachment) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tap.sock");
    let (writer, handles) = tap::create(64 << 20, 1).unwrap();
    let host = Host::bind(&path, vec![handles], 1).unwrap();
    std::thread::spawn(move || host.serve(|_| {}));
    let attachment = tap::attach(&path).unwrap();
    (writer, attachment)
}

fn drain(attachment: &mut Attachment, payload: &mut Vec<u8>) {
    for ring in &mut attachment.rings {
        while ring.next(payload).unwrap().is_some() {}
        ring.commit();
    }
}

fn engine(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("engine");
    group.throughput(Throughput::Elements(1));
    for (name, label) in [("forward", None), ("forward and tap", Some(b"label".to_vec()))] {
        let (writer, mut attachment) = ring();
        let mut engine = Engine::new(4, writer, Spans { learn_window_ns: 0, silence_ns: u64::MAX });
        let socket = || std::fs::File::open("/dev/null").unwrap().into();
        let stream = Stream { legs: [media("192.0.2.1:4000"), media("192.0.2.2:4000")], ..Stream::default() };
        let streams =
            vec![NewStream { stream, sockets: [[socket(), socket()], [socket(), socket()]], seeds: [1, 2] }];
        let call = NewCall { call: CallKey(1), label, max_seconds: 0, streams };
        let slot = engine.open(call, Now::read()).unwrap().first().unwrap().slot;
        let source = "192.0.2.1:4000".parse().unwrap();
        let (mut buffer, mut payload, now) = ([0; 256], Vec::new(), Now::read());
        let mut batch = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                if let Some(place) = buffer.get_mut(..RTP.len()) {
                    place.copy_from_slice(&RTP);
                }
                batch += 1;
                sequenced(&mut buffer, batch);
                if batch % BATCH == 0 {
                    engine.batch_done();
                    drain(&mut attachment, &mut payload);
                }
                black_box(engine.receive(slot, source, &mut buffer, RTP.len(), now))
            });
        });
    }
    group.finish();
}

fn tap_ring(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("tap");
    group.throughput(Throughput::Elements(BATCH));
    let (mut writer, mut attachment) = ring();
    let record = Record {
        position: 0,
        call: CallKey(1),
        at_ns: 1,
        kind: Kind::Packet { leg: Leg::Caller, stream: 0 },
    };
    let mut payload = Vec::new();
    group.bench_function("write, publish, read, commit", |b| {
        b.iter(|| {
            for _ in 0..BATCH {
                writer.packet(&record, &RTP).unwrap();
            }
            writer.flush();
            drain(&mut attachment, &mut payload);
        });
    });
    group.finish();
}

criterion_group!(benches, engine, tap_ring);
criterion_main!(benches);
