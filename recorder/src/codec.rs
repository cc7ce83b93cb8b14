//! From RTP payloads to samples: what a payload type means, and a decoder for it.
//!
//! Pure; used by the archiver. Decoders of G.711 and L16 are our own, the others well-kept libraries: libopus, and for
//! G.722 and G.729 pure Rust under permissive licences, tested against ffmpeg's decoders. AMR and AMR-WB are not decoded:
//! opencore-amr would be permissive enough, but no safe binding to it is kept. Their packets are kept all the same.

mod decoder;
pub mod event;
mod g711;

use crate::label::Codec;
use crate::rate::TICKS;

pub use decoder::{DecodeError, Decoder};

/// What a payload type carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Speech.
    Speech(Format),
    /// Comfort noise (RFC 3389): silence in an archive.
    ComfortNoise,
    /// DTMF and other events (RFC 4733).
    Event,
    /// Nothing here can decode it.
    Undecodable,
}

/// A codec that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// PCMA: G.711 A-law, 8 kHz (RFC 3551, section 4.5.14).
    ALaw,
    /// PCMU: G.711 µ-law, 8 kHz.
    MuLaw,
    /// G.722 at 64 kbit/s: 16 kHz, though its RTP clock is 8 kHz (RFC 3551, section 4.5.2).
    G722,
    /// G.729 with annexes A and B, 8 kHz (RFC 3551, section 4.5.6).
    G729,
    /// 16-bit samples, big endian (RFC 3551, section 4.5.11).
    L16 {
        /// Samples per second, 8000 to 48000.
        rate: u32,
        /// 1 or 2, interleaved.
        channels: u8,
    },
    /// Opus, 48 kHz (RFC 7587). Stereo is decoded to one channel.
    Opus,
}

impl Format {
    /// The format of a codec, by its registered name.
    fn of(codec: &Codec) -> Option<Self> {
        let named = |name: &str| codec.name.eq_ignore_ascii_case(name);
        let narrow = codec.clock_rate == 8_000 && codec.channels == 1;
        match () {
            () if named("PCMA") && narrow => Some(Self::ALaw),
            () if named("PCMU") && narrow => Some(Self::MuLaw),
            () if named("G722") && narrow => Some(Self::G722),
            () if named("G729") && narrow => Some(Self::G729),
            () if named("opus") && codec.clock_rate == TICKS => Some(Self::Opus),
            () if named("L16")
                && (8_000..=TICKS).contains(&codec.clock_rate)
                && (1..=2).contains(&codec.channels) =>
            {
                Some(Self::L16 { rate: codec.clock_rate, channels: codec.channels })
            }
            () => None,
        }
    }

    /// Samples per second that its decoder gives.
    pub const fn rate(self) -> u32 {
        match self {
            Self::ALaw | Self::MuLaw | Self::G729 => 8_000,
            Self::G722 => 16_000,
            Self::L16 { rate, .. } => rate,
            Self::Opus => TICKS,
        }
    }

    /// How long a payload lasts, in ticks of 48 kHz, without decoding it. None: it is no payload of this codec.
    pub fn ticks(self, payload: &[u8]) -> Option<u32> {
        let length = u32::try_from(payload.len()).ok()?;
        match self {
            // A byte is 125 µs.
            Self::ALaw | Self::MuLaw | Self::G722 => Some(length * 6),
            Self::G729 => {
                let frames = length / decoder::G729_FRAME as u32 + u32::from(decoder::ends_in_noise(payload));
                (frames > 0 || length == 0).then_some(frames * TICKS / 100)
            }
            Self::L16 { rate, channels } => Some(length / (2 * u32::from(channels)) * TICKS / rate),
            Self::Opus => crate::encode::ticks(payload),
        }
    }

    /// A decoder in its first state.
    pub fn decoder(self) -> Result<Decoder, DecodeError> {
        Decoder::new(self)
    }
}

/// What is known of a payload type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known<'a> {
    /// What it carries.
    pub content: Content,
    /// Ticks per second of its RTP time-stamps; not 0.
    pub clock_rate: u32,
    /// The codec's registered name; empty when nobody said it.
    pub name: &'a str,
}

/// What is known of the payload types of one side.
#[derive(Debug, Default)]
pub struct PayloadTypes {
    /// Everything that any label of the call said, the newest last: a codec may change in mid-call while packets
    /// of the old one are still on their way.
    codecs: Vec<Codec>,
}

impl PayloadTypes {
    /// Adds what a label says.
    pub fn learn(&mut self, codecs: &[Codec]) {
        for codec in codecs {
            self.codecs.retain(|c| c != codec);
            self.codecs.push(codec.clone());
        }
    }

    /// What a payload type is: as the labels say, the newest first; else by RFC 3551's static table (section 6).
    pub fn find(&self, payload_type: u8) -> Known<'_> {
        if let Some(codec) = self.codecs.iter().rev().find(|c| c.payload_type == payload_type) {
            let named = |name: &str| codec.name.eq_ignore_ascii_case(name);
            let content = match Format::of(codec) {
                Some(format) => Content::Speech(format),
                None if named("CN") => Content::ComfortNoise,
                None if named("telephone-event") => Content::Event,
                None => Content::Undecodable,
            };
            return Known { content, clock_rate: codec.clock_rate.max(1), name: &codec.name };
        }
        let speech =
            |format: Format, clock_rate, name| Known { content: Content::Speech(format), clock_rate, name };
        match payload_type {
            0 => speech(Format::MuLaw, 8_000, "PCMU"),
            8 => speech(Format::ALaw, 8_000, "PCMA"),
            9 => speech(Format::G722, 8_000, "G722"),
            10 => speech(Format::L16 { rate: 44_100, channels: 2 }, 44_100, "L16"),
            11 => speech(Format::L16 { rate: 44_100, channels: 1 }, 44_100, "L16"),
            13 => Known { content: Content::ComfortNoise, clock_rate: 8_000, name: "CN" },
            18 => speech(Format::G729, 8_000, "G729"),
            _ => Known { content: Content::Undecodable, clock_rate: 8_000, name: "" },
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the numbers are the test's own"
)]
mod tests;
