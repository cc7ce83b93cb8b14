//! The timeline against a world that is known: two parties talk over two networks, and each packet's truth is at hand.
//!
//! Every call follows from its seed. `RECORDER_ORACLE_CASES=n` plays n times as many.

mod anything;
mod call;
mod cases;
mod chance;
mod judge;
mod listener;
mod network;
mod party;
mod storms;

use call::{Blind, Call};
use chance::Chance;
use listener::{Listened, listen};
use network::{Jitter, Loss, Path};
use party::{Habits, MS, Party};

use super::*;
use std::collections::HashMap;

const SECOND: i64 = 1000 * MS;

/// The seeds of a property.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let times = std::env::var("RECORDER_ORACLE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    0..usual * times
}

/// Habits of all kinds, drawn.
fn habits(chance: &mut Chance) -> Habits {
    Habits {
        ppb: 200_000,
        suppresses: chance.permille(600),
        comforts: chance.permille(500),
        events: 50,
        apart: chance.permille(300),
        holds: 20,
        stops: 30,
        leaps: 30,
        transfers: 30,
        restarts: 30,
        recodes: 50,
    }
}

/// A way on which every 16th packet is as fast as any, whatever happens to the others.
fn attainable(chance: &mut Chance) -> Path {
    // Behind a queue that is never empty no packet is fast.
    let queue = chance.permille(500);
    let mean = chance.within(0, if queue { 4 } else { 25 }) * MS;
    Path {
        base: vec![(0, chance.within(1, 150) * MS)],
        jitter: chance.pick(&[
            Jitter::None,
            Jitter::Exponential(mean),
            Jitter::Gamma(mean),
            Jitter::Spikes(mean.min(5 * MS)),
        ]),
        calm: 16,
        loss: chance.pick(&[
            Loss::default(),
            Loss { good: 10, ..Loss::default() },
            Loss { fails: 10, heals: 250, good: 1, bad: 700 },
            Loss { fails: 2, heals: 30, good: 0, bad: 1000 },
        ]),
        twice: chance.pick(&[0, 5, 50]),
        overtaken: chance.pick(&[0, 5, 30]),
        queue,
        stalls: Vec::new(),
    }
}

/// Two parties of all habits that talk until `end`.
fn anybody(chance: &mut Chance, end: i64) -> [Party; 2] {
    Side::BOTH.map(|side| {
        let (seed, start) = (chance.below(1 << 40), chance.within(0, 10_000) * MS);
        Party::new(side, habits(chance), seed, start).live(end)
    })
}

/// A call until `end` over ways that allow 5 ms.
fn ordinary(seed: u64, end: i64) -> Call {
    let mut chance = Chance::new(seed);
    let parties = anybody(&mut chance, end);
    let paths = [attainable(&mut chance), attainable(&mut chance)];
    Call::new(parties, paths, Vec::new(), seed)
}

/// All that holds of a call over ways that allow 5 ms.
fn judge_all(call: &Call, listened: &Listened) {
    judge::complete(call, listened);
    judge::near(call, listened);
    judge::smooth(call, listened);
    judge::counted(call, listened);
    judge::gaps(call, listened);
    judge::told(call, listened);
}

/// Tells the seed of a call that fails.
struct Named(&'static str, u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{} of seed {}", self.0, self.1);
        }
    }
}

#[test]
fn speech_stands_where_it_was_said() {
    for seed in seeds(150) {
        let _named = Named("ordinary call", seed);
        let call = ordinary(seed, (30 + seed as i64 % 100) * SECOND);
        judge_all(&call, &listen(&call, false));
    }
}

#[test]
fn speech_stands_where_it_was_said_for_an_hour() {
    for seed in seeds(2) {
        let _named = Named("hour", seed);
        let call = ordinary(1_000_000 + seed, 3600 * SECOND);
        judge_all(&call, &listen(&call, false));
    }
}

#[test]
fn voices_sound_where_they_were_said() {
    for seed in seeds(12) {
        let _named = Named("call aloud", seed);
        let call = ordinary(2_000_000 + seed, 40 * SECOND);
        let listened = listen(&call, true);
        judge_all(&call, &listened);
        judge::audible(&call, &listened);
    }
}

/// A call whose tap is blind three times.
fn blind(seed: u64) -> Call {
    let mut chance = Chance::new(3_000_000 + seed);
    let parties = anybody(&mut chance, 90 * SECOND);
    // Of a copy nobody can say whether the first was captured; order tells what arrived beside an overflow; and of a run
    // of time-stamps there may be two packets between a leap and a pause, so none may be slow.
    let paths = [(); 2].map(|()| {
        let jitter = Jitter::Exponential(MS / 3);
        Path { jitter, twice: 0, overtaken: 0, queue: true, ..attainable(&mut chance) }
    });
    let blind = [20, 50, 80].map(|from| {
        let from = from * SECOND + chance.within(0, 1000) * MS;
        (chance.pick(&[Blind::Paused, Blind::Full]), from, from + chance.within(5, 15_000) * MS)
    });
    Call::new(parties, paths, blind.to_vec(), seed)
}

#[test]
fn pauses_and_overflows_are_told_from_loss() {
    for seed in seeds(60) {
        let _named = Named("call with a blind tap", seed);
        let call = blind(seed);
        judge_all(&call, &listen(&call, false));
    }
}
