//! The E-model, ITU-T G.107: from impairments to a rating R, from R to a mean opinion score.
//!
//! Pure. R = Ro - Is - Id - Ie,eff + A, all of which but Id and Ie,eff keeps its default: what a relay knows of a call
//! is its codec, its loss and its delay. Narrow-band: R goes to 93.2 and the score to 4.41.

/// Ro - Is with all default values and A = 0 (G.107 clause 7.7).
pub const CLEAR: f64 = 93.2;

/// What a codec does to speech (G.113 appendix I).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impairment {
    /// Ie: impairment without loss, 0 to 95.
    pub ie: f64,
    /// Bpl: robustness against random loss; more is better, above 0.
    pub bpl: f64,
}

impl Impairment {
    /// Ie,eff with `loss`, a share from 0 to 1, taken as random (`BurstR` is 1; G.107 clause 7.5, equation 7-29).
    pub fn effective(self, loss: f64) -> f64 {
        let percent = loss.clamp(0.0, 1.0) * 100.0;
        self.ie + (95.0 - self.ie) * percent / (percent + self.bpl)
    }
}

/// Id, from the one-way delay from mouth to ear in milliseconds.
///
/// The simplification of G.107 clause 7.4 for its default echo loss by R. G. Cole and J. H. Rosenbluth, "Voice over IP
/// performance monitoring" (2001), equation 7, good up to 400 ms; others who measure calls use it as well, so that
/// scores compare.
pub fn delay_impairment(milliseconds: f64) -> f64 {
    let delay = milliseconds.max(0.0);
    0.024 * delay + 0.11 * (delay - 177.3).max(0.0)
}

/// R of a call with this codec, loss (a share from 0 to 1) and one-way delay; 0 to [`CLEAR`].
pub fn rating(impairment: Impairment, loss: f64, delay_milliseconds: f64) -> f64 {
    (CLEAR - delay_impairment(delay_milliseconds) - impairment.effective(loss)).clamp(0.0, CLEAR)
}

/// The mean opinion score that stands for R: 1 to 4.5 (G.107 annex B, equation B-4).
pub fn mos(rating: f64) -> f64 {
    let r = rating.clamp(0.0, 100.0);
    // For R below 6.5 the cubic dips under 1.
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    const G711: Impairment = Impairment { ie: 0.0, bpl: 25.1 };
    const G729A: Impairment = Impairment { ie: 11.0, bpl: 19.0 };
    const G723_1: Impairment = Impairment { ie: 15.0, bpl: 16.1 };

    #[track_caller]
    fn near(got: f64, want: f64, by: f64) {
        assert!((got - want).abs() <= by, "{got} is not {want}");
    }

    #[test]
    fn ratings_have_the_scores_of_g_107() {
        // Annex B, table B.1 (it has rounded 4.024 up); and what R of the default values is known for.
        for (r, score) in
            [(90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58), (CLEAR, 4.41)]
        {
            near(mos(r), score, 0.0065);
        }
        for (r, score) in [(100.0, 4.5), (120.0, 4.5), (0.0, 1.0), (3.0, 1.0), (-7.0, 1.0)] {
            near(mos(r), score, 1e-9);
        }
    }

    #[test]
    fn codecs_with_loss_come_near_what_listeners_said() {
        // G.113 (02/2001) appendix I: Ie found by experiment at so many percent of random loss.
        let measured = [
            (0.0, 11.0),
            (0.5, 13.0),
            (1.0, 15.0),
            (1.5, 17.0),
            (2.0, 19.0),
            (3.0, 23.0),
            (4.0, 26.0),
            (8.0, 36.0),
            (16.0, 49.0),
        ];
        for (percent, ie) in measured {
            near(G729A.effective(percent / 100.0), ie, 0.75);
        }
        let measured = [
            (0.0, 15.0),
            (0.5, 17.0),
            (1.0, 19.0),
            (1.5, 22.0),
            (2.0, 24.0),
            (3.0, 27.0),
            (4.0, 32.0),
            (8.0, 41.0),
            (16.0, 55.0),
        ];
        for (percent, ie) in measured {
            near(G723_1.effective(percent / 100.0), ie, 1.1);
        }
        near(G711.effective(0.05), 95.0 * 5.0 / 30.1, 1e-9);
        near(G711.effective(1.0), 95.0 * 100.0 / 125.1, 1e-9);
    }

    #[test]
    fn delay_costs_little_until_a_bend() {
        for (delay, id) in [(-3.0, 0.0), (0.0, 0.0), (100.0, 2.4), (177.3, 4.2552), (277.3, 17.6552)] {
            near(delay_impairment(delay), id, 1e-9);
        }
    }

    #[test]
    fn a_rating_is_what_is_left_and_never_beyond_its_scale() {
        near(rating(G711, 0.0, 0.0), 93.2, 1e-9);
        near(rating(G729A, 0.0, 0.0), 82.2, 1e-9);
        near(mos(rating(G711, 0.0, 150.0)), 4.33, 0.005);
        near(mos(rating(G729A, 0.02, 150.0)), 3.63, 0.005);
        near(rating(G711, 1.0, 2_000.0), 0.0, 1e-9);
        near(rating(G711, -1.0, 0.0), 93.2, 1e-9);
    }
}
