//! A pass over a spool: out of its packets and events the audio of a stretch, and everything the manifest says.

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::ArchiveError;
use super::hearing::Hearing;
use super::survey::{Survey, parse};
use crate::codec::{Content, PayloadTypes};
use crate::encode::{PRE_ROLL, Quality, Tally, Voices};
use crate::label::Label;
use crate::manifest::{Cause, Counts, Gap, SilenceCause, Silenced, Span, Stream};
use crate::rate::{FRAME, TICKS};
use crate::spool::{Chain, Event, EventKind, Item, Packet, Reader, Side};
use crate::timeline::{Heard, Settled, Timeline};
use uuid::Uuid;

/// [`FRAME`] as a distance.
const STEP: i64 = FRAME as i64;
/// Ticks before the first frame of a stretch from which on speech is decoded: what decoders remember is right by then.
const WARM_UP: i64 = TICKS as i64;
/// Ticks between two packets that could not be decoded that make one stretch of silence: 1 s.
const NEAR: i64 = TICKS as i64;

/// What is to be rendered.
#[derive(Debug)]
pub struct Plan<'a> {
    /// What is known of the spool.
    pub survey: &'a Survey,
    /// Where the audio begins, when a stretch before this one has fixed it.
    pub origin: Option<i64>,
    /// The frame to begin with: those before it are encoded already.
    pub from: u64,
    /// None: the spool is complete. Else so many frames at most: what is still to come must be waited for.
    pub most: Option<u64>,
    /// How to encode.
    pub quality: Quality,
}

/// What a spool tells.
#[derive(Debug, Default)]
pub struct Rendered {
    /// The last label that could be read.
    pub label: Option<Label>,
    /// Caller's counts, callee's counts.
    pub counts: [Counts; 2],
    /// Caller's streams, callee's streams.
    pub streams: [Vec<Stream>; 2],
    /// Every stretch in which packets are missing.
    pub gaps: Vec<Gap>,
    /// Every stretch in which recording was paused.
    pub pauses: Vec<Span>,
    /// Every stretch that is silent though it was captured.
    pub silenced: Vec<Silenced>,
    /// Length of the audio in ticks.
    pub length: u64,
    /// Where the audio begins on the timeline's axis.
    pub origin: i64,
    /// Frames encoded, with those before [`Plan::from`].
    pub frames: u64,
    /// How the frames from [`Plan::from`] on were encoded.
    pub tally: [Tally; 2],
    /// When the audio starts, nanoseconds since 1970.
    pub started_ns: Option<u64>,
    /// When the call ended, or the last record arrived.
    pub ended_ns: u64,
    /// Whether it goes on to the call's end.
    pub complete: bool,
    /// The recorder's reason for closing the call, where it had one of its own.
    pub closed: Option<String>,
    /// The recording that this one goes on from.
    pub continues: Option<Uuid>,
    /// The chain over the packets.
    pub chain: Chain,
    /// What else a reader of the manifest should know.
    pub notes: Vec<String>,
}

impl Rendered {
    /// Whether the call was certainly never answered and nothing of it was captured or missed. An answered call
    /// without a packet is kept: that nothing was said may be what is disputed.
    pub fn nothing_to_keep(&self) -> bool {
        let unanswered = self.label.as_ref().is_some_and(|l| l.answered_at.is_none());
        unanswered && self.chain.packets() == 0 && self.gaps.is_empty()
    }
}

/// Where encoded packets go, one after the other.
pub trait Sink {
    /// The next 20 ms.
    fn packet(&mut self, packet: &[u8]) -> Result<(), ArchiveError>;
}

struct Renderer<'a, S> {
    out: Rendered,
    plan: &'a Plan<'a>,
    timeline: Timeline,
    types: [PayloadTypes; 2],
    sides: [Hearing; 2],
    /// What payload types were said to be, by the mark that packets carry.
    marks: Vec<(String, Content)>,
    /// Packets of a stream that could not be decoded.
    undecoded: HashMap<(Side, u8, u32), u64>,
    /// Where they stood.
    unheard: [Vec<(i64, i64)>; 2],
    /// DTMF events by stream, with the time-stamp of the last.
    events: HashMap<(Side, u8, u32), (u64, u32)>,
    voices: Voices,
    /// What the voices had encoded before the first frame that is kept.
    before: [Tally; 2],
    sink: &'a mut S,
    /// The next frame to be encoded; none before the first.
    next: Option<u64>,
    samples: [Vec<i16>; 2],
    packet: Vec<u8>,
    /// Arrival of the last record, and whether packets are missing behind it that cannot be counted.
    damaged_since: Option<u64>,
    stop: &'a AtomicBool,
}

/// Reads all of `spool` and gives the packets of `plan`'s frames to `sink`.
pub fn render<R: Read, S: Sink>(
    spool: R,
    plan: &Plan<'_>,
    sink: &mut S,
    stop: &AtomicBool,
) -> Result<Rendered, ArchiveError> {
    let [left, right] = plan.survey.rates;
    let packed = plan.survey.grid.map_or([false; 2], |g| g.packed);
    let mut renderer = Renderer {
        out: Rendered::default(),
        plan,
        timeline: Timeline::default(),
        types: Default::default(),
        sides: [Hearing::new(left, packed[0]), Hearing::new(right, packed[1])],
        marks: Vec::new(),
        undecoded: HashMap::new(),
        unheard: Default::default(),
        events: HashMap::new(),
        voices: Voices::new(plan.survey.rates, plan.quality)?,
        before: Default::default(),
        sink,
        next: None,
        samples: Default::default(),
        packet: Vec::new(),
        damaged_since: None,
        stop,
    };
    let mut reader = Reader::new(spool);
    while let Some(item) = reader.item().map_err(ArchiveError::Damaged)? {
        if stop.load(Relaxed) {
            return Err(ArchiveError::Stopped);
        }
        if renderer.is_full() {
            break;
        }
        match item {
            Item::Packet(packet, rtp) => renderer.packet(&packet, rtp)?,
            Item::Event(event) => renderer.event(*event)?,
            Item::Damaged { bytes } => renderer.damaged(bytes),
        }
    }
    renderer.finish()
}

impl<S: Sink> Renderer<'_, S> {
    fn packet(&mut self, captured: &Packet, rtp: &[u8]) -> Result<(), ArchiveError> {
        self.time(captured.at_ns)?;
        self.out.chain.add(captured, rtp);
        let side = captured.side;
        let Some(mut parsed) = parse(captured, rtp, side.of(&self.types)) else {
            let counts = side.of_mut(&mut self.out.counts);
            (counts.packets, counts.bytes) = (counts.packets + 1, counts.bytes + rtp.len() as u64);
            counts.undecoded += 1;
            return Ok(());
        };
        let arrival = &mut parsed.arrival;
        let stream = (side, arrival.stream, arrival.ssrc);
        match parsed.content {
            Content::Undecodable => *self.undecoded.entry(stream).or_default() += 1,
            Content::Event => {
                let (count, last) = self.events.entry(stream).or_default();
                if *count == 0 || *last != arrival.timestamp {
                    (*count, *last) = (*count + 1, arrival.timestamp);
                }
            }
            Content::Speech(_) | Content::ComfortNoise => {}
        }
        arrival.mark = self.mark(side, rtp, parsed.content);
        self.timeline.push(side, parsed.arrival);
        Ok(())
    }

    /// The mark of packets of this payload type, as it is known now.
    fn mark(&mut self, side: Side, rtp: &[u8], content: Content) -> u8 {
        let payload_type = rtp.get(1).map_or(0, |b| b & 0x7F);
        let name = side.of(&self.types).find(payload_type).name;
        let known = self.marks.iter().position(|(n, c)| *c == content && n == name);
        let index = known.unwrap_or_else(|| {
            self.marks.push((name.to_owned(), content));
            self.marks.len() - 1
        });
        u8::try_from(index).unwrap_or(u8::MAX)
    }

    /// Time goes on to `at_ns`: what is settled by it is decoded and encoded.
    fn time(&mut self, at_ns: u64) -> Result<(), ArchiveError> {
        if let Some(since) = self.damaged_since.take() {
            for side in Side::BOTH {
                self.timeline.uncaptured(side, 0, Cause::Damage, (since, at_ns), None);
            }
        }
        self.out.ended_ns = self.out.ended_ns.max(at_ns);
        self.timeline.advance(at_ns);
        self.encode()
    }

    fn event(&mut self, event: Event) -> Result<(), ArchiveError> {
        if let EventKind::Damaged { bytes } = event.kind {
            self.damaged(bytes);
            return Ok(());
        }
        self.time(event.at_ns)?;
        match event.kind {
            EventKind::Pause => self.timeline.pause(event.at_ns),
            EventKind::Resume => self.timeline.resume(event.at_ns),
            EventKind::Gap { side, stream, packets, since_ns } => {
                let span = (since_ns, event.at_ns);
                self.timeline.uncaptured(side, stream, Cause::TapOverflow, span, Some(packets));
            }
            EventKind::Stalled { since_ns } => {
                self.timeline.stalled(since_ns, event.at_ns);
                let why = event.note.as_deref().unwrap_or("the disk refused");
                self.out.notes.push(format!("the spool could not be written for a while: {why}"));
            }
            EventKind::Continued => self.out.notes.push(match &event.note {
                Some(note) => format!("the recorder was restarted in mid-call: {note}"),
                None => "the recorder was restarted in mid-call".to_owned(),
            }),
            EventKind::Close if event.note.is_some() && event.label.is_none() => {
                self.out.closed.clone_from(&event.note);
            }
            EventKind::Damaged { .. } => {}
            EventKind::Open | EventKind::Label | EventKind::Close => self.out.notes.extend(event.note),
        }
        self.out.complete |= event.kind == EventKind::Close;
        self.out.continues = self.out.continues.or(event.continues);
        if let Some(label) = event.label {
            self.types.iter_mut().zip(&label.legs).for_each(|(types, leg)| types.learn(&leg.codecs));
            self.out.label = Some(label);
        }
        Ok(())
    }

    fn damaged(&mut self, bytes: u64) {
        self.damaged_since.get_or_insert(self.out.ended_ns);
        self.out.notes.push(format!("{bytes} bytes of the spool are damaged"));
    }

    fn finish(mut self) -> Result<Rendered, ArchiveError> {
        if self.plan.most.is_none() {
            self.timeline.finish(self.out.ended_ns);
            self.encode()?;
            self.end()?;
        }
        self.describe();
        let ([left, right], [left_before, right_before]) = (self.voices.tally(), self.before);
        self.out.tally = [left.since(&left_before), right.since(&right_before)];
        Ok(self.out)
    }

    /// Encodes what is settled.
    fn encode(&mut self) -> Result<(), ArchiveError> {
        while let Some(settled) = self.timeline.settled() {
            self.place(settled)?;
        }
        // The beginning is known once what may stand before the first packet is settled.
        let horizon = self.timeline.horizon();
        let known = self.timeline.is_finished() || horizon >= STEP;
        if self.next.is_none() && !known {
            return Ok(());
        }
        loop {
            let next = self.begin();
            let place = self.out.origin + frame_ticks(next);
            if place + STEP > horizon || self.is_full() {
                return Ok(());
            }
            self.frame(next, place)?;
        }
    }

    /// The next frame; the first time, the audio begins here.
    fn begin(&mut self) -> u64 {
        if let Some(next) = self.next {
            return next;
        }
        let plan = self.plan;
        let earliest = self.timeline.origin();
        self.out.origin = plan.origin.unwrap_or_else(|| match plan.survey.grid {
            Some(grid) => earliest - (earliest - grid.phase).rem_euclid(STEP),
            None => earliest,
        });
        self.timeline.begin_at(self.out.origin);
        let next = plan.from.saturating_sub(PRE_ROLL as u64);
        let place = self.out.origin + frame_ticks(next);
        self.sides.iter_mut().for_each(|side| side.begin(place));
        self.next = Some(next);
        next
    }

    /// Whether the stretch is as long as it may be.
    fn is_full(&self) -> bool {
        self.plan.most.zip(self.next).is_some_and(|(most, next)| next >= self.plan.from + most)
    }

    fn frame(&mut self, number: u64, place: i64) -> Result<(), ArchiveError> {
        if self.stop.load(Relaxed) {
            return Err(ArchiveError::Stopped);
        }
        let ([left, right], [first, second]) = (&mut self.sides, &mut self.samples);
        self.voices.frame([left.give(place, first), right.give(place, second)], &mut self.packet)?;
        self.keep(number)
    }

    /// Hands the packet of a frame on; what is before the stretch only brought the encoder into its state.
    fn keep(&mut self, number: u64) -> Result<(), ArchiveError> {
        if number >= self.plan.from {
            self.sink.packet(&self.packet)?;
        } else if number + 1 == self.plan.from {
            self.before = self.voices.tally();
        }
        self.next = Some(number + 1);
        self.out.frames = number + 1;
        Ok(())
    }

    /// The last, unfinished frame, and silence until the encoder's look-ahead is out of it too. An Ogg stream needs a
    /// packet to carry its end.
    fn end(&mut self) -> Result<(), ArchiveError> {
        self.out.length = self.timeline.length();
        let end = self.out.length + self.voices.look_ahead();
        let mut next = self.begin();
        while frame_ticks(next).unsigned_abs() < end || next == 0 {
            self.frame(next, self.out.origin + frame_ticks(next))?;
            next += 1;
        }
        Ok(())
    }

    /// Decodes a packet in its place.
    fn place(&mut self, settled: Settled) -> Result<(), ArchiveError> {
        let side = settled.side;
        let (mark, place) = (usize::from(settled.packet.mark), settled.place);
        let Some((_, content)) = self.marks.get(mark) else { return Ok(()) };
        let key = (side, settled.packet.stream, settled.packet.ssrc);
        match *content {
            Content::Undecodable => self.unheard(side, place),
            Content::Speech(format) => {
                let begun = self.out.origin + frame_ticks(self.plan.from);
                let early = self.plan.from > 0 && place < begun - WARM_UP;
                if !early && !side.of(&self.plan.survey.tones).cover(settled.packet.at_ns) {
                    let heard = side.of_mut(&mut self.sides).take(settled, format)?;
                    if !heard {
                        *self.undecoded.entry(key).or_default() += 1;
                        self.unheard(side, place);
                    }
                }
            }
            Content::ComfortNoise | Content::Event => {}
        }
        Ok(())
    }

    fn unheard(&mut self, side: Side, place: i64) {
        let spans = side.of_mut(&mut self.unheard);
        match spans.last_mut().filter(|(_, to)| place <= *to + NEAR) {
            Some((_, to)) => *to = (*to).max(place + STEP),
            None => spans.push((place, place + STEP)),
        }
    }
}

impl<S: Sink> Renderer<'_, S> {
    /// Everything the manifest says of the audio, once all is settled.
    fn describe(&mut self) {
        for side in Side::BOTH {
            let (heard, mut all) = self.timeline.heard(side);
            let of = |counted: &HashMap<(Side, u8, u32), u64>, h: &Heard| {
                counted.get(&(side, h.stream, h.ssrc)).copied().unwrap_or(0)
            };
            let events = self.events.iter().map(|(key, (count, _))| (*key, *count)).collect();
            let streams = heard.into_iter().map(|h| {
                let (undecoded, dtmf) = (of(&self.undecoded, &h), of(&events, &h));
                let codecs = h.marks.iter().filter_map(|m| self.marks.get(usize::from(*m)));
                Stream {
                    stream: h.stream,
                    ssrc: format!("{:08x}", h.ssrc),
                    from_ms: self.timeline.milliseconds(h.first),
                    to_ms: self.timeline.milliseconds(h.last),
                    codecs: codecs.map(|(name, _)| name.clone()).collect(),
                    counts: Counts { undecoded, dtmf, ..h.counts },
                }
            });
            *side.of_mut(&mut self.out.streams) = streams.collect();
            let total = |counted: &HashMap<(Side, u8, u32), u64>| {
                counted.iter().filter(|((s, ..), _)| *s == side).map(|(_, n)| n).sum::<u64>()
            };
            (all.undecoded, all.dtmf) = (total(&self.undecoded), total(&events));
            let counts = side.of_mut(&mut self.out.counts);
            all.packets += counts.packets;
            all.bytes += counts.bytes;
            all.undecoded += counts.undecoded;
            *counts = all;
        }
        self.spans();
        self.out.started_ns = self.timeline.start_ns();
    }

    /// Gaps, pauses and what is silent, in milliseconds of the audio.
    fn spans(&mut self) {
        let timeline = &mut self.timeline;
        for gap in timeline.missing() {
            let (from_ms, to_ms) = (timeline.milliseconds(gap.from), timeline.milliseconds(gap.to));
            self.out.gaps.push(Gap {
                side: gap.side,
                cause: gap.cause,
                from_ms,
                to_ms,
                packets: gap.packets,
            });
        }
        for (from, to) in timeline.pauses().to_vec() {
            let (from_ms, to_ms) = (timeline.milliseconds(from), timeline.milliseconds(to));
            self.out.pauses.push(Span { from_ms, to_ms });
        }
        for side in Side::BOTH {
            let tones = side.of(&self.plan.survey.tones).spans().iter();
            let tones: Vec<_> = tones.map(|(from, to)| (timeline.tick(*from), timeline.tick(*to))).collect();
            let silenced = tones.into_iter().map(|span| (SilenceCause::Dtmf, span));
            let unheard = side.of(&self.unheard).iter().map(|span| (SilenceCause::Undecoded, *span));
            for (cause, (from, to)) in silenced.chain(unheard) {
                let (from_ms, to_ms) = (timeline.milliseconds(from), timeline.milliseconds(to));
                self.out.silenced.push(Silenced { side, cause, from_ms, to_ms });
            }
        }
        self.out.silenced.sort_by_key(|s| (s.from_ms, s.to_ms));
    }
}

/// Where a frame begins, in ticks of the audio.
fn frame_ticks(frame: u64) -> i64 {
    i64::try_from(frame).unwrap_or(i64::MAX / STEP) * STEP
}
