//! Keys against an oracle that knows what was pressed: losses, copies, disorder.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const MS: u64 = 1_000_000;
/// Ticks of 20 ms.
const FRAME: u32 = 160;

/// A packet of one event on its way.
#[derive(Debug, Clone)]
struct Sent {
    bytes: Vec<u8>,
    /// Which press it is about.
    press: usize,
    /// How long it says that the press has lasted.
    ticks: u32,
    at_ns: u64,
}

fn packet(ssrc: u32, timestamp: u32, reports: &[(u8, bool, u16)]) -> Vec<u8> {
    let mut bytes = vec![0x80, 101, 0, 7];
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    for (event, end, ticks) in reports {
        bytes.extend([*event, if *end { 0x8a } else { 10 }]);
        bytes.extend(ticks.to_be_bytes());
    }
    bytes
}

/// What a phone sends for presses of (event, length in frames, pause before in frames), from RTP time `first` on: a packet
/// per frame, the last one three times, a new segment where the duration does not fit (section 2.5.1.3).
fn sent(presses: &[(u8, u32, u32)], first: u32) -> Vec<Sent> {
    let (mut list, mut frame) = (Vec::new(), 0);
    for (press, (event, frames, pause)) in presses.iter().enumerate() {
        frame += pause;
        let (began, mut segment) = (first.wrapping_add(frame * FRAME), 0);
        for n in 1..=*frames {
            let at_ns = u64::from(frame + n) * 20 * MS;
            let mut send = |segment: u32, end: bool, ticks: u32| {
                let reports = [(*event, end, u16::try_from(ticks - segment).unwrap())];
                let bytes = packet(5, began.wrapping_add(segment), &reports);
                list.push(Sent { bytes, press, ticks, at_ns });
            };
            if n * FRAME - segment > 0xffff {
                send(segment, false, segment + 0xffff);
                segment += 0xffff;
            }
            let copies = if n == *frames { 3 } else { 1 };
            (0..copies).for_each(|_| send(segment, n == *frames, n * FRAME));
        }
        frame += frames;
    }
    list
}

/// What a keypad tells of packets in the order of their arrival, looked at every second and at the end.
fn told(packets: &[Sent]) -> (Vec<Pressed>, u64) {
    let (mut keypad, mut keys, mut second) = (Keypad::default(), Vec::new(), 0);
    for packet in packets {
        while second < packet.at_ns {
            keys.extend(keypad.look(second));
            second += SILENCE_NS;
        }
        keypad.hear(&packet.bytes, 8000, packet.at_ns, |key| keys.push(key));
    }
    keys.extend(keypad.look(u64::MAX));
    (keys, keypad.count())
}

fn presses() -> impl Strategy<Value = Vec<(u8, u32, u32)>> {
    let length = prop_oneof![20 => 2..40_u32, 1 => 400..1500_u32];
    let pause = prop_oneof![10 => 2..20_u32, 1 => 20..400_u32];
    proptest::collection::vec((0..20_u8, length, pause), 1..24)
}

proptest! {
    /// In order, whatever is lost: one key per press of which anything came, in their order, as long as was heard.
    #[test]
    fn losses_take_no_key_and_make_none(
        presses in presses(), first: u32, lost in 0..100_u32, luck: Vec<Index>,
    ) {
        let mut packets = sent(&presses, first);
        let mut luck = luck.into_iter().cycle();
        packets.retain(|_| luck.next().is_none_or(|luck| u32::try_from(luck.index(100)).unwrap() >= lost));
        // A phone that is not heard of for a second in the middle of a key has let go of it, as far as one can know.
        let heard = |press: usize| {
            let of_it: Vec<&Sent> = packets.iter().filter(|p| p.press == press).collect();
            let holes = of_it.windows(2).any(|pair| pair[1].at_ns - pair[0].at_ns >= SILENCE_NS);
            // Nor how long a key was held before the first segment that came.
            let holes = holes || of_it.first().is_some_and(|p| p.ticks > 0xffff);
            of_it.iter().map(|p| p.ticks).max().map(|ticks| (presses[press].0, ticks / 8, holes))
        };
        let expected: Vec<_> = (0..presses.len()).filter_map(heard).collect();
        let (keys, count) = told(&packets);
        prop_assert_eq!(count, expected.len() as u64, "events that are no keys count too");
        let expected: Vec<_> = expected.into_iter().filter(|(event, ..)| *event <= LAST_KEY).collect();
        prop_assert_eq!(keys.len(), expected.len());
        for (key, (event, duration_ms, holes)) in keys.iter().zip(expected) {
            prop_assert!(key.event.0 == event && key.volume == 10);
            let whole = key.duration_ms == duration_ms || holes && key.duration_ms < duration_ms;
            prop_assert!(whole, "lasted {duration_ms} ms, told {} ms", key.duration_ms);
        }
    }

    /// Out of order by up to 150 ms, copied, and with losses: still one key per press.
    #[test]
    fn disorder_and_copies_tell_no_key_twice(
        presses in presses(), first: u32, lost in 0..80_u64, seed: u64,
    ) {
        let mut random = seed;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut packets = Vec::new();
        for packet in sent(&presses, first) {
            for _ in 0..=draw(2) {
                if draw(100) >= lost {
                    packets.push(Sent { at_ns: packet.at_ns + draw(150) * MS, ..packet.clone() });
                }
            }
        }
        packets.sort_by_key(|packet| packet.at_ns);
        let came = |press: &usize| packets.iter().any(|p| p.press == *press);
        let mut expected: Vec<_> = (0..presses.len()).filter(came).map(|press| presses[press].0).collect();
        let (keys, count) = told(&packets);
        prop_assert_eq!(count, expected.len() as u64);
        expected.retain(|event| *event <= LAST_KEY);
        expected.sort_unstable();
        let mut keys: Vec<_> = keys.into_iter().map(|key| key.event.0).collect();
        keys.sort_unstable();
        prop_assert_eq!(keys, expected);
    }

    #[test]
    fn alien_bytes_never_panic(packets: Vec<(Vec<u8>, u32, u64)>) {
        let mut keypad = Keypad::default();
        for (bytes, hz, at_ns) in packets {
            keypad.hear(&bytes, hz, at_ns, |_| {});
            let _ = keypad.look(at_ns);
        }
    }
}

fn heard(keypad: &mut Keypad, bytes: &[u8], at_ns: u64) -> Vec<(u8, u32)> {
    let mut keys = Vec::new();
    keypad.hear(bytes, 8000, at_ns, |key| keys.push((key.event.0, key.duration_ms)));
    keys
}

#[test]
fn a_key_is_told_when_it_ends_or_another_begins_or_a_second_passes() {
    let mut keypad = Keypad::default();
    assert_eq!(heard(&mut keypad, &packet(5, 0, &[(1, false, 160)]), 0), []);
    assert_eq!(heard(&mut keypad, &packet(5, 0, &[(1, true, 800)]), MS), [(1, 100)]);
    assert_eq!(heard(&mut keypad, &packet(5, 0, &[(1, true, 800)]), MS), []);
    assert_eq!(heard(&mut keypad, &packet(5, 2000, &[(2, false, 400)]), 2 * MS), []);
    assert_eq!(heard(&mut keypad, &packet(5, 4000, &[(3, false, 240)]), 3 * MS), [(2, 50)]);
    assert_eq!(heard(&mut keypad, &packet(5, 2000, &[(2, true, 800)]), 4 * MS), [], "too late to say more");
    assert_eq!(keypad.look(3 * MS + SILENCE_NS - 1), None);
    let key = keypad.look(3 * MS + SILENCE_NS).unwrap();
    assert_eq!((key.event.0, key.duration_ms), (3, 30));
    assert_eq!(keypad.look(u64::MAX), None);
    assert_eq!(keypad.count(), 3);
}

#[test]
fn several_events_in_one_packet_are_several_keys() {
    let bytes = packet(5, 0, &[(1, true, 400), (1, true, 800), (16, false, 80)]);
    let mut keypad = Keypad::default();
    assert_eq!(heard(&mut keypad, &bytes, 0), [(1, 50), (1, 100)]);
    assert_eq!(heard(&mut keypad, &bytes, MS), []);
    assert_eq!(keypad.look(u64::MAX).map(|key| key.event.0), Some(16));
}

#[test]
fn a_key_held_for_half_a_minute_is_one() {
    let packets = sent(&[(7, 1500, 0), (7, 5, 0)], u32::MAX - 90_000);
    let (keys, count) = told(&packets);
    let lengths: Vec<u32> = keys.iter().map(|key| key.duration_ms).collect();
    assert_eq!((lengths, count), (vec![30_000, 100], 2));
}

#[test]
fn another_ssrc_is_another_key_and_a_clock_set_back_is_no_delay() {
    let mut keypad = Keypad::default();
    assert_eq!(heard(&mut keypad, &packet(5, 900_000, &[(1, true, 800)]), 0), [(1, 100)]);
    assert_eq!(heard(&mut keypad, &packet(6, 900_000, &[(1, true, 800)]), 0), [(1, 100)]);
    assert_eq!(
        heard(&mut keypad, &packet(5, 800, &[(2, false, 160)]), 0),
        [],
        "not told at its first packet"
    );
    assert_eq!(heard(&mut keypad, &packet(5, 800, &[(2, true, 800)]), 0), [(2, 100)]);
}

#[test]
fn what_is_malformed_or_lasts_no_time_is_no_event() {
    let mut keypad = Keypad::default();
    let mut cut = packet(5, 0, &[(1, true, 800)]);
    cut.pop();
    assert_eq!(heard(&mut keypad, &cut, 0), []);
    assert_eq!(heard(&mut keypad, &packet(5, 0, &[]), 0), []);
    assert_eq!(heard(&mut keypad, &packet(5, 0, &[(1, true, 0)]), 0), []);
    assert_eq!((keypad.count(), keypad.look(u64::MAX)), (0, None));
}

#[test]
fn a_keypad_goes_on_after_a_handover_and_prints_no_digit() {
    let mut keypad = Keypad::default();
    heard(&mut keypad, &packet(5, 0, &[(7, true, 800)]), 0);
    heard(&mut keypad, &packet(5, 2000, &[(9, false, 160)]), 0);
    let debug = format!("{keypad:?} {:?}", keypad.look(u64::MAX));
    assert!(!debug.contains(['7', '9']), "{debug}");
    let mut keypad = Keypad::default();
    heard(&mut keypad, &packet(5, 0, &[(7, false, 160)]), 0);
    let bytes = postcard::to_allocvec(&keypad).unwrap();
    let mut next: Keypad = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(heard(&mut next, &packet(5, 0, &[(7, true, 800)]), 0), [(7, 100)]);
    assert_eq!(next.count(), 1);
}
