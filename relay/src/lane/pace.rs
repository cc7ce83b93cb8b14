//! How a lane waits for packets: whether it lets some gather before it handles the first, and whether it spins before
//! it sleeps. Pure.

use std::time::Duration;

/// How a lane waits. Who spins has each packet at once, so that none gather.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// While packets come, a wait lasts at least so long, or until [`GATHERED`] are there: one wake-up serves them all.
    /// Zero: the first packet ends it. The `mmsg` lane has no such wait.
    Gather(Duration),
    /// Spins so long for the next packet before it sleeps, while that finds any.
    BusyPoll(Duration),
}

impl Pace {
    /// Every packet is handled when it comes, and in between there is sleep.
    pub const PROMPT: Self = Self::Gather(Duration::ZERO);
}

/// Packets that end a wait before its time.
pub const GATHERED: usize = 256;

/// So many spins without a packet, and the next ones are left out.
const FRUITLESS: u8 = 8;

/// Whether spinning is worth it: it stops after [`FRUITLESS`] vain ones, and begins again when a packet comes that a
/// spin would have seen.
#[derive(Debug)]
pub struct Spin {
    span: Duration,
    fruitless: u8,
}

impl Spin {
    /// Spins as `pace` has it.
    pub const fn new(pace: Pace) -> Self {
        let span = match pace {
            Pace::Gather(_) => Duration::ZERO,
            Pace::BusyPoll(span) => span,
        };
        Self { span, fruitless: 0 }
    }

    /// How long to spin before the next sleep; none for not at all.
    pub fn next(&self) -> Option<Duration> {
        (!self.span.is_zero() && self.fruitless < FRUITLESS).then_some(self.span)
    }

    /// A spin ended, with or without a packet.
    pub const fn spun(&mut self, found: bool) {
        self.fruitless = if found { 0 } else { self.fruitless.saturating_add(1) };
    }

    /// A sleep ended after so long.
    pub fn slept(&mut self, time: Duration) {
        if time < self.span {
            self.fruitless = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_micros(50);

    #[test]
    fn it_spins_while_that_finds_packets_and_again_when_they_come_quickly() {
        let mut spin = Spin::new(Pace::BusyPoll(SPAN));
        (0..FRUITLESS).for_each(|_| {
            assert_eq!(spin.next(), Some(SPAN));
            spin.spun(false);
        });
        assert_eq!(spin.next(), None, "nothing comes");
        spin.slept(SPAN * 3);
        assert_eq!(spin.next(), None, "a spin would not have seen it");
        spin.slept(SPAN / 2);
        assert_eq!(spin.next(), Some(SPAN));
        (0..FRUITLESS - 1).for_each(|_| spin.spun(false));
        spin.spun(true);
        spin.spun(false);
        assert_eq!(spin.next(), Some(SPAN), "one in so many is enough");
    }

    #[test]
    fn no_span_no_spin() {
        let mut spin = Spin::new(Pace::Gather(SPAN));
        spin.slept(Duration::ZERO);
        assert_eq!(spin.next(), None);
    }
}
