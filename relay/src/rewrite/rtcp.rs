//! RTCP towards the other party, rewritten to match the RTP that it saw. An allow-list: sender and receiver reports,
//! a random CNAME in place of every description, BYE without its reason, the extended reports of RFC 3611, and the
//! feedback of RFC 4585 and 5104. Everything else (APP, unknown types) is left out.
//!
//! RFC 3550, section 6; the checks of its appendix A.2. In place: what is written never passes what is still to be
//! read, but for the SDES at the end, for which the caller leaves [`SDES`] bytes of room behind the packet.

mod bytes;
mod extended;
mod feedback;
mod report;

use super::{Guise, Mask};
use crate::drop_reason::DropReason;
use bytes::{half, keep, put, word};

/// Bytes of an SDES packet with one chunk: header, SSRC, CNAME item with 16 characters, terminator.
pub const SDES: usize = 4 + CHUNK;

const CHUNK: usize = 24;
/// Sources of one compound that are described.
const DESCRIBED: usize = 4;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
const EXTENDED_REPORT: u8 = 207;

/// What is left of one packet: the low five bits of its first byte (a count or a format), and its length, a multiple
/// of four.
struct Kept {
    count: u8,
    length: usize,
}

/// One packet's outcome; none if nothing of it may pass.
type Outcome = Result<Option<Kept>, DropReason>;

/// Rewrites the compound packet in `buffer[..length]`, which came from the leg that `sent` masks; its report blocks
/// speak of the RTP that `heard` masks (the other direction). Returns the new length.
pub fn rewrite(buffer: &mut [u8], length: usize, sent: &mut Mask, heard: &Mask) -> Result<usize, DropReason> {
    let malformed = DropReason::MalformedRtcp;
    check(buffer.get(..length).ok_or(malformed)?)?;
    let mut parties = Parties { sent, heard };
    let (mut read, mut write) = (0, 0);
    let mut described = [None; DESCRIBED];
    while read < length {
        let rest = buffer.get_mut(read..length).ok_or(malformed)?;
        let [first, kind, ..] = *rest else { return Err(malformed) };
        let size = size(rest).ok_or(malformed)?;
        let packet = rest.get_mut(..size - padding(rest, size)).ok_or(malformed)?;
        let kept = match kind {
            SENDER_REPORT => report::sender(packet, &mut parties)?,
            RECEIVER_REPORT => report::receiver(packet, &mut parties)?,
            SOURCE_DESCRIPTION => {
                describe(packet, first & 0x1f, &mut parties, &mut described)?;
                None
            }
            GOODBYE => goodbye(packet, &parties)?,
            TRANSPORT_FEEDBACK => feedback::transport(packet, &mut parties)?,
            PAYLOAD_FEEDBACK => feedback::payload(packet, &mut parties)?,
            EXTENDED_REPORT => extended::report(packet, &mut parties)?,
            _ => None,
        };
        if let Some(Kept { count, length }) = kept {
            let [high, low] = u16::try_from(length / 4 - 1).map_err(|_| malformed)?.to_be_bytes();
            packet.first_chunk_mut().map(|h| *h = [0x80 | count & 0x1f, kind, high, low]).ok_or(malformed)?;
            buffer.copy_within(read..read + length, write);
            write += length;
        }
        read += size;
    }
    if write == 0 {
        return Err(DropReason::EmptyRtcp);
    }
    let room = buffer.len().min(length + SDES);
    Ok(write + names(buffer.get_mut(write..room), &described, parties.sent.cname()))
}

/// The validity checks of RFC 3550, appendix A.2, but that a compound may begin with any packet (RFC 5506).
pub(crate) fn check(mut rest: &[u8]) -> Result<(), DropReason> {
    while !rest.is_empty() {
        let [first, ..] = *rest else { return Err(DropReason::MalformedRtcp) };
        let size = size(rest).ok_or(DropReason::MalformedRtcp)?;
        let (packet, after) = rest.split_at_checked(size).ok_or(DropReason::MalformedRtcp)?;
        let padding = padding(packet, size);
        let padded = first & 0x20 != 0;
        // Only the last packet may be padded, by a multiple of four that leaves the header.
        if first >> 6 != 2
            || (padded
                && (!after.is_empty() || padding == 0 || !padding.is_multiple_of(4) || padding > size - 4))
        {
            return Err(DropReason::MalformedRtcp);
        }
        rest = after;
    }
    Ok(())
}

/// Bytes of the packet at the start of `rest`, its header included.
fn size(rest: &[u8]) -> Option<usize> {
    Some((usize::from(half(rest, 2)?) + 1) * 4)
}

/// Bytes of padding in a packet of `size` bytes at the start of `rest`.
fn padding(rest: &[u8], size: usize) -> usize {
    let padded = rest.first().is_some_and(|first| first & 0x20 != 0);
    if padded { rest.get(size - 1).copied().map_or(0, usize::from) } else { 0 }
}

/// Who speaks in a compound, and who is spoken of.
struct Parties<'a> {
    sent: &'a mut Mask,
    heard: &'a Mask,
}

impl Parties<'_> {
    /// The SSRC that the sender of an RTCP packet is shown as. None for one that the other direction shows: our own
    /// RTCP reflected, which would go round for ever between two that reflect.
    fn sender(&mut self, ssrc: u32) -> Option<u32> {
        if let Some(guise) = self.sent.of_source(ssrc) {
            return Some(guise.shown);
        }
        if self.heard.shows(ssrc) {
            return None;
        }
        // It has sent no RTP: it reports under what will be shown once it does.
        self.sent.reporter = Some(ssrc);
        Some(self.sent.shown)
    }

    /// The other party's source behind an SSRC that this one speaks of.
    fn media(&self, shown: u32) -> Option<Guise> {
        self.heard.of_shown(shown)
    }

    /// As [`Self::media`], when the packet with the shown number `sequence` was.
    fn media_at(&self, shown: u32, sequence: u16) -> Option<Guise> {
        self.heard.of_shown_at(shown, sequence)
    }

    /// The other party's own SSRC behind one that this one speaks of, also if it sends no RTP.
    fn party(&self, shown: u32) -> Option<u32> {
        let silent = if shown == self.heard.shown { self.heard.reporter } else { None };
        self.media(shown).map(|g| g.source).or(silent)
    }
}

/// Takes note of which sources an SDES describes (RFC 3550, section 6.5); of what it says of them nothing is kept.
fn describe(
    packet: &[u8],
    chunks: u8,
    parties: &mut Parties,
    described: &mut [Option<u32>; DESCRIBED],
) -> Result<(), DropReason> {
    let malformed = DropReason::MalformedRtcp;
    let mut at = 4;
    for _ in 0..chunks {
        let source = word(packet, at).ok_or(malformed)?;
        at += 4;
        while *packet.get(at).ok_or(malformed)? != 0 {
            at += 2 + usize::from(*packet.get(at + 1).ok_or(malformed)?);
        }
        // A list of items ends with at least one zero, and with a whole word.
        at = (at + 1).next_multiple_of(4);
        if at > packet.len() {
            return Err(malformed);
        }
        let shown = parties.sender(source);
        if shown.is_some()
            && !described.contains(&shown)
            && let Some(place) = described.iter_mut().find(|d| d.is_none())
        {
            *place = shown;
        }
    }
    Ok(())
}

/// Writes one SDES with the random name for each described source, as many as there is room for. Returns its length.
fn names(room: Option<&mut [u8]>, described: &[Option<u32>; DESCRIBED], cname: &[u8; 16]) -> usize {
    let Some((header, room)) = room.and_then(|r| r.split_first_chunk_mut::<4>()) else { return 0 };
    let mut written = 0_u8;
    for (chunk, shown) in room.chunks_exact_mut(CHUNK).zip(described.iter().flatten()) {
        let item = [1, 16];
        let bytes = shown.to_be_bytes().into_iter().chain(item).chain(*cname).chain([0; 2]);
        chunk.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
        written += 1;
    }
    if written == 0 {
        return 0;
    }
    *header = [0x80 | written, SOURCE_DESCRIPTION, 0, written * 6];
    4 + usize::from(written) * CHUNK
}

/// BYE (RFC 3550, section 6.6): of its sources those that are known and not gone on with under another SSRC; no reason.
fn goodbye(packet: &mut [u8], parties: &Parties) -> Outcome {
    let count = usize::from(packet.first().map_or(0, |first| first & 0x1f));
    let sources = packet.get_mut(..4 + count * 4).ok_or(DropReason::MalformedRtcp)?;
    let end = keep(sources, 4, 4, |source| {
        let shown = word(source, 0).and_then(|s| parties.sent.leaves(s));
        shown.is_some_and(|shown| put(source, 0, shown))
    });
    Ok(kept_items(end, 4, 4))
}

/// A packet whose items of `size` bytes begin at `from` and now end at `end`; none if none are left.
fn kept_items(end: usize, from: usize, size: usize) -> Option<Kept> {
    let count = u8::try_from((end - from) / size).unwrap_or(0);
    (count > 0).then_some(Kept { count, length: end })
}

#[cfg(test)]
#[path = "rtcp/rtcp_tests.rs"]
mod tests;
