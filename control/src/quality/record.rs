//! A call record: what is kept of a call that has ended, one line of JSON.
//!
//! Pure. It holds no number, no Call-ID, no tag and no address of a party; codecs and m-lines by names of ours alone.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use super::opinion::{Score, millis};
use super::sound::Sound;
use crate::moment::Moment;
use crate::name::{City, Role, TripId};

/// A call that has ended.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// The call's id, which is its recording's too.
    pub id: Uuid,
    /// The trip, when the call had a route decision.
    pub trip: Option<TripId>,
    /// The trip's city.
    pub city: Option<City>,
    /// Role of the party that called.
    pub caller: Option<Role>,
    /// Role of the party that was called.
    pub callee: Option<Role>,
    /// When the offer came.
    pub offered_at: Moment,
    /// When the answer came.
    pub answered_at: Option<Moment>,
    /// When it ended.
    pub ended_at: Moment,
    /// Seconds from the answer to the end; 0 when it was not answered.
    pub seconds: u64,
    /// Why it ended: `hangup`, `unanswered`, …
    pub ended: &'static str,
    /// Whether it was recorded.
    pub recorded: bool,
    /// The lane that carried it; none when it was never known.
    pub lane: Option<String>,
    /// Caller's and callee's side of every stream; none when the relay was away at the end of the call.
    pub legs: Vec<LegRecord>,
}

/// What came from one leg of one stream.
#[derive(Debug, Clone, Serialize)]
pub struct LegRecord {
    /// `caller` or `callee`.
    pub from: &'static str,
    /// `audio`, `video`, `image` or `other`.
    pub media: &'static str,
    /// The codec that it spoke last, when it is known.
    pub codec: Option<&'static str>,
    /// RTP packets forwarded.
    pub packets: u64,
    /// Their bytes (UDP payload).
    pub bytes: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came more than once.
    pub duplicates: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Interarrival jitter on average.
    pub jitter_ms: Option<f64>,
    /// Round trip between relay and leg, the last one.
    pub round_trip_ms: Option<f64>,
    /// Mean opinion score of what it sent: the whole call.
    pub mos: Option<f64>,
    /// The worst five seconds.
    pub mos_lowest: Option<f64>,
    /// Mean opinion score of what it got from the other leg, as its last RTCP report tells it.
    pub mos_heard: Option<f64>,
    /// Packets not forwarded, by the relay's reason.
    pub drops: BTreeMap<String, u64>,
    /// Telephone events (RFC 4733): how many, never which.
    pub events: u64,
    /// Packets that the recorder did not get.
    pub tap_lost: u64,
}

impl From<&Sound<'_>> for LegRecord {
    fn from(sound: &Sound<'_>) -> Self {
        let counters = sound.counters;
        let [lost, duplicates, reordered] = sound.troubles();
        let opinion = sound.opinion;
        Self {
            from: sound.side(),
            media: sound.media,
            codec: sound.codec.map(|codec| codec.name),
            packets: counters.rtp.packets,
            bytes: counters.rtp.bytes,
            lost,
            duplicates,
            reordered,
            jitter_ms: opinion.map(|opinion| hundredths(millis(opinion.average.jitter))),
            round_trip_ms: sound.round_trip().map(|time| hundredths(millis(time))),
            mos: opinion.and_then(|opinion| mos(&opinion.average)),
            mos_lowest: opinion.and_then(|opinion| mos(&opinion.lowest)),
            mos_heard: sound.heard.and_then(|heard| mos(&heard)),
            drops: counters.drops.iter().cloned().collect(),
            events: counters.events,
            tap_lost: counters.tap_lost,
        }
    }
}

/// A score as it is shown: in hundredths.
pub fn mos(score: &Score) -> Option<f64> {
    score.mos.map(hundredths)
}

/// A figure in hundredths: more digits would say more than is known.
pub fn hundredths(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}
