//! All that reached one party, and the search for a number in it.

/// What one party received.
#[derive(Debug, Default)]
pub struct Sight(Vec<Vec<u8>>);

impl Sight {
    /// Notes something that reached the party.
    pub fn saw(&mut self, message: &[u8]) -> &mut Self {
        self.0.push(message.to_vec());
        self
    }

    /// How many messages reached it.
    pub fn messages(&self) -> usize {
        self.0.len()
    }

    /// How many of them hold the number, given as + and digits, in whatever spelling: its last nine digits (without
    /// country code and trunk prefix), with or without separators between them.
    pub fn times(&self, number: &str) -> usize {
        let digits: Vec<u8> = number.bytes().filter(u8::is_ascii_digit).collect();
        let tail = digits.get(digits.len().saturating_sub(9)..).unwrap_or_default();
        self.0.iter().filter(|message| holds(message, tail)).count()
    }
}

fn holds(message: &[u8], digits: &[u8]) -> bool {
    let plain: Vec<u8> = message.iter().copied().filter(|b| !b" -.()/".contains(b)).collect();
    [message, &plain].iter().any(|text| text.windows(digits.len()).any(|window| window == digits))
}

#[cfg(test)]
mod tests {
    use super::Sight;

    #[test]
    fn a_number_is_found_in_any_spelling() {
        let mut sight = Sight::default();
        for text in [
            "sip:+447700900123@x",
            "o=07700900123 1 1",
            "s=07700 900-123",
            "tel:00447700900123",
            "+442079460123",
        ] {
            sight.saw(text.as_bytes());
        }
        assert_eq!((sight.times("+447700900123"), sight.messages()), (4, 5));
        assert_eq!(sight.times("+447700900124"), 0);
    }
}
