//! Places captured packets in time: what was said when, on one axis for both sides of a call.
//!
//! Pure, and blind to codecs: packets in the order in which they arrived go in ([`Timeline::push`]), the same packets
//! come out in the order of each sender, with their place ([`Timeline::settled`]). RTP time-stamps place the packets of
//! one sender against each other, arrival times place senders against each other and against UTC. A packet is
//! settled [`LOOK`] after it arrived, so that what came behind it tells whether it was early, late or the first of
//! something new. What is placed is mixed by a [`Track`] per side, and may be given out [`WINDOW`] after it
//! was said: what comes later than that is late. The unit is the tick of 48 kHz ([`TICKS`]); tick 0 is the arrival
//! of the first packet of either side, though speech may stand a little before it.
//! Used by the archiver, one timeline per pass over a spool.

mod sender;
mod sequence;
mod track;

use crate::manifest::{Cause, Counts};
use crate::rate::TICKS;
use crate::spool::Side;

use sender::Sender;
pub use sender::{Heard, MAX_HELD};
pub use track::Track;

/// How long after its arrival a packet is settled, in ticks: 5 s.
pub const LOOK: i64 = 5 * TICKS as i64;
/// How long after it was said speech may be given out, in ticks: what arrives up to 10 s late still has its place.
pub const WINDOW: i64 = 15 * TICKS as i64;
/// How far speech may stand before the first packet's arrival, in ticks: that packet was slow by so much.
pub const LEAD: i64 = 2 * TICKS as i64;
/// Senders (SSRC) that are followed at once per side; the one unheard for longest is forgotten.
const MAX_SENDERS: usize = 16;
/// Times without capture of a side for which sequence numbers are still to tell what is missing.
const MAX_UNCAPTURED: usize = 256;
/// Stretches in which packets are missing that are told one by one; further losses lengthen the last one.
const MAX_MISSING: usize = 1 << 16;
/// Senders that were forgotten and are listed one by one; the rest is counted together.
const MAX_HEARD: usize = 240;

/// A packet, as the timeline needs to know it (RFC 3550, section 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Ticks per second of the time-stamp.
    pub clock_rate: u32,
    /// What it brings.
    pub brings: Brings,
    /// The caller's own mark, for what it knows of the payload type.
    pub mark: u8,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Its length with all headers, bytes.
    pub bytes: usize,
}

/// What a packet brings, as far as its place is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brings {
    /// Speech of so many 48 kHz ticks.
    Speech(i64),
    /// Nothing that lasts: comfort noise, or what nobody can read.
    Nothing,
    /// A DTMF event of so many 48 kHz ticks so far (RFC 4733): its time-stamp is that of its beginning, however long it lasts.
    Event(i64),
}

/// A packet in its place.
#[derive(Debug, PartialEq, Eq)]
pub struct Settled {
    /// Who sent it.
    pub side: Side,
    /// The packet.
    pub packet: Arrival,
    /// Where it begins.
    pub place: i64,
    /// Names its run of time-stamps among those of its side: never 0. Two runs may overlap, and sound together.
    pub run: u8,
    /// Whether speech is missing between this packet and the one that its sender sent before.
    pub broken: bool,
}

/// A stretch in which packets of one side are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Whose.
    pub side: Side,
    /// Why.
    pub cause: Cause,
    /// Where it begins.
    pub from: i64,
    /// Where it ends.
    pub to: i64,
    /// How many packets.
    pub packets: u64,
}

/// Packets that arrived at the relay and were not captured, by arrival.
#[derive(Debug, Clone, Copy)]
struct Uncaptured {
    stream: u8,
    from: i64,
    to: i64,
    /// How many of them no sequence number has told of yet; none: their number is not known.
    left: Option<u64>,
    /// How many it has told of.
    told: u64,
    /// Where they stand among the missing.
    gap: usize,
}

/// The axis of one call.
#[derive(Debug, Default)]
pub struct Timeline {
    start_ns: Option<u64>,
    /// Where the latest record stands.
    now: i64,
    /// The first place that anything stands in.
    first: Option<i64>,
    /// Where the audio begins, once it does.
    origin: Option<i64>,
    /// Behind the last place that anything reached.
    end: i64,
    lanes: [Lane; 2],
    missing: Vec<Missing>,
    stalls: Vec<(i64, i64)>,
    pauses: Vec<(i64, i64)>,
    paused: Option<i64>,
    finished: bool,
}

/// One side.
#[derive(Debug, Default)]
struct Lane {
    senders: Vec<Sender>,
    /// Senders that had to make room.
    gone: Vec<Heard>,
    /// What senders beyond number were.
    beyond: Counts,
    uncaptured: Vec<Uncaptured>,
    /// Runs of time-stamps so far.
    runs: u64,
}

impl Timeline {
    /// Tells that a record comes that is of the instant `at_ns`. To be called, and all that is [`Self::settled`] and all
    /// up to the [`Self::horizon`] taken, before [`Self::push`]: it is what keeps memory bounded when a call was silent for long.
    pub fn advance(&mut self, at_ns: u64) {
        if self.start_ns.is_some() {
            self.now = self.now.max(self.tick(at_ns));
        }
    }

    /// Takes the next packet.
    pub fn push(&mut self, side: Side, packet: Arrival) {
        self.start_ns.get_or_insert(packet.at_ns);
        self.advance(packet.at_ns);
        let at = self.tick(packet.at_ns);
        side.of_mut(&mut self.lanes).push(packet, at);
    }

    /// The next packet that is settled, in its place. None: nothing more before time goes on.
    pub fn settled(&mut self) -> Option<Settled> {
        let until = if self.finished { i64::MAX } else { self.now - LOOK };
        for side in Side::BOTH {
            let lane = side.of_mut(&mut self.lanes);
            let due = lane.senders.iter().position(|s| s.due(until));
            let Some(sender) = due.and_then(|i| lane.senders.get_mut(i)) else { continue };
            let Some(placed) = sender.settle(&mut lane.runs) else { continue };
            if let Some(lost) = placed.lost {
                missed(&mut self.missing, &mut lane.uncaptured, side, placed.packet.stream, &lost);
            }
            // A run of time-stamps that is first heard late stands before the axis: no speech is given a place there.
            let place = placed.place.max(-LEAD);
            self.first = Some(self.first.unwrap_or(place).min(place));
            if let Brings::Speech(length) = placed.packet.brings {
                self.end = self.end.max(place + length);
            }
            self.end = self.end.max(place);
            return Some(Settled {
                side,
                packet: placed.packet,
                place,
                run: placed.run,
                broken: placed.broken,
            });
        }
        None
    }

    /// Speech before this place is settled and may be given out.
    pub const fn horizon(&self) -> i64 {
        if self.finished { self.end } else { self.now - WINDOW }
    }

    /// Where the audio begins: to be asked for once the [`Self::horizon`] has passed [`LEAD`], or all is settled; it
    /// stays there from then on.
    pub fn origin(&mut self) -> i64 {
        *self.origin.get_or_insert(self.first.unwrap_or(0).min(0))
    }

    /// The audio begins at `origin` instead, a little before.
    pub const fn begin_at(&mut self, origin: i64) {
        self.origin = Some(origin);
    }

    /// Whether no packet will come any more.
    pub const fn is_finished(&self) -> bool {
        self.finished
    }

    /// Packets of a side, all that arrived from `from_ns` to `to_ns`, were not captured: so many, as far as is known.
    pub fn uncaptured(
        &mut self,
        side: Side,
        stream: u8,
        cause: Cause,
        (from_ns, to_ns): (u64, u64),
        packets: Option<u64>,
    ) {
        let (from, to) = (self.tick(from_ns), self.tick(to_ns));
        let lane = side.of_mut(&mut self.lanes);
        // However long a sender is silent: what it sent meanwhile is told to be missing when it is heard again.
        lane.uncaptured.retain(|u| u.left != Some(0));
        if lane.uncaptured.len() >= MAX_UNCAPTURED {
            lane.uncaptured.remove(0);
        }
        lane.uncaptured.push(Uncaptured {
            stream,
            from,
            to,
            left: packets,
            told: 0,
            gap: self.missing.len(),
        });
        self.missing.push(Missing { side, cause, from, to, packets: packets.unwrap_or(0) });
    }

    /// The disk refused from `from_ns` to `to_ns`: what the tap lost in that time was lost by it.
    pub fn stalled(&mut self, from_ns: u64, to_ns: u64) {
        let (from, to) = (self.tick(from_ns), self.tick(to_ns));
        self.stalls.push((from, to));
    }

    /// Recording was paused.
    pub fn pause(&mut self, at_ns: u64) {
        let at = self.tick(at_ns);
        self.paused.get_or_insert(at);
    }

    /// Recording goes on: what was not tapped in between is no loss.
    pub fn resume(&mut self, at_ns: u64) {
        if let Some(from) = self.paused.take() {
            self.pauses.push((from, self.tick(at_ns)));
        }
        self.lanes.iter_mut().flat_map(|l| &mut l.senders).for_each(Sender::resumed);
    }

    /// No packet will come any more: everything is settled. The audio lasts until the instant `at_ns` at least.
    pub fn finish(&mut self, at_ns: u64) {
        if self.paused.is_some() {
            self.resume(at_ns);
        }
        self.finished = true;
        if self.start_ns.is_some() {
            self.end = self.end.max(self.tick(at_ns));
        }
    }

    /// When the audio begins, nanoseconds since 1970; None: nothing was captured.
    pub fn start_ns(&mut self) -> Option<u64> {
        let origin = self.origin();
        let lead = u64::try_from(-origin * NS_PER_MS / TICKS_PER_MS).unwrap_or(0);
        self.start_ns.map(|ns| ns.saturating_sub(lead))
    }

    /// Length of the audio in ticks, after [`Self::finish`] and once all is settled.
    pub fn length(&mut self) -> u64 {
        let origin = self.origin();
        u64::try_from(self.end - origin).unwrap_or(0)
    }

    /// Milliseconds from the beginning of the audio to a place.
    pub fn milliseconds(&mut self, place: i64) -> u64 {
        u64::try_from((place - self.origin()) / TICKS_PER_MS).unwrap_or(0)
    }

    /// What a side's senders were: in the order in which they were first heard, and all together.
    pub fn heard(&self, side: Side) -> (Vec<Heard>, Counts) {
        let lane = side.of(&self.lanes);
        let mut heard: Vec<Heard> =
            lane.senders.iter().map(|s| s.heard().clone()).chain(lane.gone.iter().cloned()).collect();
        heard.sort_by_key(|h| h.first);
        let all = heard.iter().fold(lane.beyond, |all, h| together(all, &h.counts));
        (heard, all)
    }

    /// Every stretch in which packets are missing, in time's order; whole once all is settled.
    pub fn missing(&self) -> Vec<Missing> {
        let mut missing: Vec<Missing> = Vec::new();
        let mut sorted = self.missing.clone();
        for gap in &mut sorted {
            let stalled = |(from, to): &(i64, i64)| gap.from <= *to && gap.to >= *from;
            if gap.cause == Cause::TapOverflow && self.stalls.iter().any(stalled) {
                gap.cause = Cause::Disk;
            }
        }
        sorted.sort_by_key(|g| (g.side as u8, g.cause as u8, g.from, g.to));
        for gap in sorted.into_iter().filter(|g| g.packets > 0 || g.cause != Cause::Damage) {
            match missing
                .last_mut()
                .filter(|l| (l.side, l.cause) == (gap.side, gap.cause) && l.to >= gap.from)
            {
                Some(last) => (last.to, last.packets) = (last.to.max(gap.to), last.packets + gap.packets),
                None => missing.push(gap),
            }
        }
        missing.sort_by_key(|g| (g.from, g.to, g.side as u8));
        missing
    }

    /// Every stretch in which recording was paused.
    pub fn pauses(&self) -> &[(i64, i64)] {
        &self.pauses
    }

    /// Where the instant `at_ns` stands.
    pub fn tick(&self, at_ns: u64) -> i64 {
        let start = i128::from(self.start_ns.unwrap_or(at_ns));
        let ticks = (i128::from(at_ns) - start) * i128::from(TICKS) / 1_000_000_000;
        i64::try_from(ticks).unwrap_or(i64::MAX / 4)
    }
}

const TICKS_PER_MS: i64 = TICKS as i64 / 1000;
const NS_PER_MS: i64 = 1_000_000;

impl Lane {
    /// Hands a packet that arrived at `at` to its sender, which is made when it is new.
    fn push(&mut self, packet: Arrival, at: i64) {
        if let Some(known) = self.senders.iter_mut().find(|s| s.is(packet.stream, packet.ssrc)) {
            known.push(packet, at);
            return;
        }
        if self.senders.len() >= MAX_SENDERS {
            self.forget();
        }
        let mut sender = Sender::new(&packet);
        sender.push(packet, at);
        self.senders.push(sender);
    }

    /// Makes room: what the sender unheard for longest had not settled is counted as late.
    fn forget(&mut self) {
        let oldest = self.senders.iter().enumerate().min_by_key(|(_, s)| s.last_at()).map(|(i, _)| i);
        let Some(index) = oldest else { return };
        let heard = self.senders.swap_remove(index).forgotten();
        if self.gone.len() < MAX_HEARD {
            self.gone.push(heard);
        } else {
            self.beyond = together(self.beyond, &heard.counts);
        }
    }
}

/// The counts of two senders of a side as one.
fn together(a: Counts, b: &Counts) -> Counts {
    Counts {
        packets: a.packets + b.packets,
        bytes: a.bytes + b.bytes,
        lost: a.lost + b.lost,
        late: a.late + b.late,
        duplicates: a.duplicates + b.duplicates,
        reordered: a.reordered + b.reordered,
        undecoded: a.undecoded + b.undecoded,
        jumps: a.jumps + b.jumps,
        sources: a.sources + b.sources,
        jitter_us: a.jitter_us.max(b.jitter_us),
        dtmf: a.dtmf + b.dtmf,
    }
}

/// Notes what sequence numbers say is missing, but for what is known to have arrived.
fn missed(
    missing: &mut Vec<Missing>,
    uncaptured: &mut [Uncaptured],
    side: Side,
    stream: u8,
    lost: &sender::Lost,
) {
    let mut packets = lost.packets;
    let meant = |u: &&mut Uncaptured| u.stream == stream && u.from <= lost.heard.1 && u.to >= lost.heard.0;
    for known in uncaptured.iter_mut().filter(meant) {
        let told = known.left.map_or(packets, |left| packets.min(left));
        packets -= told;
        if let Some(gap) = missing.get_mut(known.gap).filter(|_| told > 0) {
            // Now it is known what was not said: until here it was known when it did not arrive.
            let first = known.told == 0;
            gap.from = if first { lost.from } else { gap.from.min(lost.from) };
            gap.to = if first { lost.to } else { gap.to.max(lost.to) };
            gap.packets += if known.left.is_none() { told } else { 0 };
        }
        known.told += told;
        known.left = known.left.map(|left| left - told);
    }
    if packets > 0 {
        let gap = Missing { side, cause: Cause::NetworkLoss, from: lost.from, to: lost.to, packets };
        let alike = |m: &&mut Missing| (m.side, m.cause) == (side, Cause::NetworkLoss);
        let full = missing.len() >= MAX_MISSING;
        match if full { missing.iter_mut().rev().find(alike) } else { None } {
            Some(last) => (last.to, last.packets) = (last.to.max(gap.to), last.packets + packets),
            None => missing.push(gap),
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the numbers are the test's own"
)]
mod oracle;
#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the numbers are the test's own"
)]
mod tests;
