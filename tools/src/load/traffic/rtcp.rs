//! The RTCP of a leg: a compound packet of a sender report and a name (RFC 3550, sections 6.1, 6.4.1 and 6.5). Pure.

/// Seconds from 1900 to 1970: NTP's time begins there.
const NTP: u64 = 2_208_988_800;

/// A sender report of `ssrc` at `wall_ns` (nanoseconds since 1970), which sent so many packets and bytes, the last one
/// time-stamped `timestamp`; with no reception report, and a canonical name.
pub fn report(ssrc: u32, wall_ns: u64, timestamp: u32, packets: u32, bytes: u32) -> Vec<u8> {
    const CNAME: &[u8; 8] = b"bautaldg";
    let (seconds, rest) = (wall_ns / 1_000_000_000 + NTP, wall_ns % 1_000_000_000);
    let fraction = (rest << 32) / 1_000_000_000;
    let [.., s0, s1, s2, s3] = seconds.to_be_bytes();
    let [.., f0, f1, f2, f3] = fraction.to_be_bytes();
    let mut compound = vec![0x80, 200, 0, 6];
    compound.extend(ssrc.to_be_bytes());
    compound.extend([s0, s1, s2, s3, f0, f1, f2, f3]);
    compound.extend(timestamp.to_be_bytes());
    compound.extend(packets.to_be_bytes());
    compound.extend(bytes.to_be_bytes());
    // One chunk: SSRC, CNAME of 8 bytes, and zeroes up to the next word.
    compound.extend([0x81, 202, 0, 4]);
    compound.extend(ssrc.to_be_bytes());
    compound.extend([1, 8]);
    compound.extend(CNAME);
    compound.extend([0, 0]);
    compound
}

/// Whether `bytes` is a compound packet: its parts end where it does, and the first is a report (RFC 3550, appendix A.2).
pub fn well_formed(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut first = true;
    while let Some(([version, kind, high, low], _)) = rest.split_first_chunk::<4>() {
        if version >> 6 != 2 || (first && !matches!(kind, 200 | 201)) {
            return false;
        }
        let length = (usize::from(u16::from_be_bytes([*high, *low])) + 1) * 4;
        let Some(behind) = rest.get(length..) else { return false };
        (rest, first) = (behind, false);
    }
    rest.is_empty() && !first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_well_formed_and_says_what_was_sent() {
        let bytes = report(7, 1_500_000_000, 160, 3, 480);
        assert!(well_formed(&bytes));
        assert_eq!(bytes.len(), 28 + 20);
        assert_eq!(
            bytes[8..16],
            [0x83, 0xaa, 0x7e, 0x81, 0x80, 0, 0, 0],
            "half a second after 1970-01-01T00:00:01"
        );
        assert_eq!(bytes[20..28], [0, 0, 0, 3, 0, 0, 1, 0xe0]);
    }

    #[test]
    fn what_is_cut_or_begins_otherwise_is_not() {
        let bytes = report(7, 0, 0, 0, 0);
        for wrong in [&bytes[..bytes.len() - 4], &bytes[..30], &bytes[28..], &bytes[..0], &[0x80, 200, 0][..]]
        {
            assert!(!well_formed(wrong), "{wrong:?}");
        }
    }
}
