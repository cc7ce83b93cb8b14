//! The packets of `bauta load`: RTP both ways for every call, and a check of each packet that comes back.
//!
//! [`Traffic`] is a handle; one thread ([`worker`]) owns the sockets, sends by a [`wheel`], and verifies. What is asked of
//! it comes through a channel, between two rounds of its loop.

mod packet;
mod reception;
mod rtcp;
mod wheel;
mod worker;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc;
use std::thread::JoinHandle;

use hdrhistogram::Histogram;
use relay::settings::PortRange;

use worker::{Command, Worker};

/// What the packets carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// PCMA, payload type 8, 160 bytes per 20 ms (RFC 3551, section 4.5.14).
    G711A,
    /// PCMU, payload type 0.
    G711U,
    /// Opus, payload type 111, packets of 40 to 100 bytes (RFC 7587).
    Opus,
}

/// How a leg sends.
#[derive(Debug, Clone, Copy)]
pub struct Media {
    /// What it sends.
    pub codec: Codec,
    /// Packets per second of one leg; 50 is one per 20 ms.
    pub packets_per_second: f64,
    /// Whether it also sends RTCP: a sender report and a name every five seconds (RFC 3550, section 6.2).
    pub rtcp: bool,
}

/// How many packets are given a time-stamp by the kernel when they leave; each costs two system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// About so many a second, at random among all packets.
    pub per_second: u32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { per_second: 2_000 }
    }
}

/// What the thread is made with.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The core to stay on.
    pub core: Option<usize>,
    /// Our own addresses, the callers' and the callees'; they may be the same.
    pub address: [IpAddr; 2],
    /// Our own ports: each leg takes an even one and the next.
    pub ports: PortRange,
    /// How each leg sends.
    pub media: Media,
    /// Which packets are timed.
    pub sampling: Sampling,
}

/// The addresses of one leg: where its RTP goes to or comes from, and its RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// RTP.
    pub rtp: SocketAddr,
    /// RTCP.
    pub rtcp: SocketAddr,
}

/// A call that the relay was told of.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Names it; its ports of ours are [`Plan::ends`] of it.
    pub number: u32,
    /// Where the caller sends to, where the callee does.
    pub relay: [Ends; 2],
}

impl Plan {
    /// Our own addresses of one leg (0 the caller, 1 the callee) of the call with this number; none beyond
    /// [`Self::most_calls`].
    pub fn ends(&self, number: u32, leg: usize) -> Option<Ends> {
        let ip = *self.address.get(leg)?;
        let pair = if self.shared() { number * 2 + u32::try_from(leg).ok()? } else { number };
        let first = u32::from(self.ports.first).next_multiple_of(2);
        let rtp = u16::try_from(first + pair * 2).ok().filter(|port| *port < self.ports.last)?;
        Some(Ends { rtp: SocketAddr::new(ip, rtp), rtcp: SocketAddr::new(ip, rtp + 1) })
    }

    /// How many calls the ports are enough for.
    pub fn most_calls(&self) -> u32 {
        let (first, last) = (u32::from(self.ports.first).next_multiple_of(2), u32::from(self.ports.last));
        (last + 1).saturating_sub(first) / 2 / if self.shared() { 2 } else { 1 }
    }

    fn shared(&self) -> bool {
        let [caller, callee] = self.address;
        caller == callee
    }
}

/// Why there are no packets.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// The kernel refuses what the thread needs.
    #[error(
        "packets cannot be sent from here: {0} (io_uring of Linux 6.6 or newer is needed; containers often forbid it)"
    )]
    Ring(io::Error),
    /// The core is not there, or not ours.
    #[error("core {0} cannot be used: {1}")]
    Core(usize, io::Error),
    /// A call's sockets are refused.
    #[error(
        "no media for call {0}: {1}; what --ports names must be free, and open files enough for four sockets a call"
    )]
    Call(u32, io::Error),
    /// The thread has ended.
    #[error("the thread that sends packets has ended: {0}")]
    Ended(String),
}

/// The totals since the start.
#[derive(Debug, Clone)]
pub struct Figures {
    /// RTP packets sent.
    pub sent: u64,
    /// RTP packets received, each counted once, as sent.
    pub received: u64,
    /// Packets that were overtaken by later ones of their leg, or were missing a second after their call's end. One that
    /// comes late after all is taken out again.
    pub lost: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that came after a later one of their leg.
    pub reordered: u64,
    /// Packets whose payload, payload type, sequence number or time-stamp is not what the other leg sent.
    pub corrupt: u64,
    /// Packets of another call or leg.
    pub strays: u64,
    /// Packets that are not accounted for as yet: sent, and nothing of their leg came since. Each leg may have one under way,
    /// which is not counted.
    pub outstanding: u64,
    /// Packets that the kernel would not send.
    pub refused: u64,
    /// Packets that met a closed port, or that no way led for: the other end said so.
    pub unreachable: u64,
    /// Packets that had come long before they were looked at: of those behind them some may have found a full buffer, which is
    /// loss of the generator's own.
    pub overdue: u64,
    /// Packets that were left out because the generator was late by more than an interval.
    pub skipped: u64,
    /// RTCP packets sent.
    pub rtcp_sent: u64,
    /// RTCP packets received, well-formed.
    pub rtcp_received: u64,
    /// From the kernel's time-stamp of sending to that of receiving, in nanoseconds, of the packets that were timed.
    pub added_delay_ns: Histogram<u64>,
    /// How long after its time a packet left, in nanoseconds, of those.
    pub pacing_error_ns: Histogram<u64>,
    /// CPU time of the thread, in nanoseconds.
    pub cpu_ns: u64,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            sent: 0,
            received: 0,
            lost: 0,
            duplicates: 0,
            reordered: 0,
            corrupt: 0,
            strays: 0,
            outstanding: 0,
            refused: 0,
            unreachable: 0,
            overdue: 0,
            skipped: 0,
            rtcp_sent: 0,
            rtcp_received: 0,
            added_delay_ns: histogram(),
            pacing_error_ns: histogram(),
            cpu_ns: 0,
        }
    }
}

/// Up to a minute, with three digits.
fn histogram() -> Histogram<u64> {
    let histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3);
    #[allow(clippy::expect_used, reason = "bounds that are written here")]
    histogram.expect("valid bounds")
}

/// The thread that sends and verifies.
#[derive(Debug)]
pub struct Traffic {
    commands: mpsc::Sender<Command>,
    thread: JoinHandle<Result<Figures, io::Error>>,
}

impl Traffic {
    /// Starts the thread. Calls are given to it by [`Self::begin`].
    pub fn start(plan: Plan) -> Result<Self, TrafficError> {
        let (commands, asked) = mpsc::channel();
        let (ready, started) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut worker = match Worker::new(plan, asked) {
                Ok(worker) => worker,
                Err(e) => {
                    // Whoever started it waits for this.
                    let _ = ready.send(Err(e));
                    return Ok(Figures::default());
                }
            };
            let _ = ready.send(Ok(()));
            worker.run()
        });
        match started.recv() {
            Ok(Ok(())) => Ok(Self { commands, thread }),
            Ok(Err(e)) => Err(e),
            Err(_) => Err(ended(thread)),
        }
    }

    /// Begins to send both ways. The call's ports of ours must be free.
    pub fn begin(&self, call: Call) -> Result<(), TrafficError> {
        let (answer, answered) = mpsc::channel();
        self.ask(Command::Begin(call, answer), &answered)?.map_err(|e| TrafficError::Call(call.number, e))
    }

    /// Stops sending; what is under way is still heard, for a second.
    pub fn end(&self, number: u32) {
        // A thread that has ended says so to the next that wants an answer.
        let _ = self.commands.send(Command::End(number));
    }

    /// Another rate, in packets per second of one leg.
    pub fn set_rate(&self, packets_per_second: f64) {
        let _ = self.commands.send(Command::Rate(packets_per_second));
    }

    /// The totals so far.
    pub fn figures(&self) -> Result<Figures, TrafficError> {
        let (answer, answered) = mpsc::channel();
        self.ask(Command::Figures(answer), &answered)
    }

    /// Stops sending, waits a second for what is under way, and gives the totals.
    pub fn finish(self) -> Result<Figures, TrafficError> {
        let _ = self.commands.send(Command::Finish);
        match self.thread.join() {
            Ok(Ok(figures)) => Ok(figures),
            Ok(Err(e)) => Err(TrafficError::Ended(e.to_string())),
            Err(_) => Err(TrafficError::Ended("it panicked".into())),
        }
    }

    fn ask<T>(&self, command: Command, answered: &mpsc::Receiver<T>) -> Result<T, TrafficError> {
        let gone = |_| TrafficError::Ended("see its last words above".into());
        self.commands.send(command).map_err(|_| TrafficError::Ended("it takes no more commands".into()))?;
        answered.recv().map_err(gone)
    }
}

fn ended(thread: JoinHandle<Result<Figures, io::Error>>) -> TrafficError {
    match thread.join() {
        Ok(Err(e)) => TrafficError::Ended(e.to_string()),
        Ok(Ok(_)) | Err(_) => TrafficError::Ended("before it began".into()),
    }
}

#[cfg(test)]
#[path = "traffic/traffic_tests.rs"]
mod tests;
