//! A spool as an archive may keep it: without the tones of DTMF, and whole.
//!
//! What a side said while it sent an event is overwritten, since the tone may sound in it; which digit it was, capture has
//! not written to begin with. Damaged bytes are left out, and an event says where.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::BytesMut;

use super::ArchiveError;
use super::survey::Tones;
use crate::spool::{self, Event, EventKind, Item, Origin, Reader};

/// Bytes that are written at once.
const CHUNK: usize = 64 * 1024;

/// Copies `from` to `to`; the payloads of packets under `tones` (caller's, callee's) become zeros.
pub fn scrub<R: Read, W: Write>(
    from: R,
    mut to: W,
    tones: &[Tones; 2],
    stop: &AtomicBool,
) -> Result<W, ArchiveError> {
    let mut reader = Reader::new(from);
    let mut out = BytesMut::with_capacity(2 * CHUNK);
    let mut packet = Vec::new();
    let (mut origin, mut position, mut at_ns) = (Origin { epoch: 0, ring: 0, call: 0 }, 0, 0);
    spool::header(&mut out);
    while let Some(item) = reader.item().map_err(ArchiveError::Damaged)? {
        if stop.load(Relaxed) {
            return Err(ArchiveError::Stopped);
        }
        match item {
            Item::Packet(captured, rtp) => {
                (position, at_ns) = (captured.position, captured.at_ns);
                packet.clear();
                packet.extend_from_slice(rtp);
                if captured.side.of(tones).cover(captured.at_ns) {
                    silence(&mut packet);
                }
                spool::write_packet(&mut out, &captured, &packet);
            }
            Item::Event(event) => {
                (origin, position, at_ns) = (event.origin, event.position, event.at_ns);
                spool::write_event(&mut out, &event);
            }
            Item::Damaged { bytes } => {
                let kind = EventKind::Damaged { bytes };
                let (label, note, continues) = (None, None, None);
                spool::write_event(
                    &mut out,
                    &Event { origin, position, at_ns, kind, label, continues, note },
                );
            }
        }
        if out.len() >= CHUNK {
            to.write_all(&out)?;
            out.clear();
        }
    }
    to.write_all(&out)?;
    Ok(to)
}

/// Overwrites all that follows the RTP header (RFC 3550, section 5.1) with zeros.
fn silence(rtp: &mut [u8]) {
    let contributors = rtp.first().map_or(0, |b| usize::from(b & 0x0F));
    if let Some(payload) = rtp.get_mut(12 + 4 * contributors..) {
        payload.fill(0);
    }
    // What was extension or padding is none any more.
    if let Some(first) = rtp.first_mut() {
        *first &= !0x30;
    }
}
