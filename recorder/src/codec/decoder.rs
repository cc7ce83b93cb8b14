//! The decoders, one per sender: those of most codecs remember what came before.

use audio_codec::Decoder as _;
use audio_codec::g722::G722Decoder;
use opus::Channels;
use oxideav_core::{Decoder as _, Frame, Packet, TimeBase};
use oxideav_g729::codec::G729Decoder;

use super::{Format, g711};
use crate::rate::TICKS;

/// Bytes of a frame of G.729: 10 ms of speech.
pub const G729_FRAME: usize = 10;
/// Bytes of a frame of annex B's comfort noise, which may only be the last of a payload.
const G729_NOISE: usize = 2;
/// Samples of the longest Opus packet: 120 ms (RFC 6716, section 3.2.5).
const OPUS_LONGEST: usize = TICKS as usize * 120 / 1000;

/// Why a payload was not decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is no payload of its codec.
    #[error("{bytes} bytes are no payload of {format:?}")]
    Payload {
        /// Its length.
        bytes: usize,
        /// Its codec.
        format: Format,
    },
    /// libopus refused.
    #[error("libopus: {0}")]
    Opus(#[from] opus::Error),
}

/// Decodes the payloads of one sender in one codec, in their order.
pub struct Decoder {
    format: Format,
    state: State,
}

enum State {
    /// Every sample stands for itself.
    None,
    G722(Box<G722Decoder>),
    G729(Box<G729Decoder>),
    Opus(opus::Decoder),
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("format", &self.format).finish_non_exhaustive()
    }
}

/// Whether a payload of G.729 ends in a frame of comfort noise.
pub const fn ends_in_noise(payload: &[u8]) -> bool {
    payload.len() % G729_FRAME == G729_NOISE
}

impl Decoder {
    /// A decoder that has heard nothing.
    pub(super) fn new(format: Format) -> Result<Self, DecodeError> {
        let state = match format {
            Format::ALaw | Format::MuLaw | Format::L16 { .. } => State::None,
            Format::G722 => State::G722(Box::new(G722Decoder::new())),
            Format::G729 => State::G729(Box::default()),
            Format::Opus => State::Opus(opus::Decoder::new(TICKS, Channels::Mono)?),
        };
        Ok(Self { format, state })
    }

    /// Decodes `payload` behind what `out` holds: samples at [`Format::rate`], one channel.
    pub fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), DecodeError> {
        let format = self.format;
        let refused = || DecodeError::Payload { bytes: payload.len(), format };
        match (&mut self.state, format) {
            (State::None, Format::ALaw) => out.extend(payload.iter().map(|b| g711::a_law(*b))),
            (State::None, Format::MuLaw) => out.extend(payload.iter().map(|b| g711::mu_law(*b))),
            (State::None, Format::L16 { channels: 2, .. }) => {
                let pairs = payload.as_chunks::<4>().0.iter();
                out.extend(pairs.map(|[a, b, c, d]| {
                    i16::midpoint(i16::from_be_bytes([*a, *b]), i16::from_be_bytes([*c, *d]))
                }));
            }
            (State::None, _) => out.extend(payload.as_chunks::<2>().0.iter().map(|s| i16::from_be_bytes(*s))),
            (State::G722(decoder), _) => {
                let start = out.len();
                out.resize(start + 2 * payload.len(), 0);
                let written = decoder.decode_into(payload, out.get_mut(start..).unwrap_or_default());
                out.truncate(start + written.map_err(|_| refused())?);
            }
            (State::G729(decoder), _) => {
                let (frames, rest) = payload.as_chunks::<G729_FRAME>();
                if !rest.is_empty() && !ends_in_noise(payload) {
                    return Err(refused());
                }
                if !frames.is_empty() {
                    let packet = Packet::new(0, TimeBase::new(1, 8_000), frames.concat());
                    decoder.send_packet(&packet).map_err(|_| refused())?;
                    let Ok(Frame::Audio(frame)) = decoder.receive_frame() else { return Err(refused()) };
                    let bytes = frame.data.first().map(Vec::as_slice).unwrap_or_default();
                    out.extend(bytes.as_chunks::<2>().0.iter().map(|s| i16::from_le_bytes(*s)));
                }
                // Comfort noise is silence here.
                out.extend(std::iter::repeat_n(0, if rest.is_empty() { 0 } else { 80 }));
            }
            (State::Opus(decoder), _) => {
                let start = out.len();
                out.resize(start + OPUS_LONGEST, 0);
                let decoded = match payload {
                    // An empty payload would ask libopus to conceal a loss.
                    [] => Err(refused()),
                    _ => decoder
                        .decode(payload, out.get_mut(start..).unwrap_or_default(), false)
                        .map_err(Into::into),
                };
                out.truncate(start + decoded.as_ref().copied().unwrap_or(0));
                decoded?;
            }
        }
        Ok(())
    }
}
