//! A leg's figures, in total and by spans of five seconds. Pure.

use std::mem::offset_of;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::sequence::Step;
use crate::program::message::{Quality, Span};

/// How long a span is, by arrival of packets.
const LENGTH_NS: u64 = 5_000_000_000;

/// The figures of all SSRCs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[repr(C)]
pub struct Spans {
    /// When the present span ends, monotonic nanoseconds; 0 before the first packet.
    ends_ns: u64,
    total: Tally,
    /// What `total` was when the present span began.
    began: Tally,
    last: Span,
    worst: Span,
    best: Span,
    whole: u32,
}

/// What [`Span`] says, in the making. Every number only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Tally {
    expected: u64,
    received: u64,
    duplicates: u64,
    reordered: u64,
    /// The sum of the jitter after each packet, in nanoseconds, and how many packets that is.
    jitter_ns: u64,
    jitters: u64,
}

impl Tally {
    const fn since(&self, began: &Self) -> Self {
        Self {
            expected: self.expected - began.expected,
            received: self.received - began.received,
            duplicates: self.duplicates - began.duplicates,
            reordered: self.reordered - began.reordered,
            jitter_ns: self.jitter_ns - began.jitter_ns,
            jitters: self.jitters - began.jitters,
        }
    }

    fn span(&self) -> Span {
        let jitter_us = self.jitter_ns.checked_div(self.jitters).unwrap_or(0) / 1000;
        Span {
            expected: self.expected,
            received: self.received,
            duplicates: self.duplicates,
            reordered: self.reordered,
            jitter_us: u32::try_from(jitter_us).unwrap_or(u32::MAX),
        }
    }
}

impl Spans {
    /// Bytes of what every packet needs.
    pub const HOT: Range<usize> = offset_of!(Self, ends_ns)..offset_of!(Self, began);

    /// To be called when a packet comes at `now_ns` (monotonic nanoseconds), before it is counted.
    #[inline]
    pub fn turn(&mut self, now_ns: u64) {
        if now_ns >= self.ends_ns {
            self.close(now_ns);
        }
    }

    #[cold]
    fn close(&mut self, now_ns: u64) {
        let tally = self.total.since(&self.began);
        self.began = self.total;
        // Spans follow each other without a gap; those in which nothing came are left out.
        let past = if self.ends_ns == 0 { 0 } else { (now_ns - self.ends_ns) % LENGTH_NS };
        self.ends_ns = (now_ns - past).saturating_add(LENGTH_NS);
        if tally.expected == 0 {
            return;
        }
        self.last = tally.span();
        if self.whole == 0 || worse(&self.last, &self.worst) {
            self.worst = self.last;
        }
        if self.whole == 0 || worse(&self.best, &self.last) {
            self.best = self.last;
        }
        self.whole = self.whole.saturating_add(1);
    }

    /// Counts a packet, and the jitter in nanoseconds after it, if it has any.
    #[inline]
    pub const fn count(&mut self, step: Step, jitter_ns: Option<u64>) {
        let total = &mut self.total;
        match step {
            Step::Ahead(by) => {
                total.expected += by as u64;
                total.received += 1;
            }
            Step::Late { below } => {
                total.expected += below;
                total.received += 1;
                total.reordered += 1;
            }
            Step::Again => total.duplicates += 1,
            Step::Strange => {}
            Step::Restart => {
                total.expected += 2;
                total.received += 2;
            }
        }
        if let Some(jitter) = jitter_ns {
            total.jitter_ns = total.jitter_ns.saturating_add(jitter);
            total.jitters += 1;
        }
    }

    /// The figures; what is not known here is left at its default.
    pub fn figures(&self) -> Quality {
        Quality {
            total: self.total.span(),
            last: self.last,
            worst: self.worst,
            best: self.best,
            spans: self.whole,
            ..Quality::default()
        }
    }
}

/// Whether `a` lost a larger share of its packets than `b`, or the same share with more jitter.
fn worse(a: &Span, b: &Span) -> bool {
    let share = |x: &Span, y: &Span| u128::from(x.lost()) * u128::from(y.expected);
    (share(a, b), a.jitter_us) > (share(b, a), b.jitter_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn packet(spans: &mut Spans, at_ns: u64, step: Step, jitter_ns: u64) {
        spans.turn(at_ns);
        spans.count(step, Some(jitter_ns));
    }

    #[test]
    fn spans_are_told_when_whole_the_worst_by_loss_and_then_by_jitter() {
        let mut spans = Spans::default();
        let start = 77 * SECOND;
        // Per span: numbers ahead by, jitter.
        for (n, (ahead, jitter_us)) in (0..).zip([(1, 9), (2, 3), (2, 5), (1, 8), (1, 10)]) {
            let at = start + n * 5 * SECOND;
            packet(&mut spans, at, Step::Ahead(ahead), jitter_us * 1000);
            packet(&mut spans, at + 5 * SECOND - 1, Step::Ahead(ahead), jitter_us * 3000);
        }
        let figures = spans.figures();
        let span = |expected, jitter_us| Span { expected, received: 2, jitter_us, ..Span::default() };
        assert_eq!(
            (figures.spans, figures.last, figures.worst, figures.best),
            (4, span(2, 16), span(4, 10), span(2, 16)),
            "the fifth is not whole before a packet comes after its end"
        );
        assert_eq!((figures.total.expected, figures.total.received, figures.total.jitter_us), (14, 10, 14));
        assert_eq!(figures.total.lost(), 4);
    }

    #[test]
    fn silence_is_no_span() {
        let mut spans = Spans::default();
        for at in [0, 1, 62, 64, 65] {
            packet(&mut spans, 7 + at * SECOND, Step::Ahead(1), 0);
        }
        assert_eq!((spans.figures().spans, spans.figures().last.received), (2, 2), "0 to 5, and 60 to 65");
    }
}
