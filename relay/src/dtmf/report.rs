//! What one RTP packet reports of telephone events (RFC 4733 section 2.3). Pure.

use crate::packet::RTP_HEADER;

/// Bytes of one event in a payload.
const EVENT: usize = 4;
/// Most events in one payload; phones pack one, and a packet with more than these is no phone's.
const MOST: usize = 8;

/// One event, as far as one packet knows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    /// Its code.
    pub(super) event: u8,
    /// It is over.
    pub(super) end: bool,
    /// How loud, in dBm0 below 0.
    pub(super) volume: u8,
    /// When it, or its segment, began: RTP time.
    pub(super) timestamp: u32,
    /// How long it, or its segment, has lasted so far, in ticks.
    pub(super) ticks: u16,
}

/// SSRC and time-stamp of a well-formed RTP packet, and its payload.
pub(super) fn open(packet: &[u8]) -> Option<(u32, u32, &[u8])> {
    let ([first, _, _, _, t0, t1, t2, t3, c0, c1, c2, c3], mut payload) =
        packet.split_first_chunk::<RTP_HEADER>()?;
    payload = payload.get(usize::from(first & 0x0f) * 4..)?;
    if first & 0x10 != 0 {
        let ([_, _, high, low], rest) = payload.split_first_chunk()?;
        payload = rest.get(usize::from(u16::from_be_bytes([*high, *low])) * 4..)?;
    }
    if first & 0x20 != 0 {
        let padding = usize::from(*payload.last()?);
        payload = payload.get(..payload.len().checked_sub(padding)?)?;
    }
    Some((u32::from_be_bytes([*c0, *c1, *c2, *c3]), u32::from_be_bytes([*t0, *t1, *t2, *t3]), payload))
}

/// The events of a payload; none when it is malformed.
///
/// Several events in one packet follow each other without a pause, so each begins where the one before ends (section
/// 2.5.1.5). A duration of zero means a state that lasts until it changes; keys are no states, and it is ignored (section
/// 2.3.5).
pub(super) fn reports(timestamp: u32, payload: &[u8]) -> impl Iterator<Item = Report> {
    let (events, rest) = payload.as_chunks::<EVENT>();
    let events = if rest.is_empty() && events.len() <= MOST { events } else { &[] };
    let report = |begins: &mut u32, [event, flags, high, low]: &[u8; EVENT]| {
        let (timestamp, ticks) = (*begins, u16::from_be_bytes([*high, *low]));
        *begins = timestamp.wrapping_add(ticks.into());
        Some(Report { event: *event, end: flags & 0x80 != 0, volume: flags & 0x3f, timestamp, ticks })
    };
    events.iter().scan(timestamp, report).filter(|report| report.ticks > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_payload_is_what_header_and_padding_leave() {
        let header = |first: u8| vec![first, 101, 0, 7, 0, 0, 0, 80, 0, 0, 0, 5];
        for (first, rest) in [
            (0x80, &[1, 2, 3, 4][..]),
            (0x81, &[9, 9, 9, 9, 1, 2, 3, 4]),
            (0x90, &[0xbe, 0xde, 0, 1, 9, 9, 9, 9, 1, 2, 3, 4]),
            (0xa0, &[1, 2, 3, 4, 0, 0, 0, 4]),
        ] {
            let packet = [header(first), rest.to_vec()].concat();
            assert_eq!(open(&packet), Some((5, 80, &[1, 2, 3, 4][..])), "{first:x}");
        }
    }

    #[test]
    fn events_in_one_packet_follow_each_other() {
        let payload = [5, 0x8a, 3, 0x20, 6, 0x4a, 1, 0x40, 7, 10, 0, 0];
        let found: Vec<_> =
            reports(1000, &payload).map(|r| (r.event, r.end, r.volume, r.timestamp, r.ticks)).collect();
        assert_eq!(found, [(5, true, 10, 1000, 800), (6, false, 10, 1800, 320)]);
    }

    #[test]
    fn malformed_payloads_report_nothing() {
        for payload in [&[][..], &[5, 0x8a, 3], &[5, 0x8a, 3, 0x20, 0], &[1; 36]] {
            assert_eq!(reports(0, payload).count(), 0, "{payload:?}");
        }
    }

    proptest! {
        #[test]
        fn alien_bytes_never_panic(bytes: Vec<u8>) {
            if let Some((_, timestamp, payload)) = open(&bytes) {
                let _ = reports(timestamp, payload).count();
            }
        }
    }
}
