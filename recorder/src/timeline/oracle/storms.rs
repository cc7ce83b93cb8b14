//! Networks on which 5 ms cannot be had, or not at once: what holds all the same.

use super::*;

/// A party that talks on and on, with a clock of its own.
fn talker(side: Side, ppb: i64, chance: &mut Chance, end: i64) -> Party {
    Party::new(side, Habits { ppb, ..Habits::default() }, chance.below(1 << 40), 0).live(end)
}

/// A way of that least delay without loss or jitter.
fn plain(base: i64) -> Path {
    Path { base: vec![(0, base)], ..Path::default() }
}

/// The greatest, over all packets, of the least jitter among those of the same time-stamps that follow within 4 s, in ticks.
fn least_jitter(call: &Call, side: Side) -> i64 {
    let (said, path) = (side.of(&call.said), side.of(&call.paths));
    let extra: Vec<(usize, i64)> =
        call.captured(side).map(|c| (c.index, c.at - said[c.index].sent)).collect();
    let mut all: Vec<(&party::Said, i64)> =
        extra.into_iter().map(|(i, d)| (&said[i], d - path.least(said[i].sent))).collect();
    all.sort_by_key(|(said, _)| said.sent);
    let least = |(n, (first, _)): (usize, &(&party::Said, i64))| {
        let follow =
            all[n..].iter().take_while(|(s, _)| s.epoch == first.epoch && s.sent < first.sent + 4 * SECOND);
        follow.map(|(_, extra)| *extra).min()
    };
    all.iter().enumerate().step_by(5).filter_map(least).max().unwrap_or(0) * 48 / MS
}

/// A call in which hardly a packet meets no jitter.
fn heavy(seed: u64) -> Call {
    let mut chance = Chance::new(4_000_000 + seed);
    let parties = anybody(&mut chance, 90 * SECOND);
    let paths = [(); 2].map(|()| Path {
        base: vec![(0, chance.within(20, 300) * MS)],
        jitter: Jitter::Gamma(chance.within(15, 35) * MS),
        loss: Loss { fails: 20, heals: 200, good: 5, bad: 800 },
        twice: 30,
        overtaken: 20,
        queue: chance.permille(300),
        ..Path::default()
    });
    Call::new(parties, paths, Vec::new(), seed)
}

#[test]
fn heavy_jitter_shifts_no_more_than_its_least() {
    for seed in seeds(30) {
        let _named = Named("call in heavy jitter", seed);
        let call = heavy(seed);
        let listened = listen(&call, false);
        judge::complete(&call, &listened);
        judge::smooth(&call, &listened);
        judge::counted(&call, &listened);
        let worst = Side::BOTH.map(|side| least_jitter(&call, side));
        for (out, error) in judge::errors(&call, &listened) {
            let most = judge::NEAR + out.side.of(&worst);
            assert!(
                (-judge::NEAR..=most).contains(&error) && !out.late,
                "{error} ticks off of {most}: {out:?}"
            );
        }
    }
}

#[test]
fn a_small_step_of_the_delay_is_slid_over() {
    for seed in seeds(10) {
        let _named = Named("call with a small step", seed);
        let mut chance = Chance::new(5_000_000 + seed);
        let parties = Side::BOTH.map(|side| talker(side, 100_000, &mut chance, 300 * SECOND));
        let (step, at) = (chance.within(10, 90) * MS, chance.within(20, 40) * SECOND);
        let mut paths = [plain(100 * MS), plain(100 * MS)];
        paths[0].base.push((at, 100 * MS + step));
        paths[1].base.push((at, 100 * MS - step));
        let call = Call::new(parties, paths, Vec::new(), seed);
        let listened = listen(&call, false);
        judge::complete(&call, &listened);
        judge::smooth(&call, &listened);
        judge::counted(&call, &listened);
        for (out, error) in judge::errors(&call, &listened) {
            let since = out.side.of(&call.said)[out.index].sent - at;
            // Later it slides by 0.5 ms a second, less the drift; earlier by a sample a packet, and in advance.
            let gone = since / SECOND * if out.side == Side::Caller { 14 } else { 100 };
            let left = if since > -6 * SECOND { (step * 48 / MS - gone.max(0)).max(0) } else { 0 };
            assert!(
                error.abs() <= judge::NEAR + left,
                "{error} ticks off, {} ms behind a step: {out:?}",
                since / MS
            );
        }
    }
}

#[test]
fn a_delay_that_swells_and_goes_back_is_no_leap() {
    for seed in seeds(5) {
        let _named = Named("call with a swelling delay", seed);
        let mut chance = Chance::new(9_000_000 + seed);
        let parties = Side::BOTH.map(|side| talker(side, 100_000, &mut chance, 120 * SECOND));
        // A queue that fills within 5 to 10 s, stays so for 20 s, and empties again.
        let (most, over) = (chance.within(200, 1500), chance.within(500, 1000));
        let swelling = |at: i64| {
            (at / (10 * MS) - 2000).min(over + 2000 + over - (at / (10 * MS) - 2000)).clamp(0, over)
        };
        let base: Vec<_> = (0..12_000)
            .map(|n| n * 10 * MS)
            .map(|at| (at, (100 + most * swelling(at) / over) * MS))
            .collect();
        let call = Call::new(
            parties,
            [(); 2].map(|()| Path { base: base.clone(), ..Path::default() }),
            vec![],
            seed,
        );
        let listened = listen(&call, false);
        judge::complete(&call, &listened);
        judge::smooth(&call, &listened);
        for side in Side::BOTH {
            assert_eq!(listened.timeline.heard(side).1.jumps, 0, "{side:?}");
        }
    }
}

#[test]
fn behind_a_great_step_of_the_delay_speech_is_in_place_at_once() {
    for seed in seeds(10) {
        let _named = Named("call with a great step", seed);
        let mut chance = Chance::new(6_000_000 + seed);
        let parties = Side::BOTH.map(|side| talker(side, 100_000, &mut chance, 60 * SECOND));
        let (step, at) = (chance.within(200, 900) * MS, chance.within(20, 40) * SECOND);
        let mut paths = [plain(50 * MS), plain(1000 * MS)];
        paths[0].base.push((at, 50 * MS + step));
        paths[1].base.push((at, 1000 * MS - step));
        let call = Call::new(parties, paths, Vec::new(), seed);
        let listened = listen(&call, false);
        judge::complete(&call, &listened);
        for side in Side::BOTH {
            assert_eq!(listened.timeline.heard(side).1.jumps, 1, "{side:?}");
        }
        for (out, error) in judge::errors(&call, &listened) {
            let since = out.side.of(&call.said)[out.index].sent - at;
            assert!(
                error.abs() <= judge::NEAR,
                "{error} ticks off, {} ms behind a step: {out:?}",
                since / MS
            );
        }
    }
}

/// A call with three stalls on both ways, each of up to 12 s.
fn stalled(seed: u64) -> Call {
    let mut chance = Chance::new(7_000_000 + seed);
    let parties = Side::BOTH.map(|side| {
        // In a stall nothing tells where new time-stamps belong, nor a lone packet before a long silence.
        let all = habits(&mut chance);
        let some = Habits { holds: 0, leaps: 0, stops: 0, restarts: 0, recodes: 0, transfers: 0, ..all };
        Party::new(side, some, chance.below(1 << 40), 0).live(120 * SECOND)
    });
    let paths = [(); 2].map(|()| {
        let stalls = [20, 50, 85].map(|from| {
            let from = from * SECOND + chance.within(0, 5000) * MS;
            (from, from + chance.within(500, 12_000) * MS)
        });
        // In order: what is overtaken by more than `LOOK` is late.
        let jitter = chance.pick(&[Jitter::None, Jitter::Exponential(3 * MS), Jitter::Spikes(2 * MS)]);
        Path { stalls: stalls.to_vec(), jitter, overtaken: 0, queue: true, ..attainable(&mut chance) }
    });
    Call::new(parties, paths, Vec::new(), seed)
}

#[test]
fn stalls_of_up_to_ten_seconds_move_nothing() {
    for seed in seeds(30) {
        let _named = Named("call with stalls", seed);
        let call = stalled(seed);
        let listened = listen(&call, false);
        judge::complete(&call, &listened);
        judge::smooth(&call, &listened);
        let arrived: HashMap<(usize, usize), i64> = Side::BOTH
            .iter()
            .flat_map(|s| call.captured(*s).map(|c| ((*s as usize, c.index), call.tick(c.at))))
            .collect();
        for (out, error) in judge::errors(&call, &listened) {
            let slow = arrived[&(out.side as usize, out.index)] - out.place;
            assert!(error.abs() <= judge::NEAR, "{error} ticks off: {out:?}");
            assert!(!out.late || slow > 10 * i64::from(TICKS), "late, though {} ms slow: {out:?}", slow / 48);
        }
        judge::gaps(&call, &listened);
        for side in Side::BOTH {
            let (all, right) = (listened.timeline.heard(side).1, call.tally(side));
            assert_eq!((all.jumps, all.lost, all.late), (right.jumps, right.lost, 0), "{side:?}");
        }
    }
}
