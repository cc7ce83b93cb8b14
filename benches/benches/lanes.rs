//! What forwarding a packet costs, kernel included: our lanes, and tokio-uring's socket operations doing the least
//! that a relay must. On loopback, in batches of 64; only the relay's part is timed, not the phones'.
//!
//! `cargo bench -p benches --bench lanes`

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench that cannot be set up ends"
)]

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[path = "../../relay/tests/two_phones/rig.rs"]
mod rig;

use rig::{Clean, PACKET, Rig};

const BATCH: u16 = 64;

fn lane<L: Clean>(bench: &mut Criterion, name: &str, mut rig: Rig<L>) {
    rig.exchange(BATCH);
    let mut group = bench.benchmark_group("forward a packet");
    group.throughput(Throughput::Elements(1));
    group.bench_function(name, |b| {
        b.iter_custom(|packets| {
            let mut spent = Duration::ZERO;
            for _ in 0..packets.div_ceil(BATCH.into()) {
                rig.send(BATCH);
                let before = rig.forwarded();
                let start = Instant::now();
                while rig.forwarded() < before + u64::from(BATCH) {
                    rig.turn();
                }
                rig.push_out();
                spent += start.elapsed();
                rig.hear(BATCH);
            }
            scale(spent, packets)
        });
    });
    group.finish();
}

/// The batches were rounded up; the time is for the packets that were asked for.
fn scale(spent: Duration, packets: u64) -> Duration {
    let sent = u128::from(packets.next_multiple_of(BATCH.into()));
    let nanoseconds = spent.as_nanos() * u128::from(packets) / sent;
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// The shortest relay that tokio-uring's UDP operations allow: no table, no checks, no rewriting.
fn tokio_uring(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("forward a packet");
    group.throughput(Throughput::Elements(1));
    group.bench_function("tokio-uring recv_from and send_to", |b| {
        b.iter_custom(|packets| {
            let [caller, callee] = [rig::phone(), rig::phone()];
            let to = callee.local_addr().unwrap();
            let spent = tokio_uring::start(async {
                let [inner, outer] = [rig::phone(), rig::phone()];
                let port = inner.local_addr().unwrap();
                let [inner, outer] = [inner, outer].map(tokio_uring::net::UdpSocket::from_std);
                let mut buffer = vec![0; 2048];
                let mut spent = Duration::ZERO;
                for _ in 0..packets.div_ceil(BATCH.into()) {
                    for _ in 0..BATCH {
                        caller.send_to(&[0x80; PACKET], port).unwrap();
                    }
                    let start = Instant::now();
                    for _ in 0..BATCH {
                        let (received, mut filled) = inner.recv_from(buffer).await;
                        filled.truncate(received.unwrap().0);
                        let (sent, back) = outer.send_to(filled, to).await;
                        sent.unwrap();
                        buffer = back;
                        buffer.resize(2048, 0);
                    }
                    spent += start.elapsed();
                    let mut heard = [0; 2048];
                    for _ in 0..BATCH {
                        callee.recv(&mut heard).unwrap();
                    }
                }
                spent
            });
            scale(spent, packets)
        });
    });
    group.finish();
}

fn lanes(bench: &mut Criterion) {
    if let Some(rig) = rig::uring(|lane, wake| Rig::new(lane, wake, None)) {
        lane(bench, "uring lane", rig);
    }
    lane(bench, "mmsg lane", rig::mmsg(|lane, wake| Rig::new(lane, wake, None)));
    tokio_uring(bench);
}

criterion_group!(benches, lanes);
criterion_main!(benches);
