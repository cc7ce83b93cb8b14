//! The free-list of port pairs: shuffled once, then first in, first out, so that a port rests as long as it can.
//!
//! Owned by the server's thread. A pair that another program has bound is passed over and tried again later.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use crate::program::message::Refusal;
use crate::settings::PortRange;
use crate::sys::socket;

/// Even RTP ports whose odd neighbour is free as well.
#[derive(Debug)]
pub struct Ports {
    address: IpAddr,
    receive_buffer: usize,
    free: VecDeque<u16>,
    total: usize,
}

/// A bound pair: RTP's port, and the sockets of RTP and RTCP.
#[derive(Debug)]
pub struct BoundPair {
    /// The even port.
    pub rtp: u16,
    /// RTP, RTCP.
    pub sockets: [OwnedFd; 2],
}

impl Ports {
    /// All pairs of `range` on `address`, in an order drawn from `seed`.
    pub fn new(address: IpAddr, range: PortRange, receive_buffer: usize, seed: u64) -> Self {
        let first = range.first + range.first % 2;
        let mut list: Vec<u16> = (first..range.last).step_by(2).collect();
        let mut random = seed | 1;
        for place in (1..list.len()).rev() {
            // Xorshift: the order must differ between starts, nothing hangs on its quality.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            list.swap(place, usize::try_from(random % (place as u64 + 1)).unwrap_or(0));
        }
        Self { address, receive_buffer, total: list.len(), free: list.into() }
    }

    /// Binds the pair that was free the longest.
    pub fn take(&mut self) -> Result<BoundPair, Refusal> {
        for _ in 0..self.free.len() {
            let Some(rtp) = self.free.pop_front() else { break };
            match self.bind(rtp) {
                Ok(sockets) => return Ok(BoundPair { rtp, sockets }),
                Err(e) => {
                    self.free.push_back(rtp);
                    match e.raw_os_error() {
                        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                            return Err(Refusal::OutOfFiles);
                        }
                        Some(libc::EADDRINUSE | libc::EACCES) => {}
                        _ => {
                            return Err(Refusal::Impossible(format!(
                                "{}:{rtp} cannot be bound: {e}",
                                self.address
                            )));
                        }
                    }
                }
            }
        }
        Err(Refusal::OutOfPorts)
    }

    /// Gives a pair back; its sockets are closed or about to be.
    pub fn give(&mut self, rtp: u16) {
        self.free.push_back(rtp);
    }

    /// Pairs free now.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Pairs in the range.
    pub const fn total(&self) -> usize {
        self.total
    }

    fn bind(&self, rtp: u16) -> io::Result<[OwnedFd; 2]> {
        let bind = |port| socket::bind(SocketAddr::new(self.address, port), self.receive_buffer);
        Ok([bind(rtp)?, bind(rtp + 1)?])
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;

    fn ports(first: u16, last: u16) -> Ports {
        Ports::new(Ipv4Addr::LOCALHOST.into(), PortRange { first, last }, 65_536, 7)
    }

    #[test]
    fn pairs_are_even_and_odd_inside_the_range_and_come_once() {
        let mut ports = ports(28_801, 28_808);
        let pairs: Vec<BoundPair> = (0..3).map(|_| ports.take().unwrap()).collect();
        let mut taken: Vec<u16> = pairs.iter().map(|p| p.rtp).collect();
        taken.sort_unstable();
        assert_eq!(taken, [28_802, 28_804, 28_806]);
        assert_eq!(ports.take().unwrap_err(), Refusal::OutOfPorts);
        let first = pairs[0].rtp;
        drop(pairs);
        taken.iter().filter(|p| **p != first).for_each(|p| ports.give(*p));
        ports.give(first);
        assert_ne!(ports.take().unwrap().rtp, first, "the pair given back last rests the longest");
    }

    #[test]
    fn a_pair_that_another_program_has_is_passed_over_and_nothing_leaks() {
        let mut ports = ports(28_812, 28_815);
        let theirs = UdpSocket::bind((Ipv4Addr::LOCALHOST, 28_813)).unwrap();
        assert_eq!(ports.take().unwrap().rtp, 28_814);
        assert_eq!(ports.take().unwrap_err(), Refusal::OutOfPorts);
        drop(theirs);
        assert_eq!(ports.take().unwrap().rtp, 28_812);
    }
}
