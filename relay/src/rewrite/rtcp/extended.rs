//! Extended reports (RFC 3611): the seven block types that it defines, with SSRCs and sequence numbers mapped. Other
//! types are left out, and bits that it reserves cleared.

use super::bytes::{clear, half, keep, put, put_half, word};
use super::{Kept, Outcome, Parties};
use crate::drop_reason::DropReason;

const LOSS_RLE: u8 = 1;
const DUPLICATE_RLE: u8 = 2;
const RECEIPT_TIMES: u8 = 3;
const REFERENCE_TIME: u8 = 4;
const DELAY_SINCE_LAST: u8 = 5;
const STATISTICS: u8 = 6;
const VOIP_METRICS: u8 = 7;

/// An extended report (section 2): header, sender, blocks.
pub(super) fn report(packet: &mut [u8], parties: &mut Parties) -> Outcome {
    let malformed = DropReason::MalformedRtcp;
    let sender = word(packet, 4).ok_or(malformed)?;
    let (mut read, mut write) = (8, 8);
    while read < packet.len() {
        let size = (usize::from(half(packet, read + 2).ok_or(malformed)?) + 1) * 4;
        let whole = packet.get_mut(read..read + size).ok_or(malformed)?;
        if let Some(length) = block(whole, parties)? {
            packet.copy_within(read..read + length, write);
            write += length;
        }
        read += size;
    }
    let Some(shown) = parties.sender(sender) else { return Ok(None) };
    Ok((write > 8 && put(packet, 4, shown)).then_some(Kept { count: 0, length: write }))
}

/// One block (section 3). Returns its new length; none if it is left out.
fn block(block: &mut [u8], parties: &Parties) -> Result<Option<usize>, DropReason> {
    let [kind, specific, ..] = *block else { return Err(DropReason::MalformedRtcp) };
    // Sizes that section 4 fixes, and the type-specific bits that it does not reserve.
    let (fits, bits) = match kind {
        LOSS_RLE | DUPLICATE_RLE | RECEIPT_TIMES => (block.len() >= 12, specific & 0x0f),
        REFERENCE_TIME => (block.len() == 12, 0),
        DELAY_SINCE_LAST => ((block.len() - 4).is_multiple_of(12), 0),
        // Which of loss, duplicates and jitter it tells. Hops to the relay say nothing of the other party.
        STATISTICS => (block.len() == 40, specific & 0xe0),
        VOIP_METRICS => (block.len() == 36, 0),
        _ => return Ok(None),
    };
    if !fits {
        return Err(DropReason::MalformedRtcp);
    }
    if let Some(place) = block.get_mut(1) {
        *place = bits;
    }
    let length = block.len();
    Ok(match kind {
        // An NTP time-stamp (section 4.4), to which the other party's DLRR refers.
        REFERENCE_TIME => Some(length),
        DELAY_SINCE_LAST => delays(block, parties),
        VOIP_METRICS => {
            clear(block, 29..30);
            let guise = word(block, 4).and_then(|shown| parties.media(shown));
            guise.is_some_and(|g| put(block, 4, g.source)).then_some(length)
        }
        STATISTICS => {
            clear(block, 36..40);
            range(block, parties).then_some(length)
        }
        _ => range(block, parties).then_some(length),
    })
}

/// A block about packets `begin..end` of a source (sections 4.1 to 4.3 and 4.6).
fn range(block: &mut [u8], parties: &Parties) -> bool {
    let (Some(shown), Some(begin), Some(end)) = (word(block, 4), half(block, 8), half(block, 10)) else {
        return false;
    };
    let Some(guise) = parties.media_at(shown, end.wrapping_sub(1)) else { return false };
    put(block, 4, guise.source)
        && put_half(block, 8, guise.came(begin))
        && put_half(block, 10, guise.came(end))
}

/// Delays since the last reference time of receivers (section 4.5), which may have sent no RTP.
fn delays(block: &mut [u8], parties: &Parties) -> Option<usize> {
    let end = keep(block, 4, 12, |delay| {
        word(delay, 0).and_then(|shown| parties.party(shown)).is_some_and(|ssrc| put(delay, 0, ssrc))
    });
    let words = u16::try_from(end / 4 - 1).ok()?;
    (end > 4 && put_half(block, 2, words)).then_some(end)
}
