//! Sequence numbers: what is missing, what came twice, what came late (RFC 3550, appendix A.1).

use std::collections::BTreeMap;

/// A sequence number further ahead than this is a new beginning, not a loss (RFC 3550's MAX_DROPOUT).
const MAX_DROPOUT: i64 = 3000;
/// Older than this behind the highest is a new beginning as well.
const MAX_MISORDER: i64 = 2000;

/// What a sequence number says of its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The sender's first, or the first after it began anew.
    First,
    /// Ahead of all before, by this many; 1 is the very next.
    Ahead(i64),
    /// Was missing, behind the highest by this many.
    Filled(i64),
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
    /// Missing numbers and where they belong.
    missing: BTreeMap<i64, (i64, i64)>,
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
                self.missing.remove(&number).map_or(Order::Duplicate, |_| Order::Filled(-step))
            }
            _ => self.begin(highest, sequence),
        }
    }

    /// Begins anew, far ahead of all numbers so far, so that none can be taken for one of those.
    fn begin(&mut self, highest: i64, sequence: u16) -> Order {
        self.highest = Some((((highest >> 16) + 16) << 16) + i64::from(sequence));
        Order::First
    }

    /// The `step - 1` packets before the highest are missing; they belong evenly between `from` and `to`.
    pub fn lost(&mut self, step: i64, from: i64, to: i64) {
        let Some(highest) = self.highest else { return };
        let count = step - 1;
        for k in 0..count {
            let edge = |k: i64| from + (to - from) * k / count;
            self.missing.insert(highest - count + k, (edge(k), edge(k + 1)));
        }
    }

    /// What comes next is a new beginning: numbers in between were not tapped.
    pub fn restart(&mut self) {
        self.anew = true;
    }

    /// Gives out what belongs before the sample `before` and will not be waited for any more.
    pub fn settled(&mut self, before: i64) -> Vec<Missing> {
        let mut told: Vec<Missing> = Vec::new();
        while let Some(first) = self.missing.first_entry().filter(|e| e.get().1 <= before) {
            let (from, to) = first.remove();
            match told.last_mut() {
                Some(last) if last.to == from => (last.to, last.packets) = (to, last.packets + 1),
                _ => told.push(Missing { from, to, packets: 1 }),
            }
        }
        told
    }
}
