//! A codec that can be decoded, and how long its payloads last.

use super::{DecodeError, Decoder};
use crate::rate::TICKS;

/// A codec that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// PCMA: G.711 A-law, 8 kHz (RFC 3551, section 4.5.14).
    ALaw,
    /// PCMU: G.711 µ-law, 8 kHz.
    MuLaw,
    /// G.722 at 64 kbit/s: 16 kHz, though its RTP clock runs at 8 kHz (RFC 3551, section 4.5.2).
    G722,
    /// G.729 and its annexes A and B, 8 kHz (RFC 3551, section 4.5.6).
    G729,
    /// Linear samples of 16 bits, big endian, interleaved (RFC 3551, section 4.5.11).
    L16 {
        /// Samples per second and channel.
        rate: u32,
        /// Channels, at least 1.
        channels: u8,
    },
    /// Opus (RFC 6716, RFC 7587), decoded at 48 kHz.
    Opus {
        /// Channels as signalled: 2 wherever RFC 7587 is followed, also where the packets are mono.
        channels: u8,
    },
}

/// Octets of a G.729 frame of 10 ms, and of one of comfort noise.
pub(super) const G729_FRAME: usize = 10;
const G729_NOISE: usize = 2;

impl Format {
    /// Hz of the samples that a decoder gives.
    pub fn rate(self) -> u32 {
        match self {
            Self::ALaw | Self::MuLaw | Self::G729 => 8_000,
            Self::G722 => 16_000,
            Self::L16 { rate, .. } => rate,
            Self::Opus { .. } => TICKS,
        }
    }

    /// How long `payload` lasts, in [`crate::rate`]'s ticks, to the nearest. None: not a payload of this codec.
    ///
    /// Nothing is decoded: a payload with a duration may still hold what its decoder refuses.
    pub fn ticks(self, payload: &[u8]) -> Option<u32> {
        if payload.is_empty() {
            return None;
        }
        let samples = match self {
            Self::ALaw | Self::MuLaw => payload.len(),
            Self::G722 => payload.len() * 2,
            Self::G729 => match (payload.len() / G729_FRAME, payload.len() % G729_FRAME) {
                (frames, 0) => frames * 80,
                (frames, G729_NOISE) => (frames + 1) * 80,
                _ => return None,
            },
            Self::L16 { channels, .. } => {
                let sample = 2 * usize::from(channels.max(1));
                if !payload.len().is_multiple_of(sample) {
                    return None;
                }
                payload.len() / sample
            }
            // The TOC octet and the count of frames (RFC 6716, section 3.1): at most 120 ms.
            Self::Opus { .. } => opus::packet::get_nb_samples(payload, TICKS).ok()?,
        };
        let rate = u64::from(self.rate().max(1));
        let ticks = (samples as u64 * u64::from(TICKS) + rate / 2) / rate;
        u32::try_from(ticks).ok().filter(|_| samples > 0)
    }

    /// A decoder in its first state. Fails only where libopus cannot get memory.
    pub fn decoder(self) -> Result<Decoder, DecodeError> {
        Decoder::new(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_last_as_long_as_their_codec_says() {
        let zeros = vec![0; 4000];
        let of = |format: Format, octets: usize| format.ticks(&zeros[..octets]);
        assert_eq!(of(Format::ALaw, 160), Some(960));
        assert_eq!(of(Format::MuLaw, 240), Some(1440));
        assert_eq!(of(Format::G722, 160), Some(960));
        assert_eq!(of(Format::G729, 20), Some(960));
        assert_eq!(of(Format::G729, 22), Some(1440));
        assert_eq!(of(Format::G729, 2), Some(480));
        assert_eq!(of(Format::G729, 15), None);
        let cd = Format::L16 { rate: 44_100, channels: 2 };
        assert_eq!(of(cd, 3528), Some(960));
        assert_eq!(of(cd, 3530), None);
        // 220 samples of 11,025 Hz are 957.8 ticks.
        assert_eq!(of(Format::L16 { rate: 11_025, channels: 1 }, 440), Some(958));
        for format in [Format::ALaw, Format::G722, Format::G729, cd, Format::Opus { channels: 2 }] {
            assert_eq!(format.ticks(&[]), None, "{format:?}");
        }
    }

    #[test]
    fn an_opus_payload_lasts_as_its_toc_says() {
        let opus = |payload: &[u8]| Format::Opus { channels: 2 }.ticks(payload);
        // Configurations of RFC 6716, table 2, each with one frame (code 0).
        let (silk, hybrid) = ([480, 960, 1920, 2880], [480, 960]);
        let celt = [120, 240, 480, 960];
        let durations = silk.repeat(3).into_iter().chain(hybrid.repeat(2)).chain(celt.repeat(4));
        for (config, duration) in (0_u8..).zip(durations) {
            assert_eq!(opus(&[config << 3, 1, 2, 3]), Some(duration), "configuration {config}");
            assert_eq!(opus(&[config << 3 | 4 | 1, 1, 2]), Some(2 * duration), "configuration {config}");
        }
        // Nothing but a TOC: discontinuous transmission.
        assert_eq!(opus(&[1 << 3]), Some(960));
        // Code 3: three frames of 20 ms; none at all; 48 of 60 ms, which is more than 120.
        assert_eq!(opus(&[1 << 3 | 3, 3, 0, 0, 0]), Some(2880));
        assert_eq!(opus(&[1 << 3 | 3, 0]), None);
        assert_eq!(opus(&[3 << 3 | 3, 48]), None);
        assert_eq!(opus(&[1 << 3 | 3]), None);
    }
}
