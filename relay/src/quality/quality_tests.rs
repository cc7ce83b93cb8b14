//! What a leg's figures say of streams whose fate is known.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::program::message::Span;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
const VOICE: u8 = 8;
const WIDE: u8 = 111;
const EVENT: u8 = 101;
/// Accepted, but nobody said in which clock it counts.
const CLOCKLESS: u8 = 99;

fn clocks() -> [Clock; MAX_CLOCKS] {
    let clock =
        |payload_types: &[u8], hz| Clock { payload_types: payload_types.iter().copied().collect(), hz };
    let none = Clock::default();
    [clock(&[VOICE, EVENT], 8000), clock(&[WIDE], 48_000), none, none]
}

fn hz(payload_type: u8) -> u32 {
    clocks().iter().find(|c| c.payload_types.contains(payload_type)).map_or(0, |c| c.hz)
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    arrival_ns: u64,
    ssrc: u32,
    sequence: u16,
    payload_type: u8,
    timestamp: u32,
}

impl Packet {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x80, self.payload_type];
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.timestamp.to_be_bytes());
        bytes.extend(self.ssrc.to_be_bytes());
        bytes
    }
}

fn receive(reception: &mut Reception, packet: &Packet) {
    let events = PayloadTypes::NONE.with(EVENT);
    reception.rtp(&packet.bytes(), events, &clocks(), packet.arrival_ns);
}

fn measure(packets: &[Packet]) -> Quality {
    let mut reception = Reception::default();
    packets.iter().for_each(|packet| receive(&mut reception, packet));
    reception.quality().unwrap()
}

/// Speech at 20 ms from `ssrc`: the numbers `sequences`, each 20 ms after the one before, whatever its number.
fn speech(ssrc: u32, start_ns: u64, sequences: impl IntoIterator<Item = u16>) -> Vec<Packet> {
    let packet = |(n, sequence): (u64, u16)| Packet {
        arrival_ns: start_ns + n * 20 * MS,
        ssrc,
        sequence,
        payload_type: VOICE,
        timestamp: u32::try_from(n).unwrap() * 160,
    };
    (0_u64..).zip(sequences).map(packet).collect()
}

fn counts(span: Span) -> [u64; 4] {
    [span.expected, span.received, span.duplicates, span.reordered]
}

#[test]
fn nothing_is_said_before_the_first_packet_and_the_first_packet_counts() {
    assert_eq!(Reception::default().quality(), None);
    let quality = measure(&speech(5, 0, [7]));
    let total = Span { expected: 1, received: 1, ..Span::default() };
    assert_eq!(quality, Quality { ssrc: 5, payload_type: VOICE, sequence: 7, total, ..Quality::default() });
}

/// As in a hot upgrade: the next process goes on counting.
#[test]
fn what_was_measured_outlives_the_process_that_measured_it() {
    let packets = speech(5, 0, (0..400).filter(|n| n % 7 != 3));
    let (before, after) = packets.split_at(200);
    let mut reception = Reception::default();
    before.iter().for_each(|packet| receive(&mut reception, packet));
    let bytes = postcard::to_stdvec(&reception).unwrap();
    let mut next: Reception = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(next, reception);
    after.iter().for_each(|packet| receive(&mut next, packet));
    assert_eq!(next.quality(), Some(measure(&packets)));
}

#[test]
fn a_sender_that_begins_anew_adds_up_with_and_without_a_new_ssrc() {
    let first = speech(5, 0, (65_530..=65_535).chain(0..4));
    let restarted = speech(5, SECOND, 30_000..30_010);
    let other = speech(6, 2 * SECOND, (60_000..60_010).filter(|n| *n != 60_004));
    let quality = measure(&[first, restarted, other].concat());
    assert_eq!((counts(quality.total), quality.total.lost()), ([30, 29, 0, 0], 1));
    assert_eq!((quality.ssrc, quality.sequence, quality.total.jitter_us), (6, 60_009, 0));
}

#[test]
fn two_senders_that_alternate_are_each_measured() {
    let (a, b) =
        (speech(5, 0, (0..50).filter(|n| *n != 9)), speech(6, MS, (900..950).filter(|n| n % 5 != 2)));
    let mut both = [a, b].concat();
    both.sort_by_key(|packet| packet.arrival_ns);
    assert_eq!(counts(measure(&both).total), [100, 89, 0, 0]);
}

#[test]
fn telephone_events_count_and_say_nothing_of_jitter() {
    let mut packets = speech(5, 0, 0..40);
    let [.., last] = &mut packets[..] else { unreachable!() };
    last.payload_type = EVENT;
    // An event of 200 ms: every packet bears the time-stamp of the first, and another packet is lost.
    let began = packets[10].timestamp;
    for packet in &mut packets[10..20] {
        (packet.payload_type, packet.timestamp) = (EVENT, began);
    }
    packets.remove(15);
    let quality = measure(&packets);
    assert_eq!((quality.total.lost(), quality.total.jitter_us, quality.payload_type), (1, 0, VOICE));
    assert_eq!((quality.sequence, quality.timestamp), (39, 39 * 160), "of the event that came last");
}

#[test]
fn spans_tell_when_it_was_bad() {
    // 15 s of speech, then one packet; in the second span every fifth packet is lost, in the third 8 ms are added to
    // every other one.
    let mut packets = speech(5, 77, 0..751);
    for packet in packets.iter_mut().filter(|p| (500..750).contains(&p.sequence) && p.sequence % 2 == 1) {
        packet.arrival_ns += 8 * MS;
    }
    packets.retain(|p| !(250..500).contains(&p.sequence) || p.sequence % 5 != 2);
    let quality = measure(&packets);
    let span =
        |lost: u64, jitter_us| Span { expected: 250, received: 250 - lost, jitter_us, ..Span::default() };
    assert_eq!((quality.spans, quality.worst, quality.best), (3, span(50, 0), span(0, 0)));
    // It converges to 8 ms within the first packets.
    assert_eq!((counts(quality.last), quality.total.lost()), ([250, 250, 0, 0], 50));
    assert!((7400..8000).contains(&quality.last.jitter_us), "{}", quality.last.jitter_us);
}

#[test]
fn a_round_trip_needs_no_rtp_but_is_told_with_it() {
    let words = |list: &[u32]| -> Vec<u8> { list.iter().flat_map(|w| w.to_be_bytes()).collect() };
    let mut reception = Reception::default();
    reception.sent(&words(&[0x80c8_0006, 9, 0x1111_b705, 0x2000_9999, 3, 4, 5]), SECOND);
    let receiver = words(&[0x81c9_0007, 5, 9, 0x0300_0007, 0, 44, 0xb705_2000, 0x8000]);
    reception.said(&Said::read(&receiver, |ssrc| ssrc == 9), SECOND + 540 * MS);
    assert_eq!(reception.report(), Some(Report { fraction_lost: 3, lost: 7, jitter: 44 }));
    assert_eq!(reception.quality(), None);
    receive(&mut reception, &speech(5, 2 * SECOND, [7])[0]);
    assert_eq!(reception.quality().unwrap().round_trip_us, Some(40_000));
    // A report without an echo takes nothing back.
    let silent = words(&[0x81c9_0007, 5, 9, 0, 0, 45, 0, 0]);
    reception.said(&Said::read(&silent, |_| true), 3 * SECOND);
    reception.said(&Said::read(&silent, |_| false), 3 * SECOND);
    assert_eq!(
        (reception.report().unwrap().jitter, reception.quality().unwrap().round_trip_us),
        (45, Some(40_000))
    );
}

/// What becomes of one packet on its way.
#[derive(Debug, Clone, Copy)]
struct Fate {
    lost: bool,
    delay_ms: u64,
    /// A copy arrives so much later.
    copy_ms: Option<u64>,
    payload_type: u8,
}

/// One life of a sender.
#[derive(Debug, Clone)]
struct Life {
    new_ssrc: bool,
    first: u16,
    timestamp: u32,
    silence_ms: u64,
    fates: Vec<Fate>,
}

fn fate() -> impl Strategy<Value = Fate> {
    let copy = proptest::option::weighted(0.1, 0..300_u64);
    let payload_type = prop_oneof![6 => Just(VOICE), 2 => Just(WIDE), 1 => Just(EVENT), 1 => Just(CLOCKLESS)];
    (proptest::bool::weighted(0.2), 0..200_u64, copy, payload_type)
        .prop_map(|(lost, delay_ms, copy_ms, payload_type)| Fate { lost, delay_ms, copy_ms, payload_type })
}

fn life() -> impl Strategy<Value = Life> {
    let first = prop_oneof![any::<u16>(), 65_400..=65_535_u16];
    let fates = proptest::collection::vec(fate(), 40..120);
    (any::<bool>(), first, any::<u32>(), 0..8_000_u64, fates).prop_map(
        |(new_ssrc, first, timestamp, silence_ms, fates)| Life {
            new_ssrc,
            first,
            timestamp,
            silence_ms,
            fates,
        },
    )
}

/// The packets of all lives in order of arrival, each with the number of its life and its place in it. A life with the
/// same SSRC as the one before begins far from it, and when nothing is on its way any more; its first two packets arrive
/// in order, so that it is told from strays.
fn stream(lives: &[Life]) -> Vec<(Packet, usize, u64)> {
    let (mut packets, mut sent_ns, mut ssrc, mut next) = (Vec::new(), SECOND, 1, 0_u16);
    for (number, life) in lives.iter().enumerate() {
        let same = number > 0 && !life.new_ssrc;
        ssrc += u32::from(!same);
        let first = if same { next.wrapping_add(20_000) } else { life.first };
        sent_ns += life.silence_ms * MS + if same { SECOND } else { 0 };
        let began_ns = sent_ns;
        for (place, fate) in (0..).zip(&life.fates) {
            let opening = same && place < 2;
            // Every fourth comes: a burst of loss never hides a whole life.
            let lost = fate.lost && place % 4 != 0 && !opening;
            let delay_ms = if opening { 0 } else { fate.delay_ms + if same { 20 } else { 0 } };
            let sequence = first.wrapping_add(place);
            let media_ms = (sent_ns - began_ns) / MS;
            let ticks = u32::try_from(media_ms * u64::from(hz(fate.payload_type).max(1)) / 1000).unwrap();
            let timestamp = life.timestamp.wrapping_add(ticks);
            let arrival_ns = sent_ns + delay_ms * MS;
            let packet = Packet { arrival_ns, ssrc, sequence, payload_type: fate.payload_type, timestamp };
            let copy = fate
                .copy_ms
                .filter(|_| !opening)
                .map(|ms| Packet { arrival_ns: arrival_ns + ms * MS, ..packet });
            let arrived = Some(packet).filter(|_| !lost).into_iter().chain(copy);
            packets.extend(arrived.map(|packet| (packet, number, u64::from(place))));
            sent_ns += 20 * MS;
            next = sequence;
        }
    }
    packets.sort_by_key(|(packet, ..)| packet.arrival_ns);
    packets
}

/// Counts as the definitions have them: all packets of a life are laid out side by side.
fn truth(packets: &[(Packet, usize, u64)]) -> [u64; 4] {
    let mut lives: HashMap<usize, Vec<u64>> = HashMap::new();
    packets.iter().for_each(|(_, life, place)| lives.entry(*life).or_default().push(*place));
    let mut sum = [0; 4];
    for places in lives.values() {
        let (low, high) = (places.iter().min().unwrap(), places.iter().max().unwrap());
        let distinct: HashSet<_> = places.iter().collect();
        let received = distinct.len() as u64;
        let first_copies =
            places.iter().enumerate().filter(|(n, place)| !places[..*n].contains(place)).map(|(n, _)| n);
        let late = first_copies.filter(|n| places[..*n].iter().any(|before| *before > places[*n])).count();
        let one = [high - low + 1, received, places.len() as u64 - received, late as u64];
        sum.iter_mut().zip(one).for_each(|(sum, one)| *sum += one);
    }
    sum
}

/// Appendix A.8 as it is written, in seconds of floating point: the mean of J after each packet, per SSRC, where the
/// packet before in the same clock is of the same life.
fn plain_jitter_us(packets: &[(Packet, usize, u64)]) -> f64 {
    let mut jitters: HashMap<u32, f64> = HashMap::new();
    let mut before: HashMap<u32, (Packet, usize)> = HashMap::new();
    let mut came = HashSet::new();
    let (mut sum, mut samples) = (0.0, 0.0);
    for (packet, life, place) in packets {
        let first_copy = came.insert((*life, *place));
        let restart = *place == 0 && before.get(&packet.ssrc).is_some_and(|(_, other)| other != life);
        if packet.payload_type == EVENT || !first_copy || restart {
            continue;
        }
        let last = before.insert(packet.ssrc, (*packet, *life));
        let clock = hz(packet.payload_type);
        let Some((last, _)) = last.filter(|(last, other)| other == life && hz(last.payload_type) == clock)
        else {
            continue;
        };
        if clock == 0 {
            continue;
        }
        #[allow(clippy::cast_precision_loss, reason = "spans of minutes")]
        let arrived = (packet.arrival_ns - last.arrival_ns) as f64 / 1e9;
        let sent = f64::from(packet.timestamp.wrapping_sub(last.timestamp).cast_signed()) / f64::from(clock);
        let jitter = jitters.entry(packet.ssrc).or_default();
        *jitter += ((arrived - sent).abs() - *jitter) / 16.0;
        sum += *jitter;
        samples += 1.0;
    }
    if samples > 0.0 { sum / samples * 1e6 } else { 0.0 }
}

proptest! {
    /// Loss, duplicates, reordering, jitter, changes of SSRC, restarts, wraps, changes of codec and clock, events: the
    /// counts are exact, and the jitter is that of the plain formula.
    #[test]
    fn figures_are_those_of_the_definitions(lives in proptest::collection::vec(life(), 1..5)) {
        let told = stream(&lives);
        let packets: Vec<Packet> = told.iter().map(|(packet, ..)| *packet).collect();
        let quality = measure(&packets);
        prop_assert_eq!(counts(quality.total), truth(&told));
        let plain = plain_jitter_us(&told);
        prop_assert!((f64::from(quality.total.jitter_us) - plain).abs() < 1.5, "{} {}", quality.total.jitter_us, plain);
    }

    /// Whatever the numbers and times, nothing overflows; what is received never exceeds what was expected, and the
    /// best span is not worse than the worst.
    #[test]
    fn no_numbers_and_no_times_upset_it(
        packets in proptest::collection::vec(
            (0..4_u32, prop_oneof![any::<u16>(), 0..200_u16], any::<u8>(), any::<u32>(), any::<u64>()), 1..300,
        ),
        clock: u32,
    ) {
        let mut reception = Reception::default();
        let clocks = [Clock { payload_types: PayloadTypes(u128::MAX / 5), hz: clock }; MAX_CLOCKS];
        for (ssrc, sequence, payload_type, timestamp, arrival_ns) in packets {
            let packet = Packet { arrival_ns, ssrc, sequence, payload_type, timestamp };
            reception.rtp(&packet.bytes(), PayloadTypes(1 << 4), &clocks, arrival_ns);
            let Quality { total, worst, best, .. } = reception.quality().unwrap();
            prop_assert!(total.received <= total.expected);
            prop_assert!(worst.lost() * best.expected.max(1) >= best.lost() * worst.expected);
        }
    }
}

/// A capture file of `packets`, as UDP datagrams between two hosts.
fn capture(packets: &[Packet]) -> Vec<u8> {
    // Microseconds since 1970, and frames that begin with an IP header.
    let mut file: Vec<u8> =
        [0xa1b2_c3d4_u32, 2 | 4 << 16, 0, 0, 65_535, 101].iter().flat_map(|w| w.to_le_bytes()).collect();
    for packet in packets {
        let rtp = [packet.bytes(), vec![0xd5; 160]].concat();
        let length = u16::try_from(rtp.len()).unwrap();
        let mut frame = vec![0x45, 0];
        frame.extend((length + 28).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0x13, 0x88, 0x13, 0x8c]);
        frame.extend((length + 8).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(rtp);
        let micros = packet.arrival_ns / 1000;
        let size = frame.len() as u64;
        for word in [micros / 1_000_000, micros % 1_000_000, size, size] {
            file.extend(u32::try_from(word).unwrap().to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

/// Another implementation of the same RFC measures the same stream: speech over the wrap of the sequence numbers, with
/// loss, reordering and a jitter of some milliseconds.
#[test]
fn tshark_comes_to_the_same_figures() {
    let mut packets = speech(5, SECOND, (65_300..=65_535).chain(0..800).filter(|n| n % 17 != 4));
    for packet in &mut packets {
        // What is lost was sent all the same.
        let place = u64::from(packet.sequence.wrapping_sub(65_300));
        packet.timestamp = u32::try_from(place).unwrap() * 160;
        // tshark counts from the packet that comes first to the one that comes last: these two are in order.
        let delay =
            if [65_300, 799].contains(&packet.sequence) { place / 16 } else { place * place * 7919 % 31 };
        packet.arrival_ns = SECOND + (place * 20 + delay) * MS;
    }
    packets.sort_by_key(|packet| packet.arrival_ns);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), capture(&packets)).unwrap();
    let mut command = std::process::Command::new("tshark");
    command.args(["-d", "udp.port==5004,rtp", "-q", "-z", "rtp,streams", "-r"]).arg(file.path());
    let Ok(output) = command.output() else { return println!("skipped: tshark is not installed") };
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains("0x00000005")).unwrap_or_else(|| panic!("{text}"));
    let columns: Vec<&str> = line.split_whitespace().collect();
    let [_, _, _, _, _, _, _, _, packets_told, lost, _share, _, _, _, _, jitter_ms, ..] = columns[..] else {
        panic!("{text}")
    };
    let total = measure(&packets).total;
    assert_eq!((total.received.to_string(), total.lost().to_string()), (packets_told.into(), lost.into()));
    let jitter_us = jitter_ms.parse::<f64>().unwrap() * 1000.0;
    // tshark counts the first packet as one without jitter.
    let ratio = f64::from(total.jitter_us) / jitter_us;
    assert!((0.995..1.005).contains(&ratio), "{total:?} {text}");
    assert!(total.lost() > 50 && total.reordered > 50 && total.jitter_us > 10_000, "{total:?}");
}
