//! The load: every phone of the far host sends in turn, one packet at a time, from one thread.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use relay::sys::socket;

use super::rows::Plan;

/// RTP header and 20 ms of G.711.
const PACKET: usize = 172;
/// Phones do not listen: what comes to them is dropped once this is full.
const RECEIVE_BUFFER: usize = 2_048;
/// The generator makes up for so much of what it did not get to send in time, and forgets the rest.
const CATCH_UP: Duration = Duration::from_millis(5);

/// Sockets of the far host.
pub struct Phones {
    sockets: Vec<UdpSocket>,
    next: usize,
    packet: [u8; PACKET],
    sequence: u16,
}

impl Phones {
    /// Opens them, on the calling thread's host.
    pub fn open(plan: &Plan) -> Result<Self> {
        let open = |leg| {
            let at = plan.phone(leg);
            let socket =
                UdpSocket::from(socket::bind(at, RECEIVE_BUFFER, 0).with_context(|| format!("bind {at}"))?);
            socket.connect(plan.port(leg))?;
            Ok(socket)
        };
        let mut packet = [0x55; PACKET];
        packet[..2].copy_from_slice(&[0x80, 8]);
        let sockets = (0..plan.legs()).map(open).collect::<Result<_>>()?;
        Ok(Self { sockets, next: 0, packet, sequence: 0 })
    }

    /// Sends the next phone's packet. What the network refuses is the relay's loss to show.
    fn send(&mut self) {
        self.packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        let _ = self.sockets[self.next].send(&self.packet);
        self.next += 1;
        if self.next == self.sockets.len() {
            self.next = 0;
            self.sequence = self.sequence.wrapping_add(1);
        }
    }

    /// Sends at `rate` packets a second, evenly, or as fast as it goes, until `over` says so: how many.
    pub fn play(&mut self, rate: Option<u32>, mut over: impl FnMut() -> bool) -> u64 {
        let gap = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate);
        let mut due = Instant::now();
        let mut sent = 0;
        while !over() {
            let mut now = Instant::now();
            while now < due {
                std::hint::spin_loop();
                now = Instant::now();
            }
            due = due.max(now.checked_sub(CATCH_UP).unwrap_or(now)) + gap;
            self.send();
            sent += 1;
        }
        sent
    }
}
