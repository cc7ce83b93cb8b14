//! `bauta calls` and `bauta call ID`: calls in progress, as control knows them.

#![allow(clippy::indexing_slicing, reason = "a member that a JSON value does not have is null")]

use std::process::ExitCode;

use serde_json::Value;

use crate::client::Client;
use crate::columns::{table, word};
use crate::place::Place;

/// List the calls in progress.
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    place: Place,
    /// Print control's answer as it is.
    #[arg(long)]
    json: bool,
}

/// Show one call in progress with the counters of its streams.
#[derive(Debug, clap::Args)]
pub struct One {
    /// The call's id, as `bauta calls` prints it.
    id: String,
    #[command(flatten)]
    place: Place,
    /// Print control's answer as it is.
    #[arg(long)]
    json: bool,
}

/// `bauta calls`.
pub fn list(arguments: &List) -> anyhow::Result<ExitCode> {
    let answer = Client::operator(&arguments.place)?.read_json("/v1/calls")?;
    if arguments.json {
        println!("{answer:#}");
    } else {
        print!("{}", calls(&answer));
    }
    Ok(ExitCode::SUCCESS)
}

/// `bauta call ID`.
pub fn one(arguments: &One) -> anyhow::Result<ExitCode> {
    // An id is hexadecimal digits and dashes; anything else would be another route.
    anyhow::ensure!(
        arguments.id.chars().all(|c| c.is_ascii_hexdigit() || c == '-'),
        "a call's id looks like 019ab6c2-4f1e-7d3a-9c55-0123456789ab; `bauta calls` lists them"
    );
    let answer = Client::operator(&arguments.place)?.read_json(&format!("/v1/calls/{}", arguments.id))?;
    if arguments.json {
        println!("{answer:#}");
    } else {
        print!("{}", call(&answer));
    }
    Ok(ExitCode::SUCCESS)
}

fn calls(answer: &Value) -> String {
    let calls = answer["calls"].as_array().map(Vec::as_slice).unwrap_or_default();
    if calls.is_empty() {
        return "no calls in progress\n".into();
    }
    let heading = ["ID", "STATE", "SINCE", "TRIP", "CALLER", "CALLEE", "RECORDING"].map(str::to_owned);
    let rows = calls.iter().map(|call| {
        let text = |key: &str| word(&call[key]);
        [
            text("id"),
            text("state"),
            text("since"),
            text("trip"),
            text("caller"),
            text("callee"),
            recording(call),
        ]
    });
    table(std::iter::once(heading).chain(rows))
}

/// Whether a call is recorded; and where that is paused, who paused it.
fn recording(call: &Value) -> String {
    let pause = &call["paused"];
    match (call["recording"] == true, pause.is_object()) {
        (true, true) => format!("paused by {} since {}", word(&pause["by"]), word(&pause["since"])),
        (true, false) => "yes".into(),
        (false, _) => "no".into(),
    }
}

fn call(answer: &Value) -> String {
    let mut facts = Vec::new();
    for key in ["id", "state", "since", "trip", "city", "caller", "callee", "recording", "lane"] {
        let fact = if key == "recording" { recording(answer) } else { word(&answer[key]) };
        facts.push([key.to_owned(), fact]);
    }
    let heading =
        ["FROM", "KIND", "LANE", "PACKETS", "BYTES", "LAST PACKET", "NOT FORWARDED"].map(str::to_owned);
    let streams = answer["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = streams.iter().map(|stream| {
        let text = |key: &str| word(&stream[key]);
        let last = stream["last_packet_seconds_ago"].as_f64();
        let last = last.map_or("never".into(), |seconds| format!("{seconds:.1} s ago"));
        let dropped: Vec<_> = stream["drops"].as_object().into_iter().flatten().collect();
        let dropped: Vec<_> = dropped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let dropped = if dropped.is_empty() { "-".into() } else { dropped.join(", ") };
        [text("from"), text("kind"), text("lane"), text("packets"), text("bytes"), last, dropped]
    });
    let counted = table(std::iter::once(heading).chain(rows));
    format!("{}\n{counted}\n{}", table(facts), sound(streams))
}

/// How the streams sound: mean opinion scores (the whole call, its worst and its last five seconds, and what the other
/// party's side says it gets), and what they come from.
fn sound(streams: &[Value]) -> String {
    let heading = [
        "FROM",
        "MOS",
        "LOWEST",
        "LAST",
        "HEARD",
        "LOSS",
        "JITTER",
        "ROUND TRIP",
        "DUPLICATES",
        "REORDERED",
        "EVENTS",
    ];
    let rows = streams.iter().filter(|stream| stream["kind"] == "rtp").map(|stream| {
        let text = |key: &str| word(&stream[key]);
        let figure = |key: &str, show: fn(f64) -> String| stream[key].as_f64().map_or("-".into(), show);
        let score = |key| figure(key, |score| format!("{score:.2}"));
        let time = |key| figure(key, |ms| format!("{ms:.1} ms"));
        [
            text("from"),
            score("mos"),
            score("mos_lowest"),
            score("mos_last"),
            score("mos_heard"),
            figure("loss", |share| format!("{:.2} %", share * 100.0)),
            time("jitter_ms"),
            time("round_trip_ms"),
            text("duplicates"),
            text("reordered"),
            text("events"),
        ]
    });
    table(std::iter::once(heading.map(str::to_owned)).chain(rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_is_shown_with_what_was_not_forwarded() {
        let text = call(&json!({
            "id": "x", "state": "answered", "since": "2026-11-22T10:00:00Z", "trip": null, "recording": true, "lane": "uring",
            "streams": [{"from": "caller", "kind": "rtp", "lane": "xdp", "packets": 500, "bytes": 86_000,
                         "drops": {"source_mismatch": 3}, "last_packet_seconds_ago": 0.02}]
        }));
        assert!(text.contains("trip       -\n") && text.contains("recording  yes\n"), "{text}");
        assert!(
            text.contains("caller  rtp   xdp   500      86000  0.0 s ago    3 source_mismatch\n"),
            "{text}"
        );
        assert_eq!(calls(&json!({"calls": []})), "no calls in progress\n");
    }

    #[test]
    fn a_call_is_shown_with_how_it_sounds() {
        let text = call(&json!({"streams": [
            {"from": "caller", "kind": "rtp", "mos": 4.2, "mos_lowest": 3.456, "mos_last": 4.38, "mos_heard": null,
             "loss": 0.0123, "jitter_ms": 2.5, "round_trip_ms": 40, "duplicates": 3, "reordered": 4, "events": 2},
            {"from": "caller", "kind": "rtcp", "mos": null},
            {"from": "callee", "kind": "rtp", "mos": null}
        ]}));
        let sound: Vec<_> = text.split("\n\n").nth(2).unwrap().lines().collect();
        assert_eq!(sound.len(), 3, "{text}");
        let cells: Vec<_> = sound[1].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(
            cells,
            ["caller", "4.20", "3.46", "4.38", "-", "1.23 %", "2.5 ms", "40.0 ms", "3", "4", "2"],
            "{text}"
        );
        assert!(sound[2].starts_with("callee  -"), "{text}");
    }

    #[test]
    fn a_paused_recording_is_shown_as_such() {
        let paused = json!({"recording": true, "paused": {"by": "proxy", "since": "2026-11-22T10:00:00Z"}});
        let text = calls(&json!({"calls": [paused]}));
        assert!(text.ends_with("paused by proxy since 2026-11-22T10:00:00Z\n"), "{text}");
        assert!(call(&paused).contains("recording  paused by proxy since "));
    }
}
