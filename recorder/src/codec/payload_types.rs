//! What is known of the payload types of one side of a call.

use super::{Content, Format};
use crate::label::Codec;

/// What is known of the payload types of one side.
#[derive(Debug, Default)]
pub struct PayloadTypes {
    /// Everything that any label of the call said, the newest last: a codec may change in mid-call while packets
    /// of the old one are still on their way.
    codecs: Vec<Codec>,
}

/// What is known of one payload type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known<'a> {
    /// What its payloads carry.
    pub content: Content,
    /// Hz of the RTP time-stamps; at least 1.
    pub clock_rate: u32,
    /// The encoding's name, as the label or RFC 3551 writes it; `unknown` where neither names one.
    pub name: &'a str,
}

/// What is known of a payload type of which neither the label nor RFC 3551 says anything.
const UNKNOWN: Known<'static> = Known { content: Content::Undecodable, clock_rate: 8000, name: "unknown" };

impl PayloadTypes {
    /// Adds what a label says.
    pub fn learn(&mut self, codecs: &[Codec]) {
        for codec in codecs {
            self.codecs.retain(|c| c != codec);
            self.codecs.push(codec.clone());
        }
    }

    /// What a payload type carries: as the newest label that names it says, else by RFC 3551's static table.
    pub fn find(&self, payload_type: u8) -> Known<'_> {
        match self.codecs.iter().rev().find(|c| c.payload_type == payload_type) {
            Some(codec) => Known {
                content: content(&codec.name, codec.clock_rate, codec.channels),
                clock_rate: codec.clock_rate.max(1),
                name: &codec.name,
            },
            None => fixed(payload_type),
        }
    }
}

/// The audio of RFC 3551's tables 4 and 5.
fn fixed(payload_type: u8) -> Known<'static> {
    let (name, clock_rate, channels) = match payload_type {
        0 => ("PCMU", 8_000, 1),
        3 => ("GSM", 8_000, 1),
        4 => ("G723", 8_000, 1),
        5 => ("DVI4", 8_000, 1),
        6 => ("DVI4", 16_000, 1),
        7 => ("LPC", 8_000, 1),
        8 => ("PCMA", 8_000, 1),
        9 => ("G722", 8_000, 1),
        10 => ("L16", 44_100, 2),
        11 => ("L16", 44_100, 1),
        12 => ("QCELP", 8_000, 1),
        13 => ("CN", 8_000, 1),
        14 => ("MPA", 90_000, 1),
        15 => ("G728", 8_000, 1),
        16 => ("DVI4", 11_025, 1),
        17 => ("DVI4", 22_050, 1),
        18 => ("G729", 8_000, 1),
        _ => return UNKNOWN,
    };
    Known { content: content(name, clock_rate, channels), clock_rate, name }
}

/// Samples per second of L16 that are taken for sound.
const L16_RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;

/// What an encoding carries, by its registered name.
fn content(name: &str, clock_rate: u32, channels: u8) -> Content {
    let named = |registered: &str| name.eq_ignore_ascii_case(registered);
    let mono = channels == 1;
    let narrow = mono && clock_rate == 8_000;
    match () {
        () if named("PCMA") && narrow => Content::Speech(Format::ALaw),
        () if named("PCMU") && narrow => Content::Speech(Format::MuLaw),
        // Some senders write the sampling rate where the clock rate belongs.
        () if named("G722") && mono => Content::Speech(Format::G722),
        // Annex A is another encoder for the same payloads; the name is not registered, but in use.
        () if (named("G729") || named("G729A")) && narrow => Content::Speech(Format::G729),
        () if named("L16") && L16_RATES.contains(&clock_rate) && (1..=2).contains(&channels) => {
            Content::Speech(Format::L16 { rate: clock_rate, channels })
        }
        () if named("opus") && (1..=2).contains(&channels) => Content::Speech(Format::Opus { channels }),
        () if named("CN") => Content::ComfortNoise,
        () if named("telephone-event") => Content::Event,
        () => Content::Undecodable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec(payload_type: u8, name: &str, clock_rate: u32, channels: u8) -> Codec {
        Codec { payload_type, name: name.into(), clock_rate, channels }
    }

    #[test]
    fn the_label_goes_before_the_static_table_and_the_newest_label_before_the_others() {
        let mut types = PayloadTypes::default();
        assert_eq!(types.find(8).content, Content::Speech(Format::ALaw));
        assert_eq!(types.find(96), UNKNOWN);
        types.learn(&[
            codec(8, "PCMU", 8000, 1),
            codec(96, "pcmu", 8000, 1),
            codec(97, "opus", 48_000, 2),
            codec(101, "telephone-event", 48_000, 1),
        ]);
        assert_eq!(types.find(8).content, Content::Speech(Format::MuLaw));
        assert_eq!(types.find(96).content, Content::Speech(Format::MuLaw));
        assert_eq!(types.find(97).content, Content::Speech(Format::Opus { channels: 2 }));
        let event = Known { content: Content::Event, clock_rate: 48_000, name: "telephone-event" };
        assert_eq!(types.find(101), event);
        types.learn(&[codec(96, "PCMA", 8000, 1)]);
        assert_eq!(types.find(96).content, Content::Speech(Format::ALaw));
        // An old label told again is the newest.
        types.learn(&[codec(96, "pcmu", 8000, 1)]);
        assert_eq!(types.find(96).content, Content::Speech(Format::MuLaw));
    }

    #[test]
    fn static_payload_types_are_those_of_rfc_3551() {
        let types = PayloadTypes::default();
        let known = |payload_type| (types.find(payload_type).content, types.find(payload_type).clock_rate);
        assert_eq!(known(0), (Content::Speech(Format::MuLaw), 8_000));
        assert_eq!(known(8), (Content::Speech(Format::ALaw), 8_000));
        assert_eq!(known(9), (Content::Speech(Format::G722), 8_000));
        let linear = |channels| Content::Speech(Format::L16 { rate: 44_100, channels });
        assert_eq!(known(10), (linear(2), 44_100));
        assert_eq!(known(11), (linear(1), 44_100));
        assert_eq!(known(13), (Content::ComfortNoise, 8_000));
        assert_eq!(known(18), (Content::Speech(Format::G729), 8_000));
        assert_eq!((types.find(3).content, types.find(3).name), (Content::Undecodable, "GSM"));
        assert_eq!(types.find(127).name, "unknown");
    }

    #[test]
    fn what_cannot_be_decoded_is_not_taken_for_something_else() {
        for (name, clock_rate, channels) in [
            ("AMR", 8_000, 1),
            ("AMR-WB", 16_000, 1),
            ("PCMA", 16_000, 1),
            ("PCMU", 8_000, 2),
            ("G722", 8_000, 2),
            ("G7221", 16_000, 1),
            ("G729D", 8_000, 1),
            ("L16", 0, 1),
            ("L16", 48_000, 6),
            ("opus", 48_000, 0),
            ("red", 8_000, 1),
            ("", 0, 0),
        ] {
            let mut types = PayloadTypes::default();
            types.learn(&[codec(96, name, clock_rate, channels)]);
            assert_eq!(types.find(96).content, Content::Undecodable, "{name}/{clock_rate}/{channels}");
            assert!(types.find(96).clock_rate > 0);
        }
    }
}
