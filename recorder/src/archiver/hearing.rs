//! One side of a call, from placed packets to sound: a decoder per sender, and the track that they write.

use std::collections::BTreeMap;

use super::ArchiveError;
use crate::codec::{Decoder, Format};
use crate::encode::Sound;
use crate::rate::{FRAME, Rate};
use crate::resample::Resampler;
use crate::timeline::{LEAD, Settled, Track};

/// Senders and codecs that are decoded at once: the one that began first is forgotten.
const MAX_LINES: usize = 32;

/// One side.
#[derive(Debug)]
pub struct Hearing {
    track: Track,
    lines: Vec<Line>,
    /// The side's own packets by their place, where they are taken as they are.
    packed: Option<BTreeMap<i64, Vec<u8>>>,
    /// A packet of it as it is given out.
    given: Vec<u8>,
    decoded: Vec<i16>,
    resampled: Vec<i16>,
}

/// What one sender says in one codec.
#[derive(Debug)]
struct Line {
    stream: u8,
    ssrc: u32,
    format: Format,
    decoder: Decoder,
    resampler: Resampler,
}

impl Hearing {
    /// A side whose audio is of `rate`; `packed`: its own Opus packets are taken as they are.
    pub fn new(rate: Rate, packed: bool) -> Self {
        Self {
            track: Track::new(rate, -LEAD),
            lines: Vec::new(),
            packed: packed.then(BTreeMap::new),
            given: Vec::new(),
            decoded: Vec::new(),
            resampled: Vec::new(),
        }
    }

    /// Its audio is given out from `place` on.
    pub fn begin(&mut self, place: i64) {
        self.track.begin(place);
    }

    /// Puts a packet's speech in its place. False: it could not be decoded.
    pub fn take(&mut self, settled: Settled, format: Format) -> Result<bool, ArchiveError> {
        if let Some(packed) = &mut self.packed {
            packed.entry(settled.place).or_insert(settled.packet.payload);
            return Ok(true);
        }
        self.decoded.clear();
        self.resampled.clear();
        let rate = self.track.rate();
        let index = self.line(settled.packet.stream, settled.packet.ssrc, format)?;
        let Some(line) = self.lines.get_mut(index) else { return Ok(false) };
        if settled.broken {
            line.resampler.reset();
        }
        if line.decoder.decode(&settled.packet.payload, &mut self.decoded).is_err() {
            return Ok(false);
        }
        if format.rate() == rate.hz() {
            self.track.write(settled.place, settled.run, &self.decoded);
        } else {
            line.resampler.push(&self.decoded, &mut self.resampled);
            self.track.write(settled.place - i64::from(line.resampler.delay()), settled.run, &self.resampled);
        }
        Ok(true)
    }

    fn line(&mut self, stream: u8, ssrc: u32, format: Format) -> Result<usize, ArchiveError> {
        let known = |l: &Line| (l.stream, l.ssrc, l.format) == (stream, ssrc, format);
        if let Some(index) = self.lines.iter().position(known) {
            return Ok(index);
        }
        if self.lines.len() >= MAX_LINES {
            self.lines.remove(0);
        }
        let resampler = Resampler::new(format.rate(), self.track.rate());
        self.lines.push(Line { stream, ssrc, format, decoder: format.decoder()?, resampler });
        Ok(self.lines.len() - 1)
    }

    /// The next 20 ms, which begin at `place`.
    pub fn give<'a>(&'a mut self, place: i64, samples: &'a mut Vec<i16>) -> Sound<'a> {
        self.track.give(samples);
        let half = i64::from(FRAME) / 2;
        if let Some(packed) = &mut self.packed {
            // What stands before this frame was given out, or came too late.
            *packed = packed.split_off(&(place - half));
            if let Some(first) = packed.first_entry().filter(|e| *e.key() < place + half) {
                self.given = first.remove();
                return Sound::Packed(&self.given);
            }
        }
        Sound::Samples(samples)
    }
}
