//! The timeline against a network that is known: every sample says where it was said.

use proptest::prelude::*;

use super::*;
use crate::rate::Rate;

const MS: i64 = 8;

/// What was said at sample `n` of a sender's clock; never 0.
fn said(n: i64) -> i16 {
    i16::try_from(n.rem_euclid(30_011) + 1).unwrap()
}

/// A packet of 20 ms whose first sample is `n`.
fn speech(n: i64) -> Vec<i16> {
    (n..n + 160).map(said).collect()
}

fn ns(sample: i64) -> u64 {
    1_000_000_000_000 + u64::try_from(sample).unwrap() * 125_000
}

/// One packet on its way: when it arrives, and what the timeline is told.
#[derive(Debug, Clone)]
struct Sent {
    at: i64,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    samples: Vec<i16>,
}

fn sent(at: i64, number: i64, first: i64) -> Sent {
    let sequence = (number + 65_500).rem_euclid(65_536) as u16;
    let timestamp = (first + 4_294_960_000_i64).rem_euclid(1 << 32) as u32;
    Sent { at, ssrc: 7, sequence, timestamp, samples: speech(first) }
}

fn arrival(p: &Sent) -> Arrival {
    Arrival {
        at_ns: ns(p.at),
        stream: 0,
        ssrc: p.ssrc,
        sequence: p.sequence,
        timestamp: p.timestamp,
        clock_rate: 8000,
        brings: Brings::Speech(960),
        mark: 8,
        payload: p.samples.iter().flat_map(|s| s.to_be_bytes()).collect(),
        bytes: 172,
    }
}

/// What the archiver does with a timeline, for the caller's side.
#[derive(Default)]
struct Player {
    timeline: Timeline,
    track: Option<Track>,
    given: i64,
    out: Vec<i16>,
}

impl Player {
    fn push(&mut self, p: &Sent) {
        self.timeline.advance(ns(p.at));
        self.take();
        self.timeline.push(Side::Caller, arrival(p));
    }

    fn take(&mut self) {
        while let Some(settled) = self.timeline.settled() {
            let samples: Vec<i16> =
                settled.packet.payload.as_chunks::<2>().0.iter().map(|b| i16::from_be_bytes(*b)).collect();
            self.track.get_or_insert_with(|| Track::new(Rate::Narrow, -LEAD)).write(
                settled.place,
                settled.run,
                &samples,
            );
        }
        let mut frame = Vec::new();
        while self.timeline.horizon() >= self.given + 960 {
            if self.given == 0 && self.out.is_empty() {
                self.given = self.timeline.origin();
                let mut track = self.track.take().unwrap_or_else(|| Track::new(Rate::Narrow, -LEAD));
                track.begin(self.given);
                self.track = Some(track);
            }
            self.track.as_mut().unwrap().give(&mut frame);
            self.out.extend(&frame);
            self.given += 960;
        }
    }

    fn finish(mut self, at: i64) -> (Vec<i16>, Timeline) {
        self.timeline.finish(ns(at));
        // What is left is given out to the end, and cut there.
        self.take();
        if self.out.is_empty() {
            self.given = self.timeline.origin();
            self.track.as_mut().unwrap().begin(self.given);
        }
        let mut frame = Vec::new();
        self.track.as_mut().unwrap().give(&mut frame);
        self.out.extend(&frame);
        let length = self.timeline.length() / 6;
        assert!(self.out.len() as u64 >= length);
        self.out.truncate(length as usize);
        (self.out, self.timeline)
    }
}

/// Plays packets, sorted by arrival, and gives the caller's whole channel.
fn play(packets: &[Sent]) -> (Vec<i16>, Timeline) {
    let mut player = Player::default();
    packets.iter().for_each(|p| player.push(p));
    player.finish(packets.last().map_or(0, |p| p.at))
}

fn counts(timeline: &Timeline) -> Counts {
    timeline.heard(Side::Caller).1
}

/// Whether the packet that begins with sample `n` stands whole at `place`.
fn stands(out: &[i16], n: i64, place: i64) -> bool {
    let place = place as usize;
    out.get(place..place + 160) == Some(&speech(n)[..])
}

/// How far the middle of the packet that begins with sample `n` is from `place`, its right one, within 50 ms.
fn off(out: &[i16], n: i64, place: i64) -> Option<i64> {
    let (from, to) = ((place + 80 - 50 * MS).max(0), place + 80 + 50 * MS);
    let span = out.get(from as usize..(to as usize).min(out.len()))?;
    span.iter().position(|s| *s == said(n + 80)).map(|found| (found as i64 + from - place - 80).abs())
}

#[test]
fn a_clean_stream_comes_out_as_it_was_said() {
    let packets: Vec<Sent> = (0..1000).map(|n| sent(n * 160, n, n * 160)).collect();
    let (out, timeline) = play(&packets);
    assert!(out.iter().zip(0..).all(|(s, n)| *s == said(n)));
    let plain = Counts { sources: 1, packets: 1000, bytes: 172_000, ..Counts::default() };
    assert_eq!((out.len(), counts(&timeline)), (160_000, plain));
}

#[test]
fn a_slow_first_packet_is_jitter_and_not_drift() {
    // The first of 30 s of packets takes 4 ms longer than all others: nothing is shifted or stretched.
    let packets: Vec<Sent> =
        (0..1500).map(|n| sent(n * 160 + if n == 0 { 4 * MS } else { 0 }, n, n * 160)).collect();
    let (out, _) = play(&packets);
    assert!(out.iter().zip(0..).all(|(s, n)| *s == said(n)));
}

#[test]
fn silence_suppression_keeps_its_length() {
    // 2 s of speech, 30 s of nothing while the time-stamp runs on, 2 s of speech.
    let packets: Vec<Sent> = (0..200)
        .map(|n| (n, n * 160 + if n < 100 { 0 } else { 30_000 * MS }))
        .map(|(n, first)| sent(first, n, first))
        .collect();
    let (out, timeline) = play(&packets);
    assert!(out.iter().zip(0..).all(|(s, n)| *s == if (16_000..256_000).contains(&n) { 0 } else { said(n) }));
    assert_eq!(counts(&timeline).lost, 0);
    assert!(timeline.missing().is_empty());
}

#[test]
fn a_stall_with_a_burst_behind_it_moves_nothing() {
    // Packets 100 to 250 (3 s) are held back and come together; 20 s later another stall.
    let mut packets: Vec<Sent> = (0..2000)
        .map(|n| {
            let at = match n {
                100..250 => 250 * 160 + n - 250,
                1200..1300 => 1300 * 160 + n - 1300,
                _ => n * 160,
            };
            sent(at, n, n * 160)
        })
        .collect();
    packets.sort_by_key(|p| p.at);
    let (out, timeline) = play(&packets);
    assert!(out.iter().zip(0..).all(|(s, n)| *s == said(n)));
    assert_eq!((counts(&timeline).late, counts(&timeline).jumps), (0, 0));
}

#[test]
fn a_sender_that_stops_its_clock_on_hold_is_placed_by_arrival() {
    // 10 s of hold in which neither sequence nor time-stamp moves.
    let packets: Vec<Sent> =
        (0..400).map(|n| sent(n * 160 + if n < 200 { 0 } else { 10_000 * MS }, n, n * 160)).collect();
    let (out, timeline) = play(&packets);
    assert!(stands(&out, 199 * 160, 199 * 160));
    assert!(stands(&out, 200 * 160, 200 * 160 + 10_000 * MS));
    assert!(stands(&out, 399 * 160, 399 * 160 + 10_000 * MS));
    assert_eq!(counts(&timeline).jumps, 1);
}

#[test]
fn time_stamp_jumps_and_new_senders_are_placed_by_arrival() {
    let packets: Vec<Sent> = (0..300)
        .map(|n| {
            let mut packet = sent(n * 160, n, n * 160);
            match n {
                100..200 => packet.timestamp = packet.timestamp.wrapping_add(1_234_567_890),
                200.. => (packet.ssrc, packet.sequence) = (8, packet.sequence.wrapping_mul(3)),
                _ => {}
            }
            packet.sequence = if n >= 200 { n as u16 } else { packet.sequence };
            packet
        })
        .collect();
    let (out, timeline) = play(&packets);
    assert!(out.iter().zip(0..).all(|(s, n)| *s == said(n)));
    let tally = counts(&timeline);
    assert_eq!((tally.jumps, tally.sources, tally.lost), (1, 2, 0));
}

#[test]
fn a_pause_is_silent_and_no_loss() {
    let mut player = Player::default();
    for n in 0..300_i64 {
        let p = sent(n * 160, n, n * 160);
        match n {
            100 => player.timeline.pause(ns(p.at)),
            200 => player.timeline.resume(ns(p.at)),
            _ => {}
        }
        if !(100..200).contains(&n) {
            player.push(&p);
        }
    }
    let (out, timeline) = player.finish(299 * 160);
    assert!(out.iter().zip(0..).all(|(s, n)| *s == if (16_000..32_000).contains(&n) { 0 } else { said(n) }));
    assert_eq!(counts(&timeline).lost, 0);
    assert_eq!(timeline.pauses(), [(2000 * 48, 4000 * 48)]);
}

#[test]
fn a_clock_that_drifts_is_followed_without_a_step() {
    for ppm in [200_i64, -200] {
        // An hour. The sender's sample n is said at n + n × ppm / 10^6.
        let packets: Vec<Sent> =
            (0..180_000).map(|n| sent(n * 160 + n * 160 * ppm / 1_000_000, n, n * 160)).collect();
        let (out, timeline) = play(&packets);
        assert_eq!(counts(&timeline).jumps, 0);
        // In the middle of the packets, where no correction falls.
        let worst =
            (0..180_000).step_by(997).map(|n| off(&out, n as i64 * 160, packets[n].at).unwrap()).max();
        let worst = worst.unwrap();
        assert!(worst <= 5 * MS, "{ppm} ppm: {worst} samples off");
        // The last packet may end some samples before it arrived.
        let spoken = &out[..out.len() - 5 * MS as usize];
        assert!(spoken.iter().all(|s| *s != 0), "no hole where a sample was put in");
    }
}

#[test]
fn an_hour_of_silence_costs_no_memory() {
    let mut player = Player::default();
    for n in [0, 8000 * 3600_i64] {
        player.push(&sent(n, n / 160, n));
        let held = player.track.as_ref().map_or(0, Track::held);
        assert!(held <= 20 * 8000, "{held}");
    }
    assert!(player.out.len() > 8000 * 3580);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Loss in bursts (Gilbert–Elliott), jitter with reordering, duplicates, over both wraps.
    #[test]
    fn whatever_the_network_does_speech_stands_where_it_was_said(
        seed in 1_u64.., loss in 0_u64..20, jitter in 0_i64..100, twice in 0_u64..10,
    ) {
        let mut random = crate::random::Random(seed);
        let (mut packets, mut gone, mut copies, mut bad) = (Vec::new(), Vec::new(), 0, false);
        for n in 0..2000_i64 {
            bad = if bad { random.below(3) > 0 } else { random.below(100) < loss };
            // The first and the last always come: what is missing outside of them cannot be known.
            let lost = bad && n > 0 && n < 1999;
            if lost {
                gone.push(n);
                continue;
            }
            let delay = match n {
                0 | 1999 => 0,
                _ => random.below(u64::try_from(jitter).unwrap() * 8 + 1) as i64,
            };
            let packet = sent(n * 160 + delay, n, n * 160);
            if random.below(100) < twice {
                copies += 1;
                packets.push(Sent { at: packet.at + 40, ..packet.clone() });
            }
            packets.push(packet);
        }
        packets.sort_by_key(|p| p.at);
        let (out, timeline) = play(&packets);
        let tally = counts(&timeline);
        prop_assert_eq!((tally.lost, tally.duplicates, tally.late), (gone.len() as u64, copies, 0));
        prop_assert_eq!(timeline.missing().iter().map(|g| g.packets).sum::<u64>(), gone.len() as u64);
        let lost: std::collections::BTreeSet<i64> = gone.into_iter().collect();
        for n in 0..2000 {
            let at = n as usize * 160;
            if lost.contains(&n) {
                prop_assert!(out[at + 40..at + 120].iter().all(|s| *s == 0), "packet {} is lost, not silent", n);
            } else if jitter == 0 {
                prop_assert!(stands(&out, n * 160, n * 160), "packet {}", n);
            } else {
                // The least delay is known only roughly under jitter: audio may move, sample by sample.
                let off = off(&out, n * 160, n * 160);
                prop_assert!(off.is_some_and(|o| o <= 5 * MS), "packet {} is {:?} samples off", n, off);
            }
        }
    }
}

#[test]
fn a_sender_that_leaps_in_sequence_fills_no_memory() {
    let packets: Vec<Sent> = (0..2000).map(|n| sent(n * 160, n * 2999, n * 160)).collect();
    let (out, timeline) = play(&packets);
    assert!(out.iter().zip(0..).all(|(s, n)| *s == said(n)));
    assert_eq!(counts(&timeline).lost, 1999 * 2998);
    assert!(timeline.missing().len() <= 2000);
}

#[test]
fn a_packet_later_than_the_window_is_late_and_stays_lost() {
    let mut packets: Vec<Sent> = (0..1000).filter(|n| *n != 100).map(|n| sent(n * 160, n, n * 160)).collect();
    packets.insert(800, Sent { at: packets[799].at, ..sent(0, 100, 16_000) });
    let (_, timeline) = play(&packets);
    let tally = counts(&timeline);
    assert_eq!((tally.lost, tally.late, tally.duplicates), (1, 1, 0));
}
