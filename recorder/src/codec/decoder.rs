//! The decoders: payloads of one sender in, mono samples out.

use audio_codec::Decoder as _;
use audio_codec::g722::G722Decoder;
use opus::Channels;
use oxideav_core::{Decoder as _, Frame, Packet, TimeBase};
use oxideav_g729::decoder::G729Decoder;

use super::format::{Format, G729_FRAME};
use super::g711;
use crate::rate::TICKS;

/// The longest Opus packet, in samples: 120 ms (RFC 6716, section 3.2.5).
const OPUS_LONGEST: usize = TICKS as usize * 120 / 1000;
/// Samples of 10 ms of G.729.
const G729_SAMPLES: usize = 80;

/// Decodes the payloads of one sender, one after the other, in the order in which they were sent.
pub struct Decoder {
    format: Format,
    state: State,
}

enum State {
    ALaw,
    MuLaw,
    G722(Box<G722Decoder>),
    G729(Box<G729Decoder>),
    L16 { channels: usize },
    Opus(opus::Decoder),
}

/// Why a payload gave no samples.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The payload is not one of this codec: empty, of an impossible length, or damaged.
    #[error("not a payload of {0:?}")]
    Malformed(Format),
    /// libopus could not be set up.
    #[error("libopus: {0}")]
    Opus(opus::Error),
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("format", &self.format).finish_non_exhaustive()
    }
}

impl Decoder {
    pub(super) fn new(format: Format) -> Result<Self, DecodeError> {
        let state = match format {
            Format::ALaw => State::ALaw,
            Format::MuLaw => State::MuLaw,
            Format::G722 => State::G722(Box::new(G722Decoder::new())),
            Format::G729 => State::G729(Box::default()),
            Format::L16 { channels, .. } => State::L16 { channels: usize::from(channels.max(1)) },
            // libopus mixes stereo down itself.
            Format::Opus { .. } => {
                State::Opus(opus::Decoder::new(TICKS, Channels::Mono).map_err(DecodeError::Opus)?)
            }
        };
        Ok(Self { format, state })
    }

    /// The codec.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Decodes `payload` behind what `out` holds: mono samples at [`Format::rate`].
    ///
    /// Any octets may be given. After an error `out` is as before, and the next payload decodes as if the one
    /// refused had been lost. No decoder needs to be told of a loss.
    pub fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), DecodeError> {
        let before = out.len();
        let whole = !payload.is_empty() && self.append(payload, out).is_some();
        if !whole {
            out.truncate(before);
            return Err(DecodeError::Malformed(self.format));
        }
        Ok(())
    }

    /// None: not a payload of this codec.
    fn append(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Option<()> {
        let before = out.len();
        match &mut self.state {
            State::ALaw => out.extend(payload.iter().map(|b| g711::a_law(*b))),
            State::MuLaw => out.extend(payload.iter().map(|b| g711::mu_law(*b))),
            State::L16 { channels } => mix_down(payload, *channels, out)?,
            State::G722(decoder) => {
                out.resize(before + payload.len() * 2, 0);
                let written = decoder.decode_into(payload, out.get_mut(before..)?).ok()?;
                out.truncate(before + written);
            }
            State::G729(decoder) => {
                self.format.ticks(payload)?;
                let (frames, noise) = payload.as_chunks::<G729_FRAME>();
                for frame in frames {
                    speech(decoder, frame, out)?;
                }
                if !noise.is_empty() {
                    out.resize(out.len() + G729_SAMPLES, 0);
                }
            }
            State::Opus(decoder) => {
                out.resize(before + OPUS_LONGEST, 0);
                let written = decoder.decode(payload, out.get_mut(before..)?, false).ok()?;
                out.truncate(before + written);
            }
        }
        Some(())
    }
}

/// Linear samples, big endian and interleaved: the mean of the channels.
fn mix_down(payload: &[u8], channels: usize, out: &mut Vec<i16>) -> Option<()> {
    let instants = payload.chunks_exact(2 * channels);
    if !instants.remainder().is_empty() {
        return None;
    }
    let count = i32::try_from(channels).ok()?;
    out.extend(instants.filter_map(|instant| {
        let (samples, _) = instant.as_chunks::<2>();
        let sum: i32 = samples.iter().map(|s| i32::from(i16::from_be_bytes(*s))).sum();
        i16::try_from(sum / count).ok()
    }));
    Some(())
}

/// One frame of G.729: 10 ms.
fn speech(decoder: &mut G729Decoder, frame: &[u8], out: &mut Vec<i16>) -> Option<()> {
    decoder.send_packet(&Packet::new(0, TimeBase::new(1, 8_000), frame.to_vec())).ok()?;
    let Ok(Frame::Audio(audio)) = decoder.receive_frame() else { return None };
    let (samples, _) = audio.data.first()?.as_chunks::<2>();
    out.extend(samples.iter().map(|s| i16::from_le_bytes(*s)));
    Some(())
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the numbers are the test's own"
)]
mod tests;
