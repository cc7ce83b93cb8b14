//! The load: every phone of the far host sends in turn, one packet at a time, from one thread.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use relay::sys::socket;

use super::rows::Plan;

/// RTP header and 20 ms of G.711.
const PACKET: usize = 172;
/// Most phones do not listen: what comes to them is dropped once this is full.
const RECEIVE_BUFFER: usize = 2_048;
/// The generator makes up for so much of what it did not get to send in time, and forgets the rest.
const CATCH_UP: Duration = Duration::from_millis(5);

/// Every so many legs one packet is waited for at the other end; even, so that it is a caller's.
const PROBED: usize = 50;
/// A packet that took longer is not waited for.
const LOST: Duration = Duration::from_millis(50);
/// Where a packet's payload has the number that tells it from others.
const NUMBER: std::ops::Range<usize> = 12..20;

/// Sockets of the far host.
pub struct Phones {
    sockets: Vec<UdpSocket>,
    next: usize,
    packet: [u8; PACKET],
    sequence: u16,
    number: u64,
    probe: Option<Probe>,
}

/// A packet that is waited for.
#[derive(Clone, Copy)]
struct Probe {
    leg: usize,
    number: u64,
    sent: Instant,
}

impl Phones {
    /// Opens them, on the calling thread's host.
    pub fn open(plan: &Plan) -> Result<Self> {
        let open = |leg| {
            let at = plan.phone(leg);
            let socket = socket::bind(at, RECEIVE_BUFFER, 0).with_context(|| format!("bind {at}"))?;
            let socket = UdpSocket::from(socket);
            socket.connect(plan.port(leg))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let mut packet = [0x55; PACKET];
        packet[..2].copy_from_slice(&[0x80, 8]);
        let sockets = (0..plan.legs()).map(open).collect::<Result<_>>()?;
        Ok(Self { sockets, next: 0, packet, sequence: 0, number: 0, probe: None })
    }

    /// Sends the next phone's packet. What the network refuses is the relay's loss to show.
    fn send(&mut self) {
        self.number += 1;
        self.packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        self.packet[NUMBER].copy_from_slice(&self.number.to_be_bytes());
        if self.next.is_multiple_of(PROBED) && self.probe.is_none() {
            self.probe = Some(Probe { leg: self.next + 1, number: self.number, sent: Instant::now() });
        }
        let _ = self.sockets[self.next].send(&self.packet);
        self.next += 1;
        if self.next == self.sockets.len() {
            self.next = 0;
            self.sequence = self.sequence.wrapping_add(1);
        }
    }

    /// How long the packet took that is waited for, once it has come.
    fn arrived(&mut self) -> Option<Duration> {
        let probe = self.probe?;
        let mut packet = [0; PACKET];
        while self.sockets[probe.leg].recv(&mut packet).is_ok() {
            if packet[NUMBER] == probe.number.to_be_bytes() {
                self.probe = None;
                return Some(probe.sent.elapsed());
            }
        }
        if probe.sent.elapsed() > LOST {
            self.probe = None;
        }
        None
    }

    /// Sends at `rate` packets a second, evenly, or as fast as it goes, until `over` says so. Gives how long some of the
    /// packets took from phone to phone; none where packets queue, because there are more than can be forwarded.
    pub fn play(&mut self, rate: Option<u32>, mut over: impl FnMut() -> bool) -> Vec<Duration> {
        let gap = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate);
        let mut due = Instant::now();
        let mut delays = Vec::new();
        self.probe = None;
        while !over() {
            let mut now = Instant::now();
            while now < due {
                delays.extend(self.arrived());
                now = Instant::now();
            }
            due = due.max(now.checked_sub(CATCH_UP).unwrap_or(now)) + gap;
            self.send();
        }
        if rate.is_none() { Vec::new() } else { delays }
    }
}
