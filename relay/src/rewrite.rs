//! Privacy rewriting: what leaves towards one party carries none of the other's SSRC, sequence or time-stamp.
//!
//! [`Mask`] belongs to one direction of one stream: RTP from a leg is rewritten in place, same length. [`rtcp`]
//! rewrites what speaks about that RTP to match. Pure.

pub mod rtcp;

use crate::packet::RTP_HEADER;

/// How one source SSRC is shown to the other party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Guise {
    /// The SSRC as it came.
    pub source: u32,
    /// The SSRC as it leaves: random.
    pub shown: u32,
    /// Added to sequence numbers: the first one shown less the first that came. (Modulo 2^16 in RTP; whole where RTCP
    /// counts cycles.)
    pub sequence: i32,
    /// Added to RTP time-stamps, modulo 2^32.
    pub timestamp: u32,
}

/// The disguise of one direction of one stream. A new source SSRC gets a new random guise; the last one is kept, so
/// that packets which arrive late at the change still match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask {
    guises: [Option<Guise>; 2],
    random: u64,
    cname: [u8; 16],
}

impl Mask {
    /// A mask that draws from `seed`, which must be random and used once.
    pub fn new(seed: u64) -> Self {
        let mut mask = Self { guises: [None; 2], random: seed, cname: [0; 16] };
        let [a, b] = [mask.draw(), mask.draw()];
        for (place, nibble) in
            mask.cname.iter_mut().zip((0..16).map(|n| (a ^ b.rotate_left(9)) >> (n * 4) & 0xf))
        {
            *place = b"0123456789abcdef".get(usize::try_from(nibble).unwrap_or(0)).copied().unwrap_or(b'0');
        }
        mask
    }

    /// The guise of a source SSRC that has sent RTP.
    pub fn of_source(&self, source: u32) -> Option<Guise> {
        self.guises.iter().flatten().find(|g| g.source == source).copied()
    }

    /// The guise behind an SSRC that was shown.
    pub fn of_shown(&self, shown: u32) -> Option<Guise> {
        self.guises.iter().flatten().find(|g| g.shown == shown).copied()
    }

    /// The canonical name shown in SDES: random per direction of a call (RFC 7022).
    pub const fn cname(&self) -> &[u8; 16] {
        &self.cname
    }

    /// Rewrites the header of a well-formed RTP packet in place.
    #[inline]
    pub fn rtp(&mut self, packet: &mut [u8]) {
        let Some((header, rest)) = packet.split_first_chunk_mut::<RTP_HEADER>() else { return };
        let [first, _, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = header;
        if *first & 0x3f != 0 {
            blank(*first, rest);
        }
        let source = u32::from_be_bytes([*c0, *c1, *c2, *c3]);
        let sequence = u16::from_be_bytes([*s0, *s1]);
        let guise = match self.guises {
            [Some(current), _] if current.source == source => current,
            _ => self.change(source, sequence),
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "modulo 2^16")]
        let shown = sequence.wrapping_add(guise.sequence as u16);
        [*s0, *s1] = shown.to_be_bytes();
        let timestamp = u32::from_be_bytes([*t0, *t1, *t2, *t3]).wrapping_add(guise.timestamp);
        [*t0, *t1, *t2, *t3] = timestamp.to_be_bytes();
        [*c0, *c1, *c2, *c3] = guise.shown.to_be_bytes();
    }

    #[cold]
    fn change(&mut self, source: u32, first: u16) -> Guise {
        let [current, last] = self.guises;
        let next = last.filter(|g| g.source == source).unwrap_or_else(|| {
            let (a, b) = (self.draw(), self.draw());
            let [c0, c1, c2, c3, t0, t1, t2, t3] = a.to_le_bytes();
            let [s0, s1, ..] = b.to_le_bytes();
            Guise {
                source,
                shown: u32::from_le_bytes([c0, c1, c2, c3]),
                timestamp: u32::from_le_bytes([t0, t1, t2, t3]),
                sequence: i32::from(u16::from_le_bytes([s0, s1])) - i32::from(first),
            }
        });
        self.guises = [Some(next), current];
        next
    }

    /// `SplitMix64`: the seed is from the system's generator, the rest needs no secrecy beyond it.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

/// Blanks what a header can carry beside its fixed fields, without changing its length: contributing sources become
/// 0, a header extension becomes one that holds only padding (RFC 8285, section 4.2), padding becomes zeroes. All of
/// them can name people or devices, and none of them was negotiated.
#[cold]
fn blank(first: u8, rest: &mut [u8]) {
    let Some((sources, rest)) = rest.split_at_mut_checked(usize::from(first & 0x0f) * 4) else { return };
    sources.fill(0);
    let mut body = rest;
    if first & 0x10 != 0 {
        let Some((head, after)) = body.split_first_chunk_mut::<4>() else { return };
        let [profile @ .., high, low] = head;
        *profile = [0xbe, 0xde];
        let words = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((extension, after)) = after.split_at_mut_checked(words * 4) else { return };
        extension.fill(0);
        body = after;
    }
    if first & 0x20 != 0
        && let Some((count, before)) = body.split_last_mut()
        && let Some(start) = (before.len() + 1).checked_sub(usize::from(*count))
        && let Some(padding) = before.get_mut(start..)
    {
        padding.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16, timestamp: u32, ssrc: u32) -> Vec<u8> {
        let mut bytes = vec![0x80, 8];
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(timestamp.to_be_bytes());
        bytes.extend(ssrc.to_be_bytes());
        bytes.extend(b"payload");
        bytes
    }

    fn read(bytes: &[u8]) -> (u16, u32, u32) {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        (u16::from_be_bytes(bytes[2..4].try_into().unwrap()), word(4), word(8))
    }

    fn masked(mask: &mut Mask, sequence: u16, timestamp: u32, ssrc: u32) -> (u16, u32, u32) {
        let mut bytes = packet(sequence, timestamp, ssrc);
        mask.rtp(&mut bytes);
        assert_eq!((&bytes[..2], &bytes[12..]), (&[0x80, 8][..], &b"payload"[..]), "the rest stays");
        read(&bytes)
    }

    #[test]
    fn steps_between_packets_stay_across_the_wrap_and_the_ssrc_is_another() {
        let mut mask = Mask::new(7);
        let (s1, t1, c1) = masked(&mut mask, 65535, u32::MAX - 79, 5);
        let (s2, t2, c2) = masked(&mut mask, 0, 80, 5);
        assert_eq!((s2.wrapping_sub(s1), t2.wrapping_sub(t1), c2), (1, 160, c1));
        assert_ne!(c1, 5);
    }

    #[test]
    fn a_late_packet_of_the_old_ssrc_keeps_its_old_guise() {
        let mut mask = Mask::new(7);
        let before = masked(&mut mask, 1, 160, 5);
        let other = masked(&mut mask, 900, 1, 6);
        assert_ne!(before.2, other.2);
        assert_eq!(masked(&mut mask, 1, 160, 5), before);
        assert_eq!(masked(&mut mask, 900, 1, 6), other);
    }

    #[test]
    fn contributing_sources_extensions_and_padding_are_blanked_and_the_payload_stays() {
        let mut bytes = packet(1, 2, 5);
        bytes[0] = 0x80 | 0x20 | 0x10 | 2;
        let extension =
            [b"+447".to_vec(), b"7009".to_vec(), vec![0x10, 0, 0, 2], b"00001@ho".to_vec()].concat();
        bytes.splice(12..12, extension);
        bytes.extend(b"stale\x06");
        let before = bytes.clone();
        Mask::new(7).rtp(&mut bytes);
        assert_eq!(crate::packet::Packet::parse(&bytes), Ok(crate::packet::Packet::Rtp { payload_type: 8 }));
        let blanked = [&[0; 8][..], &[0xbe, 0xde, 0, 2], &[0; 8], b"payload", &[0, 0, 0, 0, 0, 6]].concat();
        assert_eq!((bytes.len(), &bytes[12..]), (before.len(), &blanked[..]));
    }

    #[test]
    fn masks_of_different_seeds_have_nothing_in_common() {
        let (a, b) = (Mask::new(1), Mask::new(2));
        assert_ne!(a.cname(), b.cname());
        assert!(a.cname().iter().all(u8::is_ascii_hexdigit));
    }
}
