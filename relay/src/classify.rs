//! The one decision of every lane: what becomes of a packet that came from `source` to `row`.
//!
//! Pure. The socket lanes call it for each packet; a lane in the kernel must come to the same verdicts.

use std::net::{IpAddr, SocketAddr};

use crate::drop_reason::DropReason;
use crate::packet::Packet;
use crate::program::message::StreamKind;
use crate::row::{Port, Row};
use crate::source::{Evidence, Match};

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Forward it.
    Forward(Packet),
    /// Take its source as the row's, then forward it.
    Learn(Packet),
    /// Count it and forget it.
    Drop(DropReason),
}

/// Decides on the datagram `bytes` from `source` at `now_ns` (monotonic nanoseconds). For an RTCP row, `rtp_host` is where
/// the leg's RTP comes from, as far as known.
#[inline]
pub fn classify(
    bytes: &[u8],
    source: SocketAddr,
    row: &Row,
    rtp_host: Option<IpAddr>,
    now_ns: u64,
) -> Verdict {
    let packet = match (row.kind, Packet::parse(bytes)) {
        (StreamKind::Opaque, _) => Packet::Opaque,
        (StreamKind::Rtp, Ok(packet)) => packet,
        (StreamKind::Rtp, Err(reason)) => return Verdict::Drop(reason),
    };
    match (packet, row.port) {
        // A stream that is not looked at has no RTCP: nobody is to be let in by that door.
        (Packet::Rtp { .. } | Packet::Opaque, Port::Rtcp) => return Verdict::Drop(DropReason::UnexpectedRtp),
        (Packet::Rtcp, Port::Rtp) if !row.rtcp_mux => return Verdict::Drop(DropReason::UnexpectedRtcp),
        (Packet::Rtp { payload_type, .. }, _) if !row.accepts.contains(payload_type) => {
            return Verdict::Drop(DropReason::PayloadType);
        }
        _ => {}
    }
    let evidence = match packet {
        Packet::Rtp { ssrc, .. } => Evidence::Rtp(ssrc),
        // On the RTP port it proves nothing about where RTP comes from.
        Packet::Rtcp => Evidence::Rtcp(rtp_host.filter(|_| row.port == Port::Rtcp)),
        Packet::Opaque => Evidence::Opaque,
    };
    match row.source.judge(source, evidence, now_ns) {
        Match::Yes => Verdict::Forward(packet),
        Match::Learn => Verdict::Learn(packet),
        Match::Mismatch => Verdict::Drop(DropReason::SourceMismatch),
        Match::NotLearned => Verdict::Drop(DropReason::NotLearned),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::program::message::{Learning, LegMedia, PayloadTypes};
    use crate::row::tests_support::row;

    const SIGNALLED: ([u8; 4], u16) = ([192, 0, 2, 1], 4000);

    fn strict(port: Port, rtcp_mux: bool) -> Row {
        let mut row = row(port);
        row.rtcp_mux = rtcp_mux;
        row.accepts = PayloadTypes::NONE.with(8).with(101);
        row.source.signal(Some(SIGNALLED.into()), &LegMedia::default(), 0, 1000);
        row
    }

    fn rtp(payload_type: u8) -> Vec<u8> {
        vec![0x80, payload_type, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 9]
    }

    #[test]
    fn every_case_of_the_table() {
        let rtcp = vec![0x80, 201, 0, 1, 0, 0, 0, 2];
        let (here, stranger) = (SocketAddr::from(SIGNALLED), SocketAddr::from(([192, 0, 2, 9], 4000)));
        let packet = Packet::Rtp { payload_type: 8, ssrc: 3 };
        let drop = |reason| Verdict::Drop(reason);
        for (bytes, from, port, mux, expected) in [
            (rtp(8), here, Port::Rtp, false, Verdict::Learn(packet)),
            (rtp(8), stranger, Port::Rtp, false, drop(DropReason::SourceMismatch)),
            (rtp(9), here, Port::Rtp, false, drop(DropReason::PayloadType)),
            (rtp(8), here, Port::Rtcp, false, drop(DropReason::UnexpectedRtp)),
            (rtcp.clone(), here, Port::Rtp, false, drop(DropReason::UnexpectedRtcp)),
            (rtcp.clone(), here, Port::Rtp, true, Verdict::Learn(Packet::Rtcp)),
            (rtcp.clone(), here, Port::Rtcp, false, Verdict::Learn(Packet::Rtcp)),
            (rtcp, stranger, Port::Rtcp, false, drop(DropReason::SourceMismatch)),
            (vec![0; 40], here, Port::Rtp, true, drop(DropReason::NotRtp)),
            (vec![0x80], here, Port::Rtp, true, drop(DropReason::Truncated)),
        ] {
            assert_eq!(
                classify(&bytes, from, &strict(port, mux), None, 1),
                expected,
                "{bytes:?} {from} {port:?}"
            );
        }
    }

    #[test]
    fn multiplexed_rtcp_never_teaches_where_rtp_comes_from() {
        let mut row = strict(Port::Rtp, true);
        row.source.signal(
            Some(SIGNALLED.into()),
            &LegMedia { learning: Learning::Nat, ..LegMedia::default() },
            0,
            1000,
        );
        let stranger = SocketAddr::from(([192, 0, 2, 9], 4000));
        let rtcp = [0x80, 201, 0, 1, 0, 0, 0, 2];
        assert_eq!(classify(&rtcp, stranger, &row, None, 1), Verdict::Drop(DropReason::NotLearned));
        assert_eq!(
            classify(&rtp(8), stranger, &row, None, 1),
            Verdict::Learn(Packet::Rtp { payload_type: 8, ssrc: 3 })
        );
    }

    proptest! {
        /// No bytes make it panic, and nothing is forwarded but version 2, a negotiated payload type (or RTCP
        /// where it belongs), from an acceptable source.
        #[test]
        fn only_what_matches_the_row_passes(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            host in 0..3_u8, port in 3999..4002_u16, nat: bool, mux: bool, rtcp_port: bool, now in 0..2000_u64,
        ) {
            let mut row = strict(if rtcp_port { Port::Rtcp } else { Port::Rtp }, mux);
            let learning = if nat { Learning::Nat } else { Learning::Strict };
            row.source.signal(Some(SIGNALLED.into()), &LegMedia { learning, ..LegMedia::default() }, 0, 1000);
            let source = SocketAddr::from(([192, 0, 2, host], port));
            if let Verdict::Forward(packet) | Verdict::Learn(packet) = classify(&bytes, source, &row, None, now) {
                prop_assert!(bytes[0] >> 6 == 2);
                prop_assert!(source == SocketAddr::from(SIGNALLED) || (nat && now < 1000));
                match packet {
                    Packet::Rtp { payload_type, .. } => prop_assert!(!rtcp_port && [8, 101].contains(&payload_type)),
                    Packet::Rtcp => prop_assert!(rtcp_port || mux),
                    Packet::Opaque => prop_assert!(false, "the row carries RTP"),
                }
            }
        }
    }
}
