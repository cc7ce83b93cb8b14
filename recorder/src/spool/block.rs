//! Writes pcapng blocks. Pure: bytes into a buffer.

use bytes::{BufMut, BytesMut};

use super::{Event, Side};

/// Block types and option codes of pcapng that a spool uses.
pub(super) mod code {
    pub const SECTION: u32 = 0x0A0D_0D0A;
    pub const INTERFACE: u32 = 1;
    pub const PACKET: u32 = 6;
    pub const JOURNAL: u32 = 9;
    pub const BYTE_ORDER: u32 = 0x1A2B_3C4D;
    pub const LINKTYPE_IPV4: u16 = 228;
    pub const SHB_USERAPPL: u16 = 4;
    pub const IF_NAME: u16 = 2;
    pub const IF_TSRESOL: u16 = 9;
    pub const EPB_FLAGS: u16 = 2;
    pub const EPB_DROPCOUNT: u16 = 4;
    pub const EPB_PACKETID: u16 = 5;
}

/// Bytes of the IPv4 and UDP headers before each RTP packet.
pub(super) const WRAPPING: usize = 28;
/// RTP's registered port, for the first stream.
pub(super) const FIRST_PORT: u16 = 5004;

/// A captured packet without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Who sent it.
    pub side: Side,
    /// Index of its stream (m-line), from 0.
    pub stream: u8,
    /// Arrival at the relay, nanoseconds since 1970 (UTC).
    pub at_ns: u64,
    /// The tap's position, increasing within a spool.
    pub position: u64,
    /// Packets of this side that the tap lost since the one before.
    pub dropped: u64,
}

/// Writes what every spool starts with.
pub fn header(out: &mut BytesMut) {
    block(out, code::SECTION, |b| {
        b.put_u32_le(code::BYTE_ORDER);
        b.put_u16_le(1);
        b.put_u16_le(0);
        b.put_i64_le(-1);
        option(b, code::SHB_USERAPPL, concat!("bauta-recorder ", env!("CARGO_PKG_VERSION")).as_bytes());
        option(b, 0, &[]);
    });
    for side in Side::BOTH {
        block(out, code::INTERFACE, |b| {
            b.put_u16_le(code::LINKTYPE_IPV4);
            b.put_u16_le(0);
            b.put_u32_le(0);
            option(b, code::IF_NAME, side.name().as_bytes());
            option(b, code::IF_TSRESOL, &[9]);
            option(b, 0, &[]);
        });
    }
}

/// Writes a packet: `rtp` as it arrived.
pub fn write_packet(out: &mut BytesMut, packet: &Packet, rtp: &[u8]) {
    block(out, code::PACKET, |b| {
        let length = WRAPPING + rtp.len();
        b.put_u32_le(packet.side as u32);
        b.put_u32_le(high(packet.at_ns));
        b.put_u32_le(low(packet.at_ns));
        b.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
        b.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
        wrapping(b, packet, u16::try_from(length).unwrap_or(u16::MAX));
        b.put_slice(rtp);
        pad(b, rtp.len());
        // Direction: inbound.
        option(b, code::EPB_FLAGS, &1_u32.to_le_bytes());
        if packet.dropped > 0 {
            option(b, code::EPB_DROPCOUNT, &packet.dropped.to_le_bytes());
        }
        option(b, code::EPB_PACKETID, &packet.position.to_le_bytes());
        option(b, 0, &[]);
    });
}

/// Writes an event.
pub fn write_event(out: &mut BytesMut, event: &Event) {
    let text = event.to_text();
    block(out, code::JOURNAL, |b| {
        b.put_slice(text.as_bytes());
        pad(b, text.len());
    });
}

/// Writes type, length, body, length.
fn block(out: &mut BytesMut, kind: u32, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32_le(kind);
    out.put_u32_le(0);
    body(out);
    let length = u32::try_from(out.len() - start + 4).unwrap_or(u32::MAX);
    out.put_u32_le(length);
    if let Some(field) = out.get_mut(start + 4..start + 8) {
        field.copy_from_slice(&length.to_le_bytes());
    }
}

fn option(out: &mut BytesMut, code: u16, value: &[u8]) {
    out.put_u16_le(code);
    out.put_u16_le(u16::try_from(value.len()).unwrap_or(0));
    out.put_slice(value);
    pad(out, value.len());
}

/// Pads what has `length` bytes to 32 bits.
fn pad(out: &mut BytesMut, length: usize) {
    out.put_bytes(0, length.next_multiple_of(4) - length);
}

/// IPv4 (RFC 791) and UDP (RFC 768) headers. UDP's checksum is left out, as IPv4 allows.
fn wrapping(out: &mut BytesMut, packet: &Packet, length: u16) {
    let (from, to) = match packet.side {
        Side::Caller => (1, 2),
        Side::Callee => (2, 1),
    };
    let mut words = [0x4500, length, 0, 0x4000, 0x4011, 0, 0xC000, 0x0200 + from, 0xC000, 0x0200 + to];
    let sum: u32 = words.iter().map(|w| u32::from(*w)).sum();
    let folded = (sum & 0xFFFF) + (sum >> 16);
    if let Some(checksum) = words.get_mut(5) {
        *checksum = !u16::try_from((folded & 0xFFFF) + (folded >> 16)).unwrap_or(0);
    }
    let port = FIRST_PORT + 2 * u16::from(packet.stream);
    words.into_iter().chain([port, port, length.saturating_sub(20), 0]).for_each(|w| out.put_u16(w));
}

fn high(ns: u64) -> u32 {
    u32::try_from(ns >> 32).unwrap_or(u32::MAX)
}

fn low(ns: u64) -> u32 {
    u32::try_from(ns & 0xFFFF_FFFF).unwrap_or(u32::MAX)
}
