//! Histograms of the calls that have ended, and their metric families.
//!
//! No label is per call: the only one is whose media it is. Filled on control's runtime, once per call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::sound::Sound;
use crate::metrics::{Histogram, Kind, Text};

const MOS: &[f64] = &[1.0, 1.5, 2.0, 2.5, 3.0, 3.3, 3.6, 3.8, 4.0, 4.2, 4.3, 4.4, 4.5];
const LOSS: &[f64] = &[0.0, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5];
const JITTER: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2];
const ROUND_TRIP: &[f64] = &[0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 2.0];
const SECONDS: &[f64] = &[5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0];

/// What is counted of calls that ended.
#[derive(Debug)]
pub struct Tally {
    seconds: Histogram,
    /// The caller's, the callee's.
    sides: [Side; 2],
}

/// What is counted of one side of calls.
#[derive(Debug)]
struct Side {
    from: &'static str,
    mos: Histogram,
    loss: Histogram,
    jitter: Histogram,
    round_trip: Histogram,
    /// Packets lost, duplicate, reordered.
    troubles: [AtomicU64; 3],
}

impl Default for Tally {
    fn default() -> Self {
        let side = |from| Side {
            from,
            mos: Histogram::new(MOS),
            loss: Histogram::new(LOSS),
            jitter: Histogram::new(JITTER),
            round_trip: Histogram::new(ROUND_TRIP),
            troubles: Default::default(),
        };
        Self { seconds: Histogram::new(SECONDS), sides: [side("caller"), side("callee")] }
    }
}

impl Tally {
    /// Counts a call: how long it was answered, if it was, and how its streams sounded. Of several audio streams the
    /// first one with figures is taken for the histograms.
    pub fn ended(&self, answered: Option<Duration>, sounds: &[[Sound<'_>; 2]]) {
        if let Some(answered) = answered {
            self.seconds.observe(answered.as_secs_f64());
        }
        for side in &self.sides {
            let own = || sounds.iter().flatten().filter(|sound| sound.side() == side.from);
            for sound in own() {
                for (total, more) in side.troubles.iter().zip(sound.troubles()) {
                    total.fetch_add(more, Ordering::Relaxed);
                }
            }
            let speech = own().find(|sound| sound.media == "audio" && sound.opinion.is_some());
            if let Some((sound, opinion)) = speech.and_then(|sound| Some((sound, sound.opinion?))) {
                side.loss.observe(opinion.average.loss);
                side.jitter.observe(opinion.average.jitter.as_secs_f64());
                opinion.average.mos.into_iter().for_each(|mos| side.mos.observe(mos));
                sound.round_trip().into_iter().for_each(|time| side.round_trip.observe(time.as_secs_f64()));
            }
        }
    }

    /// Writes the families.
    pub fn write(&self, text: &mut Text) {
        let name = "bauta_call_seconds";
        text.family(name, Kind::Histogram, "Seconds from the answer to the end of calls that were answered.");
        text.histogram(name, &[], &self.seconds);
        self.family(
            text,
            "bauta_call_mos",
            "Mean opinion score of what a party sent, by the E-model (ITU-T G.107), over a whole call that ended.",
            |side| &side.mos,
        );
        self.family(
            text,
            "bauta_call_packet_loss_ratio",
            "Share of a party's packets that never came, over a whole call that ended.",
            |side| &side.loss,
        );
        self.family(
            text,
            "bauta_call_jitter_seconds",
            "Interarrival jitter of a party's packets, the mean of a call that ended.",
            |side| &side.jitter,
        );
        self.family(
            text,
            "bauta_call_round_trip_seconds",
            "Round trip between relay and party, by its RTCP, at the end of a call.",
            |side| &side.round_trip,
        );
        let totals = [
            ("bauta_call_packets_lost_total", "Packets of calls that ended which never came."),
            ("bauta_call_packets_duplicate_total", "Packets of calls that ended which came once more."),
            (
                "bauta_call_packets_reordered_total",
                "Packets of calls that ended which came after a later one.",
            ),
        ];
        for (index, (name, help)) in totals.into_iter().enumerate() {
            text.family(name, Kind::Counter, help);
            for side in &self.sides {
                let count = side.troubles.get(index).map_or(0, |count| count.load(Ordering::Relaxed));
                text.sample(name, &[("from", side.from)], count);
            }
        }
    }

    fn family(&self, text: &mut Text, name: &str, help: &str, of: fn(&Side) -> &Histogram) {
        text.family(name, Kind::Histogram, help);
        for side in &self.sides {
            text.histogram(name, &[("from", side.from)], of(side));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sound::{Spoken, sounds};
    use super::*;
    use relay::program::message::{LegCounters, Quality, Span};

    #[test]
    fn a_call_is_observed_once_and_per_side() {
        let leg = |lost: u64| LegCounters {
            quality: Some(Quality {
                total: Span {
                    expected: 100,
                    received: 100 - lost,
                    duplicates: 2,
                    reordered: 3,
                    jitter_us: 4_000,
                },
                round_trip_us: (lost > 0).then_some(70_000),
                ..Quality::default()
            }),
            ..LegCounters::default()
        };
        let (audio, more) = ([leg(10), leg(0)], [leg(1), leg(1)]);
        let pcma = [Some(Spoken { name: "PCMA", clock: 8_000 }); 2];
        let tally = Tally::default();
        tally.ended(
            Some(Duration::from_secs(61)),
            &[sounds("audio", pcma, &audio), sounds("audio", pcma, &more)],
        );
        tally.ended(None, &[]);
        let mut text = Text::default();
        tally.write(&mut text);
        let text = text.finish();
        for line in [
            "# TYPE bauta_call_mos histogram",
            "bauta_call_seconds_bucket{le=\"60\"} 0",
            "bauta_call_seconds_bucket{le=\"120\"} 1",
            "bauta_call_seconds_sum 61",
            "bauta_call_packet_loss_ratio_bucket{from=\"caller\",le=\"0.05\"} 0",
            "bauta_call_packet_loss_ratio_bucket{from=\"caller\",le=\"0.1\"} 1",
            "bauta_call_packet_loss_ratio_bucket{from=\"callee\",le=\"0\"} 1",
            "bauta_call_mos_bucket{from=\"callee\",le=\"4.3\"} 0",
            "bauta_call_mos_bucket{from=\"callee\",le=\"4.4\"} 1",
            "bauta_call_jitter_seconds_sum{from=\"caller\"} 0.004",
            "bauta_call_round_trip_seconds_count{from=\"caller\"} 1",
            "bauta_call_round_trip_seconds_count{from=\"callee\"} 0",
            "bauta_call_packets_lost_total{from=\"caller\"} 11",
            "bauta_call_packets_duplicate_total{from=\"callee\"} 4",
            "bauta_call_packets_reordered_total{from=\"callee\"} 6",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
