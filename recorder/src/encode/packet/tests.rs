//! libopus is asked what it makes of the same bytes.

use proptest::prelude::*;

use super::*;

fn delimited(packet: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    Packet::parse(packet)?.write(true, &mut out);
    Some(out)
}

#[test]
fn lengths_are_written_and_read_as_the_rfc_says() {
    for (bytes, code) in [
        (0, vec![0]),
        (251, vec![251]),
        (252, vec![252, 0]),
        (255, vec![255, 0]),
        (256, vec![252, 1]),
        (1275, vec![255, 255]),
    ] {
        let mut out = Vec::new();
        write_length(bytes, &mut out);
        assert_eq!(out, code);
        out.push(7);
        assert_eq!(read_length(&out), Some((bytes, &[7][..])));
    }
    assert_eq!(read_length(&[252]), None);
}

#[test]
fn a_packet_of_each_code_is_told_with_the_length_of_its_last_frame() {
    // CELT, 20 ms, 10 ms, 10 ms, 5 ms.
    for (packet, told) in [
        (&[0x98, 1, 2][..], &[0x98, 2, 1, 2][..]),
        (&[0x91, 1, 2, 3, 4], &[0x92, 2, 2, 1, 2, 3, 4]),
        (&[0x92, 1, 9, 8, 7], &[0x92, 1, 2, 9, 8, 7]),
        (&[0x8B, 0x04, 1, 2, 3, 4], &[0x8B, 0x84, 1, 1, 1, 1, 1, 2, 3, 4]),
        (&[0x8B, 0xC4, 2, 1, 0, 2, 1, 2, 3, 4, 0, 0], &[0x8B, 0x84, 1, 0, 2, 1, 1, 2, 3, 4]),
    ] {
        assert_eq!(ticks(packet), Some(960));
        assert_eq!(delimited(packet).unwrap(), told);
    }
}

#[test]
fn packets_that_break_a_rule_are_refused() {
    let large = [[0x98].as_slice(), &[0; 1276]].concat();
    for packet in [
        &[][..],
        &large,
        // Two equal frames in three bytes; a length that is cut or too long.
        &[0x91, 1, 2, 3],
        &[0x92],
        &[0x92, 253],
        &[0x92, 4, 1, 2],
        // No count, no frame, 50 of 2.5 ms, 3 of 60 ms.
        &[0x8B],
        &[0x8B, 0],
        &[0x83, 50],
        &[0x1B, 3],
        // Five bytes for two frames; padding that is missing, or longer than the packet.
        &[0x93, 2, 1, 2, 3, 4, 5],
        &[0x93, 0x42],
        &[0x93, 0x42, 255],
        &[0x93, 0x42, 9, 1, 2],
        // A first length that is too long.
        &[0x93, 0x82, 3, 1, 2],
    ] {
        assert_eq!(ticks(packet), None, "{packet:?}");
    }
}

proptest! {
    /// libopus knows the same rules; what is taken apart and put together again is the same frames to it.
    #[test]
    fn libopus_accepts_and_refuses_the_same_packets(
        contents: u8, code in 0..4_u8, form in prop_oneof![0..16_u8, 0x40..0x50_u8, 0x80..0x90_u8, 0xC0..0xD0_u8, any::<u8>()],
        rest in prop::collection::vec(prop_oneof![4 => 0..9_u8, 1 => any::<u8>()], 0..40)
    ) {
        let packet = [[contents & !3 | code, form].as_slice(), &rest].concat();
        let theirs = opus::packet::parse(&packet).ok();
        let ours = Packet::parse(&packet);
        prop_assert_eq!(ours.is_some(), theirs.is_some());
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            prop_assert_eq!(&ours.frames[..ours.count], &theirs.frames[..]);
            prop_assert_eq!(opus::packet::get_nb_samples(&packet, 48_000).ok(), Some(ours.ticks() as usize));
            let mut again = Vec::new();
            ours.write(false, &mut again);
            prop_assert_eq!(Packet::parse(&again), Some(ours));
        }
    }
}
