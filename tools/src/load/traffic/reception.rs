//! What comes to one leg, judged packet by packet: new, late, again, or not what was sent. Pure.

use super::packet::Header;

/// What one leg has received.
#[derive(Debug, Clone, Default)]
pub struct Reception {
    shown: Option<Shown>,
    /// The number behind the highest received.
    next: u32,
    /// Bit n: the packet n + 1 below `next` has come.
    seen: u128,
}

/// What the relay shows instead of the sender's own numbers: constant from the first packet on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
}

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The next, or one further on: so many before it are missing as yet.
    New {
        /// How many.
        missing: u32,
    },
    /// One that was missing.
    Late,
    /// One that has come before, or is too far back for that to be known.
    Again,
    /// Its RTP header does not count as its number does.
    Wrong,
}

impl Reception {
    /// Judges packet `number`, which came under `header`; time-stamps count `ticks` from one packet to the next.
    pub fn take(&mut self, number: u32, header: Header, ticks: u32) -> Outcome {
        let shown = Shown {
            ssrc: header.ssrc,
            #[allow(clippy::cast_possible_truncation, reason = "sequence numbers count modulo 2^16")]
            sequence: header.sequence.wrapping_sub(number as u16),
            timestamp: header.timestamp.wrapping_sub(number.wrapping_mul(ticks)),
        };
        if *self.shown.get_or_insert(shown) != shown {
            return Outcome::Wrong;
        }
        if number >= self.next {
            let missing = number - self.next;
            self.seen = self.seen.checked_shl(missing + 1).unwrap_or(0) | 1;
            self.next = number + 1;
            return Outcome::New { missing };
        }
        match 1_u128.checked_shl(self.next - 1 - number) {
            Some(bit) if self.seen & bit == 0 => {
                self.seen |= bit;
                Outcome::Late
            }
            _ => Outcome::Again,
        }
    }

    /// How many of the `sent` packets are missing at the end, beside those that were told as missing before.
    pub fn missing_at_the_end(&self, sent: u32) -> u32 {
        sent.saturating_sub(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(number: u32) -> Header {
        let sequence = 65_530_u16.wrapping_add(u16::try_from(number).unwrap());
        Header { sequence, timestamp: 5_u32.wrapping_add(number * 160), ssrc: 3 }
    }

    fn outcomes(numbers: &[u32]) -> Vec<Outcome> {
        let mut reception = Reception::default();
        numbers.iter().map(|n| reception.take(*n, header(*n), 160)).collect()
    }

    #[test]
    fn loss_order_and_copies_are_told_apart() {
        use Outcome::{Again, Late, New};
        let new = |missing| New { missing };
        assert_eq!(outcomes(&[0, 1, 2]), [new(0), new(0), new(0)]);
        assert_eq!(outcomes(&[2, 1, 0, 1, 3]), [new(2), Late, Late, Again, new(0)]);
        assert_eq!(outcomes(&[0, 200, 199, 0]), [new(0), new(199), Late, Again]);
        let mut reception = Reception::default();
        assert_eq!(reception.missing_at_the_end(4), 4);
        reception.take(2, header(2), 160);
        assert_eq!(reception.missing_at_the_end(4), 1);
    }

    #[test]
    fn a_header_that_does_not_count_with_its_packets_is_wrong() {
        let good = header(1);
        for wrong in
            [Header { sequence: 0, ..good }, Header { timestamp: 0, ..good }, Header { ssrc: 4, ..good }]
        {
            let mut reception = Reception::default();
            reception.take(0, header(0), 160);
            assert_eq!(reception.take(1, wrong, 160), Outcome::Wrong);
            assert_eq!(reception.take(1, good, 160), Outcome::New { missing: 0 });
        }
    }
}
