//! Sequence numbers of one SSRC, as they come: what is missing, late, twice, or of another life. Pure.
//!
//! RFC 3550 appendix A.1, without its probation: the relay knows its senders by their addresses, and the first packets
//! of a call count.

use serde::{Deserialize, Serialize};

/// A step ahead by less is loss; by more, it may be a restart (RFC 3550 A.1: a minute at 50 packets a second).
const MAX_DROPOUT: u16 = 3000;
/// A step back by less is a late packet or a duplicate; by more, it may be a restart. (RFC 3550 A.1 has 100, for two
/// seconds at 50 packets a second; this is as far as [`Sequence::seen`] remembers.)
const MAX_MISORDER: u16 = 128;

/// What came of one SSRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    highest: u16,
    /// From the lowest number to the highest, with all cycles.
    reach: u64,
    /// Bit n: the number n below the highest has come.
    seen: u128,
    /// The number that, if it comes next to the strange one before, means a restart.
    restart: Option<u16>,
}

/// What a sequence number means after those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The highest so far, by so many (1 if none was left out).
    Ahead(u16),
    /// Below the highest, and new. So many numbers from it on are below all that came before.
    Late {
        /// 0 for one that was missing in between.
        below: u64,
    },
    /// It has come before.
    Again,
    /// Far from all others; it counts when the next one follows it, as [`Step::Restart`].
    Strange,
    /// It follows a strange one: the sender began anew, with two packets.
    Restart,
}

impl Sequence {
    /// A source whose first packet is `sequence`.
    pub const fn starting(sequence: u16) -> Self {
        Self { highest: sequence, reach: 0, seen: 1, restart: None }
    }

    /// Takes the next packet's number.
    #[inline]
    pub fn step(&mut self, sequence: u16) -> Step {
        let ahead = sequence.wrapping_sub(self.highest);
        let back = self.highest.wrapping_sub(sequence);
        if back < MAX_MISORDER {
            return self.back(back);
        }
        if ahead < MAX_DROPOUT {
            self.highest = sequence;
            self.reach += u64::from(ahead);
            self.seen = self.seen.checked_shl(u32::from(ahead)).unwrap_or(0) | 1;
            return Step::Ahead(ahead);
        }
        if self.restart == Some(sequence) {
            *self = Self { reach: 1, seen: 0b11, ..Self::starting(sequence) };
            return Step::Restart;
        }
        self.restart = Some(sequence.wrapping_add(1));
        Step::Strange
    }

    #[cold]
    const fn back(&mut self, back: u16) -> Step {
        let bit = 1 << back;
        if self.seen & bit != 0 {
            return Step::Again;
        }
        self.seen |= bit;
        let below = (back as u64).saturating_sub(self.reach);
        self.reach += below;
        Step::Late { below }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps<const N: usize>(first: u16, rest: [u16; N]) -> [Step; N] {
        let mut source = Sequence::starting(first);
        rest.map(|sequence| source.step(sequence))
    }

    #[test]
    fn late_packets_fill_what_was_missing_and_copies_are_told_from_them() {
        assert_eq!(
            steps(65_533, [65_535, 2, 1, 1, 65_534, 65_533, 3]),
            [
                Step::Ahead(2),
                Step::Ahead(3),
                Step::Late { below: 0 },
                Step::Again,
                Step::Late { below: 0 },
                Step::Again,
                Step::Ahead(1)
            ]
        );
    }

    #[test]
    fn packets_that_the_first_one_overtook_widen_the_range_once() {
        assert_eq!(
            steps(5, [3, 4, 3, 6, 2]),
            [
                Step::Late { below: 2 },
                Step::Late { below: 0 },
                Step::Again,
                Step::Ahead(1),
                Step::Late { below: 1 }
            ]
        );
    }

    #[test]
    fn a_jump_counts_as_loss_up_to_a_minute_and_beyond_it_only_when_the_next_one_follows() {
        assert_eq!(steps(0, [2999]), [Step::Ahead(2999)]);
        assert_eq!(
            steps(0, [3001, 1, 3001, 3002, 3001, 3003]),
            [Step::Strange, Step::Ahead(1), Step::Strange, Step::Restart, Step::Again, Step::Ahead(1)]
        );
        assert_eq!(steps(1000, [873]), [Step::Late { below: 127 }]);
        assert_eq!(steps(1000, [872, 873]), [Step::Strange, Step::Late { below: 127 }]);
        assert_eq!(steps(1000, [870, 871]), [Step::Strange, Step::Restart]);
    }

    #[test]
    fn a_long_step_ahead_forgets_what_is_out_of_sight() {
        assert_eq!(
            steps(0, [1, 129, 2, 1]),
            [Step::Ahead(1), Step::Ahead(128), Step::Late { below: 0 }, Step::Strange]
        );
    }
}
