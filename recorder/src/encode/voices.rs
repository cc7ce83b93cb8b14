//! Both sides' encoders: 20 ms of each in, one multistream packet out.

use opus::{Application, Bitrate, Channels, Signal};
use serde::{Deserialize, Serialize};

use super::packet::Packet;
use super::quiet::Quiet;
use super::{EncodeError, Quality};
use crate::rate::{FRAME, Rate};

/// The largest packet of one frame: its table of contents, and 1275 bytes (RFC 6716, section 3.4).
const LARGEST: usize = 1276;
/// The lowest table of contents of a packet of CELT (RFC 6716, section 3.1).
const CELT: u8 = 16 << 3;
/// What follows the table of contents in a packet of CELT that is silence (RFC 6716, section 4.3: its first flag).
const SILENT: [u8; 2] = [0xFF, 0xFE];

/// 20 ms of one side.
#[derive(Debug, Clone, Copy)]
pub enum Sound<'a> {
    /// Samples of the side's own [`Rate`], [`Rate::frame`] of them.
    Samples(&'a [i16]),
    /// A party's own Opus packet of 20 ms, taken as it is but for its padding. What is no such packet becomes silence. It
    /// may be of either coder, any bandwidth, mono or stereo: a decoder gives one channel. Where packed and
    /// encoded sound follow each other, a decoder never hears the last 6.5 ms before the change (they are still in the
    /// encoder that was left), and fades from one to the other within 5 ms; after ours, a party's CELT packets are off in
    /// level for a few, because they build on ones that this decoder did not hear.
    Packed(&'a [u8]),
}

/// What became of a side's frames; each is one packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The party's own packets.
    pub packed: u64,
    /// Encoded.
    pub encoded: u64,
    /// Written as silence.
    pub silent: u64,
    /// Of both others those that were to be packed, and are no valid Opus packets of 20 ms.
    pub refused: u64,
}

impl Tally {
    /// Both together.
    #[must_use]
    pub const fn with(&self, more: &Self) -> Self {
        Self {
            packed: self.packed + more.packed,
            encoded: self.encoded + more.encoded,
            silent: self.silent + more.silent,
            refused: self.refused + more.refused,
        }
    }

    /// What came since it was `before`.
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            packed: self.packed - before.packed,
            encoded: self.encoded - before.encoded,
            silent: self.silent - before.silent,
            refused: self.refused - before.refused,
        }
    }
}

/// Two encoders. Nothing passes from one to the other.
#[derive(Debug)]
pub struct Voices {
    sides: [Voice; 2],
    look_ahead: u64,
}

impl Voices {
    /// Encoders for sides of these rates: caller, callee.
    pub fn new(rates: [Rate; 2], quality: Quality) -> Result<Self, EncodeError> {
        let [caller, callee] = rates;
        let mut sides = [Voice::new(caller, quality)?, Voice::new(callee, quality)?];
        let [caller, callee] = &mut sides;
        let look_ahead = caller.look_ahead()?;
        // A file has one look-ahead for both: the sides would be apart by the difference.
        if callee.look_ahead()? != look_ahead {
            return Err(EncodeError::Form);
        }
        Ok(Self { sides, look_ahead })
    }

    /// Encodes the next 20 ms: `out` is then one packet, caller's stream first.
    pub fn frame(&mut self, sides: [Sound<'_>; 2], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.clear();
        let ([caller, callee], [left, right]) = (&mut self.sides, sides);
        caller.sound(left, true, out)?;
        callee.sound(right, false, out)
    }

    /// How far sound lags behind the frames that it was in, in samples of 48 kHz: the file's pre-skip. The same for every
    /// [`Rate`], and for most encoders of other people's, so that packed sound is in its place too.
    pub const fn look_ahead(&self) -> u64 {
        self.look_ahead
    }

    /// What became of each side's frames.
    pub const fn tally(&self) -> [Tally; 2] {
        let [caller, callee] = &self.sides;
        [caller.tally, callee.tally]
    }
}

/// One side.
#[derive(Debug)]
struct Voice {
    encoder: opus::Encoder,
    rate: Rate,
    quiet: Quiet,
    /// The packet that says silence, once the encoder has said it and nothing came since: its state does not change any
    /// more, so it need not run to say it again.
    at_rest: Option<[u8; 3]>,
    /// The last packet was not the encoder's.
    packed: bool,
    tally: Tally,
    packet: [u8; LARGEST],
}

impl Voice {
    fn new(rate: Rate, quality: Quality) -> Result<Self, EncodeError> {
        // Not `Voip`: its high-pass filter takes the bottom off a voice and shifts the rest, and this is evidence.
        let mut encoder = opus::Encoder::new(rate.hz(), Channels::Mono, Application::Audio)?;
        // Music: CELT, at every bitrate that the settings allow.
        encoder.set_signal(Signal::Music)?;
        encoder.set_bitrate(Bitrate::Bits(i32::try_from(quality.bitrate(rate)).unwrap_or(i32::MAX)))?;
        encoder.set_complexity(quality.complexity.into())?;
        // A packet that does not build on the one before it is right whatever the decoder heard last.
        encoder.set_prediction_disabled(true)?;
        let quiet = Quiet::new(quality.silence_dbfs);
        let tally = Tally::default();
        Ok(Self { encoder, rate, quiet, at_rest: None, packed: false, tally, packet: [0; LARGEST] })
    }

    fn look_ahead(&mut self) -> Result<u64, EncodeError> {
        Ok(u64::from(self.encoder.get_lookahead()?.unsigned_abs() * self.rate.ticks()))
    }

    fn sound(
        &mut self,
        sound: Sound<'_>,
        another_follows: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        match sound {
            Sound::Samples(samples) => self.samples(samples, another_follows, out),
            Sound::Packed(bytes) => {
                if let Some(packet) = Packet::parse(bytes).filter(|p| p.ticks() == FRAME) {
                    packet.write(another_follows, out);
                    self.packed = true;
                    self.tally.packed += 1;
                    return Ok(());
                }
                self.tally.refused += 1;
                self.samples(self.rate.silence(), another_follows, out)
            }
        }
    }

    fn samples(
        &mut self,
        samples: &[i16],
        another_follows: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        if samples.len() != self.rate.frame() {
            return Err(EncodeError::Frame { samples: samples.len(), hz: self.rate.hz() });
        }
        if std::mem::take(&mut self.packed) {
            // What it heard before the party's packets is over.
            self.encoder.reset_state()?;
            self.quiet.reset();
            self.at_rest = None;
        }
        let silence = self.quiet.is_silence(samples, self.rate);
        let samples = if silence { self.rate.silence() } else { samples };
        if !silence {
            self.at_rest = None;
        }
        let at_rest = self.at_rest;
        let packet = if let Some(packet) = &at_rest {
            packet
        } else {
            let length = self.encoder.encode(samples, &mut self.packet)?;
            self.packet.get(..length).ok_or(EncodeError::Form)?
        };
        let says_silence = matches!(packet, [contents, rest @ ..] if *contents >= CELT && *rest == SILENT);
        *if says_silence { &mut self.tally.silent } else { &mut self.tally.encoded } += 1;
        Packet::parse(packet).ok_or(EncodeError::Form)?.write(another_follows, out);
        if silence && says_silence {
            self.at_rest = packet.try_into().ok();
        }
        Ok(())
    }
}

impl Rate {
    /// A frame of silence.
    fn silence(self) -> &'static [i16] {
        static ZEROS: [i16; Rate::Full.frame()] = [0; Rate::Full.frame()];
        ZEROS.get(..self.frame()).unwrap_or(&ZEROS)
    }
}
