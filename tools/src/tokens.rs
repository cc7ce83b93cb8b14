//! `bauta tokens`: who may call the HTTP API.

#![allow(clippy::indexing_slicing, reason = "a member that a JSON value does not have is null")]

use std::process::ExitCode;

use anyhow::Context;
use control::name::TokenName;
use control::token::Scope;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::columns::{table, word};
use crate::place::Place;

/// List, make, rotate and delete the tokens of the HTTP API.
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
    /// List every token: whose it is, and when it was last used. No token itself.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Make a token. It alone is printed on standard output, and is not shown again.
    New {
        /// Which routes it opens: business, proxy, dispute or operator.
        #[arg(value_parser = scope)]
        scope: Scope,
        /// Whose it is, like backend-2.
        #[arg(value_parser = TokenName::new)]
        name: TokenName,
        /// From when on it opens nothing; without this it is in force for ever.
        #[arg(long, value_name = "SECONDS")]
        expires_in: Option<u32>,
        #[command(flatten)]
        place: Place,
    },
    /// Put a new token in the place of one. It alone is printed on standard output, and is not shown again.
    Rotate {
        /// The token's id, as `bauta tokens` lists it.
        id: Uuid,
        /// How long the old one stays in force, so that its user has time to change; at most 604800, a week.
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        keep: u32,
        #[command(flatten)]
        place: Place,
    },
    /// Take a token out of force, at once.
    Delete {
        /// The token's id, as `bauta tokens` lists it.
        id: Uuid,
        #[command(flatten)]
        place: Place,
    },
}

/// Runs the subcommand.
pub fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        None => list(&arguments.place)?,
        Some(Command::List { place }) => list(place)?,
        Some(Command::New { scope, name, expires_in, place }) => {
            let mut wish = json!({ "scope": scope, "name": name });
            if let Some(seconds) = expires_in {
                wish["expires_in"] = (*seconds).into();
            }
            show(&Client::operator(place)?.post("/v1/tokens", &wish)?)?;
        }
        Some(Command::Rotate { id, keep, place }) => {
            let body = json!({ "keep_seconds": keep });
            show(&Client::operator(place)?.post(&format!("/v1/tokens/{id}/rotate"), &body)?)?;
        }
        Some(Command::Delete { id, place }) => {
            Client::operator(place)?.delete(&format!("/v1/tokens/{id}"))?;
            println!("the token {id} opens nothing any more");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::named(text).ok_or_else(|| format!("must be one of {}", Scope::ALL.map(Scope::as_str).join(", ")))
}

fn list(place: &Place) -> anyhow::Result<()> {
    // More than there can be.
    print!("{}", readable(&Client::operator(place)?.read_json("/v1/tokens?limit=1000")?));
    Ok(())
}

/// The token to standard output, so that a shell can take it; what it is, to standard error.
fn show(answer: &Value) -> anyhow::Result<()> {
    let token = answer["token"].as_str().context("control shows no token")?;
    eprintln!("{}", made(answer));
    println!("{token}");
    Ok(())
}

fn made(answer: &Value) -> String {
    let until = answer["former_until"].as_str();
    let former = until.map(|until| format!("; the old one stays in force until {until}")).unwrap_or_default();
    format!(
        "{} token of {}, id {}: shown now and never again{former}",
        word(&answer["scope"]),
        word(&answer["name"]),
        word(&answer["id"])
    )
}

fn readable(answer: &Value) -> String {
    let tokens = answer["tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    let heading =
        ["ID", "SCOPE", "NAME", "CREATED", "EXPIRES", "LAST USED", "OLD ONE UNTIL"].map(str::to_owned);
    let rows = tokens.iter().map(|token| {
        let text = |key: &str| word(&token[key]);
        let or = |key: &str, otherwise: &str| token[key].as_str().unwrap_or(otherwise).to_owned();
        [
            text("id"),
            text("scope"),
            text("name"),
            text("created_at"),
            or("expires_at", "never"),
            or("last_used_at", "never"),
            text("former_until"),
        ]
    });
    table(std::iter::once(heading).chain(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_listed_without_themselves() {
        let text = readable(&json!({"tokens": [{
            "id": "019ab6c2-4f1e-7d3a-9c55-0123456789ab", "scope": "business", "name": "first",
            "created_at": "2026-11-22T10:00:00Z", "expires_at": null, "last_used_at": "2026-11-22T11:00:00Z",
            "requests_per_second": null, "former_until": null
        }]}));
        assert!(
            text.ends_with("ab  business  first  2026-11-22T10:00:00Z  never    2026-11-22T11:00:00Z  -\n"),
            "{text}"
        );
    }

    #[test]
    fn what_is_said_of_a_new_token_does_not_hold_it() {
        let answer = json!({"id": "x", "scope": "proxy", "name": "sbc-1", "former_until": "2026-11-22T12:00:00Z", "token": "sesame"});
        let text = made(&answer);
        assert!(text.starts_with("proxy token of sbc-1, id x"), "{text}");
        assert!(text.ends_with("until 2026-11-22T12:00:00Z") && !text.contains("sesame"), "{text}");
    }
}
