//! Which call is set up and ended when.
//!
//! Pure: the time since the run began in, jobs out. Owned by the thread that conducts the run. A call's number names it and
//! decides its ports, so a number rests for a while before it is taken again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::options::REST;

/// From the last packet of a call to its delete: what is still under way shall meet open ports.
const LINGER: Duration = Duration::from_millis(500);
/// Set-ups that may be behind their time and are made up for at once.
const BURST: u32 = 32;

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Set the call up.
    Open(u32),
    /// Stop its media.
    Hush(u32),
    /// End it.
    Close(u32),
}

/// What a run wants.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// Calls at once.
    pub calls: u32,
    /// Set-ups a second.
    pub rate: f64,
    /// Set-ups that may wait for their answer; a relay that is slower than the rate is not buried.
    pub at_once: u32,
    /// How long a call lasts, about; none as long as the run.
    pub life: Option<Duration>,
    /// Numbers that there are, from 0 on.
    pub numbers: u32,
    /// What call lengths are drawn from.
    pub seed: u64,
}

/// The calls of a run.
#[derive(Debug)]
pub struct Schedule {
    wish: Wish,
    /// Numbers that can be taken, each from its time on, in that order.
    free: VecDeque<(Duration, u32)>,
    /// When a call's media ends, and when the call.
    ends: BinaryHeap<Reverse<(Duration, u32, End)>>,
    next_open: Duration,
    opening: u32,
    up: u32,
    opened: u64,
    failed: u64,
    random: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Media,
    Call,
}

impl Schedule {
    /// No calls yet.
    pub fn new(wish: Wish) -> Self {
        Self {
            wish,
            free: (0..wish.numbers).map(|number| (Duration::ZERO, number)).collect(),
            ends: BinaryHeap::new(),
            next_open: Duration::ZERO,
            opening: 0,
            up: 0,
            opened: 0,
            failed: 0,
            random: wish.seed,
        }
    }

    /// What is to be done by now; it counts as begun.
    pub fn due(&mut self, now: Duration) -> Vec<Job> {
        let mut jobs = Vec::new();
        while let Some(Reverse((at, number, end))) = self.ends.peek().copied()
            && at <= now
        {
            self.ends.pop();
            match end {
                End::Media => {
                    self.up -= 1;
                    self.ends.push(Reverse((now + LINGER, number, End::Call)));
                    jobs.push(Job::Hush(number));
                }
                End::Call => jobs.push(Job::Close(number)),
            }
        }
        let gap = Duration::from_secs_f64(1.0 / self.wish.rate);
        self.next_open = self.next_open.max(now.saturating_sub(gap * BURST));
        while self.wanted() && self.next_open <= now {
            let Some((_, number)) = self.free.front().copied().filter(|(from, _)| *from <= now) else {
                break;
            };
            self.free.pop_front();
            self.next_open += gap;
            self.opening += 1;
            jobs.push(Job::Open(number));
        }
        jobs
    }

    /// The earliest time at which something may be due.
    pub fn next_due(&self) -> Option<Duration> {
        let end = self.ends.peek().map(|Reverse((at, ..))| *at);
        let free = self.free.front().filter(|_| self.wanted()).map(|(from, _)| *from);
        let open = free.map(|from| from.max(self.next_open));
        [end, open].into_iter().flatten().min()
    }

    /// A call is to be set up: there are too few, and of calls that last for the whole run each is tried once.
    fn wanted(&self) -> bool {
        let tried = self.opened + self.failed + u64::from(self.opening);
        let room = self.opening < self.wish.at_once && self.up + self.opening < self.wish.calls;
        room && (self.wish.life.is_some() || tried < self.wish.calls.into())
    }

    /// The call is up: its media can begin.
    pub fn opened(&mut self, number: u32, now: Duration) {
        self.opening -= 1;
        self.opened += 1;
        self.up += 1;
        if let Some(life) = self.wish.life {
            let life = life.mul_f64(0.5 + self.draw());
            self.ends.push(Reverse((now + life, number, End::Media)));
        }
    }

    /// The call was not set up.
    pub fn failed(&mut self, number: u32, now: Duration) {
        self.opening -= 1;
        self.failed += 1;
        self.free.push_back((now + REST, number));
    }

    /// The call was ended, or could not be: its number rests.
    pub fn closed(&mut self, number: u32, now: Duration) {
        self.free.push_back((now + REST, number));
    }

    /// Calls that are up.
    pub const fn up(&self) -> u32 {
        self.up
    }

    /// Whether every call of the beginning was set up, or tried.
    pub fn complete(&self) -> bool {
        self.opened + self.failed >= self.wish.calls.into()
    }

    /// From 0 to 1: splitmix64.
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from((z >> 32) as u32) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn wish(calls: u32, rate: f64, life: Option<u64>, numbers: u32) -> Wish {
        let life = life.map(Duration::from_secs);
        Wish { calls, rate, at_once: 64, life, numbers, seed: 7 }
    }

    #[test]
    fn calls_are_set_up_at_their_rate_and_each_once() {
        let mut schedule = Schedule::new(wish(100, 50.0, None, 100));
        let mut by_second = [0; 4];
        for ms in 0..4000 {
            let now = MS * ms;
            for job in schedule.due(now) {
                let Job::Open(number) = job else { panic!("{job:?}") };
                by_second[ms as usize / 1000] += 1;
                if number == 7 { schedule.failed(number, now) } else { schedule.opened(number, now) }
            }
        }
        assert_eq!(by_second, [50, 50, 0, 0]);
        assert_eq!((schedule.up(), schedule.complete(), schedule.next_due()), (99, true, None));
    }

    #[test]
    fn calls_come_and_go_and_numbers_rest_in_between() {
        let mut schedule = Schedule::new(wish(20, 1000.0, Some(2), 60));
        let mut used = [(Duration::ZERO, false); 60];
        let (mut opened, mut fewest) = (0, 20);
        for ms in 0..30_000 {
            let now = MS * ms;
            for job in schedule.due(now) {
                match job {
                    Job::Open(number) => {
                        let (since, busy) = std::mem::replace(&mut used[number as usize], (now, true));
                        assert!(!busy && (since.is_zero() || now >= since + REST), "{number} at {now:?}");
                        schedule.opened(number, now);
                        opened += 1;
                    }
                    Job::Hush(number) => {
                        let lived = now.checked_sub(used[number as usize].0).unwrap();
                        assert!((999..=3001).contains(&lived.as_millis()), "{lived:?}");
                        used[number as usize].0 = now;
                    }
                    Job::Close(number) => {
                        assert_eq!(now, used[number as usize].0 + LINGER);
                        used[number as usize] = (now, false);
                        schedule.closed(number, now);
                    }
                }
            }
            assert!(schedule.up() <= 20);
            fewest = if ms > 100 { fewest.min(schedule.up()) } else { 20 };
        }
        assert!((250..=350).contains(&opened), "{opened} calls of 2 s in 30 s, 20 at once");
        assert_eq!(fewest, 20, "a call that ends is replaced at once");
    }

    #[test]
    fn a_stall_is_not_made_up_for_by_a_flood() {
        let mut schedule = Schedule::new(wish(1000, 100.0, None, 1000));
        assert_eq!(schedule.due(Duration::from_secs(9)).len(), BURST as usize + 1);
    }
}
