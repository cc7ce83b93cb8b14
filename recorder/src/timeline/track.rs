//! The samples of one side that are placed and not given out yet.

use std::collections::VecDeque;

use crate::rate::Rate;

/// Samples that a run of time-stamps may skip or repeat where its clock is followed: bridged, not heard as a hole.
const BRIDGE: i64 = 12;

/// Mixes what runs of time-stamps brought into one voice.
#[derive(Debug)]
pub struct Track {
    rate: Rate,
    /// Place of the first sample held, in samples.
    front: i64,
    /// Each sample and the run that wrote it; 0 is nobody.
    samples: VecDeque<(i16, u8)>,
    /// The run that wrote last, behind its last sample, and that sample.
    last: (u8, i64, i16),
}

impl Track {
    /// A voice of `rate` that is given out from the place `from` (ticks).
    pub fn new(rate: Rate, from: i64) -> Self {
        let front = from.div_euclid(i64::from(rate.ticks()));
        Self { rate, front, samples: VecDeque::new(), last: (0, 0, 0) }
    }

    /// Puts samples of a run (not 0) in their place (ticks). Where the run wrote before, the first writing stays; over
    /// another run's samples they are added, as when two voices sound at once. False: all came too late.
    pub fn write(&mut self, place: i64, run: u8, samples: &[i16]) -> bool {
        let mut at = place.div_euclid(i64::from(self.rate.ticks()));
        let (last, end, value) = self.last;
        let bridge = at - end;
        if let Some(first) = samples.first()
            && last == run
            && (1..=BRIDGE).contains(&bridge)
        {
            for i in 1..=bridge {
                let step = (i64::from(*first) - i64::from(value)) * i / (bridge + 1);
                let sample = i16::try_from(i64::from(value) + step).unwrap_or(value);
                self.put(end + i - 1, run, &[sample]);
            }
        }
        let late = usize::try_from(self.front - at).unwrap_or(0);
        let Some(rest) = samples.get(late..).filter(|r| !r.is_empty()) else { return samples.is_empty() };
        at = at.max(self.front);
        self.put(at, run, rest);
        self.last = (run, at + i64::try_from(rest.len()).unwrap_or(0), rest.last().copied().unwrap_or(0));
        true
    }

    fn put(&mut self, at: i64, run: u8, samples: &[i16]) {
        let Ok(start) = usize::try_from(at - self.front) else { return };
        if self.samples.len() < start + samples.len() {
            self.samples.resize(start + samples.len(), (0, 0));
        }
        for ((sample, owner), new) in self.samples.range_mut(start..start + samples.len()).zip(samples) {
            if *owner == 0 {
                (*sample, *owner) = (*new, run);
            } else if *owner != run {
                *sample = sample.saturating_add(*new);
            }
        }
    }

    /// Gives out the next 20 ms, [`Rate::frame`] samples: silence where nobody wrote.
    pub fn give(&mut self, out: &mut Vec<i16>) {
        let count = self.samples.len().min(self.rate.frame());
        out.clear();
        out.extend(self.samples.drain(..count).map(|(sample, _)| sample));
        out.resize(self.rate.frame(), 0);
        self.front += i64::try_from(self.rate.frame()).unwrap_or(0);
    }

    /// Gives out from the place `from` (ticks) on: what was written before it is cut.
    pub fn begin(&mut self, from: i64) {
        let front = from.div_euclid(i64::from(self.rate.ticks()));
        let cut = usize::try_from(front - self.front).unwrap_or(0);
        self.samples.drain(..cut.min(self.samples.len()));
        self.front = front;
    }

    /// Samples in memory.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.samples.capacity()
    }

    /// Samples per second.
    pub const fn rate(&self) -> Rate {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(track: &mut Track) -> Vec<i16> {
        let mut out = Vec::new();
        track.give(&mut out);
        out
    }

    #[test]
    fn what_nobody_wrote_is_silence_and_what_came_late_is_cut() {
        let mut track = Track::new(Rate::Narrow, -12);
        assert!(track.write(-18, 1, &[9, 1, 2]));
        assert!(track.write(12, 1, &[3]));
        let out = given(&mut track);
        assert_eq!(out.len(), 160);
        assert_eq!(out[..7], [1, 2, 2, 2, 3, 0, 0], "two samples between are bridged");
        assert!(!track.write(0, 1, &[5]));
        assert_eq!(given(&mut track), [0; 160]);
    }

    #[test]
    fn one_run_is_not_added_to_itself_and_two_sound_together() {
        let mut track = Track::new(Rate::Wide, 0);
        track.write(0, 1, &[100, 200, 300]);
        track.write(3, 1, &[7, 7, 400]);
        track.write(6, 2, &[10, i16::MAX]);
        assert_eq!(given(&mut track)[..5], [100, 200, 310, i16::MAX, 0]);
    }
}
