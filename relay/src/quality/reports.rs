//! What is read in compound RTCP packets: report blocks, and the time-stamps that are echoed in them (RFC 3550 section
//! 6.4, RFC 3611 sections 4.4 and 4.5). Pure. Reads as far as the bytes are well-formed.

use super::round_trip::Echo;
use crate::program::message::Report;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const EXTENDED_REPORT: u8 = 207;
/// Extended report block: Receiver Reference Time.
const REFERENCE_TIME: u8 = 4;
/// Extended report block: Delay since the Last Receiver Report.
const DELAY_SINCE_LAST: u8 = 5;

/// What a leg says in one compound packet of the RTP that it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Said {
    /// How it receives it.
    pub report: Option<Report>,
    /// The last time-stamp that reached it.
    pub(super) echo: Option<Echo>,
}

impl Said {
    /// Reads the compound packet `bytes` as it came. Only what is said about an SSRC for which `shown` is true counts.
    pub fn read(bytes: &[u8], shown: impl Fn(u32) -> bool) -> Self {
        let mut said = Self::default();
        for (count, kind, body) in packets(bytes) {
            let blocks = match kind {
                SENDER_REPORT => body.get(24..),
                RECEIVER_REPORT => body.get(4..),
                EXTENDED_REPORT => {
                    said.delays(body, &shown);
                    None
                }
                _ => None,
            };
            for block in blocks.unwrap_or_default().as_chunks::<24>().0.iter().take(count) {
                said.block(block, &shown);
            }
        }
        said
    }

    fn block(&mut self, block: &[u8; 24], shown: impl Fn(u32) -> bool) {
        let (words, _) = block.as_chunks::<4>();
        let [ssrc, [fraction_lost, l0, l1, l2], _highest, jitter, stamp, delay] = *words else { return };
        if shown(u32::from_be_bytes(ssrc)) {
            // 24 bits with a sign.
            let lost = i32::from_be_bytes([l0, l1, l2, 0]) >> 8;
            self.report = Some(Report { fraction_lost, lost, jitter: u32::from_be_bytes(jitter) });
            self.echo(stamp, delay);
        }
    }

    /// The delays in an extended report.
    fn delays(&mut self, body: &[u8], shown: impl Fn(u32) -> bool) {
        for (_, block) in extended(body).filter(|(kind, _)| *kind == DELAY_SINCE_LAST) {
            for [ssrc, stamp, delay] in block.as_chunks::<4>().0.as_chunks::<3>().0 {
                if shown(u32::from_be_bytes(*ssrc)) {
                    self.echo(*stamp, *delay);
                }
            }
        }
    }

    const fn echo(&mut self, stamp: [u8; 4], delay: [u8; 4]) {
        let echo = Echo { stamp: u32::from_be_bytes(stamp), delay: u32::from_be_bytes(delay) };
        // 0: none has come yet.
        if echo.stamp != 0 {
            self.echo = Some(echo);
        }
    }
}

/// Tells `sent` the time-stamps in the compound packet `bytes` that its receiver will echo: the middle 32 bits of the
/// NTP time-stamps.
pub fn stamps(bytes: &[u8], mut sent: impl FnMut(u32)) {
    for (_, kind, body) in packets(bytes) {
        match kind {
            SENDER_REPORT => body.get(4..).and_then(middle).into_iter().for_each(&mut sent),
            EXTENDED_REPORT => extended(body)
                .filter(|(kind, _)| *kind == REFERENCE_TIME)
                .filter_map(|(_, block)| middle(block))
                .for_each(&mut sent),
            _ => {}
        }
    }
}

/// The middle 32 bits of the NTP time-stamp at the beginning of `bytes`.
fn middle(bytes: &[u8]) -> Option<u32> {
    let [_, _, a, b, c, d, _, _] = *bytes.first_chunk()?;
    Some(u32::from_be_bytes([a, b, c, d]))
}

/// The packets of a compound: count field, packet type, and what follows the four bytes of header.
fn packets(bytes: &[u8]) -> impl Iterator<Item = (usize, u8, &[u8])> {
    parts(bytes).map(|([first, kind], body)| (usize::from(first & 0x1f), kind, body))
}

/// The blocks of an extended report, whose `body` begins with its sender's SSRC: block type, and what follows the four
/// bytes of header.
fn extended(body: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    parts(body.get(4..).unwrap_or_default()).map(|([kind, _], block)| (kind, block))
}

/// Packets and extended blocks alike: two bytes, the number of words that follow the header, and these.
fn parts(mut rest: &[u8]) -> impl Iterator<Item = ([u8; 2], &[u8])> {
    std::iter::from_fn(move || {
        let ([first, second, high, low], after) = rest.split_first_chunk()?;
        let words = usize::from(u16::from_be_bytes([*high, *low]));
        let (body, next) = after.split_at_checked(words * 4)?;
        rest = next;
        Some(([*first, *second], body))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(list: &[u32]) -> Vec<u8> {
        list.iter().flat_map(|w| w.to_be_bytes()).collect()
    }

    #[test]
    fn only_blocks_about_what_was_shown_count() {
        let blocks = [7, 0x40ff_fffe, 9, 80, 0xb705_2000, 0x5_4000, 8, 0x1000_0001, 9, 81, 5, 6];
        let sender = [&[0x82c8_0012, 5, 1, 2, 3, 4, 5][..], &blocks].concat();
        let receiver = [&[0x82c9_000d, 5][..], &blocks].concat();
        for compound in [words(&sender), words(&receiver), words(&[&[0x81ca_0001, 5], &sender[..]].concat())]
        {
            let said = Said::read(&compound, |ssrc| ssrc == 7);
            let report = Report { fraction_lost: 0x40, lost: -2, jitter: 80 };
            let echo = Echo { stamp: 0xb705_2000, delay: 0x5_4000 };
            assert_eq!(said, Said { report: Some(report), echo: Some(echo) });
            assert_eq!(Said::read(&compound, |_| false), Said::default());
        }
        let [said, none] = [7, 8].map(|only| Said::read(&words(&receiver[..8]), |ssrc| ssrc == only));
        assert_eq!((said, none), (Said::default(), Said::default()), "cut off");
    }

    #[test]
    fn a_leg_that_has_heard_no_sender_report_echoes_none() {
        let said = Said::read(&words(&[0x81c9_0007, 5, 7, 0, 0, 0, 0, 0]), |_| true);
        assert_eq!(said, Said { report: Some(Report::default()), echo: None });
    }

    #[test]
    fn time_stamps_are_sent_in_sender_reports_and_extended_ones_and_come_back_in_both() {
        let mut sent = Vec::new();
        let sender = [0x80c8_0006, 5, 0x1111_b705, 0x2000_9999, 3, 4, 5];
        let reference = [0x80cf_0006, 5, 0x0100_0001, 0, 0x0400_0002, 0x1111_b706, 0x3000_9999];
        stamps(&words(&[sender, reference].concat()), |stamp| sent.push(stamp));
        assert_eq!(sent, [0xb705_2000, 0xb706_3000]);
        let delays = words(&[0x80cf_0008, 5, 0x0500_0006, 8, 1, 2, 7, 0xb706_3000, 0x8000]);
        let echo = Echo { stamp: 0xb706_3000, delay: 0x8000 };
        assert_eq!(Said::read(&delays, |ssrc| ssrc == 7), Said { report: None, echo: Some(echo) });
    }

    proptest! {
        #[test]
        fn alien_bytes_never_panic(
            kind in 199..208_u8, first in 0x80..0xa0_u8, bytes in proptest::collection::vec(0..9_u8, 0..200),
        ) {
            let compound = [&[first, kind, 0], &bytes[..]].concat();
            Said::read(&compound, |_| true);
            stamps(&compound, |_| {});
        }
    }
}
