//! Whatever comes in: no panic, no memory without bound, every packet counted once.

use super::*;
use crate::timeline::MAX_HELD;
use crate::timeline::sender::Sender;

/// Packets of anybody who means harm, most of them near what was before.
struct Foe {
    chance: Chance,
    at_ns: u64,
    sequence: u16,
    timestamp: u32,
    /// How wild it is, per mille.
    wild: u64,
    clocks: [u32; 6],
}

impl Foe {
    fn packet(&mut self) -> Arrival {
        let Self { chance, wild, .. } = self;
        let mut leaps = || chance.permille(*wild);
        let (time, back, number, stamp, clock, ssrc) = (leaps(), leaps(), leaps(), leaps(), leaps(), leaps());
        self.at_ns = match (time, back) {
            (true, true) => chance.pick(&[0, 1, u64::MAX, u64::MAX / 2, listener::ns(0)]),
            (true, false) => self.at_ns.saturating_add(chance.below(100_000_000_000)),
            (false, true) => self.at_ns.saturating_sub(chance.below(20_000_000_000)),
            _ => self.at_ns.saturating_add(chance.below(20_000_000)),
        };
        let step = chance.within(-1, 3) as u16;
        self.sequence = if number { chance.below(1 << 16) as u16 } else { self.sequence.wrapping_add(step) };
        let step = chance.within(0, 320) as u32;
        self.timestamp = if stamp { chance.below(1 << 32) as u32 } else { self.timestamp.wrapping_add(step) };
        Arrival {
            at_ns: self.at_ns,
            stream: chance.below(2) as u8,
            ssrc: if ssrc { chance.below(1 << 32) as u32 } else { 7 },
            sequence: self.sequence,
            timestamp: self.timestamp,
            clock_rate: if clock { chance.pick(&self.clocks) } else { 8000 },
            // No payload is longer than 64 KB, no event longer than its 16 bits.
            brings: match chance.below(10) {
                0 => Brings::Nothing,
                1 => Brings::Event(chance.within(0, 65_535 * 6)),
                2 if leaps_far(chance) => Brings::Speech(chance.within(0, 65_535 * 6)),
                _ => Brings::Speech(960),
            },
            mark: chance.below(256) as u8,
            payload: Vec::new(),
            bytes: 172,
        }
    }
}

/// Once in a while.
fn leaps_far(chance: &mut Chance) -> bool {
    chance.permille(50)
}

#[test]
fn whatever_comes_is_counted_once_and_fills_no_memory() {
    for seed in seeds(40) {
        let _named = Named("foe", seed);
        let mut chance = Chance::new(8_000_000 + seed);
        let wild = chance.pick(&[0, 5, 50, 500]);
        let clocks = [0, 1, 8000, 48_000, u32::MAX, chance.below(1 << 32) as u32];
        let mut foe =
            Foe { at_ns: listener::ns(0), sequence: 0, timestamp: 0, wild, clocks, chance: chance.clone() };
        let mut timeline = Timeline::default();
        let (mut pushed, mut settled) = ([0_u64; 2], [0_u64; 2]);
        let mut take = |timeline: &mut Timeline| {
            let latest = timeline.now;
            while let Some(out) = timeline.settled() {
                *out.side.of_mut(&mut settled) += 1;
                assert!(out.place >= -LEAD && out.run > 0, "{out:?}");
                // No time-stamp puts anything far ahead of when it arrived.
                assert!(out.place <= latest + i64::from(TICKS), "{out:?} though it is {latest}");
            }
        };
        for _ in 0..4000 {
            let side = chance.pick(&Side::BOTH);
            let packet = foe.packet();
            let around = (packet.at_ns.saturating_sub(chance.below(1 << 34)), packet.at_ns);
            timeline.advance(packet.at_ns);
            take(&mut timeline);
            match chance.below(500) {
                0 => timeline.pause(packet.at_ns),
                1 => timeline.resume(packet.at_ns),
                2 => timeline.stalled(around.0, around.1),
                3 => {
                    let packets = chance.pick(&[None, Some(0), Some(100), Some(u64::from(u32::MAX))]);
                    timeline.uncaptured(side, 0, Cause::TapOverflow, around, packets);
                }
                _ => {
                    timeline.push(side, packet);
                    *side.of_mut(&mut pushed) += 1;
                }
            }
            let waiting = timeline.lanes.iter().flat_map(|l| &l.senders).map(Sender::held);
            assert!(waiting.clone().all(|w| w <= MAX_HELD + 1) && waiting.count() <= 2 * MAX_SENDERS);
        }
        timeline.finish(foe.at_ns);
        take(&mut timeline);
        for side in Side::BOTH {
            let (_, all) = timeline.heard(side);
            assert_eq!(all.packets, *side.of(&pushed), "{side:?}");
            assert_eq!(
                all.late + all.duplicates + side.of(&settled),
                all.packets,
                "{side:?}: each is counted once"
            );
        }
        timeline.missing();
        timeline.length();
    }
}
