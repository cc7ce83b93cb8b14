//! One pass over a spool: out of its packets and events the audio, and everything the manifest says.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::{ArchiveError, packet};
use crate::codec::Decoders;
use crate::encode::{EncodeError, Ogg, Sound, Voices};
use crate::label::Label;
use crate::manifest::{Counts, Gap, Span};
use crate::rate::Rate;
use crate::spool::{Chain, Event, EventKind, Item, Packet, Reader, Side};
use crate::timeline::{Arrival, FRAME, RATE, Timeline};

/// What a spool tells.
#[derive(Debug, Default)]
pub struct Rendered {
    /// The last label that could be read.
    pub label: Option<Label>,
    /// Caller's counts, callee's counts.
    pub counts: [Counts; 2],
    /// Every stretch in which packets are missing.
    pub gaps: Vec<Gap>,
    /// Every stretch in which recording was paused.
    pub pauses: Vec<Span>,
    /// Length of the audio.
    pub duration_ms: u64,
    /// When the audio starts, nanoseconds since 1970.
    pub started_ns: Option<u64>,
    /// When the call ended, or the last record arrived.
    pub ended_ns: u64,
    /// The recorder's reason for closing the call, where it had one of its own.
    pub closed: Option<String>,
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

struct Renderer<'a, W: Write> {
    out: Rendered,
    timeline: Timeline,
    decoders: [Decoders; 2],
    samples: Vec<i16>,
    /// None once the audio could not be written: the rest is not tried.
    voices: Voices,
    ogg: Ogg<W>,
    packet: Vec<u8>,
    stop: &'a AtomicBool,
}

/// Reads all of `spool` and writes its audio through `voices` and `ogg`; gives the file's output back.
pub fn render<R: Read, W: Write>(
    spool: R,
    (voices, ogg): (Voices, Ogg<W>),
    stop: &AtomicBool,
) -> Result<(Rendered, W), ArchiveError> {
    let mut renderer = Renderer {
        out: Rendered::default(),
        timeline: Timeline::default(),
        decoders: Default::default(),
        samples: Vec::new(),
        voices,
        ogg,
        packet: Vec::new(),
        stop,
    };
    let mut reader = Reader::new(spool);
    while let Some(item) = reader.item().map_err(ArchiveError::Damaged)? {
        match item {
            Item::Packet(packet, rtp) => renderer.packet(&packet, rtp)?,
            Item::Event(event) => renderer.event(*event),
        }
    }
    renderer.finish()
}

impl<W: Write> Renderer<'_, W> {
    fn packet(&mut self, captured: &Packet, rtp: &[u8]) -> Result<(), ArchiveError> {
        self.out.ended_ns = captured.at_ns;
        self.out.chain.add(captured, rtp);
        let counts = captured.side.of_mut(&mut self.out.counts);
        counts.packets += 1;
        counts.bytes += rtp.len() as u64;
        let Some(parsed) = packet::parse(rtp) else {
            counts.undecoded += 1;
            return Ok(());
        };
        let (decoder, clock_rate) = captured.side.of(&self.decoders).find(parsed.header.payload_type);
        self.samples.clear();
        match decoder {
            Some(decoder) => decoder.decode(&parsed.payload, &mut self.samples),
            None => counts.undecoded += 1,
        }
        let arrival = Arrival {
            at_ns: captured.at_ns,
            stream: captured.stream,
            ssrc: parsed.header.ssrc,
            sequence: parsed.header.sequence_number,
            timestamp: parsed.header.timestamp,
            clock_rate,
        };
        self.timeline.advance(captured.at_ns);
        self.encode()?;
        self.timeline.packet(captured.side, &arrival, &self.samples);
        Ok(())
    }

    fn event(&mut self, event: Event) {
        self.out.ended_ns = event.at_ns;
        match event.kind {
            EventKind::Pause => self.timeline.pause(event.at_ns),
            EventKind::Resume => self.timeline.resume(event.at_ns),
            EventKind::Gap { side, packets, since_ns, .. } => {
                self.timeline.overflow(side, since_ns, event.at_ns, packets);
            }
            EventKind::Stalled { .. } => self.out.notes.extend(event.note),
            EventKind::Continued => self.out.notes.push(match &event.note {
                Some(note) => format!("the recorder was restarted in mid-call: {note}"),
                None => "the recorder was restarted in mid-call".to_owned(),
            }),
            EventKind::Close if event.note.is_some() && event.label.is_none() => {
                self.out.closed.clone_from(&event.note);
            }
            EventKind::Open | EventKind::Label | EventKind::Close => self.out.notes.extend(event.note),
        }
        if let Some(label) = event.label {
            for (decoders, leg) in self.decoders.iter_mut().zip(&label.legs) {
                decoders.learn(&leg.codecs);
            }
            self.out.label = Some(label);
        }
    }

    fn finish(mut self) -> Result<(Rendered, W), ArchiveError> {
        self.timeline.finish(self.out.ended_ns);
        self.encode()?;
        let length = self.timeline.length() * u64::from(Rate::Narrow.ticks());
        while self.ogg.missing(length) > 0 {
            self.write(&[[0; FRAME]; 2])?;
        }
        let output = self.ogg.finish(length)?;
        let mut out = self.out;
        for side in Side::BOTH {
            let (tally, counts) = (self.timeline.tally(side), side.of_mut(&mut out.counts));
            (counts.lost, counts.late, counts.duplicates) = (tally.lost, tally.late, tally.duplicates);
            (counts.reordered, counts.jumps, counts.sources) = (tally.reordered, tally.jumps, tally.sources);
        }
        out.gaps = self.timeline.gaps().to_vec();
        out.pauses = self.timeline.pauses().to_vec();
        out.duration_ms = self.timeline.length() * 1000 / u64::from(RATE);
        out.started_ns = self.timeline.start_ns();
        Ok((out, output))
    }

    /// Encodes what is settled.
    fn encode(&mut self) -> Result<(), ArchiveError> {
        while let Some(frame) = self.timeline.frame() {
            if self.stop.load(Relaxed) {
                return Err(ArchiveError::Stopped);
            }
            self.write(&frame.sides)?;
        }
        Ok(())
    }

    fn write(&mut self, [caller, callee]: &[[i16; FRAME]; 2]) -> Result<(), ArchiveError> {
        self.voices.frame([Sound::Samples(caller), Sound::Samples(callee)], &mut self.packet)?;
        Ok(self.ogg.packet(&self.packet)?)
    }
}

impl From<std::io::Error> for ArchiveError {
    fn from(error: std::io::Error) -> Self {
        Self::Encode(EncodeError::Io(error))
    }
}
