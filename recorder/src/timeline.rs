//! Places decoded audio in time: what was said when, on one axis for both sides of a call.
//!
//! Pure: packets in the order in which they arrived go in, 20 ms frames of both sides come out. RTP time-stamps
//! place the packets of one sender against each other, arrival times place senders against each other. The axis
//! starts at the first packet of either side; what nobody filled is silence. Memory is bounded: a frame is
//! settled once [`WINDOW`] has passed since, and what comes later than that is counted as late. Used by
//! the archiver, on its thread, one timeline per call.

mod loss;
mod sender;
mod track;

use std::time::Duration;

use crate::manifest::{Cause, Gap, Span};
use crate::spool::Side;

use sender::Sender;
use track::Track;

/// Samples per second of the axis.
pub const RATE: u32 = 8000;
/// Samples of a frame: 20 ms.
pub const FRAME: usize = 160;
/// [`FRAME`] as a distance on the axis.
const STEP: i64 = RATE as i64 / 50;
/// How late audio may come and still be put in its place.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Senders (SSRC) that are remembered per side; the one unheard for longest is forgotten.
const MAX_SENDERS: usize = 16;

/// What the timeline needs to know of an RTP packet (RFC 3550, section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When it arrived, nanoseconds since 1970.
    pub at_ns: u64,
    /// Index of its stream (m-line).
    pub stream: u8,
    /// Its sender.
    pub ssrc: u32,
    /// Its sequence number.
    pub sequence: u16,
    /// Its time-stamp.
    pub timestamp: u32,
    /// Ticks per second of the time-stamp; not 0.
    pub clock_rate: u32,
}

/// One 20 ms frame of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Caller's samples, callee's samples.
    pub sides: [[i16; FRAME]; 2],
    /// How many of [`FRAME`] belong to the audio: less in the last frame only.
    pub length: usize,
}

/// What became of a side's packets. Counts packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Missing by sequence number.
    pub lost: u64,
    /// Too late to be placed.
    pub late: u64,
    /// Came again.
    pub duplicates: u64,
    /// Came behind a higher sequence number, and were placed.
    pub reordered: u64,
    /// Time-stamp jumps bridged by arrival time.
    pub jumps: u64,
    /// Senders.
    pub sources: u64,
}

/// The axis of one call.
#[derive(Debug, Default)]
pub struct Timeline {
    start_ns: Option<u64>,
    /// Where the latest record stands, in samples.
    now: i64,
    /// First sample not yet given out.
    given: i64,
    /// Where the audio ends, once it is known.
    end: Option<i64>,
    lanes: [Lane; 2],
    gaps: Vec<Gap>,
    pauses: Vec<Span>,
    paused_ns: Option<u64>,
}

/// One side.
#[derive(Debug, Default)]
struct Lane {
    senders: Vec<Sender>,
    track: Track,
    tally: Tally,
}

impl Timeline {
    /// Tells that a packet comes that arrived at `at_ns`. To be called, and every [`Self::frame`] taken, before
    /// [`Self::packet`]: it is what keeps memory bounded when a call was silent for long.
    pub fn advance(&mut self, at_ns: u64) {
        if self.start_ns.is_some() {
            self.now = self.now.max(self.sample(at_ns));
        }
    }

    /// Takes a packet and its decoded samples at [`RATE`] (none: comfort noise, or not decodable).
    pub fn packet(&mut self, side: Side, arrival: &Arrival, samples: &[i16]) {
        self.start_ns.get_or_insert(arrival.at_ns);
        self.advance(arrival.at_ns);
        let at = self.sample(arrival.at_ns);
        let lane = side.of_mut(&mut self.lanes);
        let (index, gone) = lane.sender(arrival);
        if let Some(mut gone) = gone {
            gone.settle(&mut lane.tally, &mut lane.track);
            Lane::tell(&mut lane.tally, &mut self.gaps, side, &mut gone, i64::MAX);
        }
        let Some(sender) = lane.senders.get_mut(index) else { return };
        sender.take(arrival, at, samples, &mut lane.tally, &mut lane.track);
        Lane::tell(&mut lane.tally, &mut self.gaps, side, sender, at - samples_of(WINDOW));
    }

    /// The tap lost `packets` of a side that arrived from `from_ns` to `to_ns`.
    pub fn overflow(&mut self, side: Side, from_ns: u64, to_ns: u64, packets: u64) {
        let (from, to) = (self.sample(from_ns), self.sample(to_ns));
        push(&mut self.gaps, side, Cause::TapOverflow, from, to, packets);
    }

    /// Recording was paused.
    pub fn pause(&mut self, at_ns: u64) {
        self.paused_ns.get_or_insert(at_ns);
    }

    /// Recording goes on: what was not tapped in between is no loss.
    pub fn resume(&mut self, at_ns: u64) {
        if let Some(from) = self.paused_ns.take() {
            let (from_ms, to_ms) = (milliseconds(self.sample(from)), milliseconds(self.sample(at_ns)));
            self.pauses.push(Span { from_ms, to_ms });
        }
        self.lanes.iter_mut().flat_map(|l| &mut l.senders).for_each(Sender::resumed);
    }

    /// The next frame, once it is settled.
    pub fn frame(&mut self) -> Option<Frame> {
        let length = match self.end {
            Some(end) => (end - self.given).min(STEP),
            None if self.given + STEP <= self.now - samples_of(WINDOW) => STEP,
            None => 0,
        };
        let length = usize::try_from(length).ok().filter(|n| *n > 0)?;
        let mut frame = Frame { sides: [[0; FRAME]; 2], length };
        for (lane, out) in self.lanes.iter_mut().zip(&mut frame.sides) {
            lane.track.give(out);
        }
        self.given += STEP;
        Some(frame)
    }

    /// No packet will come any more: everything is settled, [`Self::frame`] gives the rest.
    pub fn finish(&mut self, at_ns: u64) {
        if self.paused_ns.is_some() {
            self.resume(at_ns);
        }
        for (side, lane) in Side::BOTH.into_iter().zip(&mut self.lanes) {
            for sender in &mut lane.senders {
                sender.settle(&mut lane.tally, &mut lane.track);
                Lane::tell(&mut lane.tally, &mut self.gaps, side, sender, i64::MAX);
            }
        }
        self.gaps.sort_by_key(|g| (g.from_ms, g.to_ms));
        // Nothing can be taken back: the audio never ends before what was given out.
        self.end = Some(self.lanes.iter().map(|l| l.track.end()).max().unwrap_or(0).max(self.given));
    }

    /// When the axis starts: arrival of the first packet, nanoseconds since 1970.
    pub const fn start_ns(&self) -> Option<u64> {
        self.start_ns
    }

    /// Length of the audio in samples, after [`Self::finish`].
    pub fn length(&self) -> u64 {
        u64::try_from(self.end.unwrap_or(0)).unwrap_or(0)
    }

    /// What became of a side's packets; whole after [`Self::finish`].
    pub fn tally(&self, side: Side) -> Tally {
        side.of(&self.lanes).tally
    }

    /// Every stretch in which packets are missing, in time's order after [`Self::finish`].
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Every stretch in which recording was paused.
    pub fn pauses(&self) -> &[Span] {
        &self.pauses
    }

    /// Where the instant `at_ns` stands on the axis.
    fn sample(&self, at_ns: u64) -> i64 {
        let start = i128::from(self.start_ns.unwrap_or(at_ns));
        let samples = (i128::from(at_ns) - start) * i128::from(RATE) / 1_000_000_000;
        i64::try_from(samples).unwrap_or(i64::MAX / 4)
    }
}

impl Lane {
    /// The sender of a packet, made when it is new; with it the one that had to make room.
    fn sender(&mut self, arrival: &Arrival) -> (usize, Option<Sender>) {
        let known = |s: &Sender| (s.stream, s.ssrc) == (arrival.stream, arrival.ssrc);
        if let Some(index) = self.senders.iter().position(known) {
            return (index, None);
        }
        self.tally.sources += 1;
        let number = u8::try_from(self.tally.sources % 255).unwrap_or(0) + 1;
        let full = self.senders.len() >= MAX_SENDERS;
        let oldest = self.senders.iter().enumerate().min_by_key(|(_, s)| s.heard()).map(|(i, _)| i);
        let gone = oldest.filter(|_| full).map(|i| self.senders.swap_remove(i));
        self.senders.push(Sender::new(arrival, number));
        (self.senders.len() - 1, gone)
    }

    /// Tells the losses of `sender` that belong before the sample `before`.
    fn tell(tally: &mut Tally, gaps: &mut Vec<Gap>, side: Side, sender: &mut Sender, before: i64) {
        for gap in sender.losses.settled(before) {
            tally.lost += gap.packets;
            push(gaps, side, Cause::NetworkLoss, gap.from, gap.to, gap.packets);
        }
    }
}

/// Adds a gap, or lengthens the last one when this one goes on where it ended.
fn push(gaps: &mut Vec<Gap>, side: Side, cause: Cause, from: i64, to: i64, packets: u64) {
    let gap = Gap { side, cause, from_ms: milliseconds(from), to_ms: milliseconds(to), packets };
    match gaps.iter_mut().rev().take(4).find(|g| g.side == side && g.cause == cause) {
        Some(last) if last.to_ms == gap.from_ms => {
            last.to_ms = gap.to_ms;
            last.packets += packets;
        }
        _ => gaps.push(gap),
    }
}

fn samples_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 8000) * i64::from(RATE) / 1000
}

fn milliseconds(samples: i64) -> u64 {
    u64::try_from(samples * 1000 / i64::from(RATE)).unwrap_or(0)
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the numbers are the test's own"
)]
mod tests;
