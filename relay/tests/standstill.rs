//! A lane that stops in the middle of a flood, and another one that goes on with its sockets: every packet is forwarded
//! once, in order.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

#[path = "two_phones/rig.rs"]
mod rig;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use relay::lane::{Mmsg, Pace, Uring};
use relay::table::Slot;
use rig::{Clean, PACKET, Rig};
use rustix::event::{EventfdFlags, eventfd};

const SLOTS: u32 = 16;
/// Packets of one round; the phone's buffer holds them all.
const ROUND: u16 = 200;

/// Stops the rig's lane and has `next` go on.
fn replace<L: Clean>(rig: &mut Rig<L>, next: L) {
    let mut freed = Vec::new();
    rig.lane.stop(&mut rig.engine, &mut freed).unwrap();
    let sockets: Vec<(Slot, OwnedFd)> =
        rig.slots.iter().map(|slot| (*slot, rig.lane.socket(*slot).unwrap())).collect();
    rig.lane.check();
    *rig.lane = next;
    for (slot, socket) in sockets {
        rig.lane.adopt(slot, socket).unwrap();
    }
    // Nobody receives now.
    rig.send(ROUND / 4);
    rig.lane.resume().unwrap();
}

fn flood<L: Clean>(rig: &mut Rig<L>, next: impl Fn(BorrowedFd<'_>) -> L) {
    let wake = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let mut expected = 0_u16;
    let mut buffer = [0; 2048];
    for round in 0..20 {
        rig.send(ROUND / 2);
        for _ in 0..round % 3 {
            rig.turn();
        }
        rig.send(ROUND / 4);
        replace(rig, next(wake.as_fd()));
        while rig.forwarded() < u64::from(expected + ROUND) {
            rig.turn();
        }
        rig.push_out();
        for _ in 0..ROUND {
            let length = rig.phones[1].recv(&mut buffer).unwrap();
            assert_eq!((length, buffer[12..14].to_vec()), (PACKET, expected.to_be_bytes().to_vec()));
            expected += 1;
        }
    }
    let stats = rig.engine.stats();
    assert!(stats.drops.iter().all(|(_, count)| *count == 0), "{stats:?}");
}

#[test]
fn a_uring_lane_hands_its_sockets_over_without_a_loss() {
    // With few buffers receives end by themselves all the time.
    for buffers in [16, 4096] {
        rig::uring_with_buffers(buffers, |lane, wakes| {
            let mut rig = Rig::new(lane, wakes, None);
            flood(&mut rig, |wake| Uring::with_buffers(SLOTS, wake, Pace::PROMPT, buffers).unwrap());
        });
    }
}

#[test]
fn where_the_kernel_cannot_give_registered_sockets_back_they_are_kept() {
    rig::uring(|mut lane, wakes| {
        lane.keep_sockets(SLOTS);
        let mut rig = Rig::new(lane, wakes, None);
        flood(&mut rig, |wake| {
            let mut lane = Uring::new(SLOTS, wake, Pace::PROMPT).unwrap();
            lane.keep_sockets(SLOTS);
            lane
        });
    });
}

#[test]
fn an_mmsg_lane_hands_its_sockets_over_without_a_loss() {
    rig::mmsg(|lane, wakes| {
        let mut rig = Rig::new(lane, wakes, None);
        flood(&mut rig, |wake| Mmsg::new(SLOTS, wake, Pace::PROMPT).unwrap());
    });
}

#[test]
fn a_lane_that_stopped_goes_on_itself() {
    fn check<L: Clean>(rig: &mut Rig<L>) {
        rig.turn();
        for _ in 0..3 {
            rig.lane.stop(&mut rig.engine, &mut Vec::new()).unwrap();
            let copies: Vec<OwnedFd> = rig.slots.iter().map(|slot| rig.lane.socket(*slot).unwrap()).collect();
            drop(copies);
            rig.lane.resume().unwrap();
            assert_eq!(rig.exchange(50), 50);
        }
        let slot = rig.slots[0];
        rig.lane.close(slot).unwrap();
        let mut freed = Vec::new();
        rig.lane.stop(&mut rig.engine, &mut freed).unwrap();
        assert_eq!(freed, [slot], "what was being closed is closed");
        assert!(rig.lane.socket(slot).is_err());
    }
    rig::uring(|lane, wake| check(&mut Rig::new(lane, wake, None)));
    rig::mmsg(|lane, wake| check(&mut Rig::new(lane, wake, None)));
}
