//! RFC 4733's events, without saying which: digits are card numbers and PINs.

/// An event so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Whether it is over.
    pub end: bool,
    /// How long it lasts so far, in ticks of its RTP clock.
    pub duration: u16,
}

/// Reads the first event of a payload (RFC 4733, section 2.3). None: it is too short.
pub fn parse(payload: &[u8]) -> Option<Event> {
    let [_, flags, high, low] = *payload.first_chunk::<4>()?;
    Some(Event { end: flags & 0x80 != 0, duration: u16::from_be_bytes([high, low]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_lasts_as_long_as_it_says() {
        assert_eq!(parse(&[0xFF, 0x80, 3, 0x20]), Some(Event { end: true, duration: 800 }));
        assert_eq!(parse(&[0xFF, 0x0A, 0, 160, 9]), Some(Event { end: false, duration: 160 }));
        assert_eq!(parse(&[5, 0, 1]), None);
    }
}
