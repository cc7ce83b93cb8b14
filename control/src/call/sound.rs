//! How a call's streams sounded, and what is kept of a call that has ended.
//!
//! Pure but for [`Calls::note_end`], which runs on control's runtime, once per call, in its turn.

use std::time::Duration;

use recorder::label::Codec;
use relay::program::message::{CallCounters, Clock, Leg, LegCounters, MAX_CLOCKS};
use time::OffsetDateTime;

use super::desk::Calls;
use super::line::Line;
use super::state::{Call, Ended};
use crate::moment::Moment;
use crate::quality::record::{LegRecord, Record};
use crate::quality::sound::{Sound, Spoken, sounds};
use crate::sdp::is_telephone_event;

/// Both legs of every stream of the relay, in its order.
pub fn of<'a>(call: &Call, counters: &'a CallCounters) -> Vec<[Sound<'a>; 2]> {
    let streams = counters.streams.iter().enumerate();
    streams
        .map(|(n, legs)| {
            let line = call.lines.iter().find(|line| line.stream == Some(n));
            let [caller, callee] = legs;
            let spoken = [spoken(line, Leg::Caller, caller), spoken(line, Leg::Callee, callee)];
            sounds(line.map_or("", Line::media), spoken, legs)
        })
        .collect()
}

/// What a leg spoke last, as SDP names it; what it would speak first while it has said nothing.
fn spoken<'a>(line: Option<&'a Line>, leg: Leg, counters: &LegCounters) -> Option<Spoken<'a>> {
    let line = line?;
    let last = counters.quality.map(|quality| quality.payload_type);
    let mut speech = line.sends(leg).filter(|codec| !is_telephone_event(codec));
    let codec = speech.find(|codec| Some(codec.payload_type) == last).or_else(|| line.speaks(leg))?;
    Some(Spoken { name: &codec.name, clock: codec.clock_rate })
}

/// The RTP clocks of what a leg sends, for the relay to tell jitter in seconds. Beyond [`MAX_CLOCKS`] different ones
/// there is no jitter.
pub fn clocks<'a>(codecs: impl Iterator<Item = &'a Codec>) -> [Clock; MAX_CLOCKS] {
    let mut clocks = [Clock::default(); MAX_CLOCKS];
    for codec in codecs.filter(|codec| codec.clock_rate > 0) {
        let fits = |clock: &&mut Clock| clock.hz == 0 || clock.hz == codec.clock_rate;
        if let Some(clock) = clocks.iter_mut().find(fits) {
            clock.hz = codec.clock_rate;
            clock.payload_types = clock.payload_types.with(codec.payload_type);
        }
    }
    clocks
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_types_are_gathered_by_their_clock() {
        let codec =
            |payload_type, clock_rate| Codec { payload_type, name: String::new(), clock_rate, channels: 1 };
        let rates =
            [(8, 8_000), (96, 48_000), (101, 8_000), (97, 0), (98, 16_000), (99, 32_000), (100, 44_100)];
        let codecs = rates.map(|(payload_type, rate)| codec(payload_type, rate));
        let clocks = clocks(codecs.iter());
        assert_eq!(clocks.map(|clock| clock.hz), [8_000, 48_000, 16_000, 32_000]);
        assert_eq!(clocks[0].payload_types, [8, 101].into_iter().collect());
        assert!(
            clocks
                .iter()
                .all(|clock| !clock.payload_types.contains(97) && !clock.payload_types.contains(100))
        );
    }
}
