//! Feedback: of the transport layer (generic NACK of RFC 4585, bit rate limits of RFC 5104, transport-wide congestion
//! control), and about payloads (picture loss and its kin, full intra requests, receiver's estimated bit rate).

use super::bytes::{clear, half, keep, put, put_half, word};
use super::{Kept, Outcome, Parties};
use crate::drop_reason::DropReason;

/// Header, sender's SSRC, media source's SSRC (RFC 4585, section 6.1).
const HEADER: usize = 12;

const NACK: u8 = 1;
const RATE_REQUEST: u8 = 3;
const RATE_NOTICE: u8 = 4;
const CONGESTION: u8 = 15;

const PICTURE_LOSS: u8 = 1;
const SLICE_LOSS: u8 = 2;
const REFERENCE_PICTURE: u8 = 3;
const FULL_INTRA: u8 = 4;
const APPLICATION: u8 = 15;

/// Transport layer feedback (RFC 4585, section 6.2).
pub(super) fn transport(packet: &mut [u8], parties: &mut Parties) -> Outcome {
    let (format, sender, media) = head(packet)?;
    let end = match format {
        NACK => nack(packet, parties, media),
        // RFC 5104, section 4.2.1: whose rate is to be limited.
        RATE_REQUEST => entries(packet, parties).filter(|end| *end > HEADER),
        // Section 4.2.2: who asked for it; an empty list says that no limit is left.
        RATE_NOTICE => entries(packet, parties),
        // draft-holmer-rmcat-transport-wide-cc-extensions-01, section 3.1: counts in a header extension, which passes
        // as it is where it passes at all.
        CONGESTION if packet.len() >= HEADER + 8 => about(packet, parties, media, packet.len()),
        _ => None,
    };
    Ok(kept(packet, parties, sender, format, end))
}

/// Payload-specific feedback (RFC 4585, section 6.3).
pub(super) fn payload(packet: &mut [u8], parties: &mut Parties) -> Outcome {
    let (format, sender, media) = head(packet)?;
    let end = match format {
        PICTURE_LOSS => about(packet, parties, media, HEADER),
        SLICE_LOSS | REFERENCE_PICTURE if packet.len() > HEADER => {
            about(packet, parties, media, packet.len())
        }
        FULL_INTRA => {
            // RFC 5104, section 4.3.1.1: three bytes behind the sequence number are reserved.
            (HEADER..packet.len()).step_by(8).for_each(|at| clear(packet, at + 5..at + 8));
            entries(packet, parties).filter(|end| *end > HEADER)
        }
        APPLICATION => estimate(packet, parties),
        _ => None,
    };
    Ok(kept(packet, parties, sender, format, end))
}

/// Format, sender and media source of feedback.
fn head(packet: &[u8]) -> Result<(u8, u32, u32), DropReason> {
    let malformed = DropReason::MalformedRtcp;
    let first = packet.first().ok_or(malformed)?;
    Ok((first & 0x1f, word(packet, 4).ok_or(malformed)?, word(packet, 8).ok_or(malformed)?))
}

/// The packet up to `end`, from the sender as it is shown.
fn kept(
    packet: &mut [u8],
    parties: &mut Parties,
    sender: u32,
    format: u8,
    end: Option<usize>,
) -> Option<Kept> {
    let (length, shown) = (end?, parties.sender(sender)?);
    put(packet, 4, shown).then_some(Kept { count: format, length })
}

/// Feedback about a known media source, of which `length` bytes are kept.
fn about(packet: &mut [u8], parties: &Parties, media: u32, length: usize) -> Option<usize> {
    let guise = parties.media(media)?;
    put(packet, 8, guise.source).then_some(length)
}

/// Lost packets (RFC 4585, section 6.2.1), each entry a number and sixteen that follow it. Those of an SSRC that the
/// source has left meanwhile can no longer be asked for together with those of the new one: the first entry decides.
fn nack(packet: &mut [u8], parties: &Parties, media: u32) -> Option<usize> {
    let guise = parties.media_at(media, half(packet, HEADER)?)?;
    let end = keep(packet, HEADER, 4, |entry| {
        let lost = half(entry, 0).filter(|lost| parties.media_at(media, *lost) == Some(guise));
        lost.is_some_and(|lost| put_half(entry, 0, guise.came(lost)))
    });
    (end > HEADER && put(packet, 8, guise.source)).then_some(end)
}

/// Entries of eight bytes that begin with an SSRC; the media source's own field is not used (RFC 5104, section 4.2.1.2).
fn entries(packet: &mut [u8], parties: &Parties) -> Option<usize> {
    let end = keep(packet, HEADER, 8, |entry| {
        word(entry, 0).and_then(|shown| parties.party(shown)).is_some_and(|ssrc| put(entry, 0, ssrc))
    });
    put(packet, 8, 0).then_some(end)
}

/// Receiver's estimated maximum bit rate (draft-alvestrand-rmcat-remb-03, section 2.2), the one application feedback
/// that is known: name, number of SSRCs, bit rate, SSRCs.
fn estimate(packet: &mut [u8], parties: &Parties) -> Option<usize> {
    const SOURCES: usize = HEADER + 8;
    if packet.get(HEADER..HEADER + 4)? != b"REMB" {
        return None;
    }
    let count = usize::from(*packet.get(HEADER + 4)?);
    let sources = packet.get_mut(..SOURCES + count * 4)?;
    let end = keep(sources, SOURCES, 4, |source| {
        word(source, 0).and_then(|s| parties.media(s)).is_some_and(|guise| put(source, 0, guise.source))
    });
    *packet.get_mut(HEADER + 4)? = u8::try_from((end - SOURCES) / 4).ok()?;
    (end > SOURCES && put(packet, 8, 0)).then_some(end)
}
