//! The thread that sends and verifies: one loop over its commands, its wheel and its ring. Nothing is shared.

mod sockets;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::time::Duration;

use relay::sys::clock::{Now, thread_cpu_ns};
use relay::sys::stamps;
use relay::sys::uring::{Completion, Operation, Ring};
use relay::table::Slot;
use relay::worker::pin;

use super::packet::{self, LONGEST, Sender};
use super::reception::{Outcome, Reception};
use super::wheel::{Place, Wheel};
use super::{Call, Figures, Plan, TrafficError, rtcp};

/// What is asked of the thread.
#[derive(Debug)]
pub enum Command {
    /// Begin a call.
    Begin(Call, mpsc::Sender<io::Result<()>>),
    /// End one.
    End(u32),
    /// Another rate of each leg.
    Rate(f64),
    /// The totals.
    Figures(mpsc::Sender<Figures>),
    /// End all, and then the thread.
    Finish,
}

/// How long packets may be under way after a call's end.
const LINGER_NS: u64 = 1_000_000_000;
/// RTCP of one leg (RFC 3550, section 6.2: five seconds at least).
const REPORT_NS: u64 = 5_000_000_000;
/// Slots of the wheel that are served before the ring is looked at again.
const ROUND: usize = 64;
/// Completions that are taken before the wheel is looked at again: more than what is sent meanwhile, or who is late once
/// would never have heard all that has come.
const BATCH: usize = 4096;
/// A packet that waits for us for so long: we are late, and those behind it may find no room.
const OVERDUE_NS: u64 = 100_000_000;
/// Packets of a leg that were timed and may still be under way.
const TIMED: usize = 64;

/// One leg of a call: what it sends, and what it hears of the other.
struct Leg {
    sender: Sender,
    place: Option<Place>,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    /// The next packet's number.
    next: u32,
    bytes: u32,
    report_ns: u64,
    /// When packets of this leg left, by number modulo [`TIMED`].
    timed: [(u32, u64); TIMED],
    heard: Reception,
}

/// The state of the thread.
pub struct Worker {
    plan: Plan,
    commands: mpsc::Receiver<Command>,
    ring: Ring<{ stamps::CONTROL }>,
    wheel: Wheel,
    per_second: f64,
    legs: Vec<Option<Leg>>,
    /// Generations of the slots of each leg.
    generations: Vec<u32>,
    calls: HashMap<u32, u32>,
    free: Vec<u32>,
    /// Calls that have ended, and when they are forgotten.
    lingering: VecDeque<(u64, u32)>,
    /// Receives that ended, to be armed again.
    ended: Vec<Slot>,
    figures: Figures,
    /// Packets until the next that is timed.
    countdown: u32,
    random: u64,
    next_reports_ns: u64,
}

impl Worker {
    /// Makes the thread's ring, on the thread.
    pub fn new(plan: Plan, commands: mpsc::Receiver<Command>) -> Result<Self, TrafficError> {
        if let Some(core) = plan.core {
            pin(Some(core)).map_err(|e| TrafficError::Core(core, e))?;
        }
        let (ring, calls) = sockets::ring(&plan).map_err(TrafficError::Ring)?;
        let now = Now::read().mono_ns;
        let per_second = plan.media.packets_per_second;
        Ok(Self {
            commands,
            ring,
            wheel: Wheel::new(per_second, now),
            per_second,
            legs: (0..calls * 2).map(|_| None).collect(),
            generations: vec![0; calls as usize * 2],
            calls: HashMap::new(),
            free: (0..calls).rev().collect(),
            lingering: VecDeque::new(),
            ended: Vec::new(),
            figures: Figures::default(),
            countdown: 1,
            random: now | 1,
            next_reports_ns: now,
            plan,
        })
    }

    /// Sends and verifies until it is told to finish. Gives the totals.
    pub fn run(&mut self) -> io::Result<Figures> {
        loop {
            let mut finish = false;
            while let Ok(command) = self.commands.try_recv() {
                finish |= self.apply(command);
            }
            if finish {
                return self.finish();
            }
            self.round()?;
        }
    }

    fn finish(&mut self) -> io::Result<Figures> {
        let numbers: Vec<u32> = self.calls.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.end(number));
        while !self.lingering.is_empty() {
            self.round()?;
        }
        Ok(self.totals())
    }

    fn totals(&self) -> Figures {
        let pairs =
            self.legs.chunks_exact(2).filter_map(|pair| pair.first()?.as_ref().zip(pair.last()?.as_ref()));
        let outstanding =
            |heard: &Leg, sent: &Leg| u64::from(heard.heard.missing_at_the_end(sent.next).saturating_sub(1));
        Figures {
            outstanding: pairs.map(|(a, b)| outstanding(a, b) + outstanding(b, a)).sum(),
            cpu_ns: thread_cpu_ns(),
            ..self.figures.clone()
        }
    }

    /// Carries a command out. True: it was the last.
    fn apply(&mut self, command: Command) -> bool {
        match command {
            Command::Begin(call, answer) => {
                let done = self.begin(call);
                // Who asked may have gone.
                let _ = answer.send(done);
            }
            Command::End(number) => self.end(number),
            Command::Rate(per_second) => {
                self.per_second = per_second;
                self.wheel.set_rate(per_second, Now::read().mono_ns);
            }
            Command::Figures(answer) => {
                let _ = answer.send(self.totals());
            }
            Command::Finish => return true,
        }
        false
    }

    /// Sends what is due, waits until the next is, and takes what came.
    fn round(&mut self) -> io::Result<()> {
        let now = Now::read();
        self.send_due(now)?;
        self.forget(now.mono_ns)?;
        if now.mono_ns >= self.next_reports_ns {
            self.next_reports_ns = now.mono_ns + 100_000_000;
            self.report(now);
        }
        let wait = self.wheel.next_ns().saturating_sub(Now::read().mono_ns).min(10_000_000);
        let wait = Duration::from_nanos(wait);
        // The kernel has stamped what comes meanwhile: there is no hurry.
        self.ring.wait(wait, Some((BATCH, wait)))?;
        let now_ns = Now::read().wall_ns;
        for _ in 0..BATCH {
            let Some(completion) = self.ring.take() else { break };
            self.complete(completion, now_ns);
        }
        if !self.ended.is_empty() {
            self.ring.submit()?;
            while let Some(slot) = self.ended.pop() {
                self.ring.receive(slot)?;
            }
        }
        Ok(())
    }

    fn send_due(&mut self, now: Now) -> io::Result<()> {
        self.figures.skipped += self.wheel.catch_up(now.mono_ns);
        let every = self.every();
        let mut packet = [0; LONGEST];
        for _ in 0..ROUND {
            let Some((due_ns, legs)) = self.wheel.due(now.mono_ns) else { break };
            let due_wall = now.wall_ns - (now.mono_ns - due_ns);
            for index in legs {
                let generation = self.generations.get(*index as usize).copied().unwrap_or(0);
                let Some(Some(leg)) = self.legs.get_mut(*index as usize) else { continue };
                let length = leg.sender.write(leg.next, &mut packet);
                let bytes = packet.get(..length).unwrap_or_default();
                self.countdown -= 1;
                if self.countdown == 0 {
                    // Those before it leave before it.
                    self.ring.submit()?;
                    self.countdown = random_about(&mut self.random, every);
                    match stamps::send(leg.rtp.as_fd(), bytes) {
                        Ok(Some(left)) => {
                            if let Some(place) = leg.timed.get_mut(leg.next as usize % TIMED) {
                                *place = (leg.next, left);
                            }
                            self.figures
                                .pacing_error_ns
                                .saturating_record(left.saturating_sub(due_wall).max(1));
                        }
                        Ok(None) => {}
                        Err(e) => refused(&mut self.figures, e.raw_os_error()),
                    }
                } else {
                    self.ring.send_copy(Slot { index: index * 2, generation }, bytes)?;
                }
                leg.next += 1;
                leg.bytes = leg.bytes.wrapping_add(u32::try_from(length - 12).unwrap_or(0));
                self.figures.sent += 1;
            }
        }
        Ok(())
    }

    /// Every how many packets one is timed.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "packets per second"
    )]
    fn every(&self) -> u32 {
        let all = self.wheel.legs() as f64 * self.per_second;
        (all / f64::from(self.plan.sampling.per_second.max(1))).ceil().max(1.0) as u32
    }

    fn complete(&mut self, completion: Completion, now_ns: u64) {
        let Completion { operation, slot, result, more, buffer } = completion;
        match operation {
            Operation::Receive => {
                if let (Some(buffer), Ok(filled)) = (&buffer, result) {
                    let stamp = stamps::received(self.ring.control(buffer));
                    let overdue = stamp.is_some_and(|stamp| stamp + OVERDUE_NS < now_ns);
                    self.figures.overdue += u64::from(overdue);
                    // Of a call that is forgotten there is nobody to ask whose it is.
                    if self.is_open(slot)
                        && let Some((_, bytes, length)) = self.ring.datagram(buffer, filled)
                    {
                        let bytes = bytes.get(..length).unwrap_or_default();
                        hear(&mut self.legs, &mut self.figures, self.plan.media.codec, slot, bytes, stamp);
                    }
                } else if let Err(error) = result
                    && is_unreachable(error)
                {
                    self.figures.unreachable += 1;
                }
                buffer.into_iter().for_each(|b| self.ring.hold(b));
                if !more && self.is_open(slot) {
                    self.ended.push(slot);
                }
            }
            Operation::Send => refused(&mut self.figures, result.err()),
            _ => {}
        }
    }

    fn is_open(&self, slot: Slot) -> bool {
        let leg = slot.index as usize / 2;
        self.generations.get(leg) == Some(&slot.generation) && self.legs.get(leg).is_some_and(Option::is_some)
    }

    fn report(&mut self, now: Now) {
        if !self.plan.media.rtcp {
            return;
        }
        for leg in self.legs.iter_mut().flatten().filter(|leg| leg.place.is_some()) {
            if now.mono_ns < leg.report_ns {
                continue;
            }
            leg.report_ns = now.mono_ns + REPORT_NS;
            let Sender { ssrc, timestamp, codec, .. } = leg.sender;
            let timestamp = timestamp.wrapping_add(leg.next.wrapping_mul(codec.ticks()));
            let report = rtcp::report(ssrc, now.wall_ns, timestamp, leg.next, leg.bytes);
            match leg.rtcp.send(&report) {
                Ok(_) => self.figures.rtcp_sent += 1,
                Err(e) => refused(&mut self.figures, e.raw_os_error()),
            }
        }
    }

    fn end(&mut self, number: u32) {
        let Some(call) = self.calls.remove(&number) else { return };
        for index in [call * 2, call * 2 + 1] {
            if let Some(Some(leg)) = self.legs.get_mut(index as usize)
                && let Some(place) = leg.place.take()
            {
                self.wheel.remove(index, place);
            }
        }
        self.lingering.push_back((Now::read().mono_ns + LINGER_NS, call));
    }

    /// Forgets calls that have ended a while ago: what has not come by now is lost.
    fn forget(&mut self, now_ns: u64) -> io::Result<()> {
        while let Some((_, call)) = self.lingering.front().copied().filter(|(at, _)| *at <= now_ns) {
            self.lingering.pop_front();
            let legs = [call * 2, call * 2 + 1].map(|index| self.take(index));
            let [a, b] = legs;
            if let (Some(a), Some(b)) = (a?, b?) {
                let missing = a.heard.missing_at_the_end(b.next) + b.heard.missing_at_the_end(a.next);
                self.figures.lost += u64::from(missing);
            }
            self.free.push(call);
        }
        Ok(())
    }
}

/// Counts a packet that did not leave. An error that an earlier packet has met is told to the next one.
fn refused(figures: &mut Figures, error: Option<i32>) {
    let unreachable = error.is_some_and(is_unreachable);
    *if unreachable { &mut figures.unreachable } else { &mut figures.refused } += 1;
}

const fn is_unreachable(error: i32) -> bool {
    matches!(error, libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH)
}

/// A number from 1 on, `mean` on the average, so that no rhythm of the legs' decides which of them are timed (xorshift).
pub(super) fn random_about(state: &mut u64, mean: u32) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    let most = u64::from(mean) * 2 - 1;
    u32::try_from(1 + *state % most).unwrap_or(mean)
}

/// Judges a datagram that came to `slot`.
fn hear(
    legs: &mut [Option<Leg>],
    figures: &mut Figures,
    codec: super::Codec,
    slot: Slot,
    bytes: &[u8],
    stamp: Option<u64>,
) {
    let index = slot.index as usize / 2;
    if slot.index % 2 == 1 {
        if rtcp::well_formed(bytes) {
            figures.rtcp_received += 1;
        } else {
            figures.corrupt += 1;
        }
        return;
    }
    let Some((name, header)) = packet::read(bytes, codec) else {
        figures.corrupt += 1;
        return;
    };
    // A call's legs lie side by side.
    let (Some(Some(leg)), other) = (legs.get_mut(index), index ^ 1) else { return };
    if name.call != leg.sender.call || usize::from(name.leg) != other % 2 {
        figures.strays += 1;
        return;
    }
    match leg.heard.take(name.number, header, codec.ticks()) {
        Outcome::New { missing } => {
            figures.received += 1;
            figures.lost += u64::from(missing);
        }
        Outcome::Late => {
            figures.received += 1;
            figures.lost = figures.lost.saturating_sub(1);
            figures.reordered += 1;
        }
        Outcome::Again => figures.duplicates += 1,
        Outcome::Wrong => figures.corrupt += 1,
    }
    let timed =
        legs.get(other).and_then(Option::as_ref).and_then(|l| l.timed.get(name.number as usize % TIMED));
    if let (Some((number, left)), Some(came)) = (timed, stamp)
        && *number == name.number
        && *left > 0
    {
        figures.added_delay_ns.saturating_record(came.saturating_sub(*left).max(1));
    }
}
