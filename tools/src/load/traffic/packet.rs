//! A packet that says which one it is: made for one leg, and recognised wherever it comes out. Pure.
//!
//! A relay may change SSRC, sequence number and time-stamp, so all that names the packet is in its payload.

use super::Codec;

/// Bytes of the longest packet.
pub const LONGEST: usize = HEADER + 160;
const HEADER: usize = 12;
/// Bytes of the payload that name the packet: call, leg, number, and a check of them.
const NAME: usize = 16;

/// Which packet it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// Number of the call.
    pub call: u32,
    /// 0 for what the caller sends, 1 for what the callee does.
    pub leg: u8,
    /// From 0, in order of sending.
    pub number: u32,
}

/// A sender's RTP numbers.
#[derive(Debug, Clone, Copy)]
pub struct Sender {
    pub codec: Codec,
    pub call: u32,
    pub leg: u8,
    pub ssrc: u32,
    /// Of packet 0.
    pub sequence: u16,
    /// Of packet 0.
    pub timestamp: u32,
}

/// What a received packet says beside its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

impl Codec {
    /// The payload type that is offered.
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::G711A => 8,
            Self::G711U => 0,
            Self::Opus => 111,
        }
    }

    /// RTP ticks from one packet to the next.
    pub const fn ticks(self) -> u32 {
        match self {
            Self::G711A | Self::G711U => 160,
            Self::Opus => 960,
        }
    }

    /// Where the name begins: behind what a decoder would look at.
    const fn lead(self) -> usize {
        match self {
            Self::G711A | Self::G711U => 0,
            Self::Opus => 1,
        }
    }

    /// Bytes of the payload of a packet whose [`check`] is this.
    const fn length(self, check: u64) -> usize {
        match self {
            Self::G711A | Self::G711U => 160,
            Self::Opus => 40 + (check % 61) as usize,
        }
    }
}

/// A number that no other packet has, as far as can be told.
const fn check(name: Name) -> u64 {
    // splitmix64
    let mut z = ((name.call as u64) << 33 | (name.leg as u64 & 1) << 32 | name.number as u64)
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Fills `payload` as that of `name`.
fn fill(payload: &mut [u8], codec: Codec, name: Name, check: u64) {
    let (lead, rest) = payload.split_at_mut(codec.lead().min(payload.len()));
    // Opus: SILK, narrow-band, 20 ms, mono, one frame (RFC 6716, section 3.1).
    lead.fill(0x08);
    let pattern = check.to_be_bytes();
    rest.chunks_mut(8).for_each(|chunk| chunk.iter_mut().zip(pattern).for_each(|(byte, p)| *byte = p));
    if let Some(place) = rest.get_mut(..12) {
        let [c0, c1, c2, c3] = name.call.to_be_bytes();
        let [n0, n1, n2, n3] = name.number.to_be_bytes();
        place.copy_from_slice(&[c0, c1, c2, c3, name.leg, b'l', b'o', b'a', n0, n1, n2, n3]);
    }
}

impl Sender {
    /// Writes packet `number`. Gives its length.
    pub fn write(&self, number: u32, buffer: &mut [u8; LONGEST]) -> usize {
        let name = Name { call: self.call, leg: self.leg, number };
        let check = check(name);
        let length = HEADER + self.codec.length(check);
        let marker = if number == 0 { 0x80 } else { 0 };
        #[allow(clippy::cast_possible_truncation, reason = "sequence numbers count modulo 2^16")]
        let [s0, s1] = self.sequence.wrapping_add(number as u16).to_be_bytes();
        let ticks = number.wrapping_mul(self.codec.ticks());
        let [t0, t1, t2, t3] = self.timestamp.wrapping_add(ticks).to_be_bytes();
        let [c0, c1, c2, c3] = self.ssrc.to_be_bytes();
        let (header, payload) = buffer.split_at_mut(HEADER);
        let second = self.codec.payload_type() | marker;
        header.copy_from_slice(&[0x80, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3]);
        fill(payload.get_mut(..length - HEADER).unwrap_or_default(), self.codec, name, check);
        length
    }
}

/// Reads a packet of [`Sender`]; none if any of its bytes is not what was sent, as far as a relay may not change it.
pub fn read(packet: &[u8], codec: Codec) -> Option<(Name, Header)> {
    let (header, payload) = packet.split_first_chunk::<HEADER>()?;
    let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *header;
    if first != 0x80 || second & 0x7f != codec.payload_type() {
        return None;
    }
    let named = payload.get(codec.lead()..)?.first_chunk::<NAME>()?;
    let [a0, a1, a2, a3, leg, _, _, _, n0, n1, n2, n3, ..] = *named;
    let name = Name {
        call: u32::from_be_bytes([a0, a1, a2, a3]),
        leg,
        number: u32::from_be_bytes([n0, n1, n2, n3]),
    };
    let check = check(name);
    let mut expected = [0; LONGEST - HEADER];
    let expected = expected.get_mut(..codec.length(check))?;
    fill(expected, codec, name, check);
    let header = Header {
        sequence: u16::from_be_bytes([s0, s1]),
        timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
        ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
    };
    (payload == expected).then_some((name, header))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Codec; 3] = [Codec::G711A, Codec::G711U, Codec::Opus];

    fn sender(codec: Codec) -> Sender {
        Sender { codec, call: 7, leg: 1, ssrc: 9, sequence: 65_535, timestamp: u32::MAX }
    }

    #[test]
    fn a_packet_names_itself_and_counts_on() {
        for codec in CODECS {
            let mut buffer = [0; LONGEST];
            let length = sender(codec).write(2, &mut buffer);
            let (name, header) = read(&buffer[..length], codec).unwrap();
            assert_eq!(name, Name { call: 7, leg: 1, number: 2 });
            let timestamp = 2 * codec.ticks() - 1;
            assert_eq!(header, Header { sequence: 1, timestamp, ssrc: 9 });
        }
    }

    #[test]
    fn any_byte_that_a_relay_may_not_change_is_noticed() {
        for codec in CODECS {
            let mut buffer = [0; LONGEST];
            let length = sender(codec).write(5, &mut buffer);
            // Sequence number, time-stamp and SSRC are a relay's to choose, and the marker is no part of the payload.
            for at in (0..length).filter(|at| !(2..12).contains(at)) {
                let mut changed = buffer;
                changed[at] ^= 1;
                assert_eq!(read(&changed[..length], codec), None, "byte {at} of {codec:?}");
            }
            assert_eq!(read(&buffer[..length - 1], codec), None);
            assert_eq!(read(&buffer[..8], codec), None);
        }
    }
}
