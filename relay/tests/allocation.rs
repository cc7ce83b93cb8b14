//! The steady state allocates nothing: counted over 100,000 forwarded packets on each lane, tapped and rewritten.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;

#[path = "two_phones/rig.rs"]
mod rig;

use relay::program::message::{Learning, LegMedia, PayloadTypes, Stream};
use relay::sys::clock::Now;
use rig::{CALL, Clean, Rig};

/// Counts what the testing thread allocates while it is asked to.
struct Counting;

thread_local! {
    static COUNTED: Cell<Option<u64>> = const { Cell::new(None) };
}

// SAFETY: hands everything on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNTED.with(|c| c.set(c.get().map(|n| n + 1)));
        // SAFETY: the caller's promise is the system allocator's demand.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn no_allocation<L: Clean>(mut rig: Rig<L>) {
    const BATCH: u16 = 50;
    // The first packets may still set things up.
    rig.exchange(BATCH);
    rig.answer();
    rig.exchange(BATCH);
    rig.record();
    COUNTED.with(|c| c.set(Some(0)));
    let (mut forwarded, mut recorded) = (0, 0);
    while forwarded < 100_000 {
        rig.report();
        rig.turn();
        forwarded += rig.exchange(BATCH);
        recorded += rig.record();
    }
    let counted = COUNTED.with(Cell::take);
    assert_eq!(counted, Some(0), "allocations over {forwarded} forwarded packets");
    assert_eq!((recorded, rig.engine.stats().tap_lost), (forwarded, 0), "every packet was tapped");
    assert!(rig.engine.forwarded().packets > forwarded, "RTCP passed as well");
}

#[test]
fn the_uring_lane_allocates_nothing_per_packet() {
    rig::uring(|lane, wake| Rig::new(lane, wake, Some(b"recorded"))).into_iter().for_each(no_allocation);
}

#[test]
fn the_mmsg_lane_allocates_nothing_per_packet() {
    no_allocation(rig::mmsg(|lane, wake| Rig::new(lane, wake, Some(b"recorded"))));
}

/// Whatever comes, from whomever: strangers, handovers, keys, reports, and what is neither RTP nor RTCP.
#[test]
fn strange_packets_allocate_nothing() {
    let mut rig = rig::mmsg(|lane, wake| Rig::new(lane, wake, None));
    let (callers, callees) = (rig::media(&rig.phones[0]), rig::media(&rig.phones[1]));
    let legs = [callers, callees].map(|media| LegMedia {
        accepts: PayloadTypes::NONE.with(8).with(101),
        events: PayloadTypes::NONE.with(101),
        learning: Learning::Nat,
        handover: true,
        rtcp_mux: true,
        packets_per_second: 5000,
        ..media
    });
    rig.engine.update(CALL, None, &[Stream { legs, ..Stream::default() }], Vec::new(), Now::read()).unwrap();
    let (mut now, mut random) = (Now::read(), 1_u64);
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let (mut keys, mut handovers, mut callee) = (0, 0, None);
    COUNTED.with(|c| c.set(Some(0)));
    for _ in 0..200_000 {
        // Mostly packets in a row, now and then a pause after which a leg may be handed over.
        now.mono_ns += if next(64) == 0 { 2_500_000_000 } else { 1_000 };
        let slot = rig.slots[usize::try_from(next(4)).unwrap()];
        let source = SocketAddr::from(([127, 0, 0, 1], 4000 + u16::try_from(next(3)).unwrap()));
        let mut bytes = [0; 256];
        bytes.iter_mut().for_each(|byte| *byte = u8::try_from(next(256)).unwrap());
        let first = [0x80, 0x81, 0x90, 0xa0, 0x3f][usize::try_from(next(5)).unwrap()];
        let kind = [8, 101, 200, 201, 202, 203, 205, 206, 207, 9][usize::try_from(next(10)).unwrap()];
        bytes[..2].copy_from_slice(&[first, kind]);
        let mut length = usize::try_from(next(20)).unwrap() * 4;
        if kind >= 200 && length >= 4 {
            bytes[2..4].copy_from_slice(&u16::try_from(length / 4 - 1).unwrap().to_be_bytes());
        } else if kind == 101 {
            length = 16;
        }
        bytes[8..12].copy_from_slice(&[0, 0, 0, u8::try_from(next(2)).unwrap()]);
        let out = rig.engine.receive(slot, source, &mut bytes, length, now);
        // Towards the callee: whoever is taken for it stays so, but for a handover.
        if let Some(to) = out.filter(|out| out.via == rig.slots[2].index).and_then(|out| out.to) {
            handovers += u64::from(callee.replace(to).is_some_and(|before| before != to));
        }
        while rig.engine.connection().is_some() {}
        keys += u64::from(rig.engine.next_digit().is_some());
    }
    let counted = COUNTED.with(Cell::take);
    assert_eq!(counted, Some(0), "allocations");
    let drops = rig.engine.stats().drops;
    for reason in ["source_mismatch", "payload_type", "not_rtp", "malformed_rtcp"] {
        assert!(drops.iter().any(|(name, count)| name == reason && *count > 0), "{reason}: {drops:?}");
    }
    assert!(keys > 0 && handovers > 1, "{keys} keys, {handovers} handovers, {drops:?}");
}
