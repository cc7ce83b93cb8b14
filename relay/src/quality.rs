//! What is measured of the RTP and RTCP of one leg of one stream: loss, order, jitter, round trip (RFC 3550 sections
//! 6.4 and A.1 to A.8). Pure.
//!
//! The leg's RTP row owns a [`Reception`]; its worker's engine brings what comes from the leg, as it came, and the
//! RTCP that goes to it, as it leaves.

mod jitter;
mod reports;
mod round_trip;
mod sequence;
mod spans;

use std::mem::offset_of;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::packet::RTP_HEADER;
use crate::program::message::{Clock, MAX_CLOCKS, PayloadTypes, Quality, Report};
use jitter::Jitter;
pub use reports::Said;
use round_trip::RoundTrip;
use sequence::{Sequence, Step};
use spans::Spans;

/// What a leg's RTP row measures.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Reception {
    /// The SSRC that sent last, then the one before: packets of two senders may alternate or overtake each other.
    sources: [Option<Source>; 2],
    spans: Spans,
    newest: Option<Newest>,
    round_trip: RoundTrip,
    report: Option<Report>,
}

/// One SSRC of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Source {
    ssrc: u32,
    sequence: Sequence,
    jitter: Jitter,
}

/// The last packet that came.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Newest {
    /// Of the last one that is no telephone event, if there was one.
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
}

impl Reception {
    /// Bytes of what every packet needs: the first source, what came last, and what is counted.
    pub const HOT: [Range<usize>; 3] = {
        let (first, newest) = (offset_of!(Self, sources), offset_of!(Self, newest));
        let (spans, counted) = (offset_of!(Self, spans), Spans::HOT);
        [
            first..first + size_of::<Option<Source>>(),
            newest..newest + size_of::<Option<Newest>>(),
            spans + counted.start..spans + counted.end,
        ]
    };

    /// Packets came that nobody could measure: the next one begins anew, and nothing before it counts as lost.
    #[cfg(feature = "xdp")]
    pub fn interrupt(&mut self) {
        self.sources = [None; 2];
    }

    /// Takes the RTP packet `bytes`, well-formed and accepted from this leg, which arrived at `now_ns` (monotonic
    /// nanoseconds). `events` are the payload types that are telephone events: they count as packets and say nothing
    /// about jitter, since all packets of an event carry the time-stamp of its beginning. `clocks` are the leg's;
    /// packets in an unknown clock have no jitter.
    #[inline]
    pub fn rtp(&mut self, bytes: &[u8], events: PayloadTypes, clocks: &[Clock; MAX_CLOCKS], now_ns: u64) {
        let Some([_, kind, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3]) = bytes.first_chunk::<RTP_HEADER>()
        else {
            return;
        };
        let payload_type = kind & 0x7f;
        let sequence = u16::from_be_bytes([*s0, *s1]);
        let timestamp = u32::from_be_bytes([*t0, *t1, *t2, *t3]);
        let ssrc = u32::from_be_bytes([*c0, *c1, *c2, *c3]);
        let event = events.contains(payload_type);

        let shown = match self.newest {
            Some(newest) if event => newest.payload_type,
            _ => payload_type,
        };
        self.newest = Some(Newest { payload_type: shown, sequence, timestamp });

        self.spans.turn(now_ns);
        let (source, step) = match &mut self.sources {
            [Some(source), _] if source.ssrc == ssrc => {
                let step = source.sequence.step(sequence);
                (source, step)
            }
            _ => self.change(ssrc, sequence),
        };
        if step == Step::Restart {
            source.jitter.interrupt();
        }
        let jitter = if event || matches!(step, Step::Again | Step::Strange) {
            None
        } else {
            let clock = clocks.iter().find(|c| c.payload_types.contains(payload_type));
            source.jitter.packet(timestamp, clock.map_or(0, |c| c.hz), now_ns)
        };
        self.spans.count(step, jitter);
    }

    /// Puts the source `ssrc`, which is not the first one, first: the one before, or a new one.
    #[cold]
    fn change(&mut self, ssrc: u32, sequence: u16) -> (&mut Source, Step) {
        let [current, before] = self.sources;
        let (source, step) = match before {
            Some(mut source) if source.ssrc == ssrc => {
                let step = source.sequence.step(sequence);
                (source, step)
            }
            _ => {
                let source =
                    Source { ssrc, sequence: Sequence::starting(sequence), jitter: Jitter::default() };
                (source, Step::Ahead(1))
            }
        };
        self.sources = [None, current];
        let [first, _] = &mut self.sources;
        (first.insert(source), step)
    }

    /// Takes what this leg said in an RTCP packet that came at `now_ns` (monotonic nanoseconds).
    pub fn said(&mut self, said: &Said, now_ns: u64) {
        self.report = said.report.or(self.report);
        if let Some(echo) = said.echo {
            self.round_trip.echoed(echo, now_ns);
        }
    }

    /// Takes the compound RTCP packet `bytes`, which is sent to this leg at `now_ns` (monotonic nanoseconds): the leg
    /// will echo its time-stamps.
    pub fn sent(&mut self, bytes: &[u8], now_ns: u64) {
        reports::stamps(bytes, |stamp| self.round_trip.sent(stamp, now_ns));
    }

    /// What was measured so far; none before the first RTP packet.
    pub fn quality(&self) -> Option<Quality> {
        let ([Some(source), _], Some(newest)) = (&self.sources, &self.newest) else { return None };
        Some(Quality {
            ssrc: source.ssrc,
            payload_type: newest.payload_type,
            sequence: newest.sequence,
            timestamp: newest.timestamp,
            round_trip_us: self.round_trip.last_us(),
            ..self.spans.figures()
        })
    }

    /// What the leg reported last of the RTP that it was sent; none before.
    pub const fn report(&self) -> Option<Report> {
        self.report
    }
}

#[cfg(test)]
#[path = "quality/quality_tests.rs"]
mod tests;
