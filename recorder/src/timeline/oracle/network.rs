//! The way from a party to the relay.

use super::chance::Chance;
use super::party::{MS, Said};

/// How a packet's delay exceeds the least.
#[derive(Debug, Clone, Copy, Default)]
pub enum Jitter {
    /// Never.
    #[default]
    None,
    /// Exponential, of that mean.
    Exponential(i64),
    /// Gamma of shape 4, of that mean: hardly ever near the least.
    Gamma(i64),
    /// Exponential of that mean, and one packet in a hundred by far more (Pareto, to 250 ms).
    Spikes(i64),
}

/// Gilbert–Elliott: a good state and a bad one, per mille.
#[derive(Debug, Clone, Copy, Default)]
pub struct Loss {
    /// From good to bad.
    pub fails: u64,
    /// From bad to good.
    pub heals: u64,
    /// Lost while good.
    pub good: u64,
    /// Lost while bad.
    pub bad: u64,
}

/// A way.
#[derive(Debug, Clone, Default)]
pub struct Path {
    /// The least delay, from a time on: in order, the first from the beginning of time.
    pub base: Vec<(i64, i64)>,
    pub jitter: Jitter,
    /// One packet in so many meets no jitter; 0: none.
    pub calm: usize,
    pub loss: Loss,
    /// Copies, per mille.
    pub twice: u64,
    /// Overtaken by those behind, per mille.
    pub overtaken: u64,
    /// One queue: none overtakes another, but for those above.
    pub queue: bool,
    /// What would arrive from.. arrives at ..to, in a burst.
    pub stalls: Vec<(i64, i64)>,
}

/// A packet that arrived.
#[derive(Debug, Clone, Copy)]
pub struct Carried {
    /// Which of the party's.
    pub index: usize,
    /// When.
    pub at: i64,
}

impl Path {
    /// The least delay of what is sent at `sent`.
    pub fn least(&self, sent: i64) -> i64 {
        let begun = self.base.partition_point(|(from, _)| *from <= sent);
        self.base.get(begun.saturating_sub(1)).map_or(0, |(_, base)| *base)
    }

    /// Carries packets; what is lost is missing. In the order in which they were sent.
    pub fn carry(&self, said: &[Said], chance: &mut Chance) -> Vec<Carried> {
        let (mut carried, mut bad, mut before) = (Vec::with_capacity(said.len()), false, i64::MIN);
        for (index, said) in said.iter().enumerate() {
            bad = if bad { !chance.permille(self.loss.heals) } else { chance.permille(self.loss.fails) };
            if chance.permille(if bad { self.loss.bad } else { self.loss.good }) {
                continue;
            }
            let calm = self.calm > 0 && index.is_multiple_of(self.calm);
            let mut at = said.sent + self.least(said.sent) + if calm { 0 } else { self.extra(chance) };
            if self.queue {
                at = at.max(before);
                before = at;
            }
            if !calm && chance.permille(self.overtaken) {
                at += chance.within(5, 150) * MS;
            }
            if let Some((_, to)) = self.stalls.iter().find(|(from, to)| (*from..*to).contains(&at)) {
                at = *to;
            }
            carried.push(Carried { index, at });
            if chance.permille(self.twice) {
                let later = chance.exponential(30 * MS);
                carried.push(Carried { index, at: at + 1000 + later });
            }
        }
        carried
    }

    fn extra(&self, chance: &mut Chance) -> i64 {
        match self.jitter {
            Jitter::None => 0,
            Jitter::Gamma(mean) => chance.gamma(4, mean),
            Jitter::Spikes(_) if chance.permille(10) => chance.pareto(20 * MS, 250 * MS),
            Jitter::Exponential(mean) | Jitter::Spikes(mean) => chance.exponential(mean),
        }
    }
}
