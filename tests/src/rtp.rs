//! RTP as it was captured: just enough of the header to compare streams.

use crate::capture::Datagram;

/// An RTP packet of a capture (RFC 3550, section 5.1).
#[derive(Debug, Clone)]
pub struct Packet<'a> {
    /// When it was captured, microseconds since 1970.
    pub at: i64,
    /// Payload type.
    pub kind: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Payload.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads `datagram` as RTP; none when it is not, or is RTCP (RFC 5761, section 4).
    pub fn of(datagram: &'a Datagram) -> Option<Self> {
        let bytes = datagram.payload.as_slice();
        let header: &[u8; 12] = bytes.first_chunk()?;
        let csrc = usize::from(header[0] & 0x0f) * 4;
        let kind = header[1] & 0x7f;
        if header[0] & 0xf0 != 0x80 || (64..96).contains(&kind) {
            return None;
        }
        Some(Self {
            at: datagram.at,
            kind,
            sequence: u16::from_be_bytes([header[2], header[3]]),
            timestamp: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            ssrc: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            payload: bytes.get(12 + csrc..)?,
        })
    }
}
