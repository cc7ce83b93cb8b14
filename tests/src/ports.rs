//! A block of loopback ports for one test.
//!
//! The block is taken by listening on its first TCP port for as long as the [`Ports`] live, so tests that run
//! at once, also in several processes, never share one. Blocks lie below the kernel's ephemeral ports and below
//! the default media ports, so neither a client socket nor a system in use takes a port out of the middle.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;

use crate::namespaces::{DEVICE, Link, PARTIES, RELAY};

/// Ports of one block.
const SIZE: u16 = 512;
/// First block.
const FIRST: u16 = 10_240;
/// End of the last block.
const END: u16 = 29_696;

/// Every address that one test uses: on 127.0.0.1, or with its phones on a host of their own.
#[derive(Debug)]
pub struct Ports {
    base: u16,
    link: Option<Arc<Link>>,
    _taken: TcpListener,
}

impl Ports {
    /// Takes a free block.
    pub fn take() -> Self {
        Self::with(None)
    }

    /// The same, with the phones at the other end of `link`. To be asked in its namespace of the relay, where the test
    /// is to stay.
    pub fn over(link: &Arc<Link>) -> Self {
        Self::with(Some(Arc::clone(link)))
    }

    fn with(link: Option<Arc<Link>>) -> Self {
        let (base, taken) = (FIRST..END)
            .step_by(usize::from(SIZE))
            .find_map(|base| {
                let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, base)).ok()?;
                Some((base, taken))
            })
            .expect("every block of test ports is taken");
        Self { base, link, _taken: taken }
    }

    /// Where proxy and relay are.
    pub fn host(&self) -> IpAddr {
        if self.link.is_some() { RELAY } else { Ipv4Addr::LOCALHOST.into() }
    }

    /// Where the phones are.
    pub fn phones(&self) -> IpAddr {
        if self.link.is_some() { PARTIES[0] } else { Ipv4Addr::LOCALHOST.into() }
    }

    /// The network device that all packets of phones pass, where they are.
    pub fn device(&self) -> &'static str {
        if self.link.is_some() { DEVICE } else { "lo" }
    }

    /// `program`, to be started where the phones are.
    pub fn command(&self, program: &str) -> Command {
        self.link.as_ref().map_or_else(|| Command::new(program), |link| link.generator.command(program))
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
        SocketAddr::new(self.host(), self.at(3))
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
    pub fn mark(&self) -> SocketAddr {
        SocketAddr::new(self.phones(), self.at(6))
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
        // Of this thread's network, which may not be the process's.
        let table = std::fs::read_to_string("/proc/thread-self/net/udp").expect("/proc/thread-self/net/udp");
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
