//! The fallback lane: epoll, recvmmsg, sendmmsg. For kernels and containers that refuse io_uring.

mod handover;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::pace::Spin;
use super::{Lane, Pace, icmp};
use crate::drop_reason::DropReason;
use crate::engine::Engine;
use crate::sys::clock::Now;
use crate::sys::mmsg::{BATCH, Batch, Outgoing};
use crate::table::Slot;

const EVENTS: usize = 256;
/// Batches taken from one socket before the next socket's turn.
const FAIRNESS: usize = 4;
const WAKE: u64 = u64::MAX;

#[derive(Debug, Default)]
#[allow(clippy::struct_field_names, reason = "the names of the metric")]
struct Counters {
    receive_errors: u64,
    icmp_errors: u64,
    connect_errors: u64,
}

/// The lane.
pub struct Mmsg {
    epoll: OwnedFd,
    sockets: Vec<Option<(Slot, OwnedFd)>>,
    batch: Batch,
    events: Vec<epoll::Event>,
    freed: Vec<Slot>,
    counters: Counters,
    spin: Spin,
}

impl std::fmt::Debug for Mmsg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mmsg").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl Mmsg {
    /// Makes the lane for at most `sockets` sockets.
    pub fn new(sockets: u32, wake: BorrowedFd<'_>, pace: Pace) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        Ok(Self {
            epoll,
            sockets: (0..sockets).map(|_| None).collect(),
            batch: Batch::default(),
            events: Vec::with_capacity(EVENTS),
            freed: Vec::with_capacity(sockets as usize),
            counters: Counters::default(),
            spin: Spin::new(pace),
        })
    }

    /// Receives from the socket at `index` and forwards, up to [`FAIRNESS`] batches.
    fn serve(&mut self, index: usize, engine: &mut Engine, now: Now) {
        for _ in 0..FAIRNESS {
            let Some(Some((slot, socket))) = self.sockets.get(index) else { return };
            let slot = *slot;
            let count = match self.batch.receive(socket.as_fd()) {
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // Told of an earlier send, once, and cleared by this read: what was received is behind it.
                Err(e) if icmp(e.raw_os_error()) => {
                    self.counters.icmp_errors += 1;
                    continue;
                }
                Err(_) => {
                    self.counters.receive_errors += 1;
                    return;
                }
            };
            let mut list = [Outgoing { index: 0, length: 0, to: None }; BATCH];
            let (mut staged, mut via) = (0, 0);
            for index in 0..count {
                let Some((source, bytes, length)) = self.batch.datagram(index) else {
                    engine.dropped(slot, DropReason::Oversize);
                    continue;
                };
                let Some(out) = engine.receive(slot, source, bytes, length, now) else { continue };
                if out.via != via {
                    self.flush(slot, via, list.get(..staged).unwrap_or_default(), engine);
                    (staged, via) = (0, out.via);
                }
                if let Some(place) = list.get_mut(staged) {
                    *place = Outgoing { index, length: out.length, to: out.to };
                    staged += 1;
                }
            }
            self.flush(slot, via, list.get(..staged).unwrap_or_default(), engine);
            if count < BATCH {
                return;
            }
        }
    }

    /// Waits for something to do, as the pace has it.
    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let began = Instant::now();
        let Some(span) = self.spin.next().filter(|_| !timeout.is_zero()) else {
            self.look(timeout)?;
            self.spin.slept(began.elapsed());
            return Ok(());
        };
        self.look(Duration::ZERO)?;
        while self.events.is_empty() && began.elapsed() < span {
            self.look(Duration::ZERO)?;
        }
        self.spin.spun(!self.events.is_empty());
        if self.events.is_empty() { self.look(timeout) } else { Ok(()) }
    }

    fn look(&mut self, timeout: Duration) -> io::Result<()> {
        let timespec = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timespec)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn flush(&mut self, slot: Slot, via: u32, mut list: &[Outgoing], engine: &mut Engine) {
        let Some(Some((_, socket))) = self.sockets.get(via as usize) else {
            list.iter().for_each(|_| engine.dropped(slot, DropReason::SendFailed));
            return;
        };
        let mut again = true;
        while !list.is_empty() {
            // What stopped at a refused datagram goes on behind it.
            let done = match self.batch.send(socket.as_fd(), list) {
                Ok(sent) if sent > 0 => sent,
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock) => {
                    list.iter().for_each(|_| engine.dropped(slot, DropReason::SendBlocked));
                    return;
                }
                // Told of an earlier packet, once, and cleared by this send: the packet itself has not been tried yet.
                Err(e) if again && icmp(e.raw_os_error()) => {
                    self.counters.icmp_errors += 1;
                    again = false;
                    continue;
                }
                Ok(_) | Err(_) => {
                    engine.dropped(slot, DropReason::SendFailed);
                    1
                }
            };
            again = true;
            list = list.get(done..).unwrap_or_default();
        }
    }
}

impl Lane for Mmsg {
    fn open(&mut self, slot: Slot, socket: OwnedFd) -> io::Result<()> {
        let data = epoll::EventData::new_u64(u64::from(slot.index));
        epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
        if let Some(place) = self.sockets.get_mut(slot.index as usize) {
            *place = Some((slot, socket));
        }
        Ok(())
    }

    fn close(&mut self, slot: Slot) -> io::Result<()> {
        if let Some(place) = self.sockets.get_mut(slot.index as usize)
            && place.as_ref().is_some_and(|(s, _)| *s == slot)
        {
            // Closing the descriptor takes it out of the epoll set.
            *place = None;
            self.freed.push(slot);
        }
        Ok(())
    }

    fn connect(&mut self, engine: &mut Engine) -> io::Result<()> {
        while let Some((slot, peer)) = engine.connection() {
            let socket = self.sockets.get(slot.index as usize).and_then(Option::as_ref);
            let Some((_, socket)) = socket.filter(|(s, _)| *s == slot) else { continue };
            let done = match peer {
                Some(peer) => rustix::net::connect(socket, &peer),
                None => rustix::net::connect_unspec(socket),
            };
            if done.is_err() {
                self.counters.connect_errors += 1;
                engine.not_connected(slot);
            }
        }
        Ok(())
    }

    fn turn(&mut self, engine: &mut Engine, timeout: Duration, freed: &mut Vec<Slot>) -> io::Result<bool> {
        self.connect(engine)?;
        let timeout = if self.freed.is_empty() { timeout } else { Duration::ZERO };
        self.wait(timeout)?;
        let now = Now::read();
        let mut woken = false;
        for event in 0..self.events.len() {
            match self.events.get(event).map(|e| e.data.u64()) {
                Some(WAKE) => woken = true,
                Some(index) => self.serve(usize::try_from(index).unwrap_or(usize::MAX), engine, now),
                None => {}
            }
        }
        freed.append(&mut self.freed);
        Ok(woken)
    }

    fn counters(&mut self) -> Vec<(&'static str, u64)> {
        vec![
            ("receive_errors", self.counters.receive_errors),
            ("icmp_errors", self.counters.icmp_errors),
            ("connect_errors", self.counters.connect_errors),
        ]
    }
}
