//! The first pass over a spool: what must be known of a call before its audio is made.
//!
//! Which rate holds all that each side's codecs carry, when DTMF was sent, and whether a side's own Opus packets stand
//! so evenly that they can be taken as they are.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::{ArchiveError, packet};
use crate::codec::{Content, Format, PayloadTypes, event};
use crate::rate::{FRAME, Rate};
use crate::spool::{EventKind, Item, Packet, Reader};
use crate::timeline::{Arrival, Brings, Settled, Timeline};

/// How long before a DTMF event its tone may sound in the speech, and how long behind: 100 ms. What converts a tone to an
/// event passes on the tone's beginning until it is certain (RFC 4733, section 2.6.3).
const LEAK_NS: u64 = 100_000_000;
/// Ticks by which a party's own Opus packets may stand beside the 20 ms grid: 4 ms.
const OFF_GRID: i64 = 4 * 48;
/// [`FRAME`] as a distance.
const GRID: i64 = FRAME as i64;

/// What was found.
#[derive(Debug, Default)]
pub struct Survey {
    /// The rate of each side's audio.
    pub rates: [Rate; 2],
    /// Each side's DTMF.
    pub tones: [Tones; 2],
    /// Bytes of the spool that are damaged.
    pub damaged: u64,
    /// Where the 20 ms grid of the audio begins, and which sides' Opus packets stand on it: none can be packed else.
    pub grid: Option<Grid>,
}

/// The grid on which a side's own packets stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// The place of a grid line, 0 to 959.
    pub phase: i64,
    /// Whose packets stand on it.
    pub packed: [bool; 2],
}

/// When a side sent DTMF: spans of arrival, merged, in time's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tones {
    spans: Vec<(u64, u64)>,
}

impl Tones {
    /// Adds an event of `length_ns` so far, told by a packet that arrived at `at_ns`.
    fn add(&mut self, at_ns: u64, length_ns: u64) {
        let (from, to) = (at_ns.saturating_sub(length_ns + LEAK_NS), at_ns.saturating_add(LEAK_NS));
        match self.spans.last_mut().filter(|(_, end)| *end >= from) {
            Some((start, end)) => (*start, *end) = ((*start).min(from), (*end).max(to)),
            None => self.spans.push((from, to)),
        }
    }

    /// Whether what arrived at `at_ns` may hold a tone.
    pub fn cover(&self, at_ns: u64) -> bool {
        let next = self.spans.partition_point(|(_, to)| *to < at_ns);
        self.spans.get(next).is_some_and(|(from, _)| *from <= at_ns)
    }

    /// The spans: first and last instant.
    pub fn spans(&self) -> &[(u64, u64)] {
        &self.spans
    }
}

/// What a captured packet carries.
#[derive(Debug)]
pub struct Parsed {
    /// As the timeline takes it; its mark is 0 and its payload the packet's.
    pub arrival: Arrival,
    /// What its payload type says.
    pub content: Content,
}

/// Reads a captured packet by what is known of its side's payload types. None when it is not RTP.
pub fn parse(captured: &Packet, rtp: &[u8], types: &PayloadTypes) -> Option<Parsed> {
    let parsed = packet::parse(rtp)?;
    let known = types.find(parsed.header.payload_type);
    let brings = match known.content {
        Content::Speech(format) => {
            format.ticks(&parsed.payload).map_or(Brings::Nothing, |t| Brings::Speech(t.into()))
        }
        Content::Event => event::parse(&parsed.payload).map_or(Brings::Nothing, |e| {
            Brings::Event(i64::from(e.duration) * 48_000 / i64::from(known.clock_rate.max(1)))
        }),
        Content::ComfortNoise | Content::Undecodable => Brings::Nothing,
    };
    let arrival = Arrival {
        at_ns: captured.at_ns,
        stream: captured.stream,
        ssrc: parsed.header.ssrc,
        sequence: parsed.header.sequence_number,
        timestamp: parsed.header.timestamp,
        clock_rate: known.clock_rate,
        brings,
        mark: 0,
        payload: parsed.payload.to_vec(),
        bytes: rtp.len(),
    };
    Some(Parsed { arrival, content: known.content })
}

/// Reads a spool. `behind`: the place where a stretch begins that is encoded behind others: only what stands from there on
/// must stand on a grid, and the grid is theirs.
pub fn survey<R: Read>(spool: R, behind: Option<i64>, stop: &AtomicBool) -> Result<Survey, ArchiveError> {
    let mut out = Survey::default();
    let mut types: [PayloadTypes; 2] = Default::default();
    let mut phases: [Phases; 2] = Default::default();
    let mut timeline = Timeline::default();
    let from = behind.unwrap_or(i64::MIN);
    let mut reader = Reader::new(spool);
    while let Some(item) = reader.item().map_err(ArchiveError::Damaged)? {
        if stop.load(Relaxed) {
            return Err(ArchiveError::Stopped);
        }
        match item {
            Item::Event(event) => {
                match event.kind {
                    EventKind::Resume => timeline.resume(event.at_ns),
                    EventKind::Pause => timeline.pause(event.at_ns),
                    _ => {}
                }
                if let Some(label) = &event.label {
                    types.iter_mut().zip(&label.legs).for_each(|(t, leg)| t.learn(&leg.codecs));
                }
            }
            Item::Packet(captured, rtp) => {
                let side = captured.side;
                let Some(mut parsed) = parse(&captured, rtp, side.of(&types)) else { continue };
                if let Brings::Event(ticks) = parsed.arrival.brings {
                    let length = u64::try_from(ticks * 1_000_000 / 48).unwrap_or(0);
                    side.of_mut(&mut out.tones).add(captured.at_ns, length);
                }
                if let Content::Speech(format) = parsed.content {
                    let rate = side.of_mut(&mut out.rates);
                    *rate = (*rate).max(Rate::holding(format.rate()));
                    parsed.arrival.mark = u8::from(matches!(format, Format::Opus { .. }));
                }
                parsed.arrival.payload = Vec::new();
                timeline.push(side, parsed.arrival);
                while let Some(settled) = timeline.settled() {
                    settled.side.of_mut(&mut phases).stands(&settled, from);
                }
            }
            Item::Damaged { bytes } => out.damaged += bytes,
        }
    }
    timeline.finish(0);
    while let Some(settled) = timeline.settled() {
        settled.side.of_mut(&mut phases).stands(&settled, from);
    }
    out.grid = grid(&phases, behind.map(|place| place.rem_euclid(GRID)));
    Ok(out)
}

/// How a side's packets stand to a grid of 20 ms.
#[derive(Debug, Default)]
struct Phases {
    /// Place of the first; least and most that the others are off the grid through it.
    own: Option<(i64, i64, i64)>,
    /// There is speech that is not one Opus packet of 20 ms.
    other: bool,
}

impl Phases {
    fn stands(&mut self, settled: &Settled, from: i64) {
        let Brings::Speech(length) = settled.packet.brings else { return };
        if settled.place + length <= from {
            return;
        }
        if length != GRID || settled.packet.mark == 0 {
            self.other = true;
            return;
        }
        let (first, least, most) = self.own.get_or_insert((settled.place, 0, 0));
        let off = off_grid(settled.place - *first);
        (*least, *most) = ((*least).min(off), (*most).max(off));
    }

    /// The grid line in the middle of its packets, if they stand evenly enough.
    fn phase(&self) -> Option<i64> {
        let (first, least, most) = self.own.filter(|_| !self.other)?;
        (most - least <= 2 * OFF_GRID).then(|| (first + i64::midpoint(least, most)).rem_euclid(GRID))
    }

    /// Whether all its packets stand on the grid of `phase`.
    fn on(&self, phase: i64) -> bool {
        let Some((first, least, most)) = self.own.filter(|_| !self.other) else { return false };
        let off = off_grid(first - phase);
        (off + least).abs() <= OFF_GRID && (off + most).abs() <= OFF_GRID
    }
}

/// How far a distance is from a multiple of 20 ms, -480 to 479.
const fn off_grid(distance: i64) -> i64 {
    (distance + GRID / 2).rem_euclid(GRID) - GRID / 2
}

fn grid(phases: &[Phases; 2], given: Option<i64>) -> Option<Grid> {
    let [caller, callee] = phases;
    let phase = given.or_else(|| caller.phase()).or_else(|| callee.phase())?;
    let packed = [caller.on(phase), callee.on(phase)];
    (packed != [false; 2]).then_some(Grid { phase, packed })
}
