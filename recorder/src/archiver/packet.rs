//! Reads captured RTP packets. What a party sends is hostile until proven otherwise.

use bytes::Bytes;
use rtp::packet::Packet;
use webrtc_util::marshal::Unmarshal;

/// Parses an RTP packet (RFC 3550, section 5.1); its header extension is left out, nothing here needs it. None
/// when it is not one.
pub fn parse(bytes: &[u8]) -> Option<Packet> {
    let (first, _) = bytes.split_first()?;
    if first >> 6 != 2 {
        return None;
    }
    let fixed = 12 + 4 * usize::from(first & 0x0F);
    if first & 0x10 == 0 {
        return Packet::unmarshal(&mut Bytes::copy_from_slice(bytes)).ok();
    }
    // `rtp` walks the extension's elements beyond their end and panics there: it never sees one.
    let (head, rest) = bytes.split_at_checked(fixed)?;
    let (profile, rest) = rest.split_first_chunk::<4>()?;
    let [_, _, high, low] = *profile;
    let payload = rest.get(4 * usize::from(u16::from_be_bytes([high, low]))..)?;
    let mut plain = [head, payload].concat();
    *plain.first_mut()? &= !0x10;
    Packet::unmarshal(&mut Bytes::from(plain)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: [u8; 12] = [0x80, 8, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4];

    #[test]
    fn a_header_extension_is_stepped_over() {
        let mut packet = HEAD.to_vec();
        packet[0] |= 0x10;
        packet.extend([0xBE, 0xDE, 0, 1, 0xF0, 0xFF, 0xFF, 0xFF, 7, 8, 9]);
        let parsed = parse(&packet).unwrap();
        assert_eq!(parsed.payload[..], [7, 8, 9]);
        assert_eq!((parsed.header.payload_type, parsed.header.ssrc), (8, 0x0102_0304));
        // An element that reaches beyond the extension.
        packet[16] = 0x1F;
        assert_eq!(parse(&packet).unwrap().payload[..], [7, 8, 9]);
        // An extension that reaches beyond the packet.
        packet[15] = 9;
        assert!(parse(&packet).is_none());
    }

    #[test]
    fn padding_is_not_payload() {
        let mut packet = HEAD.to_vec();
        packet[0] |= 0x20;
        packet.extend([1, 2, 0, 0, 3]);
        assert_eq!(parse(&packet).unwrap().payload[..], [1, 2]);
        *packet.last_mut().unwrap() = 9;
        assert!(parse(&packet).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), version: bool) {
            if let Some(first) = bytes.first_mut().filter(|_| version) {
                *first = (*first & 0x3F) | 0x80;
            }
            parse(&bytes);
        }
    }
}
