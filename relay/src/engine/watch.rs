//! What the engine reports by itself, looked at once a second: calls without packets, calls past their time, keys that
//! are not heard of any more.

use super::Engine;
use super::digits::digit;
use crate::program::message::Event;
use crate::sys::clock::Now;

/// A call past its time is reported again after so long.
const EXPIRED_AGAIN_NS: u64 = 10_000_000_000;

impl Engine {
    /// Looks at every call; appends what is to be reported.
    pub fn watch(&mut self, now: Now, events: &mut Vec<Event>) {
        self.tapping.look();
        for call in self.calls.values_mut() {
            let rows = call.streams.iter().flatten().flatten().filter_map(|s| self.table.get(*s));
            let last = rows.map(|r| r.last_ns).max().unwrap_or(0).max(call.opened.mono_ns);
            let silent = now.mono_ns.saturating_sub(last);
            if silent >= self.spans.silence_ns
                && now.mono_ns.saturating_sub(call.reported_ns.max(last)) >= self.spans.silence_ns
            {
                call.reported_ns = now.mono_ns;
                let seconds = u32::try_from(silent / 1_000_000_000).unwrap_or(u32::MAX);
                events.push(Event::Silent { call: call.key, seconds });
            }
            if call.expires_ns.is_some_and(|at| now.mono_ns >= at) {
                call.expires_ns = Some(now.mono_ns + EXPIRED_AGAIN_NS);
                events.push(Event::Expired { call: call.key });
            }
            for [rtp, _] in call.streams.iter().flatten() {
                let row = self.table.at_mut(rtp.index);
                let pressed = row.and_then(|row| Some((row.leg, row.keypad.look(now.mono_ns)?)));
                events.extend(pressed.map(|(leg, pressed)| digit(call.key, leg, pressed)));
            }
        }
    }
}
