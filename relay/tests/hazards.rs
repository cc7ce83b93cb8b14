//! What goes wrong on a lane, and that it goes on: want of buffers, late completions, closed ports.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

#[path = "two_phones/rig.rs"]
mod rig;

use std::time::Duration;

use relay::lane::{Lane, Uring};
use relay::sys::clock::Now;
use rig::{CALL, Clean, Rig};

fn counter(lane: &mut Uring, name: &str) -> u64 {
    lane.counters().into_iter().find(|(n, _)| *n == name).unwrap().1
}

#[test]
fn a_port_that_ran_out_of_buffers_hears_again_and_no_buffer_is_lost() {
    rig::uring_with_buffers(16, |lane, wake| {
        let mut rig: Rig<Uring> = Rig::new(lane, wake, None);
        rig.turn();
        // Far more than there are buffers, while nobody takes them.
        rig.send(500);
        for _ in 0..500 {
            rig.turn();
            if rig.forwarded() == 500 {
                break;
            }
        }
        assert_eq!(rig.forwarded(), 500, "{:?}", rig.lane.counters());
        assert!(
            counter(&mut rig.lane, "enobufs") > 0,
            "the flood used up every buffer: {:?}",
            rig.lane.counters()
        );
        assert_eq!(counter(&mut rig.lane, "enobufs"), counter(&mut rig.lane, "rearmed"));
        // The last batch's sends go out with the next turn.
        rig.turn();
        drain(&rig);
        assert_eq!(rig.exchange(10), 10, "the port hears again");
        assert_eq!(counter(&mut rig.lane, "cq_overflow"), 0);
    });
}

fn drain<L: Clean>(rig: &Rig<L>) {
    rig.phones[1].set_nonblocking(true).unwrap();
    let mut buffer = [0; 2048];
    while rig.phones[1].recv(&mut buffer).is_ok() {}
    rig.phones[1].set_nonblocking(false).unwrap();
}

#[test]
fn packets_that_come_after_the_close_are_nobodys_and_the_slot_comes_back() {
    fn close<L: Clean>(rig: &mut Rig<L>) {
        rig.exchange(5);
        rig.send(20);
        let (_, slots) = rig.engine.close(CALL, None, Now::read()).unwrap();
        for slot in slots {
            rig.lane.close(slot).unwrap();
        }
        for _ in 0..200 {
            if rig.engine.stats().sockets == 0 {
                break;
            }
            rig.turn();
        }
        let stats = rig.engine.stats();
        assert_eq!(stats.sockets, 0, "every slot came back");
        assert_eq!(stats.forwarded.packets, 5);
        // The ports are closed: a new socket can have them.
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while std::net::UdpSocket::bind(rig.ports[0]).is_err() {
            assert!(std::time::Instant::now() < deadline, "the port is still taken");
            rig.turn();
        }
    }
    rig::uring(|lane, wake| {
        let mut rig: Rig<Uring> = Rig::new(lane, wake, None);
        close(&mut rig);
    });
    rig::mmsg(|lane, wake| close(&mut Rig::new(lane, wake, None)));
}

#[test]
fn a_callee_that_hung_up_does_not_disturb_the_caller() {
    fn hang_up<L: Clean>(mut rig: Rig<L>) {
        rig.exchange(5);
        rig.phones[1] = rig::phone();
        for _ in 0..3 {
            rig.send(20);
            for _ in 0..3 {
                rig.turn();
            }
        }
        assert_eq!(rig.forwarded(), 65, "ICMP errors end nothing: {:?}", rig.lane.counters());
    }
    rig::uring(|lane, wake| hang_up(Rig::new(lane, wake, None)));
    rig::mmsg(|lane, wake| hang_up(Rig::new(lane, wake, None)));
}

#[test]
fn datagrams_larger_than_a_buffer_are_dropped_under_their_name() {
    fn oversize<L: Clean>(mut rig: Rig<L>) {
        let mut packet = vec![0; 9000];
        packet[..2].copy_from_slice(&[0x80, 8]);
        rig.phones[0].send_to(&packet, rig.ports[0]).unwrap();
        while rig.engine.stats().drops.iter().all(|(name, count)| name != "oversize" || *count == 0) {
            rig.turn();
        }
        assert_eq!(rig.exchange(5), 5);
    }
    rig::uring(|lane, wake| oversize(Rig::new(lane, wake, None)));
    rig::mmsg(|lane, wake| oversize(Rig::new(lane, wake, None)));
}
