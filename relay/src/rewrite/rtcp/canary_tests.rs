//! A telephone number in every place of every packet that can hold one: it never comes through.

use super::*;

const CANARY: &[u8; 8] = b"+4477009";

/// Twice the number, so that it is whole wherever eight bytes of it begin.
fn canary() -> Vec<u8> {
    CANARY.repeat(2)
}

/// One packet with the number in whatever a party can write freely.
fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let (_, theirs) = guises();
    let ssrc = prop_oneof![Just(5_u32), Just(6), Just(theirs.shown), Just(99)];
    (0..14_u8, ssrc.clone(), ssrc, any::<u8>(), any::<u16>()).prop_map(
        move |(which, sender, media, format, number)| {
            let number = u32::from(number);
            let head = words(&[sender, media]);
            let block = words(&[media, 0, number, 1, 2, 3]);
            let with = |count: u8, kind: u8, parts: &[&[u8]]| packet(count & 0x1f, kind, &parts.concat());
            let text = std::str::from_utf8(CANARY).unwrap();
            match which {
                0 => with(1, 200, &[&words(&[sender, 1, 2, number, 3, 4]), &block, &canary()]),
                1 => with(1, 201, &[&words(&[sender]), &block, &canary()]),
                2 => with(1, 202, &[&chunk(sender, format % 9 + 1, text)]),
                3 => with(2, 202, &[&chunk(sender, 1, text), &chunk(media, 8, text)]),
                4 => with(2, 203, &[&head, &[16], &canary(), &[0; 3]]),
                5 => with(format, 204, &[&words(&[sender]), &canary()]),
                6 => with(0, 207, &[&words(&[sender, (u32::from(format) | 8) << 24 | 4]), &canary()]),
                7 => with(0, 207, &[&words(&[sender, 0x0500_0006, media, 1, 2]), &CANARY[..], b"+447"]),
                8 => with(0, 207, &[&words(&[sender, 0x0600_0009, media, number]), &[0; 24], b"+447"]),
                9 => with(1, 206, &[&head, &canary()]),
                10 => with(
                    4,
                    206,
                    &[&words(&[sender, u32::from_be_bytes(*b"+447")]), &words(&[media, 0x0730_3039])],
                ),
                11 => with(15, 206, &[&head, b"+447REMB", &canary()]),
                12 => with(format % 8 + 5, 205, &[&head, &canary()]),
                _ => with(format, 192 + format % 8, &[&canary()]),
            }
        },
    )
}

proptest! {
    #[test]
    fn no_number_comes_through(packets in proptest::collection::vec(any_packet(), 1..6), padded: bool) {
        let mut bytes = packets.concat();
        if padded {
            // Behind a last packet that may be padded.
            bytes.extend([0xa0, 201, 0, 4, 0, 0, 0, 5, b'+', b'4', b'4', b'7', b'7', b'0', b'0', b'9', 0, 0, 0, 12]);
        }
        match run(&bytes) {
            Ok(out) => {
                prop_assert!(out.len() <= bytes.len() + SDES);
                prop_assert!(check(&out).is_ok());
                prop_assert!(!out.windows(4).any(|w| w == b"+447" || w == b"7700" || w == b"7009"), "{:02x?}", out);
            }
            Err(reason) => prop_assert_eq!(reason, DropReason::EmptyRtcp, "it is well-formed"),
        }
    }
}
