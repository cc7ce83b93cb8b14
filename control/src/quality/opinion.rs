//! A listener's opinion of what came from a leg, by the relay's measurements; and of what a leg says that it got.
//!
//! Pure. The listener's phone is thought to have a jitter buffer that follows the jitter; what it adds to the delay, and
//! what comes too late for it, is an estimate.

use std::time::Duration;

use relay::program::message::{Quality, Report, Span};

use super::codec::Codec;
use super::emodel;

/// The least that a jitter buffer holds, in milliseconds: two packets.
const LEAST_BUFFER: f64 = 40.0;
/// The most that one holds.
const MOST_BUFFER: f64 = 200.0;
/// So many times the jitter is what one holds while it may: what comes later than that is rare.
const BUFFERED_JITTERS: f64 = 4.0;

/// A score and what it comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Mean opinion score, 1 to 4.5; none for a codec that has no figures.
    pub mos: Option<f64>,
    /// Share of packets lost, 0 to 1.
    pub loss: f64,
    /// Interarrival jitter.
    pub jitter: Duration,
}

/// What came from a leg, scored over its whole time and over its spans of five seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Opinion {
    /// The whole time.
    pub average: Score,
    /// The worst span; the whole time for a stream shorter than one.
    pub lowest: Score,
    /// The best span, likewise.
    pub highest: Score,
    /// The last whole span, likewise.
    pub last: Score,
}

impl Opinion {
    /// Of what the relay measured; `round_trip` is that of both legs together, 0 as far as it is not known. None before
    /// anything was measured.
    pub fn of(quality: &Quality, codec: Option<&Codec>, round_trip: Duration) -> Option<Self> {
        let score = |span: &Span| {
            // Counts of packets are far below 2^52.
            #[allow(clippy::cast_precision_loss, reason = "exact for every count of packets that can be")]
            let loss = (span.expected > 0).then(|| span.lost() as f64 / span.expected as f64)?;
            Some(Score::new(codec, loss, Duration::from_micros(span.jitter_us.into()), round_trip))
        };
        let average = score(&quality.total)?;
        let span = |span: &Span| score(span).filter(|_| quality.spans > 0).unwrap_or(average);
        let (worst, best) = (span(&quality.worst), span(&quality.best));
        // The relay chooses spans by loss first: with much jitter the whole may score lower than the worst of them.
        let lowest = if worst.mos <= average.mos { worst } else { average };
        let highest = if best.mos >= average.mos { best } else { average };
        Some(Self { average, lowest, highest, last: span(&quality.last) })
    }
}

impl Score {
    fn new(codec: Option<&Codec>, loss: f64, jitter: Duration, round_trip: Duration) -> Self {
        let rated = codec.and_then(|codec| codec.impairment.map(|impairment| (impairment, codec.delay_ms)));
        let mos = rated.map(|(impairment, codec_ms)| {
            let jitter_ms = millis(jitter);
            let heard = (1.0 - loss) * (1.0 - late(jitter_ms));
            let delay = millis(round_trip) / 2.0 + codec_ms + buffer(jitter_ms);
            emodel::mos(emodel::rating(impairment, 1.0 - heard, delay))
        });
        Self { mos, loss, jitter }
    }

    /// Of what a leg's last RTCP report says of `sent` packets that the relay forwarded to it, in a codec with this RTP
    /// clock (in Hz). None while nothing was sent.
    pub fn reported(
        report: &Report,
        sent: u64,
        (codec, clock): (Option<&Codec>, u32),
        round_trip: Duration,
    ) -> Option<Self> {
        // Both are bounded: RFC 3550's count has 24 bits.
        #[allow(clippy::cast_precision_loss, reason = "exact for every count of packets that can be")]
        let loss = (sent > 0).then(|| f64::from(report.lost.max(0)) / sent as f64)?.min(1.0);
        let ticks = u64::from(report.jitter);
        let jitter = Duration::from_micros((ticks * 1_000_000).checked_div(clock.into()).unwrap_or(0));
        Some(Self::new(codec, loss, jitter, round_trip))
    }
}

/// A time in milliseconds.
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// What a jitter buffer adds to the delay at this jitter, both in milliseconds.
fn buffer(jitter_ms: f64) -> f64 {
    (BUFFERED_JITTERS * jitter_ms).clamp(LEAST_BUFFER, MOST_BUFFER)
}

/// The share of packets that come too late for it: none while it can follow, then as of delays that spread
/// exponentially around their mean.
fn late(jitter_ms: f64) -> f64 {
    if jitter_ms <= 0.0 {
        return 0.0;
    }
    let beyond = |jitters: f64| (-jitters).exp() / 2.0;
    (beyond(buffer(jitter_ms) / jitter_ms) - beyond(BUFFERED_JITTERS)).max(0.0)
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "rounded scores and exact shares")]
mod tests {
    use super::super::codec::known;
    use super::*;

    fn span(lost: u64, jitter_us: u32) -> Span {
        Span { expected: 1_000, received: 1_000 - lost, jitter_us, ..Span::default() }
    }

    fn mos(quality: &Quality, codec: &str, round_trip_ms: u64) -> [f64; 4] {
        let opinion = Opinion::of(quality, known(codec), Duration::from_millis(round_trip_ms)).unwrap();
        [opinion.average, opinion.lowest, opinion.highest, opinion.last]
            .map(|score| (score.mos.unwrap() * 100.0).round() / 100.0)
    }

    #[test]
    fn spans_are_scored_by_codec_loss_jitter_and_delay() {
        let clear = Quality { total: span(0, 1_000), ..Quality::default() };
        assert_eq!(mos(&clear, "PCMA", 0), [4.38; 4], "no whole span yet");
        assert_eq!(mos(&clear, "G729", 0)[0], 4.05);
        assert_eq!(mos(&clear, "PCMA", 600)[0], 3.33, "a satellite");
        let lossy = Quality {
            total: span(20, 5_000),
            worst: span(80, 9_000),
            best: span(0, 2_000),
            last: span(10, 5_000),
            spans: 4,
            ..clear
        };
        assert_eq!(mos(&lossy, "PCMA", 100), [4.15, 3.48, 4.35, 4.26]);
    }

    #[test]
    fn jitter_beyond_every_buffer_counts_as_loss() {
        let at = |us| mos(&Quality { total: span(0, us), ..Quality::default() }, "PCMA", 0)[0];
        let scores = [0, 10_000, 30_000, 50_000, 80_000, 150_000].map(at);
        assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
        assert!(at(50_000) > 4.1 && at(80_000) < 4.0 && at(150_000) < 3.3, "{scores:?}");
        assert!((at(50_000) - at(50_500)).abs() < 0.02, "no step where the buffer is at its end");
    }

    #[test]
    fn the_worst_is_never_better_than_the_whole() {
        let quality = Quality {
            total: span(10, 60_000),
            worst: span(20, 1_000),
            best: span(0, 1_000),
            last: span(10, 1_000),
            spans: 2,
            ..Quality::default()
        };
        let [average, lowest, highest, _] = mos(&quality, "PCMA", 0);
        assert!(lowest <= average && average <= highest);
    }

    #[test]
    fn without_packets_or_figures_of_the_codec_no_score_is_made_up() {
        assert_eq!(Opinion::of(&Quality::default(), known("PCMA"), Duration::ZERO), None);
        let quality = Quality { total: span(100, 0), ..Quality::default() };
        for codec in [None, known("iLBC"), known("VP8")] {
            let opinion = Opinion::of(&quality, codec, Duration::ZERO).unwrap();
            assert_eq!((opinion.average.mos, opinion.average.loss), (None, 0.1));
        }
    }

    #[test]
    fn a_report_is_scored_by_what_was_sent_to_the_leg() {
        let report = Report { fraction_lost: 255, lost: 50, jitter: 160 };
        let score =
            |report: Report, sent| Score::reported(&report, sent, (known("PCMU"), 8_000), Duration::ZERO);
        let heard = score(report, 1_000).unwrap();
        assert_eq!((heard.loss, heard.jitter), (0.05, Duration::from_millis(20)));
        assert!(heard.mos.is_some_and(|mos| mos > 3.6 && mos < 3.95), "{heard:?}");
        assert_eq!(score(report, 0), None);
        // Duplicates make the count negative; a reporter may claim more than there was.
        assert_eq!(score(Report { lost: -9, ..report }, 10).unwrap().loss, 0.0);
        assert_eq!(score(report, 10).unwrap().loss, 1.0);
    }
}
