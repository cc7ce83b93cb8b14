//! The samples of one side that are not settled yet.

use std::collections::VecDeque;

use super::{FRAME, STEP};

/// Samples of one side, from the first that was not given out.
#[derive(Debug, Default)]
pub struct Track {
    /// Place of the first.
    front: i64,
    /// Each sample and the number of the sender that wrote it; 0 is nobody.
    samples: VecDeque<(i16, u8)>,
    /// Behind the last place that any packet reached.
    end: i64,
}

impl Track {
    /// Puts the samples of `sender` (not 0) in their place. Where it wrote before, the first writing stays; over
    /// another sender's samples they are added, as when two voices sound at once. False: all came too late.
    pub fn write(&mut self, place: i64, sender: u8, samples: &[i16]) -> bool {
        let late = usize::try_from(self.front - place).unwrap_or(0);
        let Some(rest) = samples.get(late..).filter(|r| !r.is_empty()) else { return samples.is_empty() };
        let start = usize::try_from(place - self.front).unwrap_or(0);
        if self.samples.len() < start + rest.len() {
            self.samples.resize(start + rest.len(), (0, 0));
        }
        for ((sample, owner), new) in self.samples.range_mut(start..start + rest.len()).zip(rest) {
            if *owner == 0 {
                (*sample, *owner) = (*new, sender);
            } else if *owner != sender {
                *sample = sample.saturating_add(*new);
            }
        }
        self.reach(place + i64::try_from(samples.len()).unwrap_or(0));
        true
    }

    /// The audio lasts until `place` at least.
    pub fn reach(&mut self, place: i64) {
        self.end = self.end.max(place);
    }

    /// Behind the last place that any packet reached.
    pub const fn end(&self) -> i64 {
        self.end
    }

    /// Samples in memory.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.samples.capacity()
    }

    /// Gives out the next frame.
    pub fn give(&mut self, out: &mut [i16; FRAME]) {
        let count = self.samples.len().min(FRAME);
        for (place, (sample, _)) in out.iter_mut().zip(self.samples.drain(..count)) {
            *place = sample;
        }
        self.front += STEP;
    }
}
