//! RFC 4733.

/// An event so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Whether it is over.
    pub end: bool,
    /// How long it lasts so far, in ticks of the RTP clock.
    pub duration: u16,
}

/// Parses.
pub fn parse(payload: &[u8]) -> Option<Event> {
    let [_, flags, high, low] = *payload.first_chunk::<4>()?;
    Some(Event { end: flags & 0x80 != 0, duration: u16::from_be_bytes([high, low]) })
}
