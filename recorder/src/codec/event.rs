//! Telephone events (RFC 4733): how long a key was pressed, and never which.
//!
//! The first octet of a payload is the event code. A digit may be part of a card number, so nothing here reads it.

/// What one packet reports of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The event has ended (the E bit): the duration is final. Such packets are sent three times.
    pub end: bool,
    /// How long the event has lasted since the packet's RTP time-stamp, in units of the RTP clock.
    pub duration: u16,
}

/// Reads a payload (RFC 4733, section 2.3). None: too short for one.
pub fn parse(payload: &[u8]) -> Option<Report> {
    match payload {
        [_event, end_and_volume, high, low, ..] => {
            Some(Report { end: end_and_volume & 0x80 != 0, duration: u16::from_be_bytes([*high, *low]) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_and_duration_are_read_whatever_the_volume() {
        assert_eq!(parse(&[5, 0x0A, 0x01, 0x40]), Some(Report { end: false, duration: 320 }));
        assert_eq!(parse(&[5, 0x8A, 0x03, 0x20]), Some(Report { end: true, duration: 800 }));
        // The reserved bit is ignored, and so is what follows.
        assert_eq!(parse(&[5, 0x7F, 0xFF, 0xFF, 9, 9]), Some(Report { end: false, duration: 65_535 }));
        assert_eq!(parse(&[5, 0x8A, 0x03]), None);
        assert_eq!(parse(&[]), None);
    }

    #[test]
    fn which_key_it_was_cannot_be_told() {
        let reports: Vec<String> = (0..16).map(|key| format!("{:?}", parse(&[key, 0x8A, 0, 160]))).collect();
        assert!(reports.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
