//! From RTP payloads to samples: one decoder per payload type of a side.
//!
//! Pure; used by the archiver, one [`Decoders`] per side of a call. A codec is added as a variant of [`Decoder`].

mod g711;

use crate::label::Codec;

/// Decodes the payloads of one codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoder {
    /// PCMA: G.711 A-law, 8 kHz (RFC 3551, section 4.5.14).
    ALaw,
    /// PCMU: G.711 µ-law, 8 kHz.
    MuLaw,
    /// Carries no speech: comfort noise (RFC 3389) and telephone-event (RFC 4733). Silence.
    Silence,
}

impl Decoder {
    /// The decoder for a codec, by its registered name. None: there is none in this software.
    pub fn for_codec(codec: &Codec) -> Option<Self> {
        let named = |name: &str| codec.name.eq_ignore_ascii_case(name);
        let narrow_mono = codec.clock_rate == crate::timeline::RATE && codec.channels == 1;
        match () {
            () if named("PCMA") && narrow_mono => Some(Self::ALaw),
            () if named("PCMU") && narrow_mono => Some(Self::MuLaw),
            () if named("CN") || named("telephone-event") => Some(Self::Silence),
            () => None,
        }
    }

    /// Decodes `payload` behind what `out` holds: samples at [`crate::timeline::RATE`].
    pub fn decode(self, payload: &[u8], out: &mut Vec<i16>) {
        match self {
            Self::ALaw => out.extend(payload.iter().map(|b| g711::a_law(*b))),
            Self::MuLaw => out.extend(payload.iter().map(|b| g711::mu_law(*b))),
            Self::Silence => {}
        }
    }
}

/// What is known of the payload types of one side.
#[derive(Debug, Default)]
pub struct Decoders {
    /// Everything that any label of the call said, the newest last: a codec may change in mid-call while packets
    /// of the old one are still on their way.
    codecs: Vec<Codec>,
}

impl Decoders {
    /// Adds what a label says.
    pub fn learn(&mut self, codecs: &[Codec]) {
        for codec in codecs {
            self.codecs.retain(|c| c != codec);
            self.codecs.push(codec.clone());
        }
    }

    /// The decoder and clock rate (Hz) of a payload type: as the label says, else by RFC 3551's static table.
    pub fn find(&self, payload_type: u8) -> (Option<Decoder>, u32) {
        if let Some(codec) = self.codecs.iter().rev().find(|c| c.payload_type == payload_type) {
            return (Decoder::for_codec(codec), codec.clock_rate.max(1));
        }
        let decoder = match payload_type {
            0 => Some(Decoder::MuLaw),
            8 => Some(Decoder::ALaw),
            13 => Some(Decoder::Silence),
            _ => None,
        };
        (decoder, 8000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_goes_before_the_static_table() {
        let codec = |payload_type, name: &str, clock_rate| Codec {
            payload_type,
            name: name.into(),
            clock_rate,
            channels: 1,
        };
        let mut decoders = Decoders::default();
        assert_eq!(decoders.find(8), (Some(Decoder::ALaw), 8000));
        assert_eq!(decoders.find(96), (None, 8000));
        decoders.learn(&[
            codec(96, "pcmu", 8000),
            codec(97, "opus", 48000),
            codec(101, "telephone-event", 8000),
        ]);
        assert_eq!(decoders.find(96), (Some(Decoder::MuLaw), 8000));
        assert_eq!(decoders.find(97), (None, 48000));
        assert_eq!(decoders.find(101), (Some(Decoder::Silence), 8000));
        decoders.learn(&[codec(96, "PCMA", 8000)]);
        assert_eq!(decoders.find(96).0, Some(Decoder::ALaw));
        assert_eq!(decoders.find(97).1, 48000);
    }
}
