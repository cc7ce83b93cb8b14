//! Brings speech to a side's rate: a polyphase filter of windowed sinc.
//!
//! Streaming and pure; used by the archiver where a side changed its codec in mid-call, or sends one of a rate that Opus
//! does not have. What comes in pieces goes out as if it had come at once.

use crate::rate::{Rate, TICKS};

/// Input samples on either side of an output sample that shape it, where the rate rises.
const REACH: usize = 16;
/// The part of the lower rate's band that passes.
const PASS: f64 = 0.92;

/// From one rate to another.
#[derive(Debug)]
pub struct Resampler {
    from: u32,
    /// Output samples of a period, and input samples of it.
    up: usize,
    down: usize,
    /// Filter taps of each phase, one after the other.
    taps: Vec<f32>,
    /// Taps of a phase.
    width: usize,
    /// The last input, `width` samples at least.
    history: Vec<f32>,
    /// Where the next output sample stands: phase, and input samples behind the history's beginning.
    phase: usize,
}

impl Resampler {
    /// From `from` samples per second (1000 to 192000) to a side's rate.
    pub fn new(from: u32, to: Rate) -> Self {
        let from = from.clamp(1_000, 192_000);
        let shared = gcd(from, to.hz());
        let (up, down) = ((to.hz() / shared) as usize, (from / shared) as usize);
        // Where the rate falls, the filter is as much longer as its band is narrower.
        let narrow = (f64::from(to.hz()) / f64::from(from)).min(1.0);
        let reach = (REACH as f64 / narrow).ceil() as usize;
        let width = 2 * reach;
        let mut taps = vec![0.0; if up == down { 0 } else { up * width }];
        for (phase, taps) in taps.chunks_mut(width).enumerate() {
            let shift = phase as f64 / up as f64;
            for (i, tap) in taps.iter_mut().enumerate() {
                *tap = kernel(i as f64 + 1.0 - reach as f64 - shift, reach as f64, PASS * narrow);
            }
            // A steady level stays as it is, whatever the phase.
            let sum: f32 = taps.iter().sum();
            taps.iter_mut().for_each(|tap| *tap /= sum);
        }
        Self { from, up, down, taps, width, history: vec![0.0; width - 1], phase: 0 }
    }

    /// Resamples `samples` behind what `out` holds.
    pub fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        if self.taps.is_empty() {
            out.extend_from_slice(samples);
            return;
        }
        self.history.extend(samples.iter().map(|s| f32::from(*s)));
        let mut start = 0;
        while let Some(window) = self.history.get(start..start + self.width) {
            let taps =
                self.taps.get(self.phase * self.width..(self.phase + 1) * self.width).unwrap_or_default();
            let sum: f32 = window.iter().zip(taps).map(|(s, t)| s * t).sum();
            #[allow(clippy::cast_possible_truncation, reason = "clamped to what fits")]
            out.push(sum.round().clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16);
            let next = self.phase + self.down;
            start += next / self.up;
            self.phase = next % self.up;
        }
        // A window is longer than a step: the next one begins within what has come.
        self.history.drain(..start.min(self.history.len()));
    }

    /// How far its output lags behind its input, in ticks of 48 kHz.
    pub fn delay(&self) -> i64 {
        if self.taps.is_empty() {
            0
        } else {
            (self.width / 2) as i64 * i64::from(TICKS) / i64::from(self.from)
        }
    }

    /// Forgets what came: what comes next does not go on from it.
    pub fn reset(&mut self) {
        self.history.clear();
        self.history.resize(self.width - 1, 0.0);
        self.phase = 0;
    }
}

/// Sinc of `band` (a part of the input's) at a distance of `x` samples, under Kaiser's window that ends at `reach`.
fn kernel(x: f64, reach: f64, band: f64) -> f32 {
    let sinc = if x.abs() < 1e-9 {
        band
    } else {
        (std::f64::consts::PI * band * x).sin() / (std::f64::consts::PI * x)
    };
    let inside = 1.0 - (x / reach) * (x / reach);
    #[allow(clippy::cast_possible_truncation, reason = "a filter's tap")]
    let tap = if inside <= 0.0 { 0.0 } else { sinc * bessel(8.0 * inside.sqrt()) / bessel(8.0) } as f32;
    tap
}

/// The modified Bessel function of the first kind and order 0.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..40 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
    }
    sum
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the numbers are the test's own"
)]
mod tests {
    use super::*;

    fn tone(hz: f64, rate: u32, samples: usize) -> Vec<i16> {
        let at = |i: usize| i as f64 / f64::from(rate) * hz * std::f64::consts::TAU;
        (0..samples).map(|i| (10_000.0 * at(i).sin()) as i16).collect()
    }

    /// Level of the frequency `hz` in `samples`.
    fn level(samples: &[i16], hz: f64, rate: u32) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        for (i, s) in samples.iter().enumerate() {
            let window = 1.0 - (std::f64::consts::TAU * i as f64 / samples.len() as f64).cos();
            let at = i as f64 / f64::from(rate) * hz * std::f64::consts::TAU;
            re += f64::from(*s) * at.cos() * window;
            im += f64::from(*s) * at.sin() * window;
        }
        2.0 * re.hypot(im) / samples.len() as f64
    }

    #[test]
    fn tones_keep_their_level_their_place_and_their_company() {
        for from in [8_000, 11_025, 16_000, 24_000, 44_100, 48_000] {
            for to in Rate::ALL {
                let mut resampler = Resampler::new(from, to);
                let hz = 0.35 * f64::from(from.min(to.hz()));
                let (input, mut out) = (tone(hz, from, from as usize), Vec::new());
                // In odd pieces.
                for piece in input.chunks(173) {
                    resampler.push(piece, &mut out);
                }
                let expected = to.hz() as usize;
                assert!(out.len().abs_diff(expected) <= 1, "{from} to {to:?}: {} samples", out.len());
                let body = &out[expected / 10..];
                let kept = level(body, hz, to.hz());
                assert!((9_700.0..10_300.0).contains(&kept), "{from} to {to:?}: level {kept}");
                // What is left beside the tone: images and noise, 50 dB below it.
                let energy = body.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / body.len() as f64;
                let rest = energy - 10_000.0_f64.powi(2) / 2.0;
                assert!(rest.abs() < energy * 0.06, "{from} to {to:?}: {rest} of {energy}");
                let image = f64::from(from) - hz;
                if image < f64::from(to.hz()) / 2.0 {
                    assert!(
                        level(body, image, to.hz()) < 32.0,
                        "{from} to {to:?}: image {}",
                        level(body, image, to.hz())
                    );
                }
                // In its place: it lags by the delay that it tells.
                let lag = resampler.delay() as usize / to.ticks() as usize;
                let truth = tone(hz, to.hz(), expected);
                let middle = expected / 2;
                let off = (0..200).map(|i| i32::from(out[middle + lag + i]) - i32::from(truth[middle + i]));
                let exact =
                    resampler.delay() % i64::from(to.ticks()) == 0 && from != 11_025 && from != 44_100;
                assert!(!exact || off.map(i32::abs).max().unwrap() < 400, "{from} to {to:?}");
            }
        }
    }

    #[test]
    fn pieces_and_the_whole_give_the_same_and_a_reset_forgets() {
        let input = tone(700.0, 8_000, 4_000);
        let (mut whole, mut pieces) = (Vec::new(), Vec::new());
        Resampler::new(8_000, Rate::Full).push(&input, &mut whole);
        let mut resampler = Resampler::new(8_000, Rate::Full);
        input.chunks(7).for_each(|piece| resampler.push(piece, &mut pieces));
        assert_eq!(whole, pieces);
        resampler.reset();
        let mut again = Vec::new();
        resampler.push(&input, &mut again);
        assert_eq!(whole, again);
    }

    #[test]
    fn what_is_above_the_lower_band_is_gone() {
        let mut out = Vec::new();
        Resampler::new(48_000, Rate::Narrow).push(&tone(5_500.0, 48_000, 48_000), &mut out);
        assert!(out[800..7_000].iter().all(|s| s.abs() < 40), "{:?}", out[800..7_000].iter().max());
    }
}
