//! What an archive sounds like: decoded by opusdec, compared with what was said.

use std::path::Path;
use std::process::Command;

use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

/// Samples per second of a decoded archive. (Opus decodes to 48 kHz; at a telephone's 8 kHz the two signals could be
/// half a sample apart, which is far at 3 kHz.)
pub const RATE: usize = 48_000;
/// [`RATE`] by the speech's 8000 Hz.
const FINER: usize = 6;

/// A decoded archive: one signal per channel.
#[derive(Debug)]
pub struct Stereo {
    /// The caller.
    pub left: Vec<f64>,
    /// The callee.
    pub right: Vec<f64>,
}

impl Stereo {
    /// Decodes `audio` with an independent decoder.
    #[track_caller]
    pub fn decode(audio: &Path, folder: &Path) -> Self {
        let wav = folder.join("decoded.wav");
        let mut command = Command::new("opusdec");
        command
            .args(["--quiet", "--force-wav", "--no-dither", "--rate", &RATE.to_string()])
            .arg(audio)
            .arg(&wav);
        let output = command.output().expect("opusdec runs");
        assert!(output.status.success(), "opusdec: {}", String::from_utf8_lossy(&output.stderr));
        let mut reader = hound::WavReader::open(&wav).expect("wave file");
        assert_eq!((reader.spec().channels, reader.spec().sample_rate), (2, 48_000));
        let samples: Vec<f64> =
            reader.samples::<i16>().map(|s| f64::from(s.expect("sample")) / 32_768.0).collect();
        let channel = |n: usize| samples.iter().skip(n).step_by(2).copied().collect();
        Self { left: channel(0), right: channel(1) }
    }

    /// Its length in milliseconds.
    pub fn milliseconds(&self) -> i64 {
        i64::try_from(self.left.len() * 1000 / RATE).expect("length")
    }
}

/// Where a signal is found in another, and how alike they are there.
#[derive(Debug, Clone, Copy)]
pub struct Match {
    /// Normalised cross-correlation, 0 to 1: 1 is the same signal, louder or not, whatever its sign.
    pub likeness: f64,
    /// Where it begins, in milliseconds.
    pub at: i64,
}

/// Looks for the whole of `speech` (8000 Hz) in `hay` ([`RATE`]), at every lag at which it fits; half a second may be
/// cut off.
pub fn find(speech: &[f64], hay: &[f64]) -> Match {
    let needle = &finer(speech);
    let margin = RATE / 2;
    let length = (hay.len() + needle.len() + 2 * margin).next_power_of_two();
    let mut planner = FftPlanner::<f64>::new();
    let (forward, inverse) = (planner.plan_fft_forward(length), planner.plan_fft_inverse(length));
    let spectrum = |signal: &[f64], offset: usize| {
        let mut buffer = vec![Complex::default(); length];
        for (slot, &sample) in buffer.iter_mut().skip(offset).zip(signal) {
            slot.re = sample;
        }
        forward.process(&mut buffer);
        buffer
    };
    let mut product = spectrum(hay, margin);
    for (value, other) in product.iter_mut().zip(spectrum(needle, 0)) {
        *value *= other.conj();
    }
    inverse.process(&mut product);

    // Energy of the stretch of `hay` that lies under the needle, by running sums.
    let mut sums = vec![0.0_f64];
    let silent = vec![0.0; margin];
    for sample in silent.iter().chain(hay).chain(&silent) {
        sums.push(sums[sums.len() - 1] + sample.powi(2));
    }
    let own: f64 = needle.iter().map(|s| s.powi(2)).sum();
    let lags = (hay.len() + 2 * margin).saturating_sub(needle.len());
    let scale = f64::from(u32::try_from(length).expect("length"));
    let best = (0..=lags)
        .map(|lag| {
            let under = sums[(lag + needle.len()).min(sums.len() - 1)] - sums[lag];
            let likeness = product[lag].re.abs() / scale / (own * under).sqrt().max(1e-9);
            (likeness, lag)
        })
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .expect("a lag");
    let samples = i64::try_from(best.1).expect("lag") - i64::try_from(margin).expect("margin");
    Match { likeness: best.0, at: samples * 1000 / 48_000 }
}

/// How much of `speech` (8000 Hz) is in `hay` ([`RATE`]) when it is looked for piece by piece, each within `tolerance`
/// milliseconds of its place behind `at` milliseconds: the share of its energy in pieces of which at least `likeness` is
/// found. For speech that is all there, and of which some was moved a little: where its clock seemed to drift.
pub fn found_in_pieces(speech: &[f64], hay: &[f64], at: i64, tolerance: i64, likeness: f64) -> f64 {
    const PIECE: usize = 2_000;
    let ms = |samples: usize, rate: usize| i64::try_from(samples * 1000 / rate).expect("time");
    let energy = |piece: &[f64]| piece.iter().map(|s| s.powi(2)).sum::<f64>();
    let found = |(number, piece): (usize, &[f64])| {
        let place = at + ms(number * PIECE, 8_000);
        let from = usize::try_from((place - tolerance).max(0)).expect("time") * RATE / 1000;
        let length = piece.len() * FINER + 2 * usize::try_from(tolerance).expect("time") * RATE / 1000;
        let window = hay.get(from.min(hay.len())..(from + length).min(hay.len())).unwrap_or_default();
        let best = find(piece, window);
        let moved = ms(from, RATE) + best.at - place;
        if best.likeness >= likeness && moved.abs() <= tolerance { energy(piece) } else { 0.0 }
    };
    speech.chunks(PIECE).enumerate().map(found).sum::<f64>() / energy(speech)
}

/// The same signal at [`RATE`]: its spectrum, with nothing above.
fn finer(signal: &[f64]) -> Vec<f64> {
    let length = signal.len().next_power_of_two();
    let mut planner = FftPlanner::<f64>::new();
    let mut spectrum: Vec<Complex<f64>> = signal.iter().map(|&re| Complex { re, im: 0.0 }).collect();
    spectrum.resize(length, Complex::default());
    planner.plan_fft_forward(length).process(&mut spectrum);
    let mut fine = vec![Complex::default(); length * FINER];
    let half = length / 2;
    fine[..half].copy_from_slice(&spectrum[..half]);
    let top = fine.len() - half + 1;
    fine[top..].copy_from_slice(&spectrum[half + 1..]);
    planner.plan_fft_inverse(length * FINER).process(&mut fine);
    let scale = f64::from(u32::try_from(length).expect("length"));
    fine.iter().take(signal.len() * FINER).map(|c| c.re / scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise that is the same in every run.
    fn noise(seed: u32, length: usize) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 16) / 65_536.0 - 0.5
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn finds_a_signal_where_it_is_and_not_where_it_is_not() {
        let (one, other) = (noise(1, 8_000), noise(2, 8_000));
        let mut hay = vec![0.0; 300 * RATE / 1000];
        hay.extend(finer(&one).iter().map(|s| s * -0.3));
        hay.extend(vec![0.0; 4_800]);
        let found = find(&one, &hay);
        assert!(found.likeness > 0.99 && found.at == 300, "{found:?}");
        assert!(find(&other, &hay).likeness < 0.2);
    }

    #[test]
    fn pieces_are_found_where_some_were_moved_a_little_and_not_where_they_are_missing() {
        let speech = noise(1, 16_000);
        let fine = finer(&speech);
        let half = fine.len() / 2;
        let hay = |between: usize, rest: &[f64]| {
            [&vec![0.0; RATE / 10], &fine[..half], &vec![0.0; between], rest].concat()
        };
        let found = |hay: &[f64]| found_in_pieces(&speech, hay, 100, 40, 0.9);
        let moved = hay(RATE / 100, &fine[half..]);
        assert!(find(&speech, &moved).likeness < 0.9 && found(&moved) > 0.95, "{}", found(&moved));
        let missing = hay(fine.len() - half, &[]);
        assert!((0.4..0.6).contains(&found(&missing)), "{}", found(&missing));
        let far = hay(RATE / 10, &fine[half..]);
        assert!((0.4..0.6).contains(&found(&far)), "{}", found(&far));
    }
}
