//! Telephone events (RFC 4733): many packets, one key. Pure.
//!
//! A [`Keypad`] belongs to one leg of one stream; the worker that owns the row feeds it every packet of an event payload
//! type, and looks at it once a second. A key is told once, as soon as it is known to be over: by a packet with its end
//! bit, by a newer event, or by a second of silence. What is told stays in memory for a while, so that neither the copies
//! of the last packet nor packets that come late tell it again. It allocates nothing. Digits are card numbers and PINs:
//! nothing here prints them.

mod report;
#[cfg(test)]
#[path = "dtmf/keypad_tests.rs"]
mod tests;

use serde::{Deserialize, Serialize};

use crate::program::message::TelephoneEvent;
use report::Report;

/// The RTP clock of events whose payload type has none in the row.
pub const USUAL_HZ: u32 = 8000;
/// An event that was not heard of for so long is over.
const SILENCE_NS: u64 = 1_000_000_000;
/// From one segment of a long event to the next, in ticks (section 2.5.1.3).
const SEGMENT: i32 = 0xffff;
/// So many segments of one event may go by unheard.
const MOST_SEGMENTS: i32 = 8;
/// Events that are kept in memory after they were told.
const TOLD: usize = 8;
/// An event that began so long before another one that was heard already is late. What is older is no late packet: the
/// phone's clock was set anew.
const LATE_SECONDS: u32 = 5;
/// The highest code that is a key: 16 is the hook flash (section 3.2).
const LAST_KEY: u8 = 16;

/// A key that was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressed {
    /// Which: 0 to 16.
    pub event: TelephoneEvent,
    /// How long, in milliseconds.
    pub duration_ms: u32,
    /// How loud, in dBm0 below 0: 0 to 63.
    pub volume: u8,
}

/// The events of one leg.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Keypad {
    count: u64,
    ongoing: Option<Ongoing>,
    told: [Option<Name>; TOLD],
    /// Where the next one that is told goes.
    next: usize,
}

/// What tells one event from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Name {
    ssrc: u32,
    /// Of the newest segment that was heard of; most events have but one.
    timestamp: u32,
    event: TelephoneEvent,
}

/// An event that is not known to be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Ongoing {
    name: Name,
    /// RTP time.
    began: u32,
    ticks: u32,
    hz: u32,
    volume: u8,
    /// When it was last heard of, monotonic nanoseconds.
    heard_ns: u64,
}

impl Keypad {
    /// Events so far, each counted once; those that are no keys too.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Takes an RTP packet of an event payload type with a clock of `hz` (not 0) that came at `at_ns` (monotonic
    /// nanoseconds). Gives `pressed` the keys that are over; a malformed packet is ignored.
    pub fn hear(&mut self, packet: &[u8], hz: u32, at_ns: u64, mut pressed: impl FnMut(Pressed)) {
        let Some((ssrc, timestamp, payload)) = report::open(packet) else { return };
        for report in report::reports(timestamp, payload) {
            if let Some(ongoing) = self.ongoing.filter(|ongoing| ongoing.name.is_of(ssrc, &report)) {
                self.ongoing = Some(ongoing.with(&report, at_ns));
            } else if self.was_told(ssrc, &report, hz) {
                continue;
            } else {
                self.count += 1;
                let new = Ongoing::new(ssrc, &report, hz, at_ns);
                if self.is_late(&new) {
                    self.tell(&new, &mut pressed);
                    continue;
                }
                if let Some(before) = self.ongoing.replace(new) {
                    self.tell(&before, &mut pressed);
                }
            }
            if report.end
                && let Some(over) = self.ongoing.take()
            {
                self.tell(&over, &mut pressed);
            }
        }
    }

    /// The key that has not been heard of for a second, if there is one at `now_ns` (monotonic nanoseconds).
    pub fn look(&mut self, now_ns: u64) -> Option<Pressed> {
        let over = self.ongoing.filter(|o| now_ns.saturating_sub(o.heard_ns) >= SILENCE_NS)?;
        self.ongoing = None;
        let mut key = None;
        self.tell(&over, &mut |pressed| key = Some(pressed));
        key
    }

    /// Whether a report is about an event that was told, or that is too old to say.
    fn was_told(&mut self, ssrc: u32, report: &Report, hz: u32) -> bool {
        if let Some(name) = self.told.iter_mut().flatten().find(|name| name.is_of(ssrc, report)) {
            name.reach(report);
            return true;
        }
        self.told.iter().all(|name| name.is_some_and(|n| n.is_behind(ssrc, report.timestamp, hz)))
    }

    /// Whether a newer event was heard before this one.
    fn is_late(&self, event: &Ongoing) -> bool {
        let Ongoing { name: Name { ssrc, timestamp, .. }, hz, .. } = *event;
        let ongoing = self.ongoing.as_ref().map(|ongoing| &ongoing.name);
        self.told.iter().flatten().chain(ongoing).any(|name| name.is_behind(ssrc, timestamp, hz))
    }

    fn tell(&mut self, over: &Ongoing, pressed: &mut impl FnMut(Pressed)) {
        if let Some(place) = self.told.get_mut(self.next) {
            *place = Some(over.name);
        }
        self.next = (self.next + 1) % TOLD;
        if over.name.event.0 <= LAST_KEY {
            pressed(over.pressed());
        }
    }
}

impl Name {
    /// Whether a report is about this event. A new time-stamp means a new event, but for the segments of one that lasts
    /// longer than its field can say: each begins where the last one ended.
    fn is_of(&self, ssrc: u32, report: &Report) -> bool {
        let apart = ahead(report.timestamp, self.timestamp);
        let segment = apart % SEGMENT == 0 && (apart / SEGMENT).abs() <= MOST_SEGMENTS;
        self.ssrc == ssrc && (apart == 0 || segment && self.event.0 == report.event)
    }

    /// Moves on to the segment of a report about this event.
    fn reach(&mut self, report: &Report) {
        if ahead(report.timestamp, self.timestamp) > 0 {
            self.timestamp = report.timestamp;
        }
    }

    /// Whether an event of this SSRC that began at `timestamp` comes late behind this one.
    fn is_behind(&self, ssrc: u32, timestamp: u32, hz: u32) -> bool {
        let longest = i32::try_from(u64::from(hz) * u64::from(LATE_SECONDS)).unwrap_or(i32::MAX);
        self.ssrc == ssrc && (1..=longest).contains(&ahead(self.timestamp, timestamp))
    }
}

impl Ongoing {
    fn new(ssrc: u32, report: &Report, hz: u32, heard_ns: u64) -> Self {
        let Report { timestamp, ticks, volume, .. } = *report;
        let name = Name { ssrc, timestamp, event: TelephoneEvent(report.event) };
        Self { name, began: timestamp, ticks: ticks.into(), hz, volume, heard_ns }
    }

    /// The event with what one more report says of it; it may be older than the last.
    fn with(mut self, report: &Report, heard_ns: u64) -> Self {
        self.name.reach(report);
        let earlier = u32::try_from(ahead(self.began, report.timestamp)).unwrap_or(0);
        self.began = self.began.wrapping_sub(earlier);
        let ends = report.timestamp.wrapping_sub(self.began).saturating_add(report.ticks.into());
        self.ticks = self.ticks.saturating_add(earlier).max(ends);
        self.volume = report.volume;
        self.heard_ns = heard_ns;
        self
    }

    fn pressed(&self) -> Pressed {
        let duration = u64::from(self.ticks) * 1000 / u64::from(self.hz.max(1));
        let duration_ms = u32::try_from(duration).unwrap_or(u32::MAX);
        Pressed { event: self.name.event, duration_ms, volume: self.volume }
    }
}

/// How far RTP time `a` lies ahead of `b`, across the wrap.
const fn ahead(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b).cast_signed()
}
