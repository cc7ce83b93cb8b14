//! A report as a table for people.

use super::report::{Quantiles, Report};
use crate::columns::table;

/// The whole report.
pub fn text(report: &Report) -> String {
    let mut rows = vec![["target".into(), report.target.clone()]];
    signalling(report, &mut rows);
    if report.mode != "setups" {
        media(report, &mut rows);
    }
    rows.push(["generator".into(), format!("{:.2} s of CPU time", report.generator_cpu_seconds)]);
    let mut text = table(rows);
    for (word, sentences) in [("NOTE", &report.notes), ("FAIL", &report.failures)] {
        text.extend(sentences.iter().map(|sentence| format!("{word}  {sentence}\n")));
    }
    if report.interrupted {
        text.push_str("ended early, as asked\n");
    }
    text.push_str(if report.passed { "PASSED\n" } else { "FAILED\n" });
    text
}

fn signalling(report: &Report, rows: &mut Vec<[String; 2]>) {
    let Report { calls_set_up, calls_failed, calls, .. } = report;
    rows.push(["calls".into(), format!("{calls_set_up} set up, {calls_failed} not, {calls} at once")]);
    rows.push(["set-ups".into(), format!("{:.0} a second", report.setups_per_second)]);
    for (name, quantiles) in [
        ("  offer and answer", report.setup_us),
        ("  offer", report.offer_us),
        ("  answer", report.answer_us),
        ("  delete", report.delete_us),
        ("  route", report.route_us),
    ] {
        rows.extend(quantiles.map(|quantiles| [name.into(), spread(quantiles)]));
    }
    if report.requests_repeated > 0 {
        rows.push([
            "  sent again".into(),
            format!("{} requests, unanswered for a second", report.requests_repeated),
        ]);
    }
    rows.extend(report.errors.iter().map(|(why, count)| ["  error".into(), format!("{count} x {why}")]));
}

fn media(report: &Report, rows: &mut Vec<[String; 2]>) {
    let mut row = |name: &str, value: String| rows.push([name.into(), value]);
    row("packets", format!("{:.0} a second for {:.1} s", report.packets_per_second, report.seconds));
    row("  sent", report.packets_sent.to_string());
    row("  received", report.packets_received.to_string());
    row("  lost", report.packets_lost.to_string());
    for (name, count) in [
        ("  duplicated", report.packets_duplicated),
        ("  out of order", report.packets_reordered),
        ("  damaged", report.packets_corrupt),
        ("  of no call", report.packets_stray),
        ("  refused", report.packets_refused),
        ("  left out", report.packets_skipped),
    ] {
        if count > 0 {
            row(name, count.to_string());
        }
    }
    row("RTCP", format!("{} sent, {} received", report.rtcp_sent, report.rtcp_received));
    row("added delay", report.added_delay_us.map_or("not measured".into(), spread));
    row("pacing error", report.pacing_error_us.map_or("not measured".into(), spread));
    if report.mode == "find_max" {
        let found = report.max_packets_per_second.zip(report.max_packets_per_second_per_leg);
        let words = |(all, leg)| format!("{all:.0} packets/s without loss ({leg:.1} per leg)");
        row("highest load", found.map_or("none that held".into(), words));
    }
}

fn spread(quantiles: Quantiles) -> String {
    let Quantiles { p50, p99, p99_9, max } = quantiles;
    format!("p50 {p50:.0}  p99 {p99:.0}  p99.9 {p99_9:.0}  max {max:.0} µs")
}
