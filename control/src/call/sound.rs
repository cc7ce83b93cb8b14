//! How a call's streams sounded, and what is kept of a call that has ended.
//!
//! Pure but for [`Calls::note_end`], which runs on control's runtime, once per call, in its turn.

use std::time::Duration;

use relay::program::message::{CallCounters, Leg, LegCounters};
use time::OffsetDateTime;

use super::desk::Calls;
use super::line::Line;
use super::state::{Call, Ended};
use crate::moment::Moment;
use crate::quality::record::{LegRecord, Record};
use crate::quality::sound::{Sound, Spoken, sounds};

/// Both legs of every stream of the relay, in its order.
pub fn of<'a>(call: &Call, counters: &'a CallCounters) -> Vec<[Sound<'a>; 2]> {
    let streams = counters.streams.iter().enumerate();
    streams
        .map(|(n, legs)| {
            let line = call.lines.iter().find(|line| line.stream == Some(n));
            let [caller, callee] = legs;
            let spoken = [spoken(line, Leg::Caller, caller), spoken(line, Leg::Callee, callee)];
            sounds(line.map_or("", |line| &line.kind), spoken, legs)
        })
        .collect()
}

/// What a leg spoke last, as SDP names it; what it would speak first while it has said nothing.
fn spoken<'a>(line: Option<&'a Line>, leg: Leg, counters: &LegCounters) -> Option<Spoken<'a>> {
    let line = line?;
    let last = counters.quality.map(|quality| quality.payload_type);
    let codec =
        line.sends(leg).find(|codec| Some(codec.payload_type) == last).or_else(|| line.speaks(leg))?;
    Some(Spoken { name: &codec.name, clock: codec.clock_rate })
}

impl Calls {
    /// Counts a call that ended, and keeps its record. Without counters (the relay was away, or has lost it) there is
    /// nothing to say of its media.
    pub(super) fn note_end(
        &self,
        call: &Call,
        why: Ended,
        counters: Option<&CallCounters>,
        now: OffsetDateTime,
    ) {
        let sounds = counters.map(|counters| of(call, counters)).unwrap_or_default();
        let answered =
            call.answered_at.map(|answered| Duration::try_from(now - answered).unwrap_or_default());
        self.tally.ended(answered, &sounds);
        let terms = call.terms.as_ref();
        let role = |leg: Leg| terms.and_then(|terms| terms.roles.get(leg as usize).cloned());
        let moment = |at: OffsetDateTime| Moment::from_unix(at.unix_timestamp());
        self.records.keep(Record {
            id: call.id,
            trip: terms.map(|terms| terms.trip.clone()),
            city: terms.map(|terms| terms.city.clone()),
            caller: role(Leg::Caller),
            callee: role(Leg::Callee),
            offered_at: moment(call.offered_at),
            answered_at: call.answered_at.map(moment),
            ended_at: moment(now),
            seconds: answered.unwrap_or_default().as_secs(),
            ended: why.label(),
            recorded: call.recorded(),
            lane: self.link.facts().lane,
            legs: sounds.iter().flatten().map(LegRecord::from).collect(),
        });
    }
}
