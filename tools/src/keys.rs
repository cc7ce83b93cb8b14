//! `bauta keys`: the keys that seal the parties' numbers, and a new one while everything goes on.

#![allow(clippy::indexing_slicing, reason = "a member that a JSON value does not have is null")]

use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::{Value, json};

use crate::client::Client;
use crate::columns::{table, word};
use crate::place::Place;

/// Pause between two looks at what is left to do.
const STEP: Duration = Duration::from_millis(250);
/// How long nothing may get less before it is said that it does not.
const STUCK: Duration = Duration::from_secs(60);

/// Show the keys that seal the parties' numbers, or put a new one in force.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show how many trips each key has sealed, and how many wait for the newest.
    Show {
        #[command(flatten)]
        place: Place,
    },
    /// Make a new key, by which is sealed from now on; what older ones have sealed is sealed anew meanwhile.
    ///
    /// Calls and trips go on. The new key is in STATE/keys/numbers.key: keep a copy of that file apart from those of the
    /// database.
    Rotate {
        /// Show how it goes on, until nothing waits to be sealed anew.
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// Runs the subcommand.
pub fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        None => show(&arguments.place)?,
        Some(Command::Show { place }) => show(place)?,
        Some(Command::Rotate { wait, place }) => rotate(place, *wait)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(place: &Place) -> anyhow::Result<()> {
    print!("{}", readable(&Client::operator(place)?.read_json("/v1/keys")?));
    Ok(())
}

fn rotate(place: &Place, wait: bool) -> anyhow::Result<()> {
    let operator = Client::operator(place)?;
    let answer = operator.post("/v1/keys/rotate", &json!({}))?;
    println!("{}", rotated(&answer, &place.state));
    if wait {
        watch(&operator)?;
    } else {
        println!("Trips are sealed anew meanwhile; `bauta keys` shows how many wait.");
    }
    Ok(())
}

/// Prints how many trips wait whenever that changes, until none does.
fn watch(operator: &Client) -> anyhow::Result<()> {
    let (mut before, mut since) = (u64::MAX, Instant::now());
    loop {
        let answer = operator.read_json("/v1/keys")?;
        let Some(waiting) = answer["waiting"].as_u64() else {
            bail!("/v1/keys: control does not say what waits")
        };
        if waiting != before {
            println!("{}", left(waiting));
        }
        if waiting == 0 {
            return Ok(());
        }
        if waiting < before {
            since = Instant::now();
        }
        before = waiting;
        if since.elapsed() > STUCK {
            bail!(
                "{waiting} trips still wait, and have not become less for {} s: the reason is in control's log, and a restart of control tries again. Nothing is lost: older keys open what they have sealed",
                STUCK.as_secs()
            );
        }
        sleep(STEP);
    }
}

fn rotated(answer: &Value, state: &Path) -> String {
    let file = state.join("keys/numbers.key");
    format!(
        "Key {} seals from now on. Copy {} to where you keep it, apart from the database's copies.",
        word(&answer["newest"]),
        file.display()
    )
}

fn left(waiting: u64) -> String {
    match waiting {
        0 => "Nothing waits: every trip is sealed by the newest key.".into(),
        1 => "1 trip waits to be sealed anew".into(),
        many => format!("{many} trips wait to be sealed anew"),
    }
}

fn readable(answer: &Value) -> String {
    let sealed = answer["sealed"].as_array().map(Vec::as_slice).unwrap_or_default();
    let newest = &answer["newest"];
    let note =
        |key: &Value| if key == newest { "newest: seals from now on" } else { "waits to be sealed anew" };
    let mut rows = vec![["KEY", "TRIPS", ""].map(str::to_owned)];
    rows.extend(sealed.iter().map(|of| [word(&of["key"]), word(&of["trips"]), note(&of["key"]).into()]));
    if !sealed.iter().any(|of| of["key"] == *newest) {
        rows.push([word(newest), "0".into(), note(newest).into()]);
    }
    format!("{}\n{}\n", table(rows), left(answer["waiting"].as_u64().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_which_key_seals_and_what_waits() {
        let half = json!({"newest": 2, "sealed": [{"key": 1, "trips": 300}, {"key": 2, "trips": 7}], "waiting": 300});
        assert_eq!(
            readable(&half),
            "KEY  TRIPS\n1    300    waits to be sealed anew\n2    7      newest: seals from now on\n\n\
             300 trips wait to be sealed anew\n"
        );
        let none = json!({"newest": 1, "sealed": [], "waiting": 0});
        assert_eq!(
            readable(&none),
            "KEY  TRIPS\n1    0      newest: seals from now on\n\nNothing waits: every trip is sealed by the newest key.\n"
        );
    }

    #[test]
    fn who_rotates_is_told_which_file_to_keep() {
        let text = rotated(&json!({"newest": 3}), Path::new("var"));
        assert!(text.starts_with("Key 3 seals") && text.contains("var/keys/numbers.key"), "{text}");
    }
}
