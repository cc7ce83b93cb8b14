//! One leg of one stream: its counters, and how it sounded.
//!
//! Pure. What is said here may be told: it holds nothing that a party wrote, but for addresses in the counters.

use std::time::Duration;

use relay::program::message::{Leg, LegCounters};

use super::codec::{self, Codec};
use super::opinion::{Opinion, Score};

/// What came from one leg of a stream.
#[derive(Debug)]
pub struct Sound<'a> {
    /// Whose.
    pub from: Leg,
    /// `audio`, `video`, `image` or `other`.
    pub media: &'static str,
    /// The codec that it spoke last; none for one that is not known.
    pub codec: Option<&'static Codec>,
    /// What the relay counted.
    pub counters: &'a LegCounters,
    /// What the relay measured of it, on its way in.
    pub opinion: Option<Opinion>,
    /// What the leg itself said in its last RTCP report of what it got from the other one.
    pub heard: Option<Score>,
}

/// What SDP says that a leg sends.
#[derive(Debug, Clone, Copy)]
pub struct Spoken<'a> {
    /// Encoding name.
    pub name: &'a str,
    /// RTP clock, in Hz.
    pub clock: u32,
}

/// Both legs of a stream: `media` as in its m-line, and what caller and callee send.
pub fn sounds<'a>(
    media: &str,
    spoken: [Option<Spoken<'_>>; 2],
    counters: &'a [LegCounters; 2],
) -> [Sound<'a>; 2] {
    let media = ["audio", "video", "image"].into_iter().find(|known| *known == media).unwrap_or("other");
    let round_trip: Duration = counters.iter().filter_map(round_trip).sum();
    let known = spoken.map(|spoken| spoken.and_then(|spoken| codec::known(spoken.name)));
    let clocks = spoken.map(|spoken| spoken.map_or(0, |spoken| spoken.clock));
    let ([caller, callee], [of_caller, of_callee], [clock, other_clock]) = (counters, known, clocks);
    let sound = |from, counters: &'a LegCounters, codec, sent: &LegCounters, gets| Sound {
        from,
        media,
        codec,
        counters,
        opinion: counters.quality.and_then(|quality| Opinion::of(&quality, codec, round_trip)),
        heard: counters
            .report
            .and_then(|report| Score::reported(&report, sent.rtp.packets, gets, round_trip)),
    };
    [
        sound(Leg::Caller, caller, of_caller, callee, (of_callee, other_clock)),
        sound(Leg::Callee, callee, of_callee, caller, (of_caller, clock)),
    ]
}

/// The round trip between the relay and a leg.
pub fn round_trip(leg: &LegCounters) -> Option<Duration> {
    Some(Duration::from_micros(leg.quality?.round_trip_us?.into()))
}

impl Sound<'_> {
    /// `caller` or `callee`.
    pub const fn side(&self) -> &'static str {
        match self.from {
            Leg::Caller => "caller",
            Leg::Callee => "callee",
        }
    }

    /// Packets that never came, came twice, and came late.
    pub fn troubles(&self) -> [u64; 3] {
        let total = self.counters.quality.map_or_else(Default::default, |quality| quality.total);
        [total.lost(), total.duplicates, total.reordered]
    }

    /// The round trip between the relay and this leg.
    pub fn round_trip(&self) -> Option<Duration> {
        round_trip(self.counters)
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "rounded scores and exact shares")]
mod tests {
    use super::super::record::hundredths;
    use super::*;
    use relay::program::message::{Count, Quality, Report, Span};

    #[test]
    fn each_leg_is_scored_by_its_own_codec_and_hears_the_others() {
        let leg = |lost: u64, round_trip_us| LegCounters {
            rtp: Count { packets: 1_000, bytes: 0 },
            quality: Some(Quality {
                total: Span { expected: 1_000, received: 1_000 - lost, ..Span::default() },
                round_trip_us,
                ..Quality::default()
            }),
            report: Some(Report { lost: 100, jitter: 80, fraction_lost: 0 }),
            ..LegCounters::default()
        };
        let spoken = |name, clock| Some(Spoken { name, clock });
        let both = [leg(0, Some(200_000)), leg(10, None)];
        let [caller, callee] = sounds("audio", [spoken("g729", 8_000), spoken("opus", 48_000)], &both);
        let mos = |sound: &Sound<'_>| hundredths(sound.opinion.unwrap().average.mos.unwrap());
        // Both are delayed by the caller's way.
        assert_eq!([mos(&caller), mos(&callee)], [3.96, 4.05]);
        let heard = [caller.heard.unwrap(), callee.heard.unwrap()];
        assert_eq!(heard.map(|score| score.loss), [0.1, 0.1]);
        // 80 ticks of the clock of what each one hears.
        assert_eq!(heard.map(|score| score.jitter.as_micros()), [1_666, 10_000]);
        assert_eq!((caller.round_trip(), callee.round_trip()), (Some(Duration::from_millis(200)), None));
        assert_eq!((caller.side(), callee.troubles()), ("caller", [10, 0, 0]));
    }

    #[test]
    fn what_a_party_wrote_is_told_from_lists_alone() {
        let none = [LegCounters::default(), LegCounters::default()];
        let spoken = [Some(Spoken { name: "447700900001", clock: 0 }), None];
        let [caller, callee] = sounds("447700900001", spoken, &none);
        assert_eq!((caller.media, caller.codec, callee.codec), ("other", None, None));
        assert!(caller.opinion.is_none() && callee.heard.is_none());
    }
}
