//! From the sample rate of a codec to that of an archive: a streaming resampler for one channel.
//!
//! Pure; used by the archiver, one [`Resampler`] per sender. A windowed sinc in as many phases as the two rates ask
//! for (polyphase FIR). It looks 1 ms to each side of a sample, so what it gives is 1 ms late, at every pair of
//! rates: [`Resampler::delay`] says so, and whoever places the samples takes it off.

use std::f64::consts::PI;

use crate::rate::{Rate, TICKS};

/// How far the filter looks to each side, and so how late its output is: 1 ms.
const REACH: u32 = TICKS / 1000;
/// Kaiser's β: about 55 dB between what passes and what does not, over 1.6 kHz around the cut-off.
const BETA: f64 = 5.0;
/// How far below half the lower of the two rates the cut-off lies, in Hz.
const BELOW: f64 = 120.0;
/// Phases in the table at most. Only pairs of rates with almost no common divisor need more; they get the nearest.
const PHASES: u32 = 1024;

/// Resamples one channel; what it gives does not depend on how its input is cut.
#[derive(Debug)]
pub struct Resampler {
    /// None: the rates are equal.
    filter: Option<Filter>,
}

#[derive(Debug)]
struct Filter {
    /// `down` input samples are `up` output samples; they have no common divisor.
    down: usize,
    up: usize,
    /// Rows of `taps` coefficients, one per phase; within a row the newest input sample's last.
    table: Vec<f32>,
    taps: usize,
    /// The last `taps - 1` input samples; what is pushed is appended while it is worked on.
    history: Vec<f32>,
    /// The next output sample belongs `ahead + phase / up` input samples after the first that was not pushed yet.
    ahead: usize,
    phase: usize,
}

impl Resampler {
    /// From `from_hz` samples per second to `to`. What is beyond 4,000 and 192,000 Hz is taken for the nearer of them.
    pub fn new(from_hz: u32, to: Rate) -> Self {
        let from_hz = from_hz.clamp(4_000, 192_000);
        Self { filter: (from_hz != to.hz()).then(|| Filter::new(from_hz, to.hz())) }
    }

    /// How late the output is, in [`crate::rate`]'s ticks: what is said at `t` of the input stands at `t + delay()`
    /// of the output. 48, or 0 where the rates are equal.
    pub fn delay(&self) -> u32 {
        if self.filter.is_some() { REACH } else { 0 }
    }

    /// Resamples `samples` behind what `out` holds. After `n` samples since the start or the last
    /// [`Resampler::reset`], `n * to / from` have come out, rounded up.
    pub fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        match &mut self.filter {
            Some(filter) => filter.push(samples, out),
            None => out.extend_from_slice(samples),
        }
    }

    /// Forgets what was pushed: the next sample does not follow the last one.
    pub fn reset(&mut self) {
        if let Some(filter) = &mut self.filter {
            filter.reset();
        }
    }
}

impl Filter {
    fn new(from: u32, to: u32) -> Self {
        let common = common_divisor(from, to);
        let (down, up) = (from / common, to / common);
        let reach = f64::from(from) * f64::from(REACH) / f64::from(TICKS);
        let cut_off = (f64::from(from.min(to)) - 2.0 * BELOW) / f64::from(from);
        let phases = up.min(PHASES);
        // Where several phases share a row, it is made for the middle of them.
        let shift = if up > PHASES { 0.5 } else { 0.0 };
        // Taps behind the newest input sample.
        let past = from * REACH * 2 / TICKS;
        let table = (0..phases).flat_map(|phase| {
            let late = (f64::from(phase) + shift) / f64::from(phases);
            let row: Vec<f64> =
                (0..=past).rev().map(|back| weight(reach - late - f64::from(back), reach, cut_off)).collect();
            let sum: f64 = row.iter().sum();
            row.into_iter().map(move |w| coefficient(w / sum))
        });
        let mut filter = Self {
            down: down as usize,
            up: up as usize,
            table: table.collect(),
            taps: past as usize + 1,
            history: Vec::new(),
            ahead: 0,
            phase: 0,
        };
        filter.reset();
        filter
    }

    fn reset(&mut self) {
        self.history.clear();
        self.history.resize(self.taps - 1, 0.0);
        (self.ahead, self.phase) = (0, 0);
    }

    fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        self.history.extend(samples.iter().map(|s| f32::from(*s)));
        let phases = self.table.len() / self.taps;
        while self.ahead < samples.len() {
            let row = self.phase * phases / self.up * self.taps;
            let weights = self.table.get(row..row + self.taps).unwrap_or_default();
            let heard = self.history.get(self.ahead..).unwrap_or_default();
            out.push(sample(weights.iter().zip(heard).map(|(w, s)| w * s).sum()));
            let next = self.phase + self.down;
            self.ahead += next / self.up;
            self.phase = next % self.up;
        }
        self.ahead -= samples.len();
        self.history.drain(..samples.len());
    }
}

fn common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// The windowed sinc at `x` input samples from its middle.
fn weight(x: f64, reach: f64, cut_off: f64) -> f64 {
    let inside = 1.0 - (x / reach) * (x / reach);
    if inside < 0.0 {
        return 0.0;
    }
    let angle = PI * cut_off * x;
    let sinc = if angle.abs() < 1e-9 { 1.0 } else { angle.sin() / angle };
    sinc * bessel(BETA * inside.sqrt())
}

/// The modified Bessel function of order 0, of which Kaiser's window is made.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..=20 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}

#[allow(clippy::cast_possible_truncation, reason = "rounding to the table's precision is meant")]
fn coefficient(weight: f64) -> f32 {
    weight as f32
}

#[allow(clippy::cast_possible_truncation, reason = "the cast saturates, as a sample must")]
fn sample(value: f32) -> i16 {
    value.round() as i16
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the numbers are the test's own"
)]
mod tests;
