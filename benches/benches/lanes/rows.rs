//! The rows that every contestant executes: calls of two legs, G.711, all sources signalled exactly.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use relay::call::CallKey;
use relay::engine::{Engine, NewCall, NewStream, Opening, Spans};
use relay::program::message::{Learning, LegMedia, PayloadTypes, Remote, Stream};
use relay::sys::clock::Now;
use relay::sys::socket;
use relay::table::Slot;
use relay::tap;

/// As the relay has it when nothing is set.
const RECEIVE_BUFFER: usize = 256 << 10;
/// How long the kernel may take to close a ring's sockets.
const RELEASED: Duration = Duration::from_secs(5);
/// The relay's first port: each leg has an even and an odd one.
const FIRST_PORT: u16 = 10_000;
/// The phones' first port: each leg has one, for RTP.
const FIRST_PHONE: u16 = 40_000;
/// More have no ports.
pub const MOST_CALLS: u16 = 5_000;

/// Addresses of everything that there is.
#[derive(Clone, Copy)]
pub struct Plan {
    pub calls: u16,
    /// The relay's.
    pub near: IpAddr,
    /// The phones'.
    pub far: IpAddr,
}

impl Plan {
    /// Legs are counted through: a call's caller is even, its callee the next.
    pub const fn legs(&self) -> u16 {
        self.calls * 2
    }

    /// The relay's port that faces a leg.
    pub const fn port(&self, leg: u16) -> SocketAddr {
        SocketAddr::new(self.near, FIRST_PORT + leg * 2)
    }

    /// First and last of the relay's ports.
    pub const fn ports(&self) -> [u16; 2] {
        [FIRST_PORT, FIRST_PORT + self.legs() * 2 - 1]
    }

    /// A leg's phone.
    pub const fn phone(&self, leg: u16) -> SocketAddr {
        SocketAddr::new(self.far, FIRST_PHONE + leg)
    }

    /// Whose phone has this port.
    pub const fn leg_of_phone(port: u16) -> usize {
        (port.wrapping_sub(FIRST_PHONE)) as usize
    }
}

/// Whether rows let their sockets be connected once they have settled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sockets {
    Connect,
    /// A source may hand over to another: the sockets stay open to all.
    StayOpen,
}

/// An engine with every row in place.
pub struct Rows {
    pub engine: Engine,
    /// How many slots there are.
    pub slots: u32,
    /// Four of each call: the caller's RTP and RTCP, then the callee's.
    pub openings: Vec<Opening>,
}

impl Rows {
    /// Opens the calls of `plan`, their sockets on the calling thread's host.
    pub fn open(plan: &Plan, sockets: Sockets) -> Result<Self> {
        let (writer, _) = tap::create(1 << 20, 1)?;
        let slots = u32::from(plan.calls) * 4;
        let spans = Spans { learn_window_ns: 3_000_000_000, silence_ns: u64::MAX };
        let mut engine = Engine::new(slots, writer, spans);
        let mut openings = Vec::with_capacity(slots as usize);
        for call in 0..plan.calls {
            let legs = [call * 2, call * 2 + 1];
            let stream =
                Stream { legs: legs.map(|leg| media(plan.phone(leg), sockets)), ..Stream::default() };
            let [caller, callee] = legs.map(|leg| pair(plan.port(leg)));
            let seeds = legs.map(u64::from);
            let new = NewCall {
                call: CallKey(call.into()),
                label: None,
                max_seconds: 0,
                streams: vec![NewStream { stream, sockets: [caller?, callee?], seeds }],
            };
            let opened = engine.open(new, Now::read());
            openings.extend(opened.map_err(|why| anyhow::anyhow!("call {call}: {why:?}"))?);
        }
        Ok(Self { engine, slots, openings })
    }

    /// The rows that RTP comes to, by leg; before their sockets are taken.
    pub fn of_legs(&self) -> Vec<Slot> {
        self.openings.iter().step_by(2).map(|opening| opening.slot).collect()
    }

    /// The rows' sockets, each at its slot's index, not blocking.
    pub fn by_slot(&mut self) -> Result<Vec<(Slot, UdpSocket)>> {
        let mut sockets = Vec::with_capacity(self.openings.len());
        for opening in self.openings.drain(..) {
            let socket = UdpSocket::from(opening.socket);
            socket.set_nonblocking(true)?;
            sockets.push((opening.slot, socket));
        }
        sockets.sort_by_key(|(slot, _)| slot.index);
        Ok(sockets)
    }
}

fn pair(rtp: SocketAddr) -> Result<[OwnedFd; 2]> {
    let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
    Ok([bind(rtp)?, bind(rtcp)?])
}

/// Binds a port once the contestant before has let go of it: a ring's sockets are closed after the ring, by the kernel.
fn bind(port: SocketAddr) -> Result<OwnedFd> {
    let deadline = Instant::now() + RELEASED;
    loop {
        match socket::bind(port, RECEIVE_BUFFER, 0) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::yield_now();
            }
            done => return done.with_context(|| format!("bind {port}")),
        }
    }
}

fn media(phone: SocketAddr, sockets: Sockets) -> LegMedia {
    LegMedia {
        remote: Some(Remote { rtp: phone, rtcp: phone }),
        accepts: PayloadTypes::NONE.with(8),
        learning: Learning::Strict,
        handover: sockets == Sockets::StayOpen,
        ..LegMedia::default()
    }
}
