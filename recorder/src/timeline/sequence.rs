//! Sequence numbers: which packet is new, which came again, which came too late (RFC 3550, appendix A.1).

use std::collections::VecDeque;

/// A sequence number further ahead than this is a new beginning, not a loss (RFC 3550's `MAX_DROPOUT`), unless so much
/// time passed.
pub const MAX_DROPOUT: i64 = 3000;
/// Older than this behind the highest is a new beginning as well.
const MAX_MISORDER: i64 = 2000;
/// Runs that were given out as lost, and are remembered.
const MAX_TOLD: usize = 64;

/// A packet's number: its sequence number with the wraps counted in, so that it only grows.
pub type Number = i64;

/// What a sequence number says of its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The sender's first, or the first after it began anew.
    First(Number),
    /// Ahead of all before.
    Ahead(Number),
    /// Behind another one.
    Behind(Number),
    /// Was given out as lost already.
    Late,
    /// Was here already, and is settled.
    Duplicate,
}

/// The sequence numbers of one sender.
#[derive(Debug, Default)]
pub struct Sequence {
    /// Highest so far.
    highest: Option<Number>,
    /// The last that was settled.
    settled: Option<Number>,
    /// Numbers behind which none can be told missing up to the next that comes, lowest first.
    breaks: VecDeque<Number>,
    /// Runs that were given out as lost: first number and count.
    told: VecDeque<(Number, i64)>,
}

impl Sequence {
    /// What `sequence` says of its packet. `room`: so many may have been sent since the last that was ahead.
    pub fn order(&mut self, sequence: u16, room: i64) -> Order {
        let Some(highest) = self.highest else {
            return self.begin(0, sequence);
        };
        // The low 16 bits of the highest: how far `sequence` is from it, over the wrap.
        let low = u16::try_from(highest.rem_euclid(1 << 16)).unwrap_or(0);
        let step = i64::from(sequence.wrapping_sub(low).cast_signed());
        let number = highest + step;
        match step {
            1.. if step <= MAX_DROPOUT.max(room) => {
                self.highest = Some(number);
                Order::Ahead(number)
            }
            ..=0 if step >= -MAX_MISORDER && self.settled.is_none_or(|s| number > s) => Order::Behind(number),
            ..=0 if step >= -MAX_MISORDER => {
                let told = self.told.iter().any(|(first, count)| (*first..first + count).contains(&number));
                if told { Order::Late } else { Order::Duplicate }
            }
            _ => self.begin((highest >> 16) + 16, sequence),
        }
    }

    /// Begins anew, far ahead of all numbers so far, so that none can be taken for one of those.
    fn begin(&mut self, cycle: i64, sequence: u16) -> Order {
        self.interrupt();
        let number = (cycle << 16) + i64::from(sequence);
        self.highest = Some(number);
        Order::First(number)
    }

    /// What follows the highest number so far is no loss: nobody listened, or other numbers follow.
    pub fn interrupt(&mut self) {
        if self.highest > self.breaks.back().copied() {
            self.breaks.extend(self.highest);
        }
    }

    /// `number` is settled: gives how many before it are lost.
    pub fn settle(&mut self, number: Number) -> u64 {
        let broken = self.breaks.iter().take_while(|b| **b < number).count();
        self.breaks.drain(..broken);
        let missing = match self.settled.replace(number) {
            Some(last) if broken == 0 => number - last - 1,
            _ => 0,
        };
        let Ok(lost) = u64::try_from(missing) else { return 0 };
        if lost > 0 {
            self.told.push_back((number - missing, missing));
            if self.told.len() > MAX_TOLD {
                self.told.pop_front();
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_over_the_wrap() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.order(65_535, 0), Order::First(65_535));
        assert_eq!(sequence.order(1, 0), Order::Ahead(65_537));
        assert_eq!(sequence.order(0, 0), Order::Behind(65_536));
        assert_eq!(sequence.settle(65_535), 0);
        assert_eq!(sequence.settle(65_537), 1);
        assert_eq!(sequence.order(0, 0), Order::Late);
        assert_eq!(sequence.order(1, 0), Order::Duplicate);
    }

    #[test]
    fn a_leap_begins_anew_and_nothing_is_lost_by_it() {
        let mut sequence = Sequence::default();
        sequence.order(10, 0);
        sequence.settle(10);
        let Order::First(number) = sequence.order(30_000, 0) else { panic!("no new beginning") };
        assert!(number > 65_536);
        assert_eq!(sequence.settle(number), 0);
        // What the old run still brings is a new beginning again, not a loss of all in between.
        assert!(matches!(sequence.order(11, 0), Order::First(_)));
    }
}
