//! What an RTP header carries beside its fixed fields: contributing sources, header extension, padding. All of them
//! can name people or devices, so what nobody negotiated is taken out. Pure.

use crate::packet::RTP_HEADER;
use crate::program::message::Extensions;

/// One-byte elements (RFC 8285, section 4.2).
const ONE_BYTE: u16 = 0xbede;
/// Two-byte elements (section 4.3); the low four bits are for the application, and go.
const TWO_BYTES: u16 = 0x1000;

/// Takes contributing sources, padding and all extension elements but `allowed` out of a packet; the payload moves up.
/// Returns the new length; none if the header is not whole.
#[cold]
pub(super) fn strip(packet: &mut [u8], allowed: Extensions) -> Option<usize> {
    let first = *packet.first()?;
    let mut body = RTP_HEADER + usize::from(first & 0x0f) * 4;
    let mut write = RTP_HEADER;
    if first & 0x10 != 0 {
        let (profile, words) = (half(packet, body)?, half(packet, body + 2)?);
        let (start, end) = (body + 4, body + 4 + usize::from(words) * 4);
        if end > packet.len() {
            return None;
        }
        let form = if profile & 0xfff0 == TWO_BYTES { TWO_BYTES } else { profile };
        if let Some(length) = elements(packet, start..end, form, allowed) {
            let ([a, b], [c, d]) = (form.to_be_bytes(), u16::try_from(length / 4).ok()?.to_be_bytes());
            packet.get_mut(write..write + 4)?.copy_from_slice(&[a, b, c, d]);
            write += 4 + length;
        }
        body = end;
    }
    let padding = if first & 0x20 == 0 { 0 } else { usize::from(*packet.last()?) };
    let end = packet.len().checked_sub(padding).filter(|end| *end >= body)?;
    packet.copy_within(body..end, write);
    let extended = if write > RTP_HEADER { 0x10 } else { 0 };
    *packet.first_mut()? = 0x80 | extended;
    Some(write + end - body)
}

/// Closes up the allowed elements of the block at `block`, four bytes behind the fixed header, and pads them to whole
/// words. Returns their length; none if nothing is left, or the block is malformed or of another form.
fn elements(
    packet: &mut [u8],
    block: std::ops::Range<usize>,
    form: u16,
    allowed: Extensions,
) -> Option<usize> {
    const START: usize = RTP_HEADER + 4;
    let (mut read, mut write) = (block.start, START);
    while read < block.end {
        let head = *packet.get(read)?;
        // The id 0 is one byte of padding, in both forms.
        if head == 0 {
            read += 1;
            continue;
        }
        let (id, length) = match form {
            // An element 0 with a length, or 15, ends the block: what came before counts (section 4.2).
            ONE_BYTE if matches!(head >> 4, 0 | 15) => break,
            ONE_BYTE => (head >> 4, 2 + usize::from(head & 0x0f)),
            TWO_BYTES => (head, 2 + usize::from(*packet.get(read + 1)?)),
            _ => return None,
        };
        let end = read + length;
        if end > block.end {
            return None;
        }
        if allowed.contains(id) {
            packet.copy_within(read..end, write);
            write += length;
        }
        read = end;
    }
    let padded = write.next_multiple_of(4);
    packet.get_mut(write..padded)?.fill(0);
    (padded > START).then_some(padded - START)
}

fn half(packet: &[u8], at: usize) -> Option<u16> {
    packet.get(at..)?.first_chunk().map(|b| u16::from_be_bytes(*b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtp::packet::Packet as Oracle;
    use webrtc_util::marshal::Unmarshal;

    use super::*;
    use crate::packet::Packet;

    const FIXED: [u8; 11] = [8, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];

    fn allowed(ids: &[u8]) -> Extensions {
        ids.iter().fold(Extensions::NONE, |set, id| set.with(*id))
    }

    /// A packet with this first byte and these bytes behind the fixed header.
    fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
        [&[first], &FIXED[..], rest].concat()
    }

    fn stripped(mut bytes: Vec<u8>, allowed: Extensions) -> Vec<u8> {
        assert_eq!(Packet::parse(&bytes), Ok(Packet::Rtp { payload_type: 8, ssrc: 3 }));
        let length = strip(&mut bytes, allowed).unwrap();
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn sources_extensions_and_padding_go_and_the_payload_stays() {
        let rest = [b"+4477009", &[0xbe, 0xde, 0, 2][..], b"00001@ho", b"payload", b"stale\x06"].concat();
        assert_eq!(stripped(packet(0xb2, &rest), Extensions::NONE), packet(0x80, b"payload"));
    }

    #[test]
    fn of_an_extension_exactly_the_allowed_elements_stay() {
        let one = |words: u8, block: &[u8]| [&[0xbe, 0xde, 0, words], block, b"voice"].concat();
        let two = |low: u8, words: u8, block: &[u8]| [&[0x10, low, 0, words], block, b"voice"].concat();
        for (what, block, expected) in [
            ("one of two", one(2, &[0x10, 7, 0x32, 1, 2, 3, 0, 0]), Some(one(1, &[0x32, 1, 2, 3][..]))),
            ("padding between", one(2, &[0x10, 7, 0, 0, 0x31, 1, 2, 0]), Some(one(1, &[0x31, 1, 2, 0][..]))),
            ("none", one(1, &[0x10, 7, 0, 0]), None),
            ("an empty block", one(0, &[]), None),
            ("what is behind 15", one(2, &[0x31, 1, 2, 0xf1, 9, 9, 0x30, 5]), Some(one(1, &[0x31, 1, 2, 0]))),
            (
                "what is behind 0 with a length",
                one(1, &[0x30, 5, 0x01, 0x30]),
                Some(one(1, &[0x30, 5, 0, 0])),
            ),
            ("malformed: past the end", one(1, &[0x30, 5, 0x11, 9]), None),
            ("two-byte form", two(0x05, 2, &[3, 1, 5, 0, 1, 2, 9, 9]), Some(two(0, 1, &[3, 1, 5, 0]))),
            ("an element without bytes", two(0, 1, &[3, 0, 1, 0]), Some(two(0, 1, &[3, 0, 0, 0]))),
            ("ids beyond 14", two(0, 1, &[19, 2, 5, 5]), None),
            ("malformed: no length", two(0, 1, &[0, 0, 0, 3]), None),
            ("malformed: past the end", two(0, 1, &[3, 3, 5, 5]), None),
            ("another form", [&[0xab, 0xcd, 0, 1, 0x30, 5, 0, 0], &b"voice"[..]].concat(), None),
        ] {
            let expected = expected.map_or_else(|| packet(0x80, b"voice"), |rest| packet(0x90, &rest));
            assert_eq!(stripped(packet(0x90, &block), allowed(&[3])), expected, "{what}");
        }
    }

    #[test]
    fn headers_that_are_not_whole_do_not_pass() {
        for (first, rest) in [(0x82, &[0; 7][..]), (0x90, &[0; 3]), (0x90, &[0, 0, 0, 2, 9]), (0xa0, &[1, 3])]
        {
            assert_eq!(strip(&mut packet(first, rest), Extensions::NONE), None);
        }
    }

    proptest! {
        /// The `rtp` crate finds in what is left the same payload, the allowed elements in their order, and nothing else.
        #[test]
        fn agrees_with_the_rtp_crate(
            sources in proptest::collection::vec(any::<u32>(), 0..16),
            two_bytes: bool,
            elements in proptest::collection::vec((1..15_u8, proptest::collection::vec(any::<u8>(), 1..17), 0..3_usize), 0..6),
            set: u16,
            payload in proptest::collection::vec(any::<u8>(), 0..40),
            padding in 0..9_u8,
        ) {
            let allowed = (1..15).filter(|id| set >> id & 1 == 1).fold(Extensions::NONE, Extensions::with);
            let mut block = Vec::new();
            for (id, content, zeroes) in &elements {
                let length = u8::try_from(content.len()).unwrap();
                if two_bytes { block.extend([*id, length]) } else { block.push(id << 4 | (length - 1)) }
                block.extend(content);
                block.resize(block.len() + zeroes, 0);
            }
            block.resize(block.len().next_multiple_of(4), 0);
            let form: [u8; 2] = if two_bytes { [0x10, 0] } else { [0xbe, 0xde] };
            let mut rest: Vec<u8> = sources.iter().flat_map(|s| s.to_be_bytes()).collect();
            rest.extend(form);
            rest.extend(u16::try_from(block.len() / 4).unwrap().to_be_bytes());
            rest.extend(&block);
            rest.extend(&payload);
            rest.extend((0..padding).map(|n| if n + 1 == padding { padding } else { 0xee }));
            let first = 0x90 | u8::try_from(sources.len()).unwrap() | if padding > 0 { 0x20 } else { 0 };

            let out = stripped(packet(first, &rest), allowed);
            let read = Oracle::unmarshal(&mut out.as_slice()).unwrap();
            let kept: Vec<(u8, Vec<u8>)> =
                read.header.extensions.iter().map(|e| (e.id, e.payload.to_vec())).collect();
            let expected: Vec<(u8, Vec<u8>)> = elements
                .into_iter()
                .filter(|(id, ..)| allowed.contains(*id))
                .map(|(id, content, _)| (id, content))
                .collect();
            prop_assert_eq!(read.payload.to_vec(), payload);
            prop_assert_eq!((read.header.csrc.len(), read.header.padding), (0, false));
            prop_assert_eq!(read.header.extension, !expected.is_empty());
            prop_assert_eq!(kept, expected);
        }

        /// Any bytes that are RTP stay RTP, no longer than they were; any others do not make it panic.
        #[test]
        fn alien_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), set: u16) {
            let parsed = Packet::parse(&bytes);
            let before = bytes.len();
            let allowed = (1..15).filter(|id| set >> id & 1 == 1).fold(Extensions::NONE, Extensions::with);
            let length = strip(&mut bytes, allowed);
            if let Ok(Packet::Rtp { .. }) = parsed {
                let length = length.unwrap();
                prop_assert!(length <= before);
                prop_assert_eq!(Packet::parse(&bytes[..length]), parsed);
                prop_assert_eq!(bytes[0] & 0x2f, 0, "no padding, no sources");
            }
        }
    }
}
