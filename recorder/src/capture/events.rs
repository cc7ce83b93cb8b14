//! DTMF never reaches the disk: which packets may hold an event (RFC 4733), and how it is taken out of them.
//!
//! What stays is what the archiver needs to silence the tone beside it: that there was an event, how long it lasted, and
//! whether it is over. Pure; used by capture for every packet before it is written.

use crate::label::Codec;

/// Overwrites an event's code: none that RFC 4733 registers.
const NO_EVENT: u8 = 0xFF;
/// Everything of an event's second byte but its end bit: the volume.
const VOLUME: u8 = 0x7F;
/// Bytes of RTP's fixed header (RFC 3550, section 5.1).
const FIXED: usize = 12;
/// Bytes of one event.
const EVENT: usize = 4;
/// The first payload type that means nothing without a label (RFC 3551, section 6).
const DYNAMIC: u8 = 96;

/// What a side's payload types were said to be, by all labels so far: one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Types {
    events: u128,
    /// Redundancy (RFC 2198): events may lie inside it.
    redundant: u128,
    known: u128,
}

impl Types {
    /// Adds what a label says.
    pub fn learn(&mut self, codecs: &[Codec]) {
        for codec in codecs.iter().filter(|c| c.payload_type < 128) {
            let bit = 1_u128 << codec.payload_type;
            self.known |= bit;
            if codec.name.eq_ignore_ascii_case("telephone-event") || codec.name.eq_ignore_ascii_case("tone") {
                self.events |= bit;
            } else if codec.name.eq_ignore_ascii_case("red") {
                self.redundant |= bit;
            }
        }
    }

    /// Takes events out of an RTP packet in place. True: there was one, or may have been.
    pub fn mask(&self, rtp: &mut [u8]) -> bool {
        let Some(payload_type) = rtp.get(1).map(|b| b & 0x7F) else { return false };
        let bit = 1_u128 << payload_type;
        let (event, redundant) = (self.events & bit != 0, self.redundant & bit != 0);
        let unknown = payload_type >= DYNAMIC && self.known & bit == 0;
        if !(event || redundant || unknown) {
            return false;
        }
        let padding =
            rtp.first().filter(|b| **b & 0x20 != 0).and_then(|_| rtp.last()).map_or(0, |n| usize::from(*n));
        let Some(payload) = payload(rtp) else {
            // An event may lie anywhere behind a header that cannot be stepped over.
            rtp.get_mut(FIXED..).unwrap_or_default().fill(NO_EVENT);
            return true;
        };
        if redundant {
            payload.fill(0);
            return true;
        }
        // What no label knows and has the shape of an event is taken for one: rather too much is taken out.
        if !event && ![payload.len(), payload.len().saturating_sub(padding)].contains(&EVENT) {
            return false;
        }
        for event in payload.chunks_mut(EVENT) {
            if let [code, flags, ..] = event {
                (*code, *flags) = (NO_EVENT, *flags & !VOLUME);
            } else {
                event.fill(NO_EVENT);
            }
        }
        true
    }
}

/// What follows the header, its contributors and its extension (RFC 3550, section 5.1). A packet whose header
/// reaches beyond it has none.
fn payload(rtp: &mut [u8]) -> Option<&mut [u8]> {
    let first = *rtp.first()?;
    let mut start = FIXED + 4 * usize::from(first & 0x0F);
    if first & 0x10 != 0 {
        let length = rtp.get(start + 2..start + 4)?;
        start += 4 + 4 * usize::from(u16::from_be_bytes(*length.first_chunk()?));
    }
    rtp.get_mut(start..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec(payload_type: u8, name: &str) -> Codec {
        Codec { payload_type, name: name.into(), clock_rate: 8000, channels: 1 }
    }

    /// An RTP packet with a contributor and an extension.
    fn packet(payload_type: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x91, payload_type | 0x80, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4, 9, 9, 9, 9];
        packet.extend([0xBE, 0xDE, 0, 1, 7, 7, 7, 7]);
        packet.extend(payload);
        packet
    }

    #[test]
    fn the_digit_and_its_volume_are_gone_and_the_length_stays() {
        let mut types = Types::default();
        types.learn(&[codec(8, "PCMA"), codec(101, "telephone-event"), codec(63, "red"), codec(98, "opus")]);
        let mut event = packet(101, &[5, 0x8A, 3, 0x20]);
        assert!(types.mask(&mut event));
        assert_eq!(event, packet(101, &[0xFF, 0x80, 3, 0x20]));
        let mut several = packet(101, &[5, 10, 3, 0x20, 6, 10, 0, 1, 7]);
        assert!(types.mask(&mut several));
        assert_eq!(several, packet(101, &[0xFF, 0, 3, 0x20, 0xFF, 0, 0, 1, 0xFF]));
        let mut redundant = packet(63, &[101, 5, 10, 3, 0x20]);
        assert!(types.mask(&mut redundant));
        assert_eq!(redundant, packet(63, &[0; 5]));
        for speech in [packet(8, &[5, 10, 3, 4]), packet(98, &[5, 10, 3, 4]), packet(100, &[5; 20])] {
            let mut same = speech.clone();
            assert!(!types.mask(&mut same));
            assert_eq!(same, speech);
        }
        // No label knows it: it may be one.
        assert!(types.mask(&mut packet(100, &[5, 10, 3, 4])));
    }

    #[test]
    fn a_header_that_reaches_beyond_the_packet_is_no_harm() {
        let mut types = Types::default();
        types.learn(&[codec(101, "telephone-event")]);
        for length in 0..24 {
            let mut cut = packet(101, &[]);
            cut.truncate(length);
            types.mask(&mut cut);
        }
    }

    #[test]
    fn neither_a_lying_header_nor_padding_hides_a_digit() {
        let mut types = Types::default();
        types.learn(&[codec(101, "telephone-event")]);
        let mut lying = packet(101, &[5, 10, 3, 0x20]);
        lying[19] = 9;
        assert!(types.mask(&mut lying));
        assert!(lying[12..].iter().all(|b| *b == NO_EVENT), "{lying:?}");
        // No label knows 100; four bytes of padding follow.
        let mut padded = packet(100, &[5, 10, 3, 0x20, 0, 0, 0, 4]);
        padded[0] |= 0x20;
        assert!(types.mask(&mut padded));
        assert!(padded[24] == NO_EVENT && padded.last() == Some(&4));
    }
}
