//! Figures of several rounds, and what is asked of them. Pure.

/// The middle of some figures, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Half of them are above. Of an even number: the middle of the middle two.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    /// Of figures in any order; none where there are none, or one is no number.
    pub fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        if sorted.iter().any(|figure| !figure.is_finite()) {
            return None;
        }
        let (lower, upper) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
        Some(Self { median: f64::midpoint(*lower, *upper), least: *sorted.first()?, most: *sorted.last()? })
    }
}

/// Second by first, round by round: what both had to bear in a round goes out of the figure. A round in which the first
/// is 0 says nothing, and none of it is left.
pub fn ratios(first: &[f64], second: &[f64]) -> Option<Spread> {
    if first.len() != second.len() {
        return None;
    }
    let ratios: Vec<f64> = first.iter().zip(second).map(|(first, second)| second / first).collect();
    Spread::of(&ratios)
}

/// What is asked of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// The median of the rounds' ratios must not be above this.
    AtMost(f64),
    /// The same must not be below this.
    AtLeast(f64),
    /// The second side's figure must be 0 in every round.
    Zero,
}

impl Target {
    /// Whether the rounds meet it; none where the figures do not say.
    pub fn met(self, first: &[f64], second: &[f64]) -> Option<bool> {
        match self {
            Self::AtMost(limit) => Some(ratios(first, second)?.median <= limit),
            Self::AtLeast(limit) => Some(ratios(first, second)?.median >= limit),
            Self::Zero => Some(Spread::of(second)?.most == 0.0),
        }
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "the figures are exact in binary")]
mod tests {
    use super::*;

    #[test]
    fn a_median_does_not_ask_for_order() {
        let odd = Spread::of(&[9.0, 1.0, 4.0]).unwrap();
        assert_eq!(odd, Spread { median: 4.0, least: 1.0, most: 9.0 });
        assert_eq!(Spread::of(&[8.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of(&[7.0]).unwrap(), Spread { median: 7.0, least: 7.0, most: 7.0 });
    }

    #[test]
    fn no_figures_give_no_median() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[1.0, f64::NAN]), None);
        assert_eq!(Spread::of(&[1.0, f64::INFINITY]), None);
    }

    #[test]
    fn what_disturbs_a_whole_round_does_not_disturb_its_ratio() {
        // The second round is three times as slow for both.
        let spread = ratios(&[16.0, 48.0, 16.0], &[8.0, 24.0, 4.0]).unwrap();
        assert_eq!(spread, Spread { median: 0.5, least: 0.25, most: 0.5 });
    }

    #[test]
    fn a_ratio_to_nothing_is_none() {
        assert_eq!(ratios(&[0.0, 1.0], &[1.0, 1.0]), None);
        assert_eq!(ratios(&[1.0], &[1.0, 2.0]), None, "a round that only one side has run");
    }

    #[test]
    fn targets_are_met_by_the_median_of_ratios() {
        let theirs = [10.0, 10.0, 10.0];
        assert_eq!(Target::AtMost(0.5).met(&theirs, &[5.0, 4.0, 9.0]), Some(true));
        assert_eq!(Target::AtMost(0.5).met(&theirs, &[5.1, 4.0, 9.0]), Some(false));
        assert_eq!(Target::AtLeast(3.0).met(&theirs, &[31.0, 1.0, 30.0]), Some(true));
        assert_eq!(Target::AtLeast(3.0).met(&theirs, &[31.0, 1.0, 29.0]), Some(false));
        assert_eq!(Target::AtMost(0.5).met(&[], &[]), None, "no round, no verdict");
    }

    #[test]
    fn a_loss_in_one_round_is_a_loss() {
        assert_eq!(Target::Zero.met(&[5.0, 5.0, 5.0], &[0.0, 0.0, 0.0]), Some(true));
        assert_eq!(Target::Zero.met(&[0.0, 0.0, 0.0], &[0.0, 1.0, 0.0]), Some(false));
        assert_eq!(Target::Zero.met(&[0.0], &[f64::NAN]), None);
    }
}
