//! `bauta backup`: a copy of the database while everything goes on.

#![allow(clippy::indexing_slicing, reason = "a member that a JSON value does not have is null")]

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::client::Client;
use crate::place::Place;

/// How long a copy may take: that of millions of trips is gigabytes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Copy the database to STATE/backups while everything goes on.
///
/// The copy holds the parties' numbers encrypted, and not the key: keep STATE/keys elsewhere, and never beside the
/// copy.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
}

/// Runs the subcommand.
pub fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let place = &arguments.place;
    let answer = Client::operator(place)?.patient(PATIENCE).post("/v1/backups", &json!({}))?;
    print!("{}", readable(&answer, &place.state)?);
    Ok(ExitCode::SUCCESS)
}

fn readable(answer: &Value, state: &Path) -> anyhow::Result<String> {
    let file = answer["file"].as_str().context("control does not say where the copy is")?;
    let bytes = answer["bytes"].as_u64().unwrap_or(0);
    let (copy, keys) = (state.join(file), state.join("keys"));
    Ok(format!(
        "{} ({bytes} bytes)\n\
         The key is NOT in it. Keep {} too, apart from the copy: without the key nobody can read\n\
         the numbers in the copy, and whoever has both can.\n",
        copy.display(),
        keys.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_where_the_copy_is_and_what_is_not_in_it() {
        let answer = json!({"file": "backups/bauta-20261122T201500Z.db", "bytes": 73_728});
        let text = readable(&answer, Path::new("/var/lib/bauta")).unwrap();
        assert!(
            text.starts_with("/var/lib/bauta/backups/bauta-20261122T201500Z.db (73728 bytes)\n"),
            "{text}"
        );
        assert!(text.contains("NOT in it. Keep /var/lib/bauta/keys too, apart"), "{text}");
        assert!(readable(&json!({}), Path::new("var")).is_err());
    }
}
