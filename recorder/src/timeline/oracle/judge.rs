//! What must hold of a call that was played, whatever the network did.

use std::collections::HashMap;

use super::call::{Blind, Call, Record, Tally};
use super::listener::{Listened, Out, sound};
use crate::manifest::Cause;
use crate::spool::Side;
use crate::timeline::{Brings, Missing};

/// Ticks that speech may be off: 5 ms.
pub const NEAR: i64 = 240;
/// Ticks of one sample of 8 kHz: what a correction may skip or repeat.
const STEP: i64 = 6;

/// Every packet that was captured comes out once, and none else.
pub fn complete(call: &Call, listened: &Listened) {
    for side in Side::BOTH {
        let mut captured: Vec<usize> = call.heard(side).into_iter().collect();
        let mut out: Vec<usize> = listened.out.iter().filter(|o| o.side == side).map(|o| o.index).collect();
        captured.sort_unstable();
        out.sort_unstable();
        assert!(captured == out, "{side:?}: {} captured, {} came out", captured.len(), out.len());
    }
}

/// How far each packet of speech stands from the truth, in ticks: positive is too late.
pub fn errors(call: &Call, listened: &Listened) -> impl Iterator<Item = (Out, i64)> {
    let speech = |o: &&Out| o.side.of(&call.said)[o.index].speech() > 0;
    listened.out.iter().filter(speech).map(|o| (*o, o.place - call.truth(o.side, o.index)))
}

/// All speech stands within 5 ms of the truth, and none is late.
pub fn near(call: &Call, listened: &Listened) {
    for (out, error) in errors(call, listened) {
        let said = &out.side.of(&call.said)[out.index];
        let at = call.tick(said.sent) / 48;
        assert!(error.abs() <= NEAR && !out.late, "{error} ticks off, said at {at} ms: {out:?} {said:?}");
    }
}

/// Speech that went on without a break goes on without one, but for corrections of one sample.
pub fn smooth(call: &Call, listened: &Listened) {
    let mut before: HashMap<(usize, u32), Out> = HashMap::new();
    for (out, _) in errors(call, listened) {
        let said = out.side.of(&call.said);
        let key = (out.side as usize, said[out.index].numbering);
        let Some(before) = before.insert(key, out) else { continue };
        if out.index == before.index + 1 && said[before.index].joins(&said[out.index]) {
            let step = out.place - before.place - said[before.index].speech();
            assert!(
                out.run == before.run && step.abs() <= STEP,
                "a step of {step} ticks: {before:?}, {out:?}"
            );
        }
    }
}

/// All counts are those of the truth.
pub fn counted(call: &Call, listened: &Listened) {
    for side in Side::BOTH {
        let (heard, all) = listened.timeline.heard(side);
        let told = Tally {
            packets: all.packets,
            duplicates: all.duplicates,
            reordered: all.reordered,
            lost: all.lost,
            jumps: all.jumps,
            sources: all.sources,
        };
        assert_eq!((told, all.late), (call.tally(side), 0), "{side:?}");
        for sender in heard {
            let (told, right) = (sender.counts.jitter_us, jitter(call, side, sender.ssrc));
            assert!(told.abs_diff(right) <= 150 + right / 50, "jitter of {told} us, RFC 3550 says {right}");
        }
    }
}

/// RFC 3550, section 6.4.1, in microseconds; a change of clock begins anew, and a leap by 15 s is none.
fn jitter(call: &Call, side: Side, ssrc: u32) -> u64 {
    let said = side.of(&call.said);
    let (mut jitter, mut before, mut seen) = (0.0_f64, None, std::collections::HashSet::new());
    for carried in call.captured(side) {
        let packet = &said[carried.index];
        let event = matches!(packet.brings, Brings::Event(_));
        if packet.ssrc != ssrc || !seen.insert(carried.index) || event {
            continue;
        }
        let key = (packet.clock_rate, packet.numbering);
        if let Some((at, timestamp, was)) = before.replace((carried.at, packet.timestamp, key))
            && was == key
        {
            let stamps = f64::from(packet.timestamp.wrapping_sub(timestamp).cast_signed());
            let d = (carried.at - at) as f64 / 1e3 - stamps * 1e6 / f64::from(packet.clock_rate);
            if d.abs() < 15e6 {
                jitter += (d.abs() - jitter) / 16.0;
            }
        }
    }
    jitter as u64
}

/// The gaps are where packets are missing, for the right cause, and tell of all of them.
pub fn gaps(call: &Call, listened: &Listened) {
    let missing = listened.timeline.missing();
    for side in Side::BOTH {
        let holes = call.holes(side);
        let lost: u64 = holes.iter().map(|h| h.packets - h.arrived).sum();
        let of = |cause| missing.iter().filter(move |m| m.side == side && m.cause == cause);
        let told = of(Cause::NetworkLoss).map(|m| m.packets).sum::<u64>();
        assert_eq!(told, lost, "{side:?}: packets that the network lost");
        let said = side.of(&call.said);
        let mut arrived: HashMap<usize, i64> = HashMap::new();
        for carried in call.captured(side) {
            arrived.entry(carried.index).or_insert(call.tick(carried.at));
        }
        let mut allowed = 0;
        for hole in holes {
            let (before, behind) = hole.between;
            // What is no speech may stand where it arrived.
            let slow = |index: usize| {
                if said[index].speech() > 0 { 0 } else { arrived[&index] - call.truth(side, index) }
            };
            let from = call.truth(side, before) + said[before].speech();
            let to = call.truth(side, behind);
            let covers = |m: &&Missing| m.from <= from + slow(before) + NEAR && m.to >= to - NEAR;
            let (lost, uncaptured) = (hole.packets > hole.arrived, hole.arrived > 0);
            let told = |cause| of(cause).any(|m| covers(&m));
            assert!(!lost || told(Cause::NetworkLoss), "{side:?}: {hole:?} at {from}..{to} is not told");
            assert!(
                !uncaptured || told(Cause::TapOverflow),
                "{side:?}: {hole:?} at {from}..{to} is not told"
            );
            allowed += if lost { (to - from + slow(behind)).max(0) + 2 * NEAR } else { 0 };
        }
        let spans: i64 = of(Cause::NetworkLoss).map(|m| m.to - m.from).sum();
        assert!(spans <= allowed, "{side:?}: gaps of {spans} ticks, {allowed} are right");
    }
}

/// What the tap did not see is told as it was: pauses, and overflows with their packets.
pub fn told(call: &Call, listened: &Listened) {
    let tick = |at: i64| call.tick(at);
    let blind =
        |kind: Blind| call.blind.iter().filter(move |b| b.0 == kind).map(move |b| (tick(b.1), tick(b.2)));
    let mut pauses: Vec<_> = blind(Blind::Paused).collect();
    pauses.sort_unstable();
    assert_eq!(listened.timeline.pauses(), pauses);
    for side in Side::BOTH {
        let missing = listened.timeline.missing();
        let told =
            missing.iter().filter(|m| m.side == side && m.cause == Cause::TapOverflow).map(|m| m.packets);
        let right = call.records.iter().map(|r| match *r {
            Record::Overflow(s, _, _, packets) if s == side => packets,
            _ => 0,
        });
        assert_eq!(told.sum::<u64>(), right.sum::<u64>(), "{side:?}: packets that were not captured");
    }
}

/// The mixed voices: each packet's samples once and in their place, silence where nothing was captured.
pub fn audible(call: &Call, listened: &Listened) {
    for side in Side::BOTH {
        let (said, voice) = (side.of(&call.said), side.of(&listened.voices));
        let mut owed = voice.len() as i64;
        // What may sound: the truth, and 5 ms around it.
        let mut sounds = vec![false; voice.len()];
        for index in call.heard(side) {
            let length = said[index].speech() / STEP;
            let at = (call.truth(side, index) - listened.origin) / STEP;
            let span = |from: i64, to: i64| {
                from.clamp(0, voice.len() as i64) as usize..to.clamp(0, voice.len() as i64) as usize
            };
            let near = NEAR / STEP;
            sounds[span(at - near, at + length + near)].fill(true);
            // Beside the end of a run that of another may sound.
            let joined = |i: usize| said.get(i).zip(said.get(i + 1)).is_some_and(|(a, b)| a.joins(b));
            if index > 1 && (index - 2..index + 2).all(joined) {
                let middle = sound(said[index].sample + length / 2);
                let around = span(at + length / 2 - 4000, at + length / 2 + 4000);
                let from = around.start as i64;
                let found: Vec<i64> =
                    voice[around].iter().zip(from..).filter(|(s, _)| **s == middle).map(|(_, i)| i).collect();
                let right = found.len() == 1 && (found[0] - at - length / 2).abs() <= near;
                assert!(right, "{side:?}: packet {index} belongs at {at}, its middle is at {found:?}");
            }
            owed -= length;
        }
        let silent = voice.iter().zip(&sounds).all(|(s, may)| *s == 0 || *may);
        assert!(silent, "{side:?}: something sounds where nothing was said");
        let zeros = voice.iter().filter(|s| **s == 0).count() as i64;
        // A correction skips or bridges one sample, a run may begin over the end of another.
        assert!(
            (zeros - owed).abs() <= voice.len() as i64 / 2000,
            "{side:?}: {zeros} samples are silent, {owed} should be"
        );
    }
}
