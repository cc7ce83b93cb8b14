//! A worker whose lane refuses sockets: what was asked is undone, and the call that there was goes on.

use std::net::{SocketAddr, UdpSocket};

use super::*;
use crate::call::Leg;
use crate::lane::Handover;
use crate::program::message::{LegMedia, PayloadTypes, Remote};
use crate::tap;

const CALL: CallKey = CallKey(42);
const SECOND: u64 = 1_000_000_000;
const NOW: Now = Now { mono_ns: 1_000 * SECOND, wall_ns: 5_000 * SECOND };

/// Opens so many sockets more, and moves no datagram.
struct Refusing {
    left: usize,
    open: Vec<(Slot, OwnedFd)>,
    freed: Vec<Slot>,
}

impl Lane for Refusing {
    fn open(&mut self, slot: Slot, socket: OwnedFd) -> io::Result<()> {
        self.left = self.left.checked_sub(1).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        self.open.push((slot, socket));
        Ok(())
    }

    fn close(&mut self, slot: Slot) -> io::Result<()> {
        let before = self.open.len();
        self.open.retain(|(open, _)| *open != slot);
        self.freed.extend((self.open.len() < before).then_some(slot));
        Ok(())
    }

    fn connect(&mut self, _: &mut Engine) -> io::Result<()> {
        Ok(())
    }

    fn turn(&mut self, _: &mut Engine, _: Duration, freed: &mut Vec<Slot>) -> io::Result<bool> {
        freed.append(&mut self.freed);
        Ok(false)
    }

    fn counters(&mut self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

impl Handover for Refusing {
    fn stop(&mut self, _: &mut Engine, freed: &mut Vec<Slot>) -> io::Result<()> {
        freed.append(&mut self.freed);
        Ok(())
    }

    fn socket(&mut self, slot: Slot) -> io::Result<OwnedFd> {
        let place = self.open.iter().find(|(open, _)| *open == slot);
        place.ok_or(io::ErrorKind::NotFound)?.1.try_clone()
    }

    fn adopt(&mut self, slot: Slot, socket: OwnedFd) -> io::Result<()> {
        self.open(slot, socket)
    }

    fn resume(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn worker(left: usize) -> Worker {
    let (commands, reports) = (HeapRb::new(1).split().1, HeapRb::new(1).split().0);
    let spans = Spans { learn_window_ns: 3 * SECOND, silence_ns: 60 * SECOND };
    Worker {
        lane: Box::new(Refusing { left, open: Vec::new(), freed: Vec::new() }),
        engine: Engine::new(12, tap::create(512 * 1024, 1).unwrap().0, spans),
        commands,
        reports,
        bell: Arc::new(Notify::new()),
        meter: Meter::starting(0, 0, 0),
        freed: Vec::new(),
        undelivered: Vec::new(),
    }
}

impl Worker {
    /// Slots in use, once the lane has let go of what it closed.
    fn sockets(&mut self) -> u64 {
        self.lane.turn(&mut self.engine, Duration::ZERO, &mut self.freed).unwrap();
        self.freed.drain(..).for_each(|slot| self.engine.release(slot));
        self.engine.stats().sockets
    }
}

/// Between 192.0.2.1 and the callee at this address.
fn stream(callee: &str) -> Stream {
    let leg = |address: &str| {
        let rtp: SocketAddr = address.parse().unwrap();
        let accepts = PayloadTypes::NONE.with(8);
        LegMedia { remote: Some(Remote { rtp, rtcp: rtp }), accepts, ..LegMedia::default() }
    };
    Stream { legs: [leg("192.0.2.1:4000"), leg(callee)], ..Stream::default() }
}

fn new_stream() -> NewStream {
    let socket = || UdpSocket::bind("127.0.0.1:0").unwrap().into();
    let sockets = [[socket(), socket()], [socket(), socket()]];
    NewStream { stream: stream("192.0.2.2:4000"), sockets, seeds: [1, 2] }
}

fn open(streams: usize) -> Command {
    let streams = (0..streams).map(|_| new_stream()).collect();
    Command::Open(NewCall { call: CALL, label: None, max_seconds: 0, streams })
}

#[test]
fn a_call_whose_last_socket_is_refused_leaves_nothing() {
    let mut worker = worker(7);
    assert_eq!(worker.apply(open(2), NOW).unwrap().unwrap_err(), Refusal::OutOfFiles);
    assert_eq!((worker.sockets(), worker.engine.call_count()), (0, 0));
}

#[test]
fn a_change_whose_last_socket_is_refused_leaves_the_call_as_it_was() {
    let mut worker = worker(7);
    worker.apply(open(1), NOW).unwrap().unwrap();
    let moved = || Command::Update {
        call: CALL,
        label: Some(b"label".to_vec()),
        streams: vec![stream("192.0.2.3:4000")],
        added: vec![new_stream()],
    };
    let sent = |worker: &mut Worker| {
        let mut packet = [0; 64];
        packet[..2].copy_from_slice(&[0x80, 8]);
        let slot = Slot { index: 0, generation: 0 };
        worker.engine.receive(slot, "192.0.2.1:4000".parse().unwrap(), &mut packet, 20, NOW).unwrap().to
    };
    assert_eq!(worker.apply(moved(), NOW).unwrap().unwrap_err(), Refusal::OutOfFiles);
    let counters = worker.engine.read(CALL, NOW).unwrap();
    assert_eq!((counters.streams.len(), worker.sockets()), (1, 4));
    assert_eq!(sent(&mut worker), Some("192.0.2.2:4000".parse().unwrap()));
    assert_eq!(worker.engine.stats().tap_records, 0, "the recorder was told nothing");

    worker.lane = Box::new(Refusing { left: 4, open: Vec::new(), freed: Vec::new() });
    worker.apply(moved(), NOW).unwrap().unwrap();
    let counters = worker.engine.read(CALL, NOW).unwrap();
    assert_eq!((counters.streams.len(), counters.streams[0][Leg::Caller as usize].rtp.packets), (2, 1));
    assert_eq!(sent(&mut worker), Some("192.0.2.3:4000".parse().unwrap()));
}
