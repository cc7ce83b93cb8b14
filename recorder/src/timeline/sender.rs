//! One sender (SSRC) of a side: from its time-stamps to places on the axis.
//!
//! A sender's time-stamps place its packets against each other exactly; where the whole stands is anchored by
//! arrival. The two can disagree: a packet was delayed, or the sender's time-stamps jumped (transfer, hold).
//! A time-stamp that does not follow from the sequence number is a jump and re-anchored at once. One that
//! does, but is far from its arrival, is kept in [doubt](Sender::doubt) until the packets behind it tell: after
//! a stall they catch up with the old anchor, after a jump they do not. Slow drift between the sender's
//! clock and the relay's is followed one sample per packet, which is not heard.

use super::loss::{Losses, Order};
use super::track::Track;
use super::{Arrival, RATE, Tally};

/// Samples by which time-stamp and arrival may disagree: 200 ms.
const BOUND: i64 = RATE as i64 / 5;
/// Samples of arrival after which a doubt is a jump: 1 s.
const DOUBT: i64 = RATE as i64;
/// Packets that wait in doubt at most.
const MAX_DOUBT: usize = 500;
/// Samples of arrival over which the least delay is taken: 5 s.
const DRIFT_BLOCK: i64 = 5 * RATE as i64;
/// Samples of drift that are let be: 2 ms.
const DRIFT_BOUND: i64 = RATE as i64 / 500;

/// One sender.
#[derive(Debug)]
pub struct Sender {
    /// Index of its stream.
    pub stream: u8,
    /// Its SSRC.
    pub ssrc: u32,
    /// Its sequence numbers.
    pub losses: Losses,
    /// Its number in the track.
    number: u8,
    clock_rate: u32,
    /// Time-stamp of the newest packet, with the wraps counted in.
    newest: i64,
    /// Ticks from one packet to the next, once two neighbours were seen.
    ticks: Option<i64>,
    /// The time-stamp and the sample that stand for the same instant; none before the first packet.
    anchor: Option<(i64, i64)>,
    /// Arrival of the newest packet.
    heard: i64,
    /// Behind the newest packet's audio.
    end: i64,
    doubt: Vec<Waiting>,
    drift: Drift,
}

/// A packet whose place is in doubt.
#[derive(Debug)]
struct Waiting {
    ticks: i64,
    at: i64,
    samples: Vec<i16>,
}

/// The least delay of the packets of the last seconds, and what is to be corrected.
#[derive(Debug, Default)]
struct Drift {
    since: Option<i64>,
    least: i64,
    left: i64,
    /// Least delay of the first block: what later ones are measured against. (The first packet, which set the
    /// anchor, may have been slower than the rest: that is jitter and no drift.)
    base: Option<i64>,
}

impl Sender {
    /// The sender of `arrival`, which is its first packet.
    pub fn new(arrival: &Arrival, number: u8) -> Self {
        Self {
            stream: arrival.stream,
            ssrc: arrival.ssrc,
            losses: Losses::default(),
            number,
            clock_rate: arrival.clock_rate.max(1),
            newest: i64::from(arrival.timestamp),
            ticks: None,
            anchor: None,
            heard: 0,
            end: 0,
            doubt: Vec::new(),
            drift: Drift::default(),
        }
    }

    /// When it was last heard, in samples of the axis.
    pub const fn heard(&self) -> i64 {
        self.heard
    }

    /// After a pause of the tap: what is missing since is no loss.
    pub fn resumed(&mut self) {
        self.losses.restart();
        self.ticks = None;
    }

    /// Takes its next packet, which arrived at the sample `at`.
    pub fn take(
        &mut self,
        arrival: &Arrival,
        at: i64,
        samples: &[i16],
        tally: &mut Tally,
        track: &mut Track,
    ) {
        let order = self.losses.order(arrival.sequence);
        let newest = u32::try_from(self.newest.rem_euclid(1 << 32)).unwrap_or(0);
        let step = i64::from(arrival.timestamp.wrapping_sub(newest).cast_signed());
        let ticks = self.newest + step;
        match order {
            Order::Duplicate => {
                tally.duplicates += 1;
                return;
            }
            Order::Late => {
                tally.late += 1;
                return;
            }
            Order::Filled => {
                tally.reordered += 1;
                let packet = Waiting { ticks, at, samples: samples.to_vec() };
                if self.doubt.is_empty() {
                    self.write(&packet, tally, track);
                } else {
                    self.doubt.push(packet);
                }
                return;
            }
            Order::First | Order::Ahead(_) => {}
        }
        (self.newest, self.heard) = (ticks, at);
        self.anchored(arrival, order, step, at, tally, track);
        if let Order::Ahead(missing @ 2..) = order {
            let place = self.place(ticks);
            self.losses.lost(missing, self.end.min(place), place);
        }
        let packet = Waiting { ticks, at, samples: samples.to_vec() };
        self.end = self.place(ticks) + i64::try_from(samples.len()).unwrap_or(0);
        if self.doubt.is_empty() && self.off(&packet).abs() <= BOUND {
            let later = self.follow_drift(&packet);
            self.write(&packet, tally, track);
            // A correction by one sample leaves one place empty before the packet.
            if let Some(first) = packet.samples.first().filter(|_| later) {
                track.write(self.place(ticks) - 1, self.number, &[*first]);
            }
        } else {
            self.doubted(packet, tally, track);
        }
    }

    /// Writes what is still in doubt: no more packets will come to tell.
    pub fn settle(&mut self, tally: &mut Tally, track: &mut Track) {
        if !self.doubt.is_empty() {
            self.jumped(tally, track);
        }
    }

    /// Sets the anchor where a packet begins something new.
    fn anchored(
        &mut self,
        arrival: &Arrival,
        order: Order,
        step: i64,
        at: i64,
        tally: &mut Tally,
        track: &mut Track,
    ) {
        let follows = match order {
            Order::Ahead(n) => self.ticks.is_some_and(|t| t * n == step),
            _ => false,
        };
        if order == Order::Ahead(1) {
            let longest = i64::from(self.clock_rate) / 5;
            self.ticks = Some(step).filter(|s| (1..=longest).contains(s)).or(self.ticks);
        }
        let off = self.anchor.map(|_| self.place(self.newest) - at);
        let rate_changed = self.clock_rate != arrival.clock_rate.max(1);
        match off {
            Some(off) if rate_changed || (!follows && off.abs() > BOUND) => {
                self.settle(tally, track);
                tally.jumps += 1;
            }
            Some(_) => return,
            None => {}
        }
        self.clock_rate = arrival.clock_rate.max(1);
        self.anchor = Some((self.newest, at));
        self.drift = Drift::default();
    }

    /// Where a time-stamp stands.
    fn place(&self, ticks: i64) -> i64 {
        let (from, at) = self.anchor.unwrap_or((ticks, 0));
        at + (ticks - from) * i64::from(RATE) / i64::from(self.clock_rate)
    }

    /// By how much a packet's place is ahead of its arrival.
    fn off(&self, packet: &Waiting) -> i64 {
        self.place(packet.ticks) - packet.at
    }

    /// Keeps a packet until it is clear whether it was delayed or the sender jumped.
    fn doubted(&mut self, packet: Waiting, tally: &mut Tally, track: &mut Track) {
        let caught_up = self.off(&packet).abs() <= BOUND / 2;
        let waited = self.doubt.first().is_some_and(|first| packet.at - first.at > DOUBT);
        self.doubt.push(packet);
        if caught_up {
            for packet in std::mem::take(&mut self.doubt) {
                self.write(&packet, tally, track);
            }
        } else if waited || self.doubt.len() >= MAX_DOUBT {
            self.jumped(tally, track);
        }
    }

    /// What is in doubt is a jump: anchored anew where its first packet arrived.
    fn jumped(&mut self, tally: &mut Tally, track: &mut Track) {
        let waiting = std::mem::take(&mut self.doubt);
        if let Some(first) = waiting.first() {
            self.anchor = Some((first.ticks, first.at));
            self.drift = Drift::default();
            tally.jumps += 1;
        }
        for packet in waiting {
            self.write(&packet, tally, track);
        }
    }

    fn write(&self, packet: &Waiting, tally: &mut Tally, track: &mut Track) {
        let place = self.place(packet.ticks);
        track.reach(place);
        if !track.write(place, self.number, &packet.samples) {
            tally.late += 1;
        }
    }

    /// Measures how far the sender's clock has gone from the relay's, and corrects it by one sample; true when
    /// the packet moved to later.
    fn follow_drift(&mut self, packet: &Waiting) -> bool {
        let delay = -self.off(packet);
        if let Some((_, at)) = self.anchor.as_mut().filter(|_| self.drift.left != 0) {
            let step = self.drift.left.signum();
            *at += step;
            self.drift.left -= step;
            return step > 0;
        }
        let since = *self.drift.since.get_or_insert_with(|| {
            self.drift.least = delay;
            packet.at
        });
        self.drift.least = self.drift.least.min(delay);
        if packet.at - since >= DRIFT_BLOCK {
            let base = *self.drift.base.get_or_insert(self.drift.least);
            let drifted = self.drift.least - base;
            let left = if drifted.abs() > DRIFT_BOUND { drifted } else { 0 };
            self.drift = Drift { since: None, least: 0, left, base: Some(base) };
        }
        false
    }
}
