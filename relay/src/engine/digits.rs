//! Keys that were recognised and wait for the worker to report them, once per turn. Never allocates after its start.

use std::collections::VecDeque;

use crate::call::{CallKey, Leg};
use crate::dtmf::{Pressed, USUAL_HZ};
use crate::program::message::Event;
use crate::rewrite::hz;
use crate::row::Row;
use crate::sys::clock::Now;

/// Most keys in one turn: far more than all the parties of a worker press in the time that it takes.
const MOST: usize = 1024;

/// The keys of all legs, in the order in which they were recognised.
#[derive(Debug)]
pub(super) struct Digits {
    waiting: VecDeque<Event>,
    lost: u64,
}

impl Digits {
    pub(super) fn new() -> Self {
        Self { waiting: VecDeque::with_capacity(MOST), lost: 0 }
    }

    /// Takes an RTP packet of one of a row's event payload types.
    pub(super) fn hear(&mut self, row: &mut Row, payload_type: u8, packet: &[u8], now: Now) {
        let hz = hz(&row.clocks, payload_type).unwrap_or(USUAL_HZ);
        let (call, leg) = (row.call, row.leg);
        row.keypad.hear(packet, hz, now.mono_ns, |pressed| {
            if self.waiting.len() < MOST {
                self.waiting.push_back(digit(call, leg, pressed));
            } else {
                self.lost += 1;
            }
        });
    }

    pub(super) fn next(&mut self) -> Option<Event> {
        self.waiting.pop_front()
    }

    /// Keys that found no room.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }
}

/// The report of a key.
pub(super) const fn digit(call: CallKey, leg: Leg, pressed: Pressed) -> Event {
    let Pressed { event, duration_ms, volume } = pressed;
    Event::Digit { call, leg, event, duration_ms, volume }
}
