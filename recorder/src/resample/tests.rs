//! Tones through every pair of rates, measured by least squares.

use super::*;

const FROM: [u32; 8] = [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];

/// A second of a tone with an amplitude of half the scale.
fn tone(hz: f64, rate: u32) -> Vec<i16> {
    (0..rate)
        .map(|n| sample((16_000.0 * (2.0 * PI * hz * f64::from(n) / f64::from(rate)).sin()) as f32))
        .collect()
}

fn resample(samples: &[i16], from: u32, to: Rate) -> Vec<i16> {
    let mut out = Vec::new();
    Resampler::new(from, to).push(samples, &mut out);
    out
}

/// Amplitude and phase of `hz` in `samples`, and the RMS of what else is in them (the first 100 ms left out).
fn measure(samples: &[i16], hz: f64, rate: u32) -> (f64, f64, f64) {
    let from = rate as usize / 10;
    // A whole number of periods of every tone used here, so that sine and cosine do not mix.
    let span = (rate as usize / 2).min(samples.len() - from);
    let angle = |n: usize| 2.0 * PI * hz * (n as f64) / f64::from(rate);
    let heard = || samples.iter().enumerate().skip(from).take(span).map(|(n, s)| (angle(n), f64::from(*s)));
    let sine = 2.0 * heard().map(|(a, s)| a.sin() * s).sum::<f64>() / span as f64;
    let cosine = 2.0 * heard().map(|(a, s)| a.cos() * s).sum::<f64>() / span as f64;
    let rest: f64 = heard().map(|(a, s)| (s - sine * a.sin() - cosine * a.cos()).powi(2)).sum();
    (sine.hypot(cosine), cosine.atan2(sine), (rest / span as f64).sqrt())
}

fn decibels(amplitude: f64) -> f64 {
    20.0 * (amplitude / 16_000.0).log10()
}

#[test]
fn a_tone_keeps_its_level_and_place_and_nothing_is_added() {
    for (from, to) in FROM.into_iter().flat_map(|f| Rate::ALL.map(|t| (f, t))) {
        let lower = f64::from(from.min(to.hz()));
        // Up to what a telephone carries in 8 kHz (3.2 kHz), and as near to the edge in the others.
        for hz in [100.0, 440.0, 1_000.0, 2_600.0, lower / 2.0 - 1_000.0, lower / 2.0 - 800.0] {
            let hz = (hz / 10.0).round() * 10.0;
            let out = resample(&tone(hz, from), from, to);
            let (amplitude, phase, rest) = measure(&out, hz, to.hz());
            let (level, added) = (decibels(amplitude), decibels(rest * 2.0_f64.sqrt()));
            assert!(level.abs() < 0.5, "{from} to {to:?}: {hz} Hz came out at {level:.2} dB");
            assert!(added < -50.0, "{from} to {to:?}: {hz} Hz made {added:.1} dB of something else");
            // The phase tells the delay, once the tone is slow enough for one period to be more than it.
            if hz < 500.0 {
                let delay = -phase / (2.0 * PI * hz) * f64::from(TICKS);
                let said = f64::from(Resampler::new(from, to).delay());
                assert!((delay - said).abs() < 1.0, "{from} to {to:?}: {delay:.2} ticks late");
            }
        }
    }
}

#[test]
fn what_the_lower_rate_cannot_hold_is_gone() {
    for (from, to) in FROM.into_iter().flat_map(|f| Rate::ALL.map(|t| (f, t))) {
        let edge = f64::from(to.hz()) / 2.0;
        let mut hz = edge + 800.0;
        while hz < f64::from(from) / 2.0 {
            let out = resample(&tone(hz, from), from, to);
            let loudest = out.iter().skip(out.len() / 10).map(|s| f64::from(*s).abs()).fold(0.0, f64::max);
            let heard = decibels(loudest);
            assert!(heard < -50.0, "{from} to {to:?}: {hz} Hz came out as an alias of {heard:.1} dB");
            hz += 970.0;
        }
    }
}

#[test]
fn the_edges_of_chunks_are_not_heard() {
    for (from, to) in [44_099, 12_345].into_iter().chain(FROM).flat_map(|f| Rate::ALL.map(|t| (f, t))) {
        let samples = tone(437.0, from);
        let whole = resample(&samples, from, to);
        for chunk in [1, 7, from as usize / 50, 1_001] {
            let (mut resampler, mut out) = (Resampler::new(from, to), Vec::new());
            let mut pushed = 0;
            for part in samples.chunks(chunk) {
                resampler.push(part, &mut out);
                pushed += part.len() as u64;
                let expected = (pushed * u64::from(to.hz())).div_ceil(u64::from(from));
                assert_eq!(out.len() as u64, expected, "{from} to {to:?} after {pushed} samples");
            }
            assert!(out == whole, "{from} to {to:?} in chunks of {chunk}");
        }
    }
}

#[test]
fn rates_without_a_common_divisor_stay_clean() {
    // 48,000 phases would be right; 1,024 must do.
    for from in [44_099, 12_343, 47_999] {
        let out = resample(&tone(1_000.0, from), from, Rate::Full);
        let (amplitude, _, rest) = measure(&out, 1_000.0, 48_000);
        assert!(decibels(amplitude).abs() < 0.1 && decibels(rest * 2.0_f64.sqrt()) < -50.0, "{from}");
    }
}

#[test]
fn equal_rates_copy() {
    let mut resampler = Resampler::new(16_000, Rate::Wide);
    let mut out = vec![9];
    resampler.push(&[1, -2, i16::MIN], &mut out);
    assert_eq!((out, resampler.delay()), (vec![9, 1, -2, i16::MIN], 0));
}

#[test]
fn loud_sound_is_clipped_and_not_wrapped() {
    let square: Vec<i16> = (0..8_000).map(|n| if n / 20 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
    let out = resample(&square, 8_000, Rate::Full);
    // In the middle of each half period the sign is the input's.
    for (n, pair) in out.iter().skip(48).enumerate().filter(|(n, _)| n % 120 == 60) {
        assert_eq!(*pair > 0, n / 120 % 2 == 0, "sample {n}");
    }
}

#[test]
fn after_a_reset_nothing_is_left_of_what_was_before() {
    let mut resampler = Resampler::new(11_025, Rate::Full);
    resampler.push(&tone(1_000.0, 11_025)[..1_003], &mut Vec::new());
    resampler.reset();
    let (mut again, samples) = (Vec::new(), tone(300.0, 11_025));
    resampler.push(&samples, &mut again);
    assert!(again == resample(&samples, 11_025, Rate::Full));
}
