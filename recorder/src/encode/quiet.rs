//! Tells sound from silence, and waits before it calls anything silence.

use crate::rate::Rate;

/// Frames that are still sound after the last one that was loud enough: 200 ms. The end of a word, and breath, fade in it.
const HANGOVER: u32 = 10;
/// Parts of a frame, each of which must be silent: 5 ms. The first moment of a word counts even where it is the frame's last.
const PARTS: usize = 4;

/// What is told from one frame to the next.
#[derive(Debug)]
pub struct Quiet {
    /// Mean square of the loudest silence.
    limit: Option<i64>,
    /// Silent frames since the last sound.
    run: u32,
}

impl Quiet {
    /// `dbfs`: RMS level below which a part is silent; none: nothing is.
    pub fn new(dbfs: Option<i8>) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "at most 2^30")]
        let limit =
            dbfs.map(|level| (f64::from(1 << 30) * 10_f64.powf(f64::from(level.min(0)) / 10.0)) as i64);
        Self { limit, run: 0 }
    }

    /// Takes the next frame; whether it, and the 200 ms before it, are silence.
    pub fn is_silence(&mut self, samples: &[i16], rate: Rate) -> bool {
        let silent = self.limit.is_some_and(|limit| {
            samples.chunks(rate.frame() / PARTS).all(|part| {
                let energy: i64 = part.iter().map(|s| i64::from(i32::from(*s) * i32::from(*s))).sum();
                energy < limit * i64::try_from(part.len()).unwrap_or(0)
            })
        });
        self.run = if silent { self.run.saturating_add(1) } else { 0 };
        self.run > HANGOVER
    }

    /// Something else was heard in between.
    pub const fn reset(&mut self) {
        self.run = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(level: i16) -> [i16; 160] {
        std::array::from_fn(|n| if n % 2 == 0 { level } else { -level })
    }

    /// How many frames of `level` pass before they are silence.
    fn wait(quiet: &mut Quiet, level: i16) -> Option<usize> {
        (0..100).find(|_| quiet.is_silence(&frame(level), Rate::Narrow))
    }

    #[test]
    fn what_is_below_the_level_becomes_silence_after_200_ms_and_what_is_above_never() {
        // -60 dBFS is a thousandth of 32,768.
        assert_eq!(wait(&mut Quiet::new(Some(-60)), 32), Some(10));
        assert_eq!(wait(&mut Quiet::new(Some(-60)), 33), None);
        assert_eq!(wait(&mut Quiet::new(Some(-66)), 17), None);
        assert_eq!(wait(&mut Quiet::new(None), 0), None, "switched off");
    }

    #[test]
    fn five_loud_milliseconds_end_a_silence_and_begin_the_wait_again() {
        for part in 0..PARTS {
            let mut quiet = Quiet::new(Some(-60));
            assert_eq!(wait(&mut quiet, 8), Some(10));
            let mut onset = frame(8);
            onset[part * 40..(part + 1) * 40].copy_from_slice(&frame(40)[..40]);
            assert!(!quiet.is_silence(&onset, Rate::Narrow), "part {part}");
            assert_eq!(wait(&mut quiet, 8), Some(10));
        }
    }
}
