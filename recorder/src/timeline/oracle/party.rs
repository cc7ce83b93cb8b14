//! What one party of a call says and sends: the truth about when each sample was said.
//!
//! True time is the relay's, in nanoseconds. A party's clock runs a little fast or slow against it and wanders. A packet is
//! sent the moment its last sample was said. What a party does next is drawn from its [`Habits`].

use super::chance::Chance;
use crate::spool::Side;
use crate::timeline::Brings;

/// Nanoseconds of a millisecond.
pub const MS: i64 = 1_000_000;

/// A packet that was sent.
#[derive(Debug, Clone)]
pub struct Said {
    pub ssrc: u32,
    /// Counts how often its sender began its sequence numbers anew, over all senders of the party.
    pub numbering: u32,
    /// Its number in that numbering, wraps counted in.
    pub number: i64,
    pub timestamp: u32,
    pub clock_rate: u32,
    pub brings: Brings,
    /// When its first sample was said, true time.
    pub from: i64,
    /// When it was sent, true time.
    pub sent: i64,
    /// Which 8 kHz sample of the party's voice its first one is.
    pub sample: i64,
    /// Counts how often the party's time-stamps parted from time, or became another's.
    pub epoch: u32,
}

impl Said {
    /// Ticks of speech; 0: it brings none.
    pub const fn speech(&self) -> i64 {
        match self.brings {
            Brings::Speech(length) => length,
            _ => 0,
        }
    }

    /// Whether `next` is speech that goes on where this ends.
    pub fn joins(&self, next: &Self) -> bool {
        self.epoch == next.epoch && self.speech() > 0 && next.speech() > 0 && self.sent == next.from
    }
}

/// How a party and its telephone behave: how often in a thousand turns it does what.
#[derive(Debug, Clone, Copy, Default)]
pub struct Habits {
    /// Of clock error at most, in billionths.
    pub ppb: i64,
    /// Sends nothing while silent.
    pub suppresses: bool,
    /// Sends comfort noise while silent, now and then.
    pub comforts: bool,
    /// DTMF.
    pub events: u64,
    /// DTMF and comfort noise have a clock of 8 kHz, whatever that of the speech is.
    pub apart: bool,
    /// Long silences in which the time-stamp goes on.
    pub holds: u64,
    /// Silences in which the time-stamp stands still.
    pub stops: u64,
    /// Time-stamps leap.
    pub leaps: u64,
    /// Another sender goes on.
    pub transfers: u64,
    /// The sender begins anew, sequence and time-stamp.
    pub restarts: u64,
    /// Another codec, which may have another clock and packet time.
    pub recodes: u64,
}

/// A party.
#[derive(Debug)]
pub struct Party {
    habits: Habits,
    chance: Chance,
    /// True time.
    now: i64,
    /// Its clock's error now, billionths: positive is slow.
    ppb: i64,
    rate: u32,
    /// Milliseconds of a packet.
    ptime: i64,
    ssrc: u32,
    numbering: u32,
    number: i64,
    stamp: u32,
    sample: i64,
    /// What it sent.
    pub said: Vec<Said>,
    epoch: u32,
}

impl Party {
    /// A party that begins to speak at `now`.
    pub fn new(side: Side, habits: Habits, seed: u64, now: i64) -> Self {
        let mut chance = Chance::new(seed);
        let ppb = if habits.ppb == 0 { 0 } else { chance.within(-habits.ppb, habits.ppb) };
        let mut party = Self {
            habits,
            now,
            ppb,
            rate: chance.pick(&[8000, 16_000, 48_000]),
            ptime: chance.pick(&[10, 20, 20, 20, 30, 40, 60]),
            ssrc: (side as u32 + 1) << 16,
            numbering: 0,
            number: 0,
            stamp: 0,
            // Voices of the two sides differ.
            sample: side as i64 * 15_000,
            said: Vec::new(),
            epoch: 0,
            chance,
        };
        party.renumber();
        party.restamp();
        party
    }

    /// Lives until `end`.
    pub fn live(mut self, end: i64) -> Self {
        self.talk(3000);
        while self.now < end {
            self.turn();
            let long = self.chance.within(1500, 8000);
            self.talk(long);
        }
        self
    }

    fn turn(&mut self) {
        let Habits { events, holds, stops, leaps, transfers, restarts, recodes, suppresses, .. } =
            self.habits;
        let mut drawn = self.chance.below(1000);
        let mut falls = |weight: u64| {
            let hit = drawn < weight;
            drawn = drawn.wrapping_sub(if hit { 0 } else { weight });
            hit
        };
        if falls(events) {
            self.event();
        } else if falls(holds) {
            let long = self.chance.within(20_000, 120_000);
            self.silence(long, false);
        } else if falls(stops) {
            let long = self.chance.within(1000, 60_000);
            self.pass(long * MS);
            self.epoch += 1;
        } else if falls(leaps) {
            self.restamp();
        } else if falls(transfers) {
            self.transfer();
        } else if falls(restarts) {
            // So long that nothing of before is still on its way.
            self.silence(1000, false);
            self.renumber();
            self.restamp();
        } else if falls(recodes) {
            self.recode();
        } else if suppresses {
            let long = self.chance.within(200, 4000);
            self.silence(long, self.habits.comforts);
        }
    }

    /// Lets true time pass, which its clock measures as `ns`.
    fn pass(&mut self, ns: i64) {
        self.now += ns + ns / 1000 * self.ppb / 1_000_000;
        if self.habits.ppb > 0 {
            let step = self.chance.within(-20, 20);
            self.ppb = (self.ppb + step).clamp(-self.habits.ppb, self.habits.ppb);
        }
    }

    /// Lets its voice go on by `ms`, and its time-stamp.
    fn elapse(&mut self, ms: i64) {
        self.pass(ms * MS);
        self.stamp = self.stamp.wrapping_add(ms as u32 * (self.rate / 1000));
        self.sample += ms * 8;
    }

    fn send(&mut self, brings: Brings, from: i64, stamp: u32, sample: i64) {
        let apart = self.habits.apart && self.rate != 8000 && !matches!(brings, Brings::Speech(_));
        let (clock_rate, stamp) = if apart { (8000, sample as u32) } else { (self.rate, stamp) };
        self.said.push(Said {
            ssrc: self.ssrc,
            numbering: self.numbering,
            number: self.number,
            timestamp: stamp,
            clock_rate,
            brings,
            from,
            sent: self.now,
            sample,
            epoch: self.epoch,
        });
        self.number += 1;
    }

    fn talk(&mut self, ms: i64) {
        for _ in 0..ms / self.ptime {
            let (from, stamp, sample) = (self.now, self.stamp, self.sample);
            self.elapse(self.ptime);
            self.send(Brings::Speech(self.ptime * 48), from, stamp, sample);
        }
    }

    fn silence(&mut self, ms: i64, comforts: bool) {
        let mut next = 0;
        for n in 0..ms / self.ptime {
            let (from, stamp, sample) = (self.now, self.stamp, self.sample);
            self.elapse(self.ptime);
            if comforts && n == next {
                self.send(Brings::Nothing, from, stamp, sample);
                next = n + self.chance.within(1, 30);
            }
        }
    }

    /// A digit (RFC 4733): the time-stamp of its beginning in every packet, its end three times.
    fn event(&mut self) {
        let (from, stamp, sample) = (self.now, self.stamp, self.sample);
        let packets = self.chance.within(3, 20);
        for n in 1..=packets {
            self.elapse(self.ptime);
            self.send(Brings::Event(n * self.ptime * 48), from, stamp, sample);
        }
        self.send(Brings::Event(packets * self.ptime * 48), from, stamp, sample);
        self.send(Brings::Event(packets * self.ptime * 48), from, stamp, sample);
    }

    fn transfer(&mut self) {
        let ring = self.chance.within(0, 3000);
        self.pass(ring * MS);
        self.ssrc += 1;
        self.renumber();
        self.restamp();
        self.rate = self.chance.pick(&[8000, 16_000, 48_000]);
        self.ptime = self.chance.pick(&[10, 20, 30, 40, 60]);
    }

    fn recode(&mut self) {
        let before = self.rate;
        self.rate = self.chance.pick(&[8000, 16_000, 48_000]);
        self.ptime = self.chance.pick(&[10, 20, 30, 40, 60]);
        if self.rate != before {
            // RFC 7160: nobody agrees on what the time-stamp does then.
            self.restamp();
        }
    }

    /// Far from where the numbers were, and near the wrap.
    fn renumber(&mut self) {
        let low = (self.number + self.chance.within(5000, 60_000)) % 65_536;
        self.number = if self.said.is_empty() { 65_536 - self.chance.within(1, 3000) } else { low };
        self.numbering += 1;
    }

    /// At least a minute from where the time-stamps were, and at first near the wrap.
    fn restamp(&mut self) {
        self.epoch += 1;
        let far = self.chance.within(60 * 48_000, 4_000_000_000) as u32;
        self.stamp = if self.said.is_empty() {
            0_u32.wrapping_sub(far % 400_000)
        } else {
            self.stamp.wrapping_add(far)
        };
    }
}
