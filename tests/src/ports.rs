//! A block of loopback ports for one test.
//!
//! The block is taken by listening on its first TCP port for as long as the [`Ports`] live, so tests that run
//! at once, also in several processes, never share one. Blocks lie below the kernel's ephemeral ports and below
//! the default media ports, so neither a client socket nor a system in use takes a port out of the middle.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Ports of one block.
const SIZE: u16 = 512;
/// First block.
const FIRST: u16 = 10_240;
/// End of the last block.
const END: u16 = 29_696;

/// Every address that one test uses, on 127.0.0.1.
#[derive(Debug)]
pub struct Ports {
    base: u16,
    _taken: TcpListener,
}

impl Ports {
    /// Takes a free block.
    pub fn take() -> Self {
        (FIRST..END)
            .step_by(usize::from(SIZE))
            .find_map(|base| {
                let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, base)).ok()?;
                Some(Self { base, _taken: taken })
            })
            .expect("every block of test ports is taken")
    }

    const fn at(&self, offset: u16) -> u16 {
        self.base + offset
    }

    /// Control's NG address.
    pub fn ng(&self) -> SocketAddr {
        local(self.at(1))
    }

    /// Control's HTTP address.
    pub fn http(&self) -> SocketAddr {
        local(self.at(2))
    }

    /// The SIP proxy.
    pub fn proxy(&self) -> SocketAddr {
        local(self.at(3))
    }

    /// The caller's SIP port.
    pub const fn caller(&self) -> u16 {
        self.at(4)
    }

    /// The callee's SIP port.
    pub const fn callee(&self) -> u16 {
        self.at(5)
    }

    /// Where the capture's end mark is sent.
    pub const fn mark(&self) -> u16 {
        self.at(6)
    }

    /// The SIP port of a caller beside the first.
    pub const fn second_caller(&self) -> u16 {
        self.at(7)
    }

    /// The relay's media ports: first and last.
    pub const fn media(&self) -> (u16, u16) {
        (self.at(32), self.at(255))
    }

    /// The caller's media ports: first and last.
    pub const fn caller_media(&self) -> (u16, u16) {
        (self.at(256), self.at(383))
    }

    /// The callee's media ports: first and last.
    pub const fn callee_media(&self) -> (u16, u16) {
        (self.at(384), self.at(511))
    }

    /// The whole block: first and last.
    pub const fn all(&self) -> (u16, u16) {
        (self.base, self.at(SIZE - 1))
    }

    /// Media ports of the relay that are bound now, on any address, as the kernel lists them.
    pub fn media_in_use(&self) -> Vec<u16> {
        let (first, last) = self.media();
        let table = std::fs::read_to_string("/proc/net/udp").expect("/proc/net/udp");
        table
            .lines()
            .skip(1)
            .filter_map(|line| {
                let local = line.split_whitespace().nth(1)?;
                u16::from_str_radix(local.split_once(':')?.1, 16).ok()
            })
            .filter(|port| (first..=last).contains(port))
            .collect()
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
