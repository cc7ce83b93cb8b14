//! One sender (SSRC) of a side: from its time-stamps to places on the axis.
//!
//! A sender's time-stamps place its packets against each other exactly. Where the whole stands is told by arrival: no
//! packet arrives before it was said, so the least delay among the packets of some seconds is the network's, and
//! what a packet took longer is jitter. That difference between arrival and time-stamp, the offset, holds for a run of
//! time-stamps. Within a run it follows the sender's clock, which goes a little faster or slower than the relay's,
//! by single samples that are not heard. A run ends where time-stamps and arrival part for good: the sender stopped its
//! clock on hold, or began anew. Packets are [settled](Sender::settle) some seconds after they arrived, so a stall, after
//! which packets catch up, is told from a jump, after which they do not.

use std::collections::{BTreeMap, VecDeque};

use super::sequence::{MAX_DROPOUT, Number, Order, Sequence};
use super::{Arrival, Brings, LOOK, WINDOW};
use crate::manifest::Counts;
use crate::rate::TICKS;

/// Ticks by which time-stamp and arrival may part in a run: 100 ms.
const BOUND: i64 = TICKS as i64 / 10;
/// Ticks by which a packet may be held up without one behind it to tell that it was: 500 ms.
const LONE: i64 = TICKS as i64 / 2;
/// Clocks of different rates that one sender may use in turn.
const MAX_CLOCKS: usize = 8;
/// The slowest clock of any RTP payload, that of text (RFC 4103), in ticks per second.
const SLOWEST: u32 = 1000;
/// Ticks of one correction: a sample of 8 kHz.
const SLIP: i64 = 6;
/// Between corrections towards later, in ticks: so a clock is followed that is slow by 500 millionths.
const SLOW: i64 = SLIP * 2000;
/// From one look at the least delay to the next, in ticks: 250 ms.
const EVERY: i64 = TICKS as i64 / 4;
/// Ticks of drift that are let be: 1 ms.
const LET_BE: i64 = TICKS as i64 / 1000;
/// Ticks of the shortest packet that anybody sends: 10 ms.
const SHORTEST: i64 = TICKS as i64 / 100;
/// Packets that wait to be settled at most: a sender that sends more than its time allows is settled sooner.
pub const MAX_HELD: usize = 5000;

/// What one sender was.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Index of its stream.
    pub stream: u8,
    /// Its SSRC.
    pub ssrc: u32,
    /// When its first packet arrived.
    pub first: i64,
    /// When its last packet arrived.
    pub last: i64,
    /// The marks of its packets, in the order of their first.
    pub marks: Vec<u8>,
    /// What was captured of it.
    pub counts: Counts,
}

/// Packets that are missing by sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Behind the speech before them.
    pub from: i64,
    /// Where the speech behind them begins.
    pub to: i64,
    /// When the packets before and behind them arrived, the earlier first.
    pub heard: (i64, i64),
    /// How many.
    pub packets: u64,
}

/// A packet in its place.
#[derive(Debug)]
pub struct Placed {
    /// The packet.
    pub packet: Arrival,
    /// Its place.
    pub place: i64,
    /// Its run's name.
    pub run: u8,
    /// What is missing before it.
    pub lost: Option<Lost>,
    /// Whether it does not go on where its sender's last speech ended.
    pub broken: bool,
}

/// One sender.
#[derive(Debug)]
pub struct Sender {
    sequence: Sequence,
    /// When the packet with the highest number arrived.
    ahead_at: i64,
    /// Packets that are not settled, by number.
    held: BTreeMap<Number, Held>,
    /// When each of them arrived: the first is settled when the oldest of these is old enough.
    due: VecDeque<i64>,
    /// One for each rate that it used.
    clocks: BTreeMap<u32, Clock>,
    run: Option<Run>,
    /// The packet settled last: arrival, time-stamp, and behind its speech in time-stamps and on the axis.
    last: Option<Last>,
    jitter: Jitter,
    heard: Heard,
}

#[derive(Debug)]
struct Held {
    packet: Arrival,
    number: Number,
    /// When it arrived.
    at: i64,
    /// Its time-stamp in ticks.
    stamp: i64,
    /// Ticks per second of its time-stamp: those of one rate have nothing to do with those of another.
    rate: u32,
}

impl Held {
    /// How long after its last sample it came: it was not sent before that was said, and packets of any length compare.
    /// Says nothing of the network for what keeps the time-stamp of its beginning.
    const fn delay(&self) -> Option<i64> {
        match self.packet.brings {
            Brings::Event(_) => None,
            _ => Some(self.slow()),
        }
    }

    /// How long after the end of what it brings it came.
    const fn slow(&self) -> i64 {
        match self.packet.brings {
            Brings::Event(length) | Brings::Speech(length) => self.at - self.stamp - length,
            Brings::Nothing => self.at - self.stamp,
        }
    }

    /// Where it stands in a run of that offset. An event's time-stamp is not held against its arrival, but where the two
    /// have nothing to do with each other it stands where it came.
    const fn place(&self, offset: i64) -> i64 {
        let off = self.slow() - offset;
        match self.packet.brings {
            Brings::Event(length) if off < -BOUND || off > WINDOW => self.at - length,
            _ => self.stamp + offset,
        }
    }

    /// Whether it is an event or comfort noise of another clock than the speech of `rate` beside it: it says nothing of that
    /// clock, and stands where it arrived.
    const fn apart(&self, rate: u32) -> bool {
        self.rate != rate && !matches!(self.packet.brings, Brings::Speech(_))
    }

    const fn length(&self) -> i64 {
        match self.packet.brings {
            Brings::Speech(length) => length,
            _ => 0,
        }
    }
}

/// Time-stamps that belong together.
#[derive(Debug)]
struct Run {
    name: u8,
    /// Ticks per second of its time-stamps.
    rate: u32,
    /// From time-stamp to place.
    offset: i64,
    /// The least delay seen ahead.
    least: i64,
    /// When that was looked at.
    looked: i64,
    /// When the offset was last moved to later.
    moved: i64,
    /// Its packets arrive much later of a sudden.
    doubted: bool,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    at: i64,
    stamp_end: i64,
    place_end: i64,
    delay: i64,
}

impl Last {
    /// Something was heard in a place that is no speech, and says nothing of its clock.
    fn beside(&mut self, held: &Held, place: i64) {
        self.at = held.at;
        self.place_end = self.place_end.max(place);
    }
}

/// Time-stamps with the wraps counted in, as ticks.
#[derive(Debug)]
struct Clock {
    rate: u32,
    /// Time-stamp of the newest packet.
    newest: i64,
}

impl Clock {
    /// The time-stamp as ticks; `ahead`: it is the newest now.
    fn stamp(&mut self, timestamp: u32, ahead: bool) -> i64 {
        let low = u32::try_from(self.newest.rem_euclid(1 << 32)).unwrap_or(0);
        let full = self.newest + i64::from(timestamp.wrapping_sub(low).cast_signed());
        if ahead {
            self.newest = full;
        }
        i64::try_from(i128::from(full) * i128::from(TICKS) / i128::from(self.rate)).unwrap_or(0)
    }
}

/// Interarrival jitter (RFC 3550, section 6.4.1), in sixteenths of a tick. What parts by more than [`WINDOW`] has leapt,
/// and says nothing of the network.
#[derive(Debug, Default)]
struct Jitter {
    /// Transit time and clock rate of the packet before.
    before: Option<(i64, u32)>,
    sixteenths: i64,
}

impl Jitter {
    fn packet(&mut self, transit: i64, rate: u32, first: bool) {
        let before = self.before.replace((transit, rate)).filter(|(_, before)| *before == rate && !first);
        if let Some(parted) = before.map(|(before, _)| (transit - before).abs()).filter(|d| *d < WINDOW) {
            self.sixteenths += parted - (self.sixteenths + 8) / 16;
        }
    }

    fn microseconds(&self) -> u64 {
        u64::try_from(self.sixteenths / 16 * 1_000_000 / i64::from(TICKS)).unwrap_or(0)
    }
}

impl Sender {
    /// The sender of `packet`, which is its first.
    pub fn new(packet: &Arrival) -> Self {
        Self {
            sequence: Sequence::default(),
            ahead_at: 0,
            held: BTreeMap::new(),
            due: VecDeque::new(),
            clocks: BTreeMap::new(),
            run: None,
            last: None,
            jitter: Jitter::default(),
            heard: Heard {
                stream: packet.stream,
                ssrc: packet.ssrc,
                first: i64::MAX,
                last: 0,
                marks: Vec::new(),
                counts: Counts { sources: 1, ..Counts::default() },
            },
        }
    }

    /// Whether it is the sender of that stream and SSRC.
    pub const fn is(&self, stream: u8, ssrc: u32) -> bool {
        self.heard.stream == stream && self.heard.ssrc == ssrc
    }

    /// When it was last heard.
    pub const fn last_at(&self) -> i64 {
        self.heard.last
    }

    /// After a pause of the tap: what is missing since is no loss.
    pub fn resumed(&mut self) {
        self.sequence.interrupt();
    }

    /// What it was so far.
    pub fn heard(&self) -> Heard {
        let mut heard = self.heard.clone();
        heard.counts.jitter_us = self.jitter.microseconds();
        heard
    }

    /// What it was, when it has to make room: what it had not settled came too late.
    pub fn forgotten(mut self) -> Heard {
        self.heard.counts.late += self.held.len() as u64;
        self.heard()
    }

    /// Takes its next packet, which arrived at `at`.
    pub fn push(&mut self, packet: Arrival, at: i64) {
        let heard = &mut self.heard;
        (heard.first, heard.last) = (heard.first.min(at), heard.last.max(at));
        heard.counts.packets += 1;
        heard.counts.bytes += packet.bytes as u64;
        if !heard.marks.contains(&packet.mark) {
            heard.marks.push(packet.mark);
        }
        let room = (at - self.ahead_at).max(0) / SHORTEST;
        let order = self.sequence.order(packet.sequence, room);
        let (number, first, ahead) = match order {
            Order::First(number) => (number, true, true),
            Order::Ahead(number) => (number, false, true),
            Order::Behind(number) => (number, false, false),
            Order::Late => {
                heard.counts.late += 1;
                return;
            }
            Order::Duplicate => {
                heard.counts.duplicates += 1;
                return;
            }
        };
        if self.held.contains_key(&number) {
            heard.counts.duplicates += 1;
            return;
        }
        heard.counts.reordered += u64::from(!ahead);
        if ahead {
            self.ahead_at = at;
        }
        let rate = packet.clock_rate.max(SLOWEST);
        let stamp = self.clock(rate, packet.timestamp).stamp(packet.timestamp, ahead);
        let held = Held { packet, number, at, stamp, rate };
        if held.delay().is_some() {
            self.jitter.packet(at - stamp, rate, first);
        }
        self.held.insert(number, held);
        self.due.push_back(at);
    }

    /// The clock of that rate, made from a time-stamp when it is new.
    fn clock(&mut self, rate: u32, timestamp: u32) -> &mut Clock {
        if self.clocks.len() >= MAX_CLOCKS && !self.clocks.contains_key(&rate) {
            // No codec does that: all begin anew.
            self.clocks.clear();
        }
        self.clocks.entry(rate).or_insert(Clock { rate, newest: timestamp.into() })
    }

    /// Packets in memory.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.held.len().max(self.due.len())
    }

    /// Whether a packet is to be settled: one arrived at `until` or before, or too many wait.
    pub fn due(&self, until: i64) -> bool {
        self.due.front().is_some_and(|at| *at <= until) || self.held.len() > MAX_HELD
    }

    /// Settles the packet with the lowest number. `runs` counts the runs of its side.
    pub fn settle(&mut self, runs: &mut u64) -> Option<Placed> {
        let (number, held) = self.held.pop_first()?;
        self.due.pop_front();
        let mut packets = self.sequence.settle(number);
        if let Some(run) = self.run.as_ref().filter(|run| held.apart(run.rate)) {
            let (place, run) = (held.at, run.name);
            self.heard.counts.lost += packets;
            let lost = self.lost(packets, &held, place);
            self.last.iter_mut().for_each(|last| last.beside(&held, place));
            return Some(Placed { packet: held.packet, place, run, lost, broken: true });
        }
        let delay = held.delay();
        let mut run = self.run.take();
        let same = run.as_ref().is_some_and(|run| run.rate == held.rate);
        let goes_on = self.last.is_some_and(|l| l.stamp_end == held.stamp) && packets == 0 && same;
        let jumped = run.as_mut().is_some_and(|run| self.jumped(&held, run));
        if jumped && packets > MAX_DROPOUT.unsigned_abs() {
            // The sender began anew, after a silence in which it might have sent so many.
            packets = 0;
        }
        self.heard.counts.lost += packets;
        let mut run = match run {
            Some(run) if !jumped => run,
            before => {
                self.heard.counts.jumps += u64::from(before.is_some());
                *runs += 1;
                let least = self.least(&held, None);
                let name = u8::try_from(*runs % 255).unwrap_or(0) + 1;
                Run {
                    name,
                    rate: held.rate,
                    offset: least,
                    least,
                    looked: held.at,
                    moved: held.at,
                    doubted: false,
                }
            }
        };
        if delay.is_some() {
            self.follow(&mut run, &held, goes_on);
        }
        let place = held.place(run.offset);
        let end = place + held.length();
        let lost = self.lost(packets, &held, place);
        match &mut self.last {
            Some(last) if delay.is_none() => last.beside(&held, place),
            last => {
                *last = Some(Last {
                    at: held.at,
                    stamp_end: held.stamp + held.length(),
                    place_end: end,
                    delay: delay.unwrap_or(run.offset),
                });
            }
        }
        let name = run.name;
        self.run = Some(run);
        Some(Placed { packet: held.packet, place, run: name, lost, broken: !goes_on })
    }

    /// What is missing before a packet in its place.
    fn lost(&self, packets: u64, held: &Held, place: i64) -> Option<Lost> {
        self.last.filter(|_| packets > 0).map(|last| Lost {
            from: last.place_end.min(place),
            to: place,
            heard: (last.at.min(held.at), last.at.max(held.at)),
            packets,
        })
    }

    /// Whether a packet begins a new run: its time-stamp and its arrival have parted for good.
    fn jumped(&self, held: &Held, run: &mut Run) -> bool {
        if held.rate != run.rate {
            return true;
        }
        let Some(delay) = held.delay() else { return false };
        let off = delay - run.offset;
        if off < -BOUND {
            // Nothing arrives before it was said.
            return true;
        }
        let sudden = self.last.is_none_or(|last| delay - last.delay > BOUND);
        run.doubted = off > BOUND && (run.doubted || sudden);
        run.doubted && self.parted(held, off, sudden)
    }

    /// Whether a packet that is `off` the offset of its run, and those behind it, do not come back to that. When they
    /// do, it was held up, no more. `sudden`: those before it arrived sooner.
    fn parted(&self, held: &Held, off: i64, sudden: bool) -> bool {
        let beside = self.held.values().filter(|h| !h.apart(held.rate));
        let behind = beside.take_while(|h| h.rate == held.rate && h.at <= held.at + LOOK);
        let offs = behind.filter_map(|h| Some((h.delay()? - held.delay()? + off, h.at - held.at)));
        if offs.clone().any(|(o, _)| o.abs() <= BOUND / 2) {
            return false;
        }
        if offs.clone().any(|(_, later)| later > BOUND) {
            return off > LONE
                || offs.clone().any(|(o, later)| (o - off).abs() <= BOUND / 2 && later > BOUND);
        }
        // Nothing else tells. What arrives faster than it was said was held up together, to the last of it.
        let together = offs.clone().any(|(o, _)| (0..off - BOUND).contains(&o));
        sudden && (off > WINDOW || (off > LONE && !together))
    }

    /// The least delay of a packet and of those that arrive behind it for a while and follow from it. `offset`: of the run
    /// that the packet is of, unless it begins one.
    fn least(&self, held: &Held, offset: Option<i64>) -> i64 {
        let mut least = held.slow();
        let (mut number, mut stamp, mut length) = (held.number, held.stamp, held.length());
        for ahead in self.held.values().filter(|h| !h.apart(held.rate)) {
            if ahead.rate != held.rate || ahead.at > held.at + LOOK {
                break;
            }
            let Some(delay) = ahead.delay() else { continue };
            // Time-stamps that leap ahead of the time that passed are another run's. Behind a stall the silence between
            // two that arrive together looks alike, but leads to nothing before the offset.
            let leapt = if let Some(offset) = offset {
                delay < offset - BOUND
            } else {
                let packets = Some(ahead.number - number).filter(|n| *n <= MAX_DROPOUT).unwrap_or(1) + 1;
                ahead.stamp - stamp > packets * length.max(ahead.length()) && delay < least - BOUND
            };
            if leapt {
                break;
            }
            least = least.min(delay);
            (number, stamp, length) = (ahead.number, ahead.stamp, ahead.length());
        }
        least
    }

    /// Whether enough arrives behind a packet to tell a slow clock from jitter: at the end of a call it does not.
    fn sees_far(&self, held: &Held) -> bool {
        self.held.last_key_value().is_some_and(|(_, last)| last.at - held.at > LOOK * 4 / 5)
    }

    /// Moves the offset of a run towards the least delay ahead.
    fn follow(&self, run: &mut Run, held: &Held, goes_on: bool) {
        if held.at - run.looked >= EVERY {
            (run.least, run.looked) = (self.least(held, Some(run.offset)), held.at);
        }
        let off = run.least - run.offset;
        if !goes_on {
            // Behind a silence nobody hears it. In it the clock may have fallen behind, as far as clocks do.
            let silence = self.last.map_or(0, |last| held.stamp - last.stamp_end);
            run.offset += off.min((silence / SLOW * SLIP).max(0));
        } else if off < -LET_BE {
            run.offset -= SLIP;
        } else if off > LET_BE && held.at - run.moved >= SLOW && self.sees_far(held) {
            run.offset += SLIP;
            run.moved = held.at;
        }
    }
}
