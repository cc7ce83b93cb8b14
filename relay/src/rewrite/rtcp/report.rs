//! Sender and receiver reports (RFC 3550, sections 6.4.1 and 6.4.2).

use super::bytes::{keep, put, word};
use super::{Kept, Outcome, Parties};
use crate::drop_reason::DropReason;

const BLOCK: usize = 24;

/// A sender report: the RTP time-stamp beside its wall clock is that of the stream as it was shown. One of a source
/// that was never seen is left out.
pub(super) fn sender(packet: &mut [u8], parties: &mut Parties) -> Outcome {
    const BLOCKS: usize = 28;
    let malformed = DropReason::MalformedRtcp;
    let end = blocks(packet, BLOCKS, parties)?;
    let (source, timestamp) = (word(packet, 4).ok_or(malformed)?, word(packet, 16).ok_or(malformed)?);
    let Some(guise) = parties.sent.of_source(source) else { return Ok(None) };
    let put = put(packet, 4, guise.shown) && put(packet, 16, timestamp.wrapping_add(guise.timestamp));
    Ok(put.then_some(kept(BLOCKS, end)))
}

/// A receiver report; its sender may have sent no RTP.
pub(super) fn receiver(packet: &mut [u8], parties: &mut Parties) -> Outcome {
    const BLOCKS: usize = 8;
    let end = blocks(packet, BLOCKS, parties)?;
    let source = word(packet, 4).ok_or(DropReason::MalformedRtcp)?;
    let Some(shown) = parties.sender(source) else { return Ok(None) };
    Ok(put(packet, 4, shown).then_some(kept(BLOCKS, end)))
}

fn kept(start: usize, end: usize) -> Kept {
    Kept { count: u8::try_from((end - start) / BLOCK).unwrap_or(0), length: end }
}

/// Report blocks from `start` on: each speaks of the source's own SSRC and sequence numbers again. Blocks about
/// unknown sources are left out, and profile extensions behind them (section 6.4.3) cut off. Returns where they end.
fn blocks(packet: &mut [u8], start: usize, parties: &Parties) -> Result<usize, DropReason> {
    let count = usize::from(packet.first().map_or(0, |first| first & 0x1f));
    let whole = packet.get_mut(..start + count * BLOCK).ok_or(DropReason::MalformedRtcp)?;
    Ok(keep(whole, start, BLOCK, |block| {
        let (Some(shown), Some(highest)) = (word(block, 0), word(block, 8)) else { return false };
        let [.., high, low] = highest.to_be_bytes();
        let Some(guise) = parties.media_at(shown, u16::from_be_bytes([high, low])) else { return false };
        // Extended highest sequence number received: cycles, then the sequence number as the party saw it.
        put(block, 0, guise.source)
            && put(block, 8, highest.wrapping_add_signed(guise.sequence.wrapping_neg()))
    }))
}
