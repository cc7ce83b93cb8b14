//! The shortest cases of what the oracle found.

use crate::manifest::{Cause, Counts};
use crate::spool::Side;
use crate::timeline::{Arrival, Brings, Missing, Settled, Timeline};

/// Ticks of a millisecond.
const MS: i64 = 48;

/// A packet of `ms` of speech of an 8 kHz clock, which arrives at `at` (ms).
fn packet(at: i64, sequence: u16, stamp: i64, ms: i64) -> Arrival {
    Arrival {
        at_ns: 1_000_000_000_000_u64.saturating_add_signed(at * 1_000_000),
        stream: 0,
        ssrc: 1,
        sequence,
        timestamp: (stamp * 8) as u32,
        clock_rate: 8000,
        brings: Brings::Speech(ms * MS),
        mark: 8,
        payload: Vec::new(),
        bytes: 172,
    }
}

/// All that is settled by now: sequence number and place in ms.
fn settled(timeline: &mut Timeline) -> Vec<(u16, i64)> {
    std::iter::from_fn(|| timeline.settled()).map(|s: Settled| (s.packet.sequence, s.place / MS)).collect()
}

/// Sequence numbers and places (ms) of the caller's packets, the counts and what is missing.
fn play(packets: Vec<Arrival>) -> (Vec<(u16, i64)>, Counts, Vec<Missing>) {
    let mut timeline = Timeline::default();
    let (mut out, last) = (Vec::new(), packets.last().map_or(0, |p| p.at_ns));
    for packet in packets {
        timeline.advance(packet.at_ns);
        out.extend(settled(&mut timeline));
        timeline.push(Side::Caller, packet);
    }
    timeline.finish(last);
    out.extend(settled(&mut timeline));
    (out, timeline.heard(Side::Caller).1, timeline.missing())
}

#[test]
fn packets_of_any_length_stand_where_they_were_said() {
    // Each is sent when its last sample was said: from 20 ms to 60 ms, the voice goes on.
    let mut packets: Vec<Arrival> = (0..100).map(|n| packet(n * 20 + 20, n as u16, n * 20, 20)).collect();
    packets.extend((0..100).map(|n| packet(2060 + n * 60, 100 + n as u16, 2000 + n * 60, 60)));
    let (out, counts, _) = play(packets);
    // The first arrives at 0 on the axis, so it was said 20 ms before.
    assert!(out.iter().all(|(n, place)| {
        let n = i64::from(*n);
        *place == if n < 100 { n * 20 } else { 2000 + (n - 100) * 60 } - 20
    }));
    assert_eq!(counts.jumps, 0);
}

#[test]
fn behind_a_long_silence_a_slow_clock_is_where_it_is() {
    // 200 millionths slow: 24 ms in 2 minutes of silence.
    let said = |n: i64| if n < 100 { n * 20 } else { 120_000 + n * 20 };
    let packets = (0..200).map(|n| packet(said(n) + said(n) / 5000, n as u16, said(n), 20)).collect();
    let (out, _, _) = play(packets);
    let worst = out.iter().map(|(n, place)| (place - said((*n).into()) * 5001 / 5000 + 20).abs()).max();
    assert!(worst <= Some(5), "{worst:?} ms off");
}

#[test]
fn a_slow_packet_before_a_leap_stands_with_those_before_it() {
    // Packets 97 to 99 arrive together, up to 180 ms late, then the time-stamps leap.
    let mut packets: Vec<Arrival> =
        (0..100).map(|n| packet(if n >= 97 { 2120 } else { n * 20 }, n as u16, n * 20, 20)).collect();
    packets.extend((0..100).map(|n| packet(3000 + n * 20, 100 + n as u16, 900_000 + n * 20, 20)));
    let (out, counts, _) = play(packets);
    assert_eq!((out[99], out[100], counts.jumps), ((99, 99 * 20 - 20), (100, 2980), 1));
}

#[test]
fn packets_that_change_places_where_the_clock_changes_keep_their_time() {
    // Packets 50 to 99 count in 48 kHz; of those and of the ones before, two arrive 45 ms late.
    let mut packets: Vec<Arrival> = (0..100_i64)
        .map(|n| {
            let late = if n == 49 || n == 50 { 45 } else { 0 };
            let mut packet = packet(n * 20 + late, n as u16, n * 20, 20);
            if n >= 50 {
                (packet.clock_rate, packet.timestamp) = (48_000, 3_000_000_000 + n as u32 * 960);
            }
            packet
        })
        .collect();
    packets.sort_by_key(|p| p.at_ns);
    let (out, counts, _) = play(packets);
    assert!(out.iter().all(|(n, place)| *place == i64::from(*n) * 20 - 20), "{out:?}");
    assert_eq!(counts.jumps, 1);
}

#[test]
fn the_first_two_of_a_new_numbering_may_change_places() {
    let numbers = (0..50).chain([30_001, 30_000]).chain(30_002..30_050);
    let packets =
        numbers.zip(0..).map(|(number, n)| packet(n * 20, number, i64::from(number) * 20, 20)).collect();
    let (out, counts, _) = play(packets);
    assert_eq!((out.len(), counts.lost, counts.reordered), (100, 0, 1));
}

#[test]
fn the_first_two_behind_a_pause_may_change_places() {
    let mut timeline = Timeline::default();
    for n in (0..50).chain([100, 99]).chain(101..150) {
        let next = packet(n * 20, n as u16, n * 20, 20);
        match n {
            100 => timeline.resume(next.at_ns),
            _ => timeline.advance(next.at_ns),
        }
        timeline.push(Side::Caller, next);
        if n == 49 {
            timeline.pause(packet(990, 0, 0, 0).at_ns);
        }
    }
    timeline.finish(packet(3000, 0, 0, 0).at_ns);
    assert_eq!(settled(&mut timeline).len(), 101);
    assert_eq!(timeline.heard(Side::Caller).1.lost, 0);
}

#[test]
fn an_event_of_strange_time_stamps_stands_where_it_came() {
    // Some gateways give events time-stamps of their own.
    let mut packets: Vec<Arrival> = (0..100).map(|n| packet(n * 20, n as u16, n * 20, 20)).collect();
    for (n, packet) in packets.iter_mut().enumerate().skip(50).take(5) {
        packet.timestamp = 3_000_000_000;
        packet.brings = Brings::Event((n as i64 - 49) * 20 * MS);
    }
    let (out, counts, _) = play(packets);
    assert!(
        out.iter().all(|(n, place)| *place == i64::from(*n).min(if *n < 55 { 50 } else { 99 }) * 20 - 20),
        "{out:?}"
    );
    assert_eq!(counts.jumps, 0);
}

#[test]
fn a_leap_of_the_time_stamps_is_no_jitter() {
    let packets = (0..100).map(|n| packet(n * 20, n as u16, n * 20 + n / 95 * 100_000, 20)).collect();
    let (_, counts, _) = play(packets);
    assert_eq!((counts.jumps, counts.jitter_us), (1, 0));
}

#[test]
fn a_stall_over_a_pause_in_speech_moves_nothing() {
    // Packets 50 to 149 arrive together, up to 8 s late; between 99 and 100 there are 6 s of silence.
    let said = |n: i64| n * 20 + n / 100 * 6000;
    let packets = (0..250).map(|n| {
        let at = if (50..150).contains(&n) { said(150) } else { said(n) };
        packet(at, n as u16, said(n), 20)
    });
    let (out, counts, _) = play(packets.collect());
    assert!(out.iter().all(|(n, place)| *place == said((*n).into()) - 20), "{out:?}");
    assert_eq!(counts.jumps, 0);
}

#[test]
fn a_stall_before_a_long_silence_is_no_leap() {
    // Packets 50 to 99 arrive together, up to 9 s late, then 20 s of silence.
    let said = |n: i64| n * 20 + n / 100 * 20_000;
    let packets = (0..150)
        .map(|n| packet(if (50..100).contains(&n) { 10_000 } else { said(n) }, n as u16, said(n), 20));
    let (out, counts, _) = play(packets.collect());
    assert!(out.iter().all(|(n, place)| *place == said((*n).into()) - 20), "{out:?}");
    assert_eq!(counts.jumps, 0);
}

#[test]
fn a_hold_that_ends_in_a_stall_is_a_hold() {
    // The clock stands still for 10 s before packet 50; 50 to 89 arrive together, up to 800 ms late.
    let said = |n: i64| n * 20 + n / 50 * 10_000;
    let packets = (0..100).map(|n| {
        packet(
            if (50..90).contains(&n) { said(90) } else { n * 20 + 10_000 * (n / 50) },
            n as u16,
            n * 20,
            20,
        )
    });
    let (out, counts, _) = play(packets.collect());
    assert!(out.iter().all(|(n, place)| *place == said((*n).into()) - 20), "{out:?}");
    assert_eq!(counts.jumps, 1);
}

#[test]
fn a_short_burst_before_a_long_silence_is_no_leap() {
    // Packets 50 to 69 arrive together, up to 4 s late, then 20 s of silence.
    let said = |n: i64| n * 20 + n / 70 * 20_000;
    let packets =
        (0..150).map(|n| packet(if (50..70).contains(&n) { 5000 } else { said(n) }, n as u16, said(n), 20));
    let (out, counts, _) = play(packets.collect());
    assert!(out.iter().all(|(n, place)| *place == said((*n).into()) - 20), "{out:?}");
    assert_eq!(counts.jumps, 0);
}

#[test]
fn a_first_packet_overtaken_by_those_behind_a_loss_begins_its_run_in_place() {
    // A sender's first packet takes 180 ms longer, two behind it are lost.
    let first = packet(180, 0, 0, 20);
    let mut packets: Vec<Arrival> = (3..100).map(|n| packet(n * 20, n as u16, n * 20, 20)).collect();
    packets.insert(6, first);
    let (out, counts, _) = play(packets);
    assert!(out.iter().all(|(n, place)| *place == i64::from(*n) * 20 - 80), "{out:?}");
    assert_eq!((counts.jumps, counts.lost), (0, 2));
}

#[test]
fn an_overflow_is_known_however_long_nobody_speaks_behind_it() {
    let mut timeline = Timeline::default();
    // Packets 50 to 59 arrive and are not captured; then a minute of silence, in which the ring overflows once more.
    for n in (0..50).chain(60..100) {
        let at = n * 20 + n / 60 * 60_000;
        if n == 60 {
            for from in [1000, 40_000] {
                let span = (packet(from, 0, 0, 0).at_ns, packet(from + 199, 0, 0, 0).at_ns);
                timeline.uncaptured(
                    Side::Caller,
                    0,
                    Cause::TapOverflow,
                    span,
                    Some(if from == 1000 { 10 } else { 0 }),
                );
            }
        }
        timeline.advance(packet(at, 0, 0, 0).at_ns);
        timeline.push(Side::Caller, packet(at, n as u16, at, 20));
    }
    timeline.finish(packet(70_000, 0, 0, 0).at_ns);
    settled(&mut timeline);
    let told: Vec<_> =
        timeline.missing().iter().filter(|m| m.packets > 0).map(|m| (m.cause, m.packets)).collect();
    assert_eq!(told, [(Cause::TapOverflow, 10)]);
}

#[test]
fn an_overflow_of_unknown_extent_is_told_by_sequence_numbers() {
    let mut timeline = Timeline::default();
    // Packets 50 to 59 are not captured, packet 80 is lost on its way.
    for n in (0..50).chain(60..80).chain(81..100) {
        if n == 60 {
            let span = (packet(1000, 0, 0, 0).at_ns, packet(1199, 0, 0, 0).at_ns);
            timeline.uncaptured(Side::Caller, 0, Cause::TapOverflow, span, None);
        }
        timeline.push(Side::Caller, packet(n * 20, n as u16, n * 20, 20));
    }
    timeline.finish(packet(2000, 0, 0, 0).at_ns);
    settled(&mut timeline);
    let told: Vec<_> = timeline.missing().iter().map(|m| (m.cause, m.from / MS, m.packets)).collect();
    assert_eq!(told, [(Cause::TapOverflow, 980, 10), (Cause::NetworkLoss, 1580, 1)]);
}

#[test]
fn what_is_lost_before_comfort_noise_of_another_clock_is_told() {
    let mut packets: Vec<Arrival> = (0..100).map(|n| packet(n * 20, n as u16, n * 20, 20)).collect();
    (packets[50].clock_rate, packets[50].brings) = (16_000, Brings::Nothing);
    packets.remove(49);
    let (_, counts, missing) = play(packets);
    assert_eq!((counts.lost, counts.jumps), (1, 0));
    assert_eq!(missing.iter().map(|m| m.packets).collect::<Vec<_>>(), [1]);
}

#[test]
fn an_outage_of_minutes_is_loss_and_no_new_beginning() {
    // 100 s without a packet, 5000 of them sent.
    let packets = (0..6000)
        .filter(|n| !(100..5100).contains(n))
        .map(|n| packet(n * 20, n as u16, n * 20, 20))
        .collect();
    let (out, counts, missing) = play(packets);
    assert!(out.iter().all(|(n, place)| *place == i64::from(*n) * 20 - 20));
    assert_eq!((counts.lost, counts.jumps), (5000, 0));
    let told: Vec<_> = missing.iter().map(|m| (m.from / MS, m.to / MS, m.packets)).collect();
    assert_eq!(told, [(1980, 101_980, 5000)]);
}

#[test]
fn a_sender_that_begins_anew_behind_a_long_silence_lost_nothing() {
    // 100 s of silence, then other numbers, 5000 ahead, and other time-stamps.
    let packets = (0..200).map(|n| {
        let (silence, number, stamp) = if n < 100 { (0, 0, 0) } else { (100_000, 5000, 9_000_000) };
        packet(n * 20 + silence, (n + number) as u16, n * 20 + stamp, 20)
    });
    let (out, counts, missing) = play(packets.collect());
    assert_eq!((out[100].1, counts.lost, counts.jumps, missing.len()), (101_980, 0, 1, 0));
}

#[test]
fn losses_without_end_fill_no_memory() {
    // Every second packet is lost, 70,000 times.
    let packets = (0..70_000).map(|n| packet(n * 40, (n * 2) as u16, n * 40, 20)).collect();
    let (_, counts, missing) = play(packets);
    assert_eq!((counts.lost, missing.len()), (69_999, 1 << 16));
    assert_eq!(missing.iter().map(|m| m.packets).sum::<u64>(), 69_999);
    assert_eq!(missing.last().map(|m| m.to / MS), Some(69_999 * 40 - 20));
}
