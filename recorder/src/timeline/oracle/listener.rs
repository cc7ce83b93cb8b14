//! Plays a call through a timeline as the archiver does, and notes what comes out.

use super::call::{Call, EPOCH, Record};
use super::party::Said;
use crate::manifest::Cause;
use crate::rate::Rate;
use crate::spool::Side;
use crate::timeline::{Arrival, LEAD, MAX_HELD, Sender, Settled, Timeline, Track};

/// A packet that came out.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    pub side: Side,
    /// Which of its party's.
    pub index: usize,
    pub place: i64,
    pub run: u8,
    /// Stood before what was given out already.
    pub late: bool,
}

/// What came out of a call.
#[derive(Debug)]
pub struct Listened {
    pub timeline: Timeline,
    /// In the order in which they were settled.
    pub out: Vec<Out>,
    /// Both voices from the origin, 8 kHz; empty unless asked for.
    pub voices: [Vec<i16>; 2],
    /// Where they begin.
    pub origin: i64,
}

/// The archiver's part.
#[derive(Debug)]
struct Listener<'a> {
    call: &'a Call,
    timeline: Timeline,
    out: Vec<Out>,
    tracks: Option<[Track; 2]>,
    voices: [Vec<i16>; 2],
    /// Given out up to here, once it began.
    given: Option<i64>,
    finished: bool,
}

/// What is said at a sample of a voice: tells which it is, and is never 0.
pub fn sound(sample: i64) -> i16 {
    (sample.rem_euclid(30_011) + 1) as i16
}

/// Time as the recorder has it.
pub const fn ns(at: i64) -> u64 {
    EPOCH.saturating_add_signed(at)
}

/// A packet as the archiver hands it to the timeline.
fn arrival(said: &Said, at: i64, index: usize) -> Arrival {
    Arrival {
        at_ns: ns(at),
        stream: 0,
        ssrc: said.ssrc,
        sequence: said.number.rem_euclid(1 << 16) as u16,
        timestamp: said.timestamp,
        clock_rate: said.clock_rate,
        brings: said.brings,
        mark: 0,
        payload: (index as u32).to_be_bytes().to_vec(),
        bytes: 172,
    }
}

/// Plays a call. `aloud`: mixes the voices too, which takes its time.
pub fn listen(call: &Call, aloud: bool) -> Listened {
    let tracks = aloud.then(|| [Track::new(Rate::Narrow, -LEAD), Track::new(Rate::Narrow, -LEAD)]);
    let (timeline, voices) = (Timeline::default(), [vec![], vec![]]);
    let mut listener =
        Listener { call, timeline, out: Vec::new(), tracks, voices, given: None, finished: false };
    for record in &call.records {
        listener.timeline.advance(ns(record.at()));
        listener.take();
        match *record {
            Record::Packet(side, c) => {
                listener.timeline.push(side, arrival(&side.of(&call.said)[c.index], c.at, c.index));
            }
            Record::Pause(at) => listener.timeline.pause(ns(at)),
            Record::Resume(at) => listener.timeline.resume(ns(at)),
            Record::Overflow(side, from, to, packets) => {
                let span = (ns(from), ns(to));
                listener.timeline.uncaptured(side, 0, Cause::TapOverflow, span, Some(packets));
            }
        }
        let waiting = listener.timeline.lanes.iter().flat_map(|l| &l.senders).map(Sender::held).max();
        assert!(waiting.is_none_or(|w| w <= MAX_HELD + 1), "{waiting:?} packets wait");
    }
    listener.finished = true;
    listener.timeline.finish(ns(call.records.last().map_or(0, Record::at)));
    listener.take();
    let Listener { mut timeline, out, mut voices, .. } = listener;
    let (origin, length) = (timeline.origin(), timeline.length());
    voices.iter_mut().for_each(|v| v.truncate(length as usize / 6));
    Listened { timeline, out, voices, origin }
}

impl Listener<'_> {
    fn take(&mut self) {
        while let Some(settled) = self.timeline.settled() {
            self.place(&settled);
        }
        let horizon = self.timeline.horizon();
        // Nothing is given out that may still begin before.
        if self.given.is_none() && horizon < LEAD && !self.finished {
            return;
        }
        let origin = self.timeline.origin();
        let given = self.given.get_or_insert_with(|| {
            self.tracks.iter_mut().flatten().for_each(|t| t.begin(origin));
            origin
        });
        let mut frame = Vec::new();
        while *given + 960 <= horizon || (self.finished && *given < horizon) {
            for (track, voice) in self.tracks.iter_mut().flatten().zip(&mut self.voices) {
                track.give(&mut frame);
                voice.extend(&frame);
            }
            *given += 960;
        }
    }

    fn place(&mut self, settled: &Settled) {
        let index = u32::from_be_bytes(settled.packet.payload.as_slice().try_into().unwrap()) as usize;
        let said = &settled.side.of(&self.call.said)[index];
        let late = self.given.is_some_and(|given| settled.place < given);
        self.out.push(Out { side: settled.side, index, place: settled.place, run: settled.run, late });
        if let Some(tracks) = &mut self.tracks {
            let samples: Vec<i16> = (said.sample..said.sample + said.speech() / 6).map(sound).collect();
            let track = settled.side.of_mut(tracks);
            assert!(track.write(settled.place, settled.run, &samples) || late, "{settled:?}");
            assert!(track.held() <= 2 * 8000 * 20, "{} samples are held", track.held());
        }
    }
}
