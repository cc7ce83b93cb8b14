//! Telephone events (RFC 4733): many packets, one key. Pure.

use crate::program::message::TelephoneEvent;

/// A key that was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressed {
    /// Which.
    pub event: TelephoneEvent,
    /// How long, in milliseconds.
    pub duration_ms: u32,
    /// How loud, in dBm0 below 0.
    pub volume: u8,
}

/// The events of one leg.
#[derive(Debug, Clone, Default)]
pub struct Keypad {
    count: u64,
}

impl Keypad {
    /// Events so far.
    pub const fn count(&self) -> u64 {
        self.count
    }
}
