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
        let recording = if call["recording"] == true { "yes" } else { "no" };
        [
            text("id"),
            text("state"),
            text("since"),
            text("trip"),
            text("caller"),
            text("callee"),
            recording.into(),
        ]
    });
    table(std::iter::once(heading).chain(rows))
}

fn call(answer: &Value) -> String {
    let mut facts = Vec::new();
    for key in ["id", "state", "since", "trip", "city", "caller", "callee", "recording", "lane"] {
        facts.push([key.to_owned(), word(&answer[key])]);
    }
    let heading = ["FROM", "KIND", "PACKETS", "BYTES", "LAST PACKET", "NOT FORWARDED"].map(str::to_owned);
    let streams = answer["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = streams.iter().map(|stream| {
        let text = |key: &str| word(&stream[key]);
        let last = stream["last_packet_seconds_ago"].as_f64();
        let last = last.map_or("never".into(), |seconds| format!("{seconds:.1} s ago"));
        let dropped: Vec<_> = stream["drops"].as_object().into_iter().flatten().collect();
        let dropped: Vec<_> = dropped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let dropped = if dropped.is_empty() { "-".into() } else { dropped.join(", ") };
        [text("from"), text("kind"), text("packets"), text("bytes"), last, dropped]
    });
    format!("{}\n{}", table(facts), table(std::iter::once(heading).chain(rows)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_is_shown_with_what_was_not_forwarded() {
        let text = call(&json!({
            "id": "x", "state": "answered", "since": "2026-11-22T10:00:00Z", "trip": null, "recording": true, "lane": "uring",
            "streams": [{"from": "caller", "kind": "rtp", "packets": 500, "bytes": 86_000,
                         "drops": {"source_mismatch": 3}, "last_packet_seconds_ago": 0.02}]
        }));
        assert!(text.contains("trip       -\n"), "{text}");
        assert!(text.ends_with("caller  rtp   500      86000  0.0 s ago    3 source_mismatch\n"), "{text}");
        assert_eq!(calls(&json!({"calls": []})), "no calls in progress\n");
    }
}
