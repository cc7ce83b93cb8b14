//! The highest packet rate per leg at which the calls of a run lose nothing.
//!
//! [`Search`] is pure: what was tried in, what to try next out. [`find`] tries it on a run.

use std::time::Duration;

use super::report::{REACHED, Step, between, late, per_second};
use super::run::Run;

/// How near to each other the highest clean rate and the lowest other one shall come.
const WITHIN: f64 = 0.02;
/// The lowest and the highest packets a second of a leg that are tried.
const RANGE: (f64, f64) = (1.0, 20_000.0);
/// Until a new rate is reached.
const SETTLE: Duration = Duration::from_millis(300);
/// Until a lost packet is known to be lost: later ones of its leg have come by then.
const KNOWN: Duration = Duration::from_millis(800);
/// Packets a second of a leg between two steps.
const IDLE: f64 = 10.0;
/// Longer runs that may fail, each followed by one at a rate lower by [`BACK_OFF`].
const CONFIRMATIONS: usize = 6;
const BACK_OFF: f64 = 0.95;
/// A search for the highest rate that holds.
#[derive(Debug, Clone)]
pub struct Search {
    start: f64,
    clean: Option<f64>,
    unclean: Option<f64>,
    /// A rate did not hold once: it is tried again before that is believed, for other programs use this host, too.
    doubted: bool,
}

impl Search {
    /// Begins at `start`.
    pub const fn from(start: f64) -> Self {
        Self { start, clean: None, unclean: None, doubted: false }
    }

    /// What to try next; none when there is nothing more to find.
    pub fn next(&self) -> Option<f64> {
        let (least, most) = RANGE;
        match (self.clean, self.unclean) {
            (None, None) => Some(self.start.clamp(least, most)),
            (Some(clean), None) => (clean < most).then(|| (clean * 2.0).min(most)),
            (None, Some(unclean)) => (unclean > least).then(|| (unclean / 2.0).max(least)),
            (Some(clean), Some(unclean)) => {
                (unclean > clean * (1.0 + WITHIN)).then(|| (clean * unclean).sqrt())
            }
        }
    }

    /// How that went.
    pub fn tried(&mut self, clean: bool) {
        let Some(rate) = self.next() else { return };
        if clean {
            self.clean = Some(rate);
        } else if self.doubted {
            self.unclean = Some(rate);
        }
        self.doubted = !clean && !self.doubted;
    }

    /// The highest rate that held.
    pub const fn found(&self) -> Option<f64> {
        self.clean
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// What was tried.
    pub steps: Vec<Step>,
    /// The run that held for long, if one did.
    pub held: Option<Step>,
    /// The first rate that did not hold was more than the generator can send.
    pub generator_was_the_limit: bool,
}

/// Searches from `start` packets a second per leg; each step lasts `step`, the last one `long`.
pub fn find(run: &mut Run, start: f64, step: Duration, long: Duration) -> Found {
    let (mut search, mut found) = (Search::from(start), Found::default());
    while let Some(rate) = search.next() {
        let tried = attempt(run, rate, step);
        if run.interrupted() {
            found.steps.push(tried);
            return found;
        }
        search.tried(tried.clean);
        if !tried.clean {
            found.generator_was_the_limit = tried.generator_was_late && tried.packets_lost == 0;
        }
        found.steps.push(tried);
    }
    let mut rate = search.found();
    for _ in 0..CONFIRMATIONS {
        let Some(wanted) = rate else { break };
        run.say(&format!("holding {wanted:.0} packets/s per leg for {} s", long.as_secs()));
        let tried = attempt(run, wanted, long);
        found.held = Some(tried.clone()).filter(|tried| tried.clean && !run.interrupted());
        found.steps.push(tried);
        if found.held.is_some() || run.interrupted() {
            break;
        }
        rate = Some(wanted * BACK_OFF);
    }
    found
}

/// One rate for so long.
fn attempt(run: &mut Run, rate: f64, how_long: Duration) -> Step {
    let start = run.count();
    run.set_rate(rate);
    run.go_on(SETTLE);
    let (calls, before) = (run.calls(), run.count());
    run.go_on(how_long);
    let paced = between(&before, &run.count());
    run.set_rate(IDLE.min(rate));
    run.go_on(KNOWN);
    let after = run.count();
    let known = between(&start, &after);
    let seconds = how_long.as_secs_f64();
    let reached = per_second(paced.sent, seconds);
    // Packets that come in heaps are harder on a relay, not easier; packets that never left say nothing about it.
    let short = paced.refused > 0 || reached < REACHED * rate * 2.0 * f64::from(calls);
    // What a leg has sent and of which nothing came since is no gap as yet.
    let lost = known.lost + after.outstanding;
    let wrong = lost + known.duplicates + known.corrupt + known.strays + known.unreachable;
    let step = Step {
        packets_per_second_per_leg: rate,
        seconds,
        packets_per_second: reached,
        packets_sent: paced.sent,
        packets_lost: lost,
        clean: wrong == 0 && !short,
        generator_was_late: short || late(&paced),
    };
    let verdict = match (step.clean, short) {
        (true, _) => "clean".into(),
        (false, true) => format!("more than the generator can send; {lost} lost"),
        (false, false) => format!("{lost} lost"),
    };
    run.say(&format!("{rate:>8.1} packets/s per leg, {reached:.0} in all: {verdict}"));
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches where `holds` says how a rate goes; the result and how many steps it took.
    fn search(start: f64, mut holds: impl FnMut(f64, usize) -> bool) -> (Option<f64>, usize) {
        let (mut search, mut steps) = (Search::from(start), 0);
        while let Some(rate) = search.next() {
            search.tried(holds(rate, steps));
            steps += 1;
            assert!(steps < 60, "{search:?}");
        }
        (search.found(), steps)
    }

    #[test]
    fn a_capacity_is_found_from_below_and_from_above() {
        for capacity in [3.0, 49.0, 777.0, 19_000.0] {
            for start in [1.0, 50.0, 5_000.0, 20_000.0] {
                let (found, steps) = search(start, |rate, _| rate <= capacity);
                let found = found.unwrap();
                assert!(found <= capacity && found * (1.0 + 2.0 * WITHIN) >= capacity, "{capacity}: {found}");
                assert!(steps <= 45, "{capacity} from {start}: {steps}");
            }
        }
    }

    #[test]
    fn loss_that_does_not_come_again_is_noise() {
        for noisy in 0..12 {
            let (found, _) = search(50.0, |rate, step| rate <= 777.0 && step != noisy);
            let found = found.unwrap();
            assert!((740.0..=777.0).contains(&found), "noise in step {noisy}: {found}");
        }
    }

    #[test]
    fn there_may_be_nothing_to_find_or_no_end() {
        assert_eq!(search(50.0, |_, _| false).0, None);
        assert_eq!(search(50.0, |_, _| true).0, Some(RANGE.1));
    }
}
