//! What a datagram is: a borrowed view of RTP's fixed header, or RTCP. Pure; used by the classifier.

use crate::drop_reason::DropReason;

/// Bytes of RTP's fixed header (RFC 3550, section 5.1).
pub const RTP_HEADER: usize = 12;
/// Bytes of the smallest RTCP packet: header and one SSRC.
pub const RTCP_HEADER: usize = 8;

/// A datagram, looked at as far as forwarding needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet {
    /// Well-formed RTP with this payload type (0–127).
    Rtp {
        /// Payload type.
        payload_type: u8,
        /// Synchronisation source.
        ssrc: u32,
    },
    /// Something with an RTCP header; its inside is checked when it is rewritten.
    Rtcp,
    /// A datagram of a stream that is nobody's business: it is not looked at.
    Opaque,
}

impl Packet {
    /// Looks at a datagram. RTP and RTCP on one port are told apart by the second byte: 192–223 is RTCP
    /// (RFC 5761, section 4), so RTP payload types 64–95 are not used with the marker bit.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let [first, second, _, _, _, _, _, _, rest @ ..] = bytes else { return Err(DropReason::Truncated) };
        if first >> 6 != 2 {
            return Err(DropReason::NotRtp);
        }
        if (192..=223).contains(second) {
            return Ok(Self::Rtcp);
        }
        let Some((ssrc, body)) = rest.split_first_chunk::<4>() else { return Err(DropReason::Truncated) };
        let csrc = usize::from(first & 0x0f) * 4;
        let mut body = body.get(csrc..).ok_or(DropReason::Malformed)?;
        if first & 0x10 != 0 {
            let [_, _, high, low, rest @ ..] = body else { return Err(DropReason::Malformed) };
            let words = usize::from(u16::from_be_bytes([*high, *low]));
            body = rest.get(words * 4..).ok_or(DropReason::Malformed)?;
        }
        if first & 0x20 != 0 {
            // The last byte says how much padding there is, itself included.
            let padding = body.last().copied().ok_or(DropReason::Malformed)?;
            if padding == 0 || usize::from(padding) > body.len() {
                return Err(DropReason::Malformed);
            }
        }
        Ok(Self::Rtp { payload_type: second & 0x7f, ssrc: u32::from_be_bytes(*ssrc) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtp::packet::Packet as Oracle;
    use webrtc_util::marshal::Unmarshal;

    use super::*;

    #[test]
    fn each_way_of_being_wrong_has_its_reason() {
        let rtp = |first: u8, rest: &[u8]| [&[first, 8, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3], rest].concat();
        for (bytes, expected) in [
            (vec![], Err(DropReason::Truncated)),
            (vec![0x80, 8, 0, 1, 0, 0, 0, 2], Err(DropReason::Truncated)),
            (vec![0x80, 200, 0, 1, 0, 0, 0], Err(DropReason::Truncated)),
            (vec![0x80, 200, 0, 1, 0, 0, 0, 2], Ok(Packet::Rtcp)),
            (rtp(0x00, &[]), Err(DropReason::NotRtp)),
            (rtp(0x80, &[]), Ok(Packet::Rtp { payload_type: 8, ssrc: 3 })),
            (rtp(0x82, &[0; 7]), Err(DropReason::Malformed)),
            (rtp(0x90, &[0; 3]), Err(DropReason::Malformed)),
            (rtp(0x90, &[0, 0, 0, 2, 9, 9, 9, 9]), Err(DropReason::Malformed)),
            (rtp(0xa0, &[]), Err(DropReason::Malformed)),
            (rtp(0xa0, &[1, 0]), Err(DropReason::Malformed)),
            (rtp(0xa0, &[1, 3]), Err(DropReason::Malformed)),
            (rtp(0xa0, &[1, 2]), Ok(Packet::Rtp { payload_type: 8, ssrc: 3 })),
        ] {
            assert_eq!(Packet::parse(&bytes), expected, "{bytes:02x?}");
        }
    }

    proptest! {
        /// What we call well-formed RTP, the `rtp` crate can read, and it finds the same payload type.
        #[test]
        fn agrees_with_the_rtp_crate(mut bytes in proptest::collection::vec(any::<u8>(), 12..80)) {
            bytes[0] = 0x80 | bytes[0] & 0x3f;
            if let Ok(Packet::Rtp { payload_type, ssrc }) = Packet::parse(&bytes) {
                if let Ok(packet) = Oracle::unmarshal(&mut bytes.as_slice()) {
                    prop_assert_eq!((packet.header.payload_type, packet.header.ssrc), (payload_type, ssrc));
                } else {
                    // It also parses the elements inside RFC 8285 extensions, which are for the rewriting to look into.
                    prop_assert!(bytes[0] & 0x10 != 0);
                }
            }
        }
    }
}
