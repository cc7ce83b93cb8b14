//! What a load found: the JSON that scripts read, and what is said of its worth.
//!
//! Pure. The JSON is flat and stable: names are the field's, with their units; what was not measured is null. Fields are
//! added, not changed.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::find_max::Found;
use super::timing::{Timing, Verb};
use super::traffic::Figures;

/// Pacing that is worse than this for one packet in a hundred makes the generator a part of what was measured, in ns.
const LATE_NS: u64 = 1_000_000;
/// A generator that sends less than this share of what it should is late, too.
pub const REACHED: f64 = 0.97;
/// So few packets are no share: a call's first may come a packet's time after it is up.
const SLACK: f64 = 20.0;

/// Quantiles in microseconds, exact to three digits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half of all are at most this.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    pub p99_9: f64,
    /// The greatest.
    pub max: f64,
}

impl Quantiles {
    /// Of durations in nanoseconds; none where there are none.
    pub fn of(nanoseconds: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| microseconds(nanoseconds.value_at_quantile(quantile));
        let some = !nanoseconds.is_empty();
        some.then(|| Self {
            p50: at(0.5),
            p99: at(0.99),
            p99_9: at(0.999),
            max: microseconds(nanoseconds.max()),
        })
    }
}

#[allow(clippy::cast_precision_loss, reason = "below 2^53 ns, which are 104 days")]
fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1000.0
}

/// What one second of a run brought. Seconds begin with the run; the last one may be shorter.
#[derive(Debug, Clone, Default, Serialize)]
#[allow(clippy::struct_field_names, reason = "names with their units")]
pub struct Second {
    /// Seconds from the begin of the run to the end of this one.
    pub second: f64,
    /// Calls that were up at its end.
    pub calls: u32,
    /// RTP packets sent a second, of all legs.
    pub packets_per_second: f64,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// RTP packets that came.
    pub packets_received: u64,
    /// RTP packets that turned out to be lost: later ones of their leg came, and these had not.
    pub packets_lost: u64,
    /// Added delay, half of all packets, in microseconds.
    pub added_delay_p50_us: Option<f64>,
    /// Added delay, 99 of 100 packets.
    pub added_delay_p99_us: Option<f64>,
    /// Greatest added delay.
    pub added_delay_max_us: Option<f64>,
    /// How far from their time packets left the generator, 99 of 100, in microseconds.
    pub pacing_error_p99_us: Option<f64>,
}

/// A step of a search for the highest load.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Packets a second per leg that were asked for.
    pub packets_per_second_per_leg: f64,
    /// How long, in seconds.
    pub seconds: f64,
    /// RTP packets sent a second, of all legs.
    pub packets_per_second: f64,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// RTP packets lost.
    pub packets_lost: u64,
    /// Whether nothing was lost, duplicated or damaged, and the generator sent what it should.
    pub clean: bool,
    /// Whether the generator did not keep its own time, or could not send so many.
    pub generator_was_late: bool,
}

/// The report of a run. With `--setups` there are no packets and no rows.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// `calls`, `find_max` or `setups`.
    pub mode: &'static str,
    /// Where calls were set up: `ng ADDRESS` or `relay SOCKET`.
    pub target: String,
    /// Every call was set up and ended, and nothing was lost, duplicated or damaged: what the exit code says.
    pub passed: bool,
    /// Why it did not pass, in sentences.
    pub failures: Vec<String>,
    /// What must be known to judge the figures, in sentences: where the generator itself was the limit.
    pub notes: Vec<String>,
    /// The generator did not keep its own time, or its packets were refused: it is part of what was measured.
    pub generator_was_late: bool,
    /// Ended before its time by Ctrl-C.
    pub interrupted: bool,
    /// How long all calls were up, in seconds; with `--setups`, how long calls were set up.
    pub seconds: f64,
    /// When all calls were up, in milliseconds since 1970: for who measures the relay from outside meanwhile.
    pub steady_from_unix_ms: u64,
    /// When media stopped, in milliseconds since 1970.
    pub steady_until_unix_ms: u64,
    /// Most calls that were up at once.
    pub calls: u32,
    /// Calls that were set up, in all.
    pub calls_set_up: u64,
    /// Calls that were not set up, in all.
    pub calls_failed: u64,
    /// Calls that could not be ended.
    pub calls_left: u64,
    /// Calls that were set up a second: until all were up the first time; with `--setups`, on the average (each was ended, too).
    pub setups_per_second: f64,
    /// From the offer's first datagram to the answer's reply.
    pub setup_us: Option<Quantiles>,
    /// An offer; with `--relay`, an open.
    pub offer_us: Option<Quantiles>,
    /// An answer.
    pub answer_us: Option<Quantiles>,
    /// A delete; with `--relay`, a close.
    pub delete_us: Option<Quantiles>,
    /// A route decision over HTTP, where recording needs one.
    pub route_us: Option<Quantiles>,
    /// NG questions that were sent again because no answer came within a second.
    pub requests_repeated: u64,
    /// What came to nothing, by verb and reason, with its count.
    pub errors: BTreeMap<String, u64>,
    /// What packets carried: `PCMA/8000`, `PCMU/8000` or `opus/48000/2`.
    pub codec: &'static str,
    /// RTP packets sent a second while all calls were up, of all legs.
    pub packets_per_second: f64,
    /// RTP packets sent, in all.
    pub packets_sent: u64,
    /// RTP packets that came to the other party, each counted once.
    pub packets_received: u64,
    /// RTP packets that did not come, not even within a second of their call's end.
    pub packets_lost: u64,
    /// RTP packets that came again.
    pub packets_duplicated: u64,
    /// RTP packets that came after a later one.
    pub packets_reordered: u64,
    /// RTP packets whose payload, payload type or source was wrong.
    pub packets_corrupt: u64,
    /// Packets that belong to no call.
    pub packets_stray: u64,
    /// Packets that our own kernel would not send.
    pub packets_refused: u64,
    /// Packets that met a closed port, or that no way led for.
    pub packets_unreachable: u64,
    /// Packets that the generator looked at over 100 ms after they had come: it was late, and loss may be its own.
    pub packets_overdue: u64,
    /// Packets that were left out (they are not among those sent): the generator was late by more than a packet's time.
    pub packets_skipped: u64,
    /// RTCP packets sent.
    pub rtcp_sent: u64,
    /// RTCP packets that came to the other party.
    pub rtcp_received: u64,
    /// From the kernel's time-stamp at sending to the kernel's time-stamp at receiving, while all calls were up.
    pub added_delay_us: Option<Quantiles>,
    /// How far from their time packets left the generator, while all calls were up.
    pub pacing_error_us: Option<Quantiles>,
    /// CPU time of this process, in seconds.
    pub generator_cpu_seconds: f64,
    /// CPU time of its media thread, in seconds.
    pub media_thread_cpu_seconds: f64,
    /// `--find-max`: the highest packet rate per leg that was held without loss, over the longer run; null if there is none.
    pub max_packets_per_second_per_leg: Option<f64>,
    /// `--find-max`: the same of all legs.
    pub max_packets_per_second: Option<f64>,
    /// `--find-max`: what was tried, in that order; the last one is the longer run.
    pub steps: Vec<Step>,
    /// What each second brought.
    pub rows: Vec<Second>,
}

impl Report {
    /// Fills in what the media thread counted: `all` since the start, `steady` while all calls were up; `planned` is how many
    /// packets should have been sent meanwhile, where that is known.
    pub fn media(&mut self, all: &Figures, steady: &Figures, planned: Option<f64>) {
        self.packets_sent = all.sent;
        self.packets_received = all.received;
        self.packets_lost = all.lost;
        self.packets_duplicated = all.duplicates;
        self.packets_reordered = all.reordered;
        self.packets_corrupt = all.corrupt;
        self.packets_stray = all.strays;
        self.packets_refused = all.refused;
        self.packets_unreachable = all.unreachable;
        self.packets_overdue = all.overdue;
        self.packets_skipped = all.skipped;
        (self.rtcp_sent, self.rtcp_received) = (all.rtcp_sent, all.rtcp_received);
        self.media_thread_cpu_seconds = microseconds(all.cpu_ns) / 1e6;
        self.added_delay_us = Quantiles::of(&steady.added_delay_ns);
        self.pacing_error_us = Quantiles::of(&steady.pacing_error_ns);
        self.packets_per_second = per_second(steady.sent, self.seconds);
        let behind = planned.is_some_and(|planned| per_second(steady.sent, 1.0) < REACHED * planned - SLACK);
        self.generator_was_late = late(steady) || behind;
    }

    /// Fills in what a search found. What was lost on the way is no failure: that nothing was found is.
    pub fn found(&mut self, found: Found) {
        self.steps = found.steps;
        self.max_packets_per_second_per_leg = found.held.as_ref().map(|held| held.packets_per_second_per_leg);
        self.max_packets_per_second = found.held.as_ref().map(|held| held.packets_per_second);
        if found.held.as_ref().is_some_and(|held| held.generator_was_late) {
            self.notes.push(
                "the generator was late while the found load was held: its packets came in heaps".into(),
            );
        }
        if found.held.is_none() {
            self.failures.push("no load was found that held without loss".into());
        }
        if found.generator_was_the_limit {
            self.notes.push("the generator was the limit: the relay may bear more than was found".into());
        }
    }

    /// Fills in how long requests took.
    pub fn signalling(&mut self, timing: &Timing, repeated: u64) {
        let of = |verb| timing.of(verb).and_then(Quantiles::of);
        self.setup_us = of(Verb::SetUp);
        (self.offer_us, self.answer_us) = (of(Verb::Offer), of(Verb::Answer));
        (self.delete_us, self.route_us) = (of(Verb::Delete), of(Verb::Route));
        self.requests_repeated = repeated;
    }

    /// Judges, once everything else is filled in.
    pub fn judge(&mut self) {
        // A search goes beyond what can be borne: what was lost on its way is no failure, and being late no surprise.
        let searched = self.mode == "find_max";
        let missing = self.rtcp_sent.saturating_sub(self.rtcp_received);
        let [lost, missing] = if searched { [0; 2] } else { [self.packets_lost, missing] };
        let counts = [
            (lost, "packets were lost"),
            (missing, "RTCP packets were lost"),
            (self.packets_duplicated, "packets came twice"),
            (self.packets_corrupt, "packets were damaged, or came from another port than they should"),
            (self.packets_stray, "packets came to another call or party than they were sent to"),
            (self.calls_failed, "calls were not set up"),
            (self.calls_left, "calls could not be ended"),
        ];
        let told =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        self.failures.extend(told);
        if self.mode != "setups" && self.packets_sent > 0 && self.packets_received == 0 {
            self.failures
                .push("no packet came through: are the addresses of --from reachable from the relay?".into());
        }
        if self.generator_was_late && !searched {
            let late = self.pacing_error_us.map_or(0.0, |error| error.p99);
            self.notes.push(format!(
                "the generator was late: p99 of its own pacing error is {late:.0} µs, {} packets were left out, {} refused, {} read \
                 too late, {:.0} a second sent. Loss and delay are partly its own: give it a core (--core), or fewer calls",
                self.packets_skipped, self.packets_refused, self.packets_overdue, self.packets_per_second
            ));
        }
        self.passed = self.failures.is_empty();
    }
}

/// Whether the generator did not keep its own time.
pub fn late(interval: &Figures) -> bool {
    interval.refused + interval.skipped + interval.overdue > 0
        || interval.pacing_error_ns.value_at_quantile(0.99) > LATE_NS
}

/// So many in so many seconds.
#[allow(clippy::cast_precision_loss, reason = "counts of a run, far below 2^53")]
pub fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// What came between two looks at the counters.
pub fn between(before: &Figures, after: &Figures) -> Figures {
    let histogram = |before: &Histogram<u64>, after: &Histogram<u64>| {
        let mut part = after.clone();
        // Counters only grow, so that what was before is contained in what is after.
        let _ = part.subtract(before);
        part
    };
    Figures {
        sent: after.sent.saturating_sub(before.sent),
        received: after.received.saturating_sub(before.received),
        lost: after.lost.saturating_sub(before.lost),
        duplicates: after.duplicates.saturating_sub(before.duplicates),
        reordered: after.reordered.saturating_sub(before.reordered),
        corrupt: after.corrupt.saturating_sub(before.corrupt),
        strays: after.strays.saturating_sub(before.strays),
        outstanding: after.outstanding,
        refused: after.refused.saturating_sub(before.refused),
        unreachable: after.unreachable.saturating_sub(before.unreachable),
        overdue: after.overdue.saturating_sub(before.overdue),
        skipped: after.skipped.saturating_sub(before.skipped),
        rtcp_sent: after.rtcp_sent.saturating_sub(before.rtcp_sent),
        rtcp_received: after.rtcp_received.saturating_sub(before.rtcp_received),
        added_delay_ns: histogram(&before.added_delay_ns, &after.added_delay_ns),
        pacing_error_ns: histogram(&before.pacing_error_ns, &after.pacing_error_ns),
        cpu_ns: after.cpu_ns.saturating_sub(before.cpu_ns),
    }
}

impl Second {
    /// Of what came between two looks that lie `seconds` apart.
    pub fn of(interval: &Figures, seconds: f64, at: f64, calls: u32) -> Self {
        let delay = Quantiles::of(&interval.added_delay_ns);
        Self {
            second: at,
            calls,
            packets_per_second: per_second(interval.sent, seconds),
            packets_sent: interval.sent,
            packets_received: interval.received,
            packets_lost: interval.lost,
            added_delay_p50_us: delay.map(|delay| delay.p50),
            added_delay_p99_us: delay.map(|delay| delay.p99),
            added_delay_max_us: delay.map(|delay| delay.max),
            pacing_error_p99_us: Quantiles::of(&interval.pacing_error_ns).map(|error| error.p99),
        }
    }

    /// One line of progress.
    pub fn line(&self) -> String {
        let delay = self.added_delay_p99_us.map_or("-".into(), |us| format!("{us:.0} µs"));
        format!(
            "{:>5.0} s  {:>5} calls  {:>8.0} packets/s  lost {:>6}  added delay p99 {delay}",
            self.second, self.calls, self.packets_per_second, self.packets_lost
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(sent: u64, lost: u64, delays_us: &[u64]) -> Figures {
        let mut figures = Figures { sent, lost, received: sent - lost, ..Figures::default() };
        delays_us.iter().for_each(|us| figures.added_delay_ns.record(us * 1000).unwrap());
        figures
    }

    #[test]
    fn a_second_has_only_what_came_in_it() {
        let (before, after) =
            (figures(100, 1, &[10, 20, 5000]), figures(250, 3, &[10, 20, 5000, 70, 80, 90]));
        let second = Second::of(&between(&before, &after), 0.5, 2.0, 7);
        assert_eq!((second.packets_sent, second.packets_lost, second.packets_received), (150, 2, 148));
        assert!((second.packets_per_second - 300.0).abs() < 1e-9);
        let near = |us: Option<f64>, want: f64| us.is_some_and(|us| (us - want).abs() < want / 500.0);
        assert!(near(second.added_delay_p50_us, 80.0), "{second:?}");
        assert!(near(second.added_delay_max_us, 90.0), "what was before is not in it: {second:?}");
        let nothing = Second::of(&between(&after, &after), 1.0, 3.0, 7);
        assert_eq!((nothing.packets_sent, nothing.added_delay_p99_us), (0, None));
    }

    #[test]
    fn it_passes_only_if_nothing_went_wrong() {
        let passed = |change: fn(&mut Report)| {
            let mut report = Report { mode: "calls", seconds: 1.0, ..Report::default() };
            report.media(&figures(100, 0, &[50]), &figures(100, 0, &[50]), Some(100.0));
            change(&mut report);
            report.judge();
            (report.passed, report.failures.concat())
        };
        assert_eq!(passed(|_| {}), (true, String::new()));
        assert!(passed(|r| r.packets_reordered = 9).0);
        assert_eq!(passed(|r| r.packets_lost = 2), (false, "2 packets were lost".into()));
        for wrong in [
            |r: &mut Report| r.packets_duplicated = 1,
            |r: &mut Report| r.packets_corrupt = 1,
            |r: &mut Report| r.packets_stray = 1,
            |r: &mut Report| r.rtcp_sent = 1,
            |r: &mut Report| r.packets_received = 0,
            |r: &mut Report| r.calls_failed = 1,
            |r: &mut Report| r.calls_left = 1,
        ] {
            assert!(!passed(wrong).0);
        }
    }

    #[test]
    fn a_late_generator_says_so() {
        let mut steady = figures(100, 0, &[50]);
        (0..97).for_each(|_| steady.pacing_error_ns.record(20_000).unwrap());
        (0..2).for_each(|_| steady.pacing_error_ns.record(1_500_000).unwrap());
        assert!(late(&steady), "two of a hundred");
        let mut report = Report { seconds: 1.0, ..Report::default() };
        report.media(&steady, &steady, None);
        report.judge();
        assert!(report.passed && report.notes.concat().starts_with("the generator was late"), "{report:?}");
        for (planned, is_late) in [(100.0, false), (200.0, true)] {
            let mut report = Report { seconds: 1.0, ..Report::default() };
            report.media(&figures(100, 0, &[50]), &figures(100, 0, &[50]), Some(planned));
            assert_eq!(report.generator_was_late, is_late, "{planned}");
        }
        assert!(!late(&figures(100, 0, &[50])));
        assert!(late(&Figures { overdue: 1, ..figures(100, 0, &[50]) }));
        assert!(late(&Figures { refused: 1, ..figures(100, 0, &[50]) }));
    }
}
