//! However a lane waits, it forwards every packet once, in order, and hears who wakes it up.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

#[path = "two_phones/rig.rs"]
mod rig;

use std::time::{Duration, Instant};

use relay::lane::{Lane, Pace};
use rig::{Clean, Rig};

const PACES: [Pace; 4] = [
    Pace::PROMPT,
    Pace::Gather(Duration::from_millis(1)),
    Pace::Gather(Duration::from_millis(5)),
    Pace::BusyPoll(Duration::from_micros(50)),
];

/// Single packets, floods larger than a batch, silence in between, and commands all along.
fn check<L: Clean>(pace: Pace, mut rig: Rig<L>) {
    let mut freed = Vec::new();
    for count in [1, 700, 30] {
        assert_eq!(rig.exchange(count), u64::from(count), "{pace:?}");
        rig.answer();
        rustix::io::write(&rig.wake, &1_u64.to_ne_bytes()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !rig.lane.turn(&mut rig.engine, Duration::from_millis(50), &mut freed).unwrap() {
            assert!(Instant::now() < deadline, "{pace:?}: the wake-up was not heard");
        }
        rustix::io::read(&rig.wake, &mut [0; 8]).unwrap();
        assert_eq!(rig.exchange(1), 1, "{pace:?}: after a wake-up");
        // Nothing comes for so long that spinning is given up.
        (0..10).for_each(|_| rig.turn());
    }
    let stats = rig.engine.stats();
    assert!(stats.drops.iter().all(|(_, count)| *count == 0), "{pace:?}: {stats:?}");
}

#[test]
fn a_uring_lane_forwards_all_at_every_pace() {
    for pace in PACES {
        rig::uring_with(pace, 4096, |lane, wake| check(pace, Rig::new(lane, wake, None)));
    }
}

#[test]
fn an_mmsg_lane_forwards_all_at_every_pace() {
    for pace in PACES {
        rig::mmsg_with(pace, |lane, wake| check(pace, Rig::new(lane, wake, None)));
    }
}

#[test]
fn what_is_no_packet_lets_nothing_gather() {
    // Far longer than anybody would let packets gather: whoever waits for it is found out by its lateness.
    let span = Duration::from_secs(20);
    rig::uring_with(Pace::Gather(span), 4096, |lane, wake| {
        let mut rig = Rig::new(lane, wake, None);
        rig.lane.close(rig.slots[1]).unwrap();
        let (began, mut freed) = (Instant::now(), Vec::new());
        while freed.is_empty() {
            rig.lane.turn(&mut rig.engine, span / 100, &mut freed).unwrap();
        }
        rustix::io::write(&rig.wake, &1_u64.to_ne_bytes()).unwrap();
        assert!(rig.lane.turn(&mut rig.engine, span * 2, &mut freed).unwrap());
        assert!(began.elapsed() < span / 2, "a command waited for packets");
    });
}
