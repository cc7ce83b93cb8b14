//! Sequence numbers: what is missing, what came twice, what came late (RFC 3550, appendix A.1).

use std::collections::{BTreeMap, VecDeque};

/// A sequence number further ahead than this is a new beginning, not a loss (RFC 3550's `MAX_DROPOUT`).
const MAX_DROPOUT: i64 = 3000;
/// Older than this behind the highest is a new beginning as well.
const MAX_MISORDER: i64 = 2000;
/// Runs that were given out as lost, and are remembered.
const MAX_TOLD: usize = 64;

/// What a sequence number says of its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The sender's first, or the first after it began anew.
    First,
    /// Ahead of all before, by this many; 1 is the very next.
    Ahead(i64),
    /// Was missing.
    Filled,
    /// Was missing for so long that it was given out as lost.
    Late,
    /// Was here already.
    Duplicate,
}

/// Packets that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Where they belong: first sample.
    pub from: i64,
    /// Behind the last sample.
    pub to: i64,
    /// How many.
    pub packets: u64,
}

/// The sequence numbers of one sender.
#[derive(Debug, Default)]
pub struct Losses {
    /// Highest so far, with the wraps counted in.
    highest: Option<i64>,
    /// Runs of missing numbers by their first. Runs, so that one packet costs one entry whatever it claims.
    missing: BTreeMap<i64, Missing>,
    /// Runs that were given out as lost: first number and count.
    told: VecDeque<(i64, i64)>,
    /// The next one begins anew.
    anew: bool,
}

impl Losses {
    /// What `sequence` says of its packet; to be followed by [`Self::lost`] when it was ahead by more than 1.
    pub fn order(&mut self, sequence: u16) -> Order {
        let Some(highest) = self.highest else {
            self.highest = Some(i64::from(sequence));
            return Order::First;
        };
        if std::mem::take(&mut self.anew) {
            return self.begin(highest, sequence);
        }
        // The low 16 bits of the highest: how far `sequence` is from it, over the wrap.
        let low = u16::try_from(highest.rem_euclid(1 << 16)).unwrap_or(0);
        let step = i64::from(sequence.wrapping_sub(low).cast_signed());
        let number = highest + step;
        match step {
            1..=MAX_DROPOUT => {
                self.highest = Some(number);
                Order::Ahead(step)
            }
            0 => Order::Duplicate,
            step if (-MAX_MISORDER..0).contains(&step) => {
                if self.fill(number) {
                    Order::Filled
                } else if self.told.iter().any(|(first, count)| (*first..first + count).contains(&number)) {
                    Order::Late
                } else {
                    Order::Duplicate
                }
            }
            _ => self.begin(highest, sequence),
        }
    }

    /// Begins anew, far ahead of all numbers so far, so that none can be taken for one of those.
    fn begin(&mut self, highest: i64, sequence: u16) -> Order {
        self.highest = Some((((highest >> 16) + 16) << 16) + i64::from(sequence));
        Order::First
    }

    /// Takes a number out of the run that it is missing in. False: it is in none.
    fn fill(&mut self, number: i64) -> bool {
        let Some((first, run)) = self.missing.range(..=number).next_back().map(|(f, r)| (*f, *r)) else {
            return false;
        };
        let (count, before) = (i64::try_from(run.packets).unwrap_or(0), number - first);
        if before >= count {
            return false;
        }
        self.missing.remove(&first);
        let edge = |k: i64| run.from + (run.to - run.from) * k / count;
        let mut keep = |first: i64, from: i64, to: i64| {
            let packets = u64::try_from(to - from).unwrap_or(0);
            if packets > 0 {
                let (from, to) = (edge(from), edge(to));
                self.missing.insert(first, Missing { from, to, packets });
            }
        };
        keep(first, 0, before);
        keep(number + 1, before + 1, count);
        true
    }

    /// The `step - 1` packets before the highest are missing; they belong evenly between `from` and `to`.
    pub fn lost(&mut self, step: i64, from: i64, to: i64) {
        let Some(highest) = self.highest else { return };
        let packets = u64::try_from(step - 1).unwrap_or(0);
        self.missing.insert(highest - step + 1, Missing { from, to, packets });
    }

    /// What comes next is a new beginning: numbers in between were not tapped.
    pub fn restart(&mut self) {
        self.anew = true;
    }

    /// Gives out what belongs before the sample `before` and will not be waited for any more.
    pub fn settled(&mut self, before: i64) -> Vec<Missing> {
        let mut settled: Vec<Missing> = Vec::new();
        while let Some(first) = self.missing.first_entry().filter(|e| e.get().to <= before) {
            let (number, run) = first.remove_entry();
            self.told.push_back((number, i64::try_from(run.packets).unwrap_or(0)));
            match settled.last_mut() {
                Some(last) if last.to == run.from => {
                    (last.to, last.packets) = (run.to, last.packets + run.packets);
                }
                _ => settled.push(run),
            }
        }
        let old = self.told.len().saturating_sub(MAX_TOLD);
        self.told.drain(..old);
        settled
    }
}
