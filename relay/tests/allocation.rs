//! The steady state allocates nothing: counted over 100,000 forwarded packets on each lane, tapped and rewritten.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[path = "two_phones/rig.rs"]
mod rig;

use rig::{Clean, Rig};

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
