//! `bauta drain`: no new calls, until the last one has ended.

#![allow(clippy::indexing_slicing, reason = "a member that a JSON value does not have is null")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Client;
use crate::place::Place;

const DRAIN: &str = "/v1/drain";
/// How often the calls that are left are counted.
const LOOK: Duration = Duration::from_secs(1);

/// Take no new calls, so that those in progress can come to their end; proxies turn to their next node.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Take new calls again.
    #[arg(long, conflicts_with = "wait")]
    undo: bool,
    /// Wait until no call is left, at most so many seconds; exits 1 if some are left then.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "86400")]
    wait: Option<u64>,
    #[command(flatten)]
    place: Place,
}

/// Runs the subcommand.
pub fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let control = Client::operator(&arguments.place)?;
    if arguments.undo {
        control.delete(DRAIN)?;
        println!("new calls are taken again");
        return Ok(ExitCode::SUCCESS);
    }
    let mut state = control.put(DRAIN, &json!({}))?;
    println!("no new calls are taken; `bauta drain --undo` ends that");
    let end = arguments.wait.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
    let mut told = None;
    loop {
        let left = calls(&state);
        if told != Some(left) {
            println!("{left} call{} in progress", if left == 1 { "" } else { "s" });
            told = Some(left);
        }
        match end {
            Some(_) if left == 0 => return Ok(ExitCode::SUCCESS),
            Some(end) if Instant::now() < end => std::thread::sleep(LOOK),
            Some(_) => return Ok(ExitCode::FAILURE),
            None => return Ok(ExitCode::SUCCESS),
        }
        state = control.read_json(DRAIN)?;
        anyhow::ensure!(
            state["draining"] == true,
            "someone has ended the draining: new calls are taken again"
        );
    }
}

fn calls(state: &Value) -> u64 {
    state["calls"].as_u64().unwrap_or(0)
}
