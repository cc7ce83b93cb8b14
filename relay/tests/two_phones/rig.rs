//! A lane and an engine on the test's own thread, with two phones on loopback: what the lanes' tests share.

#![allow(dead_code, reason = "each test file uses its part of it")]

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use relay::call::CallKey;
use relay::engine::{Engine, NewCall, NewStream, Spans};
use relay::lane::{Lane, Mmsg, Pace, Uring};
use relay::program::message::{Learning, LegMedia, PayloadTypes, Remote, Stream};
use relay::sys::clock::Now;
use relay::sys::socket;
use relay::table::Slot;
use relay::tap::{self, Attachment, Host};
use rustix::event::{EventfdFlags, eventfd};

pub const CALL: CallKey = CallKey(7);
const SLOTS: u32 = 16;
/// RTP header and a payload of 160 bytes, as G.711 has.
pub const PACKET: usize = 172;

/// What a lane must be able to say of itself when a test is over.
pub trait Clean: Lane {
    /// Panics when something of the lane was lost.
    fn check(&mut self) {}
}

impl Clean for Mmsg {}

impl Clean for Uring {
    fn check(&mut self) {
        assert_eq!(self.settle().unwrap(), 0, "every buffer is back with the kernel");
    }
}

/// A call between two phones through one lane. The lane is checked when it is dropped.
pub struct Rig<L: Clean> {
    pub engine: Engine,
    /// Caller's and callee's RTP sockets.
    pub phones: [UdpSocket; 2],
    /// The relay's RTP ports, facing caller and callee.
    pub ports: [SocketAddr; 2],
    /// Its RTCP port that faces the caller.
    rtcp: SocketAddr,
    pub slots: Vec<Slot>,
    /// The tap's other end.
    pub recorder: Attachment,
    taken: Vec<u8>,
    pub wake: OwnedFd,
    pub lane: Box<L>,
    sequence: u16,
    freed: Vec<Slot>,
}

/// Runs with the io_uring lane; where the kernel refuses it, says so and gives nothing.
pub fn uring<R>(with: impl FnOnce(Box<Uring>, OwnedFd) -> R) -> Option<R> {
    uring_with(Pace::PROMPT, 4096, with)
}

/// As [`uring`], with so many receive buffers.
pub fn uring_with_buffers<R>(buffers: u16, with: impl FnOnce(Box<Uring>, OwnedFd) -> R) -> Option<R> {
    uring_with(Pace::PROMPT, buffers, with)
}

/// As [`uring_with_buffers`], waiting like this.
pub fn uring_with<R>(pace: Pace, buffers: u16, with: impl FnOnce(Box<Uring>, OwnedFd) -> R) -> Option<R> {
    let wake = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    match Uring::with_buffers(SLOTS, wake.as_fd(), pace, buffers) {
        Ok(lane) => Some(with(Box::new(lane), wake)),
        Err(e) => {
            println!("skipped: io_uring is refused here: {e}");
            None
        }
    }
}

pub fn mmsg<R>(with: impl FnOnce(Box<Mmsg>, OwnedFd) -> R) -> R {
    mmsg_with(Pace::PROMPT, with)
}

/// As [`mmsg`], waiting like this.
pub fn mmsg_with<R>(pace: Pace, with: impl FnOnce(Box<Mmsg>, OwnedFd) -> R) -> R {
    let wake = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let lane = Mmsg::new(SLOTS, wake.as_fd(), pace).unwrap();
    with(Box::new(lane), wake)
}

pub fn phone() -> UdpSocket {
    let phone: UdpSocket = socket::bind("127.0.0.1:0".parse().unwrap(), 8 << 20, 0).unwrap().into();
    phone.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    phone
}

pub fn media(phone: &UdpSocket) -> LegMedia {
    let rtp = phone.local_addr().unwrap();
    LegMedia {
        remote: Some(Remote { rtp, rtcp: rtp }),
        accepts: PayloadTypes::NONE.with(8),
        tapped: PayloadTypes::NONE.with(8),
        rtcp_mux: false,
        learning: Learning::Strict,
        ..LegMedia::default()
    }
}

impl<L: Clean> Drop for Rig<L> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.lane.check();
        }
    }
}

impl<L: Clean> Rig<L> {
    pub fn new(mut lane: Box<L>, wake: OwnedFd, label: Option<&[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tap.sock");
        let (writer, handles) = tap::create(1 << 20, 1).unwrap();
        let host = Host::bind(&path, vec![handles], 1).unwrap();
        std::thread::spawn(move || host.serve(|_| {}));
        let recorder = tap::attach(&path).unwrap();
        let spans = Spans { learn_window_ns: 3_000_000_000, silence_ns: 60_000_000_000 };
        let mut engine = Engine::new(SLOTS, writer, spans);
        let phones = [phone(), phone()];
        let mut stream = Stream { legs: phones.each_ref().map(media), ..Stream::default() };
        // RTCP to the callee goes where nobody listens.
        let discard = SocketAddr::from(([127, 0, 0, 1], 9));
        stream.legs[1].remote = stream.legs[1].remote.map(|r| Remote { rtcp: discard, ..r });
        let sockets =
            [0; 2].map(|_| [0; 2].map(|_| socket::bind("127.0.0.1:0".parse().unwrap(), 8 << 20, 0).unwrap()));
        let ports = sockets.each_ref().map(|[rtp, _]| local(rtp.as_fd()));
        let rtcp = local(sockets[0][1].as_fd());
        let new = NewStream { stream, sockets, seeds: [1, 2] };
        let call =
            NewCall { call: CALL, label: label.map(<[u8]>::to_vec), max_seconds: 0, streams: vec![new] };
        let mut slots = Vec::new();
        for opening in engine.open(call, Now::read()).unwrap() {
            slots.push(opening.slot);
            lane.open(opening.slot, opening.socket).unwrap();
        }
        let taken = Vec::with_capacity(2048);
        Self {
            engine,
            phones,
            ports,
            rtcp,
            slots,
            recorder,
            taken,
            lane,
            wake,
            sequence: 0,
            freed: Vec::new(),
        }
    }

    /// One turn of the lane, which waits for at most 50 ms.
    pub fn turn(&mut self) {
        self.lane.turn(&mut self.engine, Duration::from_millis(50), &mut self.freed).unwrap();
        self.freed.drain(..).for_each(|slot| self.engine.release(slot));
        self.engine.batch_done();
    }

    /// Sends `count` packets from the caller.
    pub fn send(&mut self, count: u16) {
        for _ in 0..count {
            let mut packet = [0; PACKET];
            packet[..2].copy_from_slice(&[0x80, 8]);
            packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
            packet[12..14].copy_from_slice(&self.sequence.to_be_bytes());
            self.sequence = self.sequence.wrapping_add(1);
            self.phones[0].send_to(&packet, self.ports[0]).unwrap();
        }
    }

    /// Sends `count` packets from the caller, forwards them, and reads them at the callee: their number. Each has
    /// the payload that was sent, in order.
    pub fn exchange(&mut self, count: u16) -> u64 {
        let first = self.sequence;
        self.send(count);
        let before = self.forwarded();
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.forwarded() < before + u64::from(count) {
            assert!(Instant::now() < deadline, "{:?}", self.engine.stats());
            self.turn();
        }
        self.push_out();
        let mut buffer = [0; 2048];
        for n in 0..count {
            let (length, from) = self.phones[1].recv_from(&mut buffer).unwrap();
            assert_eq!((length, from), (PACKET, self.ports[1]));
            assert_eq!(buffer[12..14], first.wrapping_add(n).to_be_bytes(), "payload and order");
        }
        u64::from(count)
    }

    /// A packet from the callee: its leg settles, and its socket is connected.
    pub fn answer(&mut self) {
        let before = self.forwarded();
        let mut packet = [0; PACKET];
        packet[..2].copy_from_slice(&[0x80, 8]);
        self.phones[1].send_to(&packet, self.ports[1]).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.forwarded() == before || !is_connected(self.ports[1]) {
            assert!(Instant::now() < deadline, "{:?}", self.engine.stats());
            self.turn();
        }
    }

    /// A batch's last sends go out with the next turn's system call.
    pub fn push_out(&mut self) {
        self.lane.turn(&mut self.engine, Duration::ZERO, &mut self.freed).unwrap();
    }

    /// Takes what was tapped: how many records.
    pub fn record(&mut self) -> u64 {
        let mut count = 0;
        for ring in &mut self.recorder.rings {
            while ring.next(&mut self.taken).unwrap().is_some() {
                count += 1;
            }
            ring.commit();
        }
        count
    }

    /// Sends a sender report from the caller, which has sent RTP before.
    pub fn report(&mut self) {
        let mut packet = [0; 28];
        packet[..4].copy_from_slice(&[0x80, 200, 0, 6]);
        self.phones[0].send_to(&packet, self.rtcp).unwrap();
    }

    /// Takes `count` packets at the callee.
    pub fn hear(&mut self, count: u16) {
        let mut buffer = [0; 2048];
        for _ in 0..count {
            self.phones[1].recv(&mut buffer).unwrap();
        }
    }

    pub fn forwarded(&self) -> u64 {
        self.engine.forwarded().packets
    }
}

/// Whether the kernel lets nobody but one address send to an IPv4 socket of this address.
fn is_connected(address: SocketAddr) -> bool {
    const ESTABLISHED: &str = "01";
    let port = format!(":{:04X}", address.port());
    let list = std::fs::read_to_string("/proc/net/udp").unwrap();
    let mut sockets = list.lines().map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>());
    sockets.any(|fields| fields[0] == format!("0100007F{port}") && fields[2] == ESTABLISHED)
}

fn local(socket: BorrowedFd<'_>) -> SocketAddr {
    let socket: UdpSocket = socket.try_clone_to_owned().unwrap().into();
    socket.local_addr().unwrap()
}
