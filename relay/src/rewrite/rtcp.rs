//! RTCP towards the other party: sender and receiver reports rewritten to match the RTP that it saw, one SDES with a
//! random CNAME, BYE without its reason. Everything else (APP, XR, feedback, unknown) is left out: an allow-list.
//!
//! RFC 3550, section 6; the checks of its appendix A.2. In place: what is written never passes what is still to be
//! read, but for the SDES at the end, for which the caller leaves [`SDES`] bytes of room behind the packet.

use super::Mask;
use crate::drop_reason::DropReason;

/// Bytes of the SDES packet that is appended: header, SSRC, CNAME item with 16 characters, terminator.
pub const SDES: usize = 28;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const REPORT_BLOCK: usize = 24;

/// Rewrites the compound packet in `buffer[..length]`, which came from the leg that `sent` masks; its report blocks
/// speak of the RTP that `heard` masks (the other direction). Returns the new length.
pub fn rewrite(buffer: &mut [u8], length: usize, sent: &Mask, heard: &Mask) -> Result<usize, DropReason> {
    let malformed = DropReason::MalformedRtcp;
    check(buffer.get(..length).ok_or(malformed)?)?;
    let (mut read, mut write) = (0, 0);
    let mut describe = None;
    while read < length {
        let rest = buffer.get_mut(read..length).ok_or(malformed)?;
        let [first, kind, high, low, ..] = *rest else { return Err(malformed) };
        let size = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        let padding = if first & 0x20 == 0 { 0 } else { rest.get(size - 1).copied().map_or(0, usize::from) };
        let packet = rest.get_mut(..size - padding).ok_or(malformed)?;
        let kept = match kind {
            SENDER_REPORT => report(packet, 28, sent, heard)?,
            RECEIVER_REPORT => report(packet, 8, sent, heard)?,
            SOURCE_DESCRIPTION => {
                describe = ssrc(packet, 4).and_then(|s| sent.of_source(s)).map(|g| g.shown).or(describe);
                0
            }
            GOODBYE => goodbye(packet, sent),
            _ => 0,
        };
        buffer.copy_within(read..read + kept, write);
        read += size;
        write += kept;
    }
    if write == 0 {
        return Err(DropReason::EmptyRtcp);
    }
    if let (Some(shown), Some(room)) = (describe, buffer.get_mut(write..write + SDES)) {
        room.fill(0);
        let header = [0x81, SOURCE_DESCRIPTION, 0, 6];
        let item = [1, 16];
        let bytes = header.into_iter().chain(shown.to_be_bytes()).chain(item).chain(*sent.cname());
        room.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
        write += SDES;
    }
    Ok(write)
}

/// The validity checks of RFC 3550, appendix A.2, but that a compound may begin with any packet (RFC 5506).
fn check(mut rest: &[u8]) -> Result<(), DropReason> {
    while !rest.is_empty() {
        let [first, _, high, low, ..] = *rest else { return Err(DropReason::MalformedRtcp) };
        let size = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        let (packet, after) = rest.split_at_checked(size).ok_or(DropReason::MalformedRtcp)?;
        let padding = if first & 0x20 == 0 { 0 } else { packet.last().copied().map_or(0, usize::from) };
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

/// A sender or receiver report whose blocks begin at `blocks`: SSRCs, RTP time-stamp and highest sequence mapped;
/// blocks about unknown sources left out, and profile extensions behind the blocks cut off. Returns its length.
fn report(packet: &mut [u8], blocks: usize, sent: &Mask, heard: &Mask) -> Result<usize, DropReason> {
    let malformed = DropReason::MalformedRtcp;
    let count = usize::from(packet.first().ok_or(malformed)? & 0x1f);
    if packet.len() < blocks + count * REPORT_BLOCK {
        return Err(malformed);
    }
    let sender = ssrc(packet, 4).ok_or(malformed)?;
    let guise = sent.of_source(sender);
    // A party that has sent no RTP yet has no guise: its report passes under a name made from the CNAME.
    let [a, b, c, d, ..] = *sent.cname();
    put(packet, 4, guise.map_or(u32::from_be_bytes([a, b, c, d]), |g| g.shown));
    if blocks == 28 {
        let Some(guise) = guise else { return Ok(0) };
        let timestamp = ssrc(packet, 16).ok_or(malformed)?;
        put(packet, 16, timestamp.wrapping_add(guise.timestamp));
    }
    let mut write = blocks;
    let mut kept = 0_u8;
    for block in 0..count {
        let read = blocks + block * REPORT_BLOCK;
        let Some(guise) = ssrc(packet, read).and_then(|shown| heard.of_shown(shown)) else { continue };
        packet.copy_within(read..read + REPORT_BLOCK, write);
        put(packet, write, guise.source);
        // Extended highest sequence number received: cycles, then the sequence number as the party saw it.
        let highest = ssrc(packet, write + 8).ok_or(malformed)?;
        put(packet, write + 8, highest.wrapping_add_signed(guise.sequence.wrapping_neg()));
        write += REPORT_BLOCK;
        kept += 1;
    }
    let words = u16::try_from(write / 4 - 1).map_err(|_| malformed)?;
    let [first, _, high, low, ..] = packet else { return Err(malformed) };
    *first = 0x80 | kept;
    [*high, *low] = words.to_be_bytes();
    Ok(write)
}

/// A BYE of the one source that is known, without a reason. Returns its length, 0 for a source never seen.
fn goodbye(packet: &mut [u8], sent: &Mask) -> usize {
    let Some(guise) = ssrc(packet, 4).and_then(|s| sent.of_source(s)) else { return 0 };
    put(packet, 4, guise.shown);
    let [first, _, high, low, ..] = packet else { return 0 };
    *first = 0x81;
    [*high, *low] = 1_u16.to_be_bytes();
    8
}

/// The 32-bit word at `offset`.
fn ssrc(packet: &[u8], offset: usize) -> Option<u32> {
    packet.get(offset..)?.first_chunk().map(|w| u32::from_be_bytes(*w))
}

fn put(packet: &mut [u8], offset: usize, word: u32) {
    if let Some(place) = packet.get_mut(offset..).and_then(|p| p.first_chunk_mut::<4>()) {
        *place = word.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Masks of both directions after one RTP packet each: sources 5 (sender) and 6 (heard).
    fn masks() -> (Mask, Mask) {
        let (mut sent, mut heard) = (Mask::new(1), Mask::new(2));
        for (mask, ssrc) in [(&mut sent, 5), (&mut heard, 6)] {
            mask.rtp(&mut [0x80, 8, 0, 1, 0, 0, 0, 9, 0, 0, 0, ssrc]);
        }
        (sent, heard)
    }

    fn words(list: &[u32]) -> Vec<u8> {
        list.iter().flat_map(|w| w.to_be_bytes()).collect()
    }

    fn run(bytes: &[u8]) -> Result<Vec<u8>, DropReason> {
        let (sent, heard) = masks();
        let mut buffer = bytes.to_vec();
        buffer.resize(bytes.len() + SDES, 0);
        let length = rewrite(&mut buffer, bytes.len(), &sent, &heard)?;
        buffer.truncate(length);
        Ok(buffer)
    }

    fn name(text: &str) -> Vec<u8> {
        let mut sdes = words(&[0x81ca_0000, 5]);
        sdes.extend([1, u8::try_from(text.len()).unwrap()]);
        sdes.extend(text.bytes());
        sdes.push(0);
        sdes.resize(sdes.len().next_multiple_of(4), 0);
        let length = u8::try_from(sdes.len() / 4 - 1).unwrap();
        sdes[3] = length;
        sdes
    }

    #[test]
    fn a_sender_report_matches_the_rtp_that_the_other_party_saw() {
        let (sent, heard) = masks();
        let (mine, theirs) = (sent.of_source(5).unwrap(), heard.of_source(6).unwrap());
        // The source has sent 1 to 7; whether the shown numbers wrapped meanwhile or not, no cycle was completed.
        let seen = 7_u32.wrapping_add_signed(theirs.sequence);
        let report =
            words(&[0x82c8_0012, 5, 1, 2, 1000, 3, 4, theirs.shown, 0, seen, 1, 2, 3, 99, 0, 0, 0, 0, 0]);
        let out = run(&[report, name("+447700900001@phone")].concat()).unwrap();
        let word = |at: usize| ssrc(&out, at * 4).unwrap();
        assert_eq!(
            (word(0), word(1), word(4)),
            (0x81c8_000c, mine.shown, 1000_u32.wrapping_add(mine.timestamp))
        );
        assert_eq!(
            (word(7), word(9)),
            (6, 7),
            "the block speaks of the source's own numbers; the block about 99 is gone"
        );
        assert_eq!(out.len(), 52 + SDES);
        assert_eq!((word(13), word(14)), (0x81ca_0006, mine.shown));
        assert_eq!(&out[62..78], sent.cname());
        assert!(!out.windows(6).any(|w| w == b"770090"));
    }

    #[test]
    fn only_what_is_listed_passes() {
        let app = words(&[0x80cc_0002, 5, 0x4142_4344]);
        let bye = [words(&[0x81cb_0003, 5]), b"\x06reason\0".to_vec()].concat();
        assert_eq!(run(&app), Err(DropReason::EmptyRtcp));
        let out = run(&[app, bye].concat()).unwrap();
        assert_eq!(out.len(), 8);
        assert_eq!(out[..4], [0x81, 203, 0, 1]);
    }

    #[test]
    fn malformed_compounds_are_refused_whole() {
        let receiver = words(&[0x80c9_0001, 5]);
        for bad in [
            receiver[..6].to_vec(),
            words(&[0x81c9_0001, 5]),
            words(&[0x80c9_0009, 5]),
            words(&[0xa0c9_0001, 5]),
            words(&[0xa0c9_0001, 4, 0x80c9_0001, 5]),
            [receiver.clone(), vec![0x80, 201, 0]].concat(),
        ] {
            assert_eq!(run(&bad), Err(DropReason::MalformedRtcp), "{bad:02x?}");
        }
        assert!(run(&receiver).is_ok());
    }

    proptest! {
        /// No bytes make it panic; the output is well-formed, never longer than input and SDES, and a name in the
        /// input is never in the output.
        #[test]
        fn nothing_unlisted_comes_through(
            kinds in proptest::collection::vec((0..32_u8, 200..208_u8, proptest::collection::vec(any::<u8>(), 0..64)), 1..5),
        ) {
            let canary = b"7700900";
            let mut bytes = Vec::new();
            for (count, kind, mut body) in kinds {
                body.splice(0..0, [0, 0, 0, 5]);
                body.extend(canary);
                body.resize(body.len().next_multiple_of(4), 0);
                bytes.extend([0x80 | count & if kind < 202 { 1 } else { 31 }, kind, 0, u8::try_from(body.len() / 4).unwrap()]);
                bytes.extend(body);
            }
            if let Ok(out) = run(&bytes) {
                prop_assert!(out.len() <= bytes.len() + SDES);
                prop_assert!(check(&out).is_ok());
            }
        }

        #[test]
        fn alien_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _ = run(&bytes);
        }
    }
}
