//! Chance for the oracle's world: all of a call follows from one seed.

use crate::random::Random;

/// Draws from a seed; neighbouring seeds have nothing in common.
#[derive(Debug, Clone)]
pub struct Chance(Random);

impl Chance {
    /// Chance of a seed.
    pub fn new(seed: u64) -> Self {
        // SplitMix64, because xorshift keeps small seeds alike for a while.
        let mut z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(Random((z ^ (z >> 31)).max(1)))
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0.below(n)
    }

    /// A number from `low` to `high`, both included.
    pub fn within(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as u64) as i64
    }

    /// True so many times in a thousand.
    pub fn permille(&mut self, p: u64) -> bool {
        self.below(1000) < p
    }

    /// One of `all`.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    /// Above 0, up to 1.
    fn unit(&mut self) -> f64 {
        (self.below(1 << 52) + 1) as f64 / (1_u64 << 52) as f64
    }

    /// Exponentially distributed.
    pub fn exponential(&mut self, mean: i64) -> i64 {
        (-self.unit().ln() * mean as f64) as i64
    }

    /// Gamma distributed, of a whole shape: a sum of exponentials.
    pub fn gamma(&mut self, shape: i64, mean: i64) -> i64 {
        (0..shape).map(|_| self.exponential(mean / shape)).sum()
    }

    /// Pareto distributed from `least` on, with a tail so heavy that it has no variance; `most` at most.
    pub fn pareto(&mut self, least: i64, most: i64) -> i64 {
        ((least as f64 / self.unit().powf(1.0 / 1.5)) as i64).min(most)
    }
}
