//! What a receiver sees of a direction: one continuous stream, whatever the source does.

use proptest::prelude::*;

use super::*;
use crate::program::message::PayloadTypes;

const MILLISECOND: u64 = 1_000_000;
const PCMA: Clock = Clock { payload_types: PayloadTypes(1 << 8), hz: 8000 };

/// A packet as it was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
}

fn packet(ssrc: u32, sequence: u16, timestamp: u32) -> Vec<u8> {
    let mut bytes = vec![0x80, 8];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend(b"payload");
    bytes
}

fn masked(mask: &mut Mask, clocks: &[Clock], ms: u64, ssrc: u32, sequence: u16, timestamp: u32) -> Shown {
    let mut bytes = packet(ssrc, sequence, timestamp);
    assert_eq!(mask.rtp(&mut bytes, Extensions::NONE, clocks, ms * MILLISECOND), Some(19));
    assert_eq!((&bytes[..2], &bytes[12..]), (&[0x80, 8][..], &b"payload"[..]), "the rest stays");
    let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    Shown { sequence: u16::from_be_bytes([bytes[2], bytes[3]]), timestamp: word(4), ssrc: word(8) }
}

/// Two packets' distance in numbers and ticks; they must be of one SSRC.
fn step(from: Shown, to: Shown) -> (u16, u32) {
    assert_eq!(from.ssrc, to.ssrc, "one SSRC is shown");
    (to.sequence.wrapping_sub(from.sequence), to.timestamp.wrapping_sub(from.timestamp))
}

#[test]
fn steps_between_packets_stay_across_the_wrap_and_the_ssrc_is_another() {
    let mut mask = Mask::new(7);
    let first = masked(&mut mask, &[], 0, 5, 65535, u32::MAX - 79);
    let second = masked(&mut mask, &[], 20, 5, 0, 80);
    assert_eq!(step(first, second), (1, 160));
    assert_ne!(first.ssrc, 5);
}

#[test]
fn a_new_source_goes_on_with_the_next_number_and_by_the_time_that_passed() {
    for (clocks, ticks) in [(&[PCMA][..], 480), (&[], 160)] {
        let mut mask = Mask::new(7);
        masked(&mut mask, clocks, 0, 5, 10, 1000);
        let last = masked(&mut mask, clocks, 20, 5, 11, 1160);
        let next = masked(&mut mask, clocks, 80, 6, 40_000, 7);
        assert_eq!(
            step(last, next),
            (1, ticks),
            "60 ms later, or one packet's step where the clock is unknown"
        );
        assert_eq!(step(next, masked(&mut mask, clocks, 100, 6, 40_001, 167)), (1, 160));
    }
}

#[test]
fn a_new_source_in_the_same_batch_is_still_a_packet_later() {
    let mut mask = Mask::new(7);
    let last = masked(&mut mask, &[PCMA], 0, 5, 10, 1000);
    assert_eq!(step(last, masked(&mut mask, &[PCMA], 0, 6, 40_000, 7)), (1, 160));
}

#[test]
fn late_packets_of_the_old_source_keep_their_numbers() {
    let mut mask = Mask::new(7);
    let first = masked(&mut mask, &[PCMA], 0, 5, 10, 1000);
    let last = masked(&mut mask, &[PCMA], 40, 5, 12, 1320);
    let next = masked(&mut mask, &[PCMA], 60, 6, 900, 1);
    assert_eq!(step(first, masked(&mut mask, &[PCMA], 61, 5, 11, 1160)), (1, 160), "it was overtaken");
    assert_eq!(step(last, masked(&mut mask, &[PCMA], 62, 5, 13, 1480)), (1, 160), "sent before the change");
    assert_eq!(step(next, masked(&mut mask, &[PCMA], 80, 6, 901, 161)), (1, 160), "which stands");
    assert_eq!(step(first, masked(&mut mask, &[PCMA], 900, 5, 11, 1160)), (1, 160), "however late");
}

#[test]
fn a_source_that_fell_silent_and_speaks_again_goes_on_too() {
    let mut mask = Mask::new(7);
    masked(&mut mask, &[PCMA], 0, 5, 10, 1000);
    let music = masked(&mut mask, &[PCMA], 20, 6, 900, 1);
    let back = masked(&mut mask, &[PCMA], 2020, 5, 11, 1160);
    assert_eq!(step(music, back), (1, 16_000));
    assert_eq!(
        step(back, masked(&mut mask, &[PCMA], 2040, 6, 901, 161)),
        (1, 160),
        "so was the other meanwhile"
    );
}

#[test]
fn sources_side_by_side_have_an_ssrc_each_and_no_number_twice_from_then_on() {
    let mut mask = Mask::new(7);
    let mut seen = Vec::new();
    for n in 0..50_u16 {
        let (ms, timestamp) = (u64::from(n) * 20, u32::from(n) * 1800);
        seen.push((5, masked(&mut mask, &[], ms, 5, 100 + n, timestamp)));
        seen.push((6, masked(&mut mask, &[], ms, 6, 7000 + n, timestamp)));
        seen.push((7, masked(&mut mask, &[], ms, 7, 9000 + n, timestamp)));
    }
    let settled = seen.split_off(30);
    let of = |source: u32| settled.iter().filter(move |(s, _)| *s == source).map(|(_, shown)| *shown);
    for source in [5, 6, 7] {
        let packets: Vec<Shown> = of(source).collect();
        assert!(packets.windows(2).all(|w| step(w[0], w[1]) == (1, 1800)), "{source}");
    }
    let ssrcs: std::collections::HashSet<u32> = [5, 6, 7].map(|s| of(s).next().unwrap().ssrc).into();
    assert_eq!(ssrcs.len(), 3);
    assert_eq!(of(5).next().unwrap().ssrc, seen[0].1.ssrc, "the first keeps what it had");
    for source in [5, 6, 7] {
        let guise = mask.of_source(source).unwrap();
        assert_eq!(mask.of_shown(guise.shown), Some(guise));
    }
}

#[test]
fn a_seam_does_not_repeat_numbers_once_the_sources_are_told_apart() {
    let mut mask = Mask::new(7);
    masked(&mut mask, &[PCMA], 0, 5, 10, 1000);
    // Telephone events of another SSRC, while speech pauses for less than a second.
    let events: Vec<Shown> =
        (0..8).map(|n| masked(&mut mask, &[PCMA], 20 + u64::from(n) * 20, 6, 900 + n, 1)).collect();
    let speech = masked(&mut mask, &[PCMA], 200, 5, 11, 2600);
    assert_eq!(step(*events.last().unwrap(), speech).0, 1);
    let event = masked(&mut mask, &[PCMA], 210, 6, 908, 1);
    assert_ne!(event.ssrc, speech.ssrc);
}

#[test]
fn more_sources_than_can_be_known_take_the_place_of_the_longest_silent() {
    let mut mask = Mask::new(7);
    let mut sequence = 0;
    let mut round = |mask: &mut Mask, sources: &[u32]| -> Vec<u32> {
        sequence += 1;
        let ms = u64::from(sequence) * 10;
        sources.iter().map(|s| masked(mask, &[], ms + u64::from(*s), *s, sequence, 9).ssrc).collect()
    };
    (0..20).for_each(|_| drop(round(&mut mask, &[1, 2])));
    let four = round(&mut mask, &[1, 2, 3, 4]);
    assert_eq!(round(&mut mask, &[1, 2, 3, 4]), four);
    let five = round(&mut mask, &[2, 3, 4, 5]);
    assert_eq!(five[..3], four[1..]);
    assert!(!four.contains(&five[3]));
    assert_eq!((mask.of_source(1), mask.of_shown(four[0])), (None, None), "it was the longest silent");
}

#[test]
fn a_report_from_before_the_change_speaks_of_the_old_source() {
    let mut mask = Mask::new(7);
    let old = masked(&mut mask, &[PCMA], 0, 5, 10, 1000);
    let new = masked(&mut mask, &[PCMA], 20, 6, 900, 1);
    let later = masked(&mut mask, &[PCMA], 40, 6, 901, 161);
    let source = |sequence: u16| mask.of_shown_at(old.ssrc, sequence).map(|g| (g.source, g.came(sequence)));
    assert_eq!(source(old.sequence), Some((5, 10)));
    assert_eq!(source(new.sequence), Some((6, 900)));
    assert_eq!(source(later.sequence), Some((6, 901)));
    assert_eq!(mask.of_shown(old.ssrc).unwrap().source, 6);
    assert_eq!(mask.of_shown_at(5, old.sequence), None, "nobody was shown that");
}

#[test]
fn an_echo_passes_and_a_packet_that_was_here_twice_does_not() {
    let (mut caller, mut callee) = (Mask::new(1), Mask::new(2));
    let through = |mask: &mut Mask, other: &Mask, ms: u64, ssrc: u32| {
        let looped = mask.looped(&packet(ssrc, 1, 1), other);
        (!looped).then(|| masked(mask, &[], ms, ssrc, 1, 1).ssrc)
    };
    through(&mut callee, &caller, 0, 6).unwrap();
    let out = through(&mut caller, &callee, 0, 5).unwrap();
    let echo = through(&mut callee, &caller, 1, out).expect("an echo service");
    for ms in 2..5 {
        assert_eq!(through(&mut caller, &callee, ms, echo), None, "the caller reflects as well");
        assert!(through(&mut caller, &callee, ms, 5).is_some(), "what it says itself passes");
    }
}

#[test]
fn a_mask_that_was_carried_elsewhere_goes_on_as_it_would_have() {
    let mut mask = Mask::new(7);
    masked(&mut mask, &[PCMA], 0, 5, 10, 1000);
    masked(&mut mask, &[PCMA], 20, 6, 900, 1);
    let mut carried: Mask = postcard::from_bytes(&postcard::to_stdvec(&mask).unwrap()).unwrap();
    assert_eq!(carried, mask);
    for (ms, ssrc, sequence) in [(40, 6, 901), (41, 5, 11), (1060, 7, 3), (1080, 6, 902)] {
        assert_eq!(
            masked(&mut carried, &[PCMA], ms, ssrc, sequence, 50),
            masked(&mut mask, &[PCMA], ms, ssrc, sequence, 50)
        );
    }
}

#[test]
fn masks_of_different_seeds_have_nothing_in_common_until_they_share_a_name() {
    let (mut a, b) = (Mask::new(1), Mask::new(2));
    assert_ne!((a.cname(), a.shown), (b.cname(), b.shown));
    assert!(a.cname().iter().all(|c| c.is_ascii_alphanumeric() || b"+/".contains(c)));
    a.share_cname(&b);
    assert_eq!(a.cname(), b.cname());
}

proptest! {
    /// Sources one after the other: one SSRC, no number left out or used twice, time never standing or going back.
    #[test]
    fn sources_in_turn_make_one_stream(
        seed: u64,
        turns in proptest::collection::vec((any::<u16>(), any::<u32>(), 1..30_u16, 0..3000_u64), 1..12),
    ) {
        let mut mask = Mask::new(seed);
        let (mut ms, mut last) = (0, None::<Shown>);
        for (ssrc, (first, start, packets, pause)) in (1000..).zip(turns) {
            ms += pause;
            for n in 0..packets {
                let (sequence, timestamp) = (first.wrapping_add(n), start.wrapping_add(u32::from(n) * 160));
                let shown = masked(&mut mask, &[PCMA], ms, ssrc, sequence, timestamp);
                if let Some(last) = last {
                    let (numbers, ticks) = step(last, shown);
                    prop_assert_eq!(numbers, 1);
                    prop_assert!((160..=3020 * 8).contains(&ticks), "{} ticks", ticks);
                }
                (last, ms) = (Some(shown), ms + 20);
            }
        }
    }

    /// Whatever comes: what is shown never changes within a source's row of packets but by what came, never more than
    /// four SSRCs are known, and each known source is found under what is shown for it.
    #[test]
    fn any_mixture_of_sources_is_survived(
        packets in proptest::collection::vec((0..6_u32, any::<u16>(), any::<u32>(), 0..400_u64), 0..200),
    ) {
        let mut mask = Mask::new(3);
        let mut ms = 0;
        for (ssrc, sequence, timestamp, gap) in packets {
            ms += gap;
            let shown = masked(&mut mask, &[PCMA], ms, ssrc, sequence, timestamp);
            let guise = mask.of_source(ssrc).unwrap();
            prop_assert_eq!((guise.shown, guise.came(shown.sequence)), (shown.ssrc, sequence));
            prop_assert!(mask.of_shown(shown.ssrc).is_some());
        }
    }
}
