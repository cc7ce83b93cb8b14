//! The io_uring lane: one multishot receive per socket, rewrite in place, send from the receive buffer.
//!
//! One system call per batch: it submits the batch's sends and waits for the next completions. A receive that ended
//! (no buffers, an ICMP error, a full completion queue) is armed again after the buffers went back.

mod handover;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use super::pace::{GATHERED, Spin};
use super::{Lane, Pace, icmp};
use crate::drop_reason::DropReason;
use crate::engine::Engine;
use crate::sys::clock::Now;
use crate::sys::uring::{Completion, Operation, Ring, Sizes};
use crate::table::Slot;

const SUBMISSIONS: u32 = 1024;
const BUFFERS: u16 = 4096;
/// Completions handled before sends are submitted and the clock is read again.
const BATCH: usize = 512;
/// How many completions ahead rows are loaded into the cache: enough to hide main memory, few enough to stay there.
const AHEAD: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Socket {
    Absent,
    Receiving(Slot),
    /// Cancelled; its last completion has not come yet.
    Closing(Slot),
}

#[derive(Debug, Default)]
struct Counters {
    icmp_errors: u64,
    connect_errors: u64,
    enobufs: u64,
    rearmed: u64,
    receive_errors: u64,
    stale: u64,
}

/// The lane. Made and used on one thread.
#[derive(Debug)]
pub struct Uring {
    ring: Ring,
    sockets: Vec<Socket>,
    /// Receives that ended in this batch: armed again at its end.
    ended: Vec<Slot>,
    freed: Vec<Slot>,
    wake: RawFd,
    watching: bool,
    pace: Pace,
    spin: Spin,
    /// The last batch had packets, and all that there were: the next ones may gather.
    flowing: bool,
    /// Completions whose rows are being loaded into the cache.
    ahead: VecDeque<Completion>,
    counters: Counters,
}

impl Uring {
    /// Makes the ring for at most `sockets` sockets. Fails where the kernel refuses any part of it.
    pub fn new(sockets: u32, wake: BorrowedFd<'_>, pace: Pace) -> io::Result<Self> {
        Self::with_buffers(sockets, wake, pace, BUFFERS)
    }

    /// As [`Self::new`], with `buffers` (a power of two) receive buffers: one burst must not use them up.
    pub fn with_buffers(sockets: u32, wake: BorrowedFd<'_>, pace: Pace, buffers: u16) -> io::Result<Self> {
        // In flight: a receive per socket, its cancellation, a batch of failed sends; and what one wait may bring.
        let completions = (sockets * 2 + u32::from(buffers) + SUBMISSIONS).next_power_of_two().min(65_536);
        let polled = matches!(pace, Pace::BusyPoll(_));
        let ring =
            Ring::new(Sizes { files: sockets, submissions: SUBMISSIONS, completions, buffers, polled })?;
        Ok(Self {
            ring,
            sockets: vec![Socket::Absent; sockets as usize],
            ended: Vec::with_capacity(sockets as usize),
            freed: Vec::with_capacity(sockets as usize),
            wake: wake.as_raw_fd(),
            watching: false,
            pace,
            spin: Spin::new(pace),
            flowing: false,
            ahead: VecDeque::with_capacity(AHEAD),
            counters: Counters::default(),
        })
    }

    /// Gives every held buffer back and says how many the kernel does not have: 0.
    pub fn settle(&mut self) -> io::Result<usize> {
        self.ring.submit()?;
        Ok(self.ring.buffers_outstanding())
    }

    fn complete(&mut self, completion: Completion, engine: &mut Engine, now: Now) -> io::Result<bool> {
        let Completion { operation, slot, result, more, buffer } = completion;
        match operation {
            Operation::Receive => {
                match (&buffer, result) {
                    (Some(buffer), Ok(filled)) => match self.ring.datagram(buffer, filled) {
                        Some((source, bytes, length)) => {
                            if let Some(out) = engine.receive(slot, source, bytes, length, now) {
                                self.ring.send(slot, out.via, out.to, buffer, out.length)?;
                            }
                        }
                        None => engine.dropped(slot, DropReason::Oversize),
                    },
                    (_, Err(libc::ENOBUFS)) => self.counters.enobufs += 1,
                    (_, Err(libc::ECANCELED)) | (None, Ok(_)) => {}
                    // Told of an earlier send.
                    (_, Err(e)) if icmp(Some(e)) => self.counters.icmp_errors += 1,
                    // A passing want of memory: counted, never fatal.
                    (_, Err(_)) => self.counters.receive_errors += 1,
                }
                buffer.into_iter().for_each(|b| self.ring.hold(b));
                if !more {
                    self.receive_ended(slot)?;
                }
            }
            Operation::Send => {
                // Told of an earlier packet as well; this one's buffer has gone back by now.
                self.counters.icmp_errors += u64::from(icmp(result.err()));
                let blocked = matches!(result, Err(libc::EAGAIN | libc::ENOBUFS));
                engine.dropped(slot, if blocked { DropReason::SendBlocked } else { DropReason::SendFailed });
            }
            Operation::Connect => {
                self.counters.connect_errors += 1;
                engine.not_connected(slot);
            }
            // Not found: its receive has ended by itself, and that completion frees the slot.
            Operation::Cancel | Operation::Install => {}
            Operation::Wake => {
                self.watching &= more;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Waits for something to do, as the pace has it.
    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let Some(span) = self.spin.next().filter(|_| !timeout.is_zero()) else {
            let gather = match self.pace {
                Pace::Gather(span) if self.flowing && !span.is_zero() && span < timeout => {
                    Some((GATHERED, span))
                }
                _ => None,
            };
            let began = Instant::now();
            self.ring.wait(timeout, gather)?;
            self.spin.slept(began.elapsed());
            return Ok(());
        };
        self.ring.submit()?;
        let began = Instant::now();
        let mut found = self.ring.poll()?;
        while !found && began.elapsed() < span {
            std::hint::spin_loop();
            found = self.ring.poll()?;
        }
        self.spin.spun(found);
        if found { Ok(()) } else { self.ring.wait(timeout, None) }
    }

    fn receive_ended(&mut self, slot: Slot) -> io::Result<()> {
        match self.sockets.get_mut(slot.index as usize) {
            Some(Socket::Receiving(s)) if *s == slot => self.ended.push(slot),
            Some(socket) if *socket == Socket::Closing(slot) => {
                *socket = Socket::Absent;
                self.ring.unregister(slot.index)?;
                self.freed.push(slot);
            }
            _ => self.counters.stale += 1,
        }
        Ok(())
    }

    /// Arms again what ended, after the buffers went back: otherwise it would end at once for want of them.
    fn rearm(&mut self) -> io::Result<()> {
        if !self.ended.is_empty() {
            self.ring.submit()?;
            while let Some(slot) = self.ended.pop() {
                self.ring.receive(slot)?;
                self.counters.rearmed += 1;
            }
        }
        Ok(())
    }
}

impl Lane for Uring {
    fn open(&mut self, slot: Slot, socket: OwnedFd) -> io::Result<()> {
        self.ring.register(slot.index, socket.as_fd())?;
        if let Some(place) = self.sockets.get_mut(slot.index as usize) {
            *place = Socket::Receiving(slot);
        }
        self.ring.receive(slot)
    }

    fn close(&mut self, slot: Slot) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(slot.index as usize) else { return Ok(()) };
        if *socket != Socket::Receiving(slot) {
            return Ok(());
        }
        *socket = Socket::Closing(slot);
        self.ring.cancel(slot)
    }

    fn connect(&mut self, engine: &mut Engine) -> io::Result<()> {
        let mut any = false;
        while let Some((slot, peer)) = engine.connection() {
            if self.sockets.get(slot.index as usize) == Some(&Socket::Receiving(slot)) {
                self.ring.connect(slot, peer)?;
                any = true;
            }
        }
        // A datagram socket is connected while it is submitted: there is nobody to wait for.
        if any { self.ring.submit() } else { Ok(()) }
    }

    fn turn(&mut self, engine: &mut Engine, timeout: Duration, freed: &mut Vec<Slot>) -> io::Result<bool> {
        if !self.watching {
            self.ring.watch(self.wake)?;
            self.watching = true;
        }
        self.connect(engine)?;
        self.wait(timeout)?;
        let now = Now::read();
        let (mut woken, mut taken, before) = (false, 0, engine.received());
        loop {
            while self.ahead.len() < AHEAD
                && taken < BATCH
                && let Some(completion) = self.ring.take()
            {
                taken += 1;
                engine.prefetch(completion.slot);
                self.ahead.back().into_iter().for_each(|before| engine.prefetch_way(before.slot));
                self.ahead.push_back(completion);
            }
            let Some(completion) = self.ahead.pop_front() else { break };
            woken |= self.complete(completion, engine, now)?;
        }
        self.flowing = engine.received() > before && taken < BATCH;
        self.rearm()?;
        freed.append(&mut self.freed);
        Ok(woken)
    }

    fn counters(&mut self) -> Vec<(&'static str, u64)> {
        vec![
            ("enobufs", self.counters.enobufs),
            ("rearmed", self.counters.rearmed),
            ("receive_errors", self.counters.receive_errors),
            ("icmp_errors", self.counters.icmp_errors),
            ("connect_errors", self.counters.connect_errors),
            ("stale_completions", self.counters.stale),
            ("cq_overflow", self.ring.overflows()),
            ("buffers_missing", self.ring.buffers_missing() as u64),
        ]
    }
}
