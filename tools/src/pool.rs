//! `bauta pool`: how the pools of numbers will do, and what a number is used for.

#![allow(clippy::indexing_slicing, reason = "a member that a JSON value does not have is null")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Context;
use control::city::NumberState;
use control::name::City;
use control::number::PoolNumber;
use serde_json::{Value, json};

use crate::client::Client;
use crate::columns::{span, table, word};
use crate::place::Place;

/// Exit code when a pool runs dry soon.
const DRY: u8 = 3;
/// What soon is, in seconds: 7 days.
const SOON: u64 = 7 * 86_400;

/// Forecast pools, and say what their numbers are used for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show how full each city's pool is, when it runs dry, and how many numbers to add.
    ///
    /// A pool runs dry for its busiest party: it needs as many numbers as that one party holds at a time, however many
    /// parties there are. Exits 0 when all is well and 3 when a pool runs dry within 7 days, or has refused trips in
    /// the last 24 hours and was given too few numbers since; so cron can watch it. 1 is an error.
    Forecast {
        /// This city alone; every city when not given.
        #[arg(value_parser = City::new)]
        city: Option<City>,
        #[command(flatten)]
        place: Place,
        /// Print control's answers as they are, by city.
        #[arg(long)]
        json: bool,
    },
    /// Say what a number of a city is used for from now on.
    ///
    /// A city that is written in a file is changed there: control takes the file in within seconds.
    Set {
        /// The city.
        #[arg(value_parser = City::new)]
        city: City,
        /// The pool number, + and digits.
        #[arg(value_parser = PoolNumber::parse)]
        number: PoolNumber,
        /// active: new trips get it. reserved: kept back. draining: new trips do not get it, those that have it go on.
        /// suspended: calls to it are refused.
        #[arg(value_name = "STATE", value_parser = state)]
        to: NumberState,
        #[command(flatten)]
        place: Place,
    },
}

/// Runs the subcommand.
pub fn main(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Forecast { city, place, json } => {
            let forecasts = forecasts(&Client::operator(&place)?, city)?;
            if json {
                println!("{:#}", json!({ "cities": forecasts }));
            } else {
                print!("{}", readable(&forecasts));
            }
            let dry = forecasts.values().any(runs_dry_soon);
            Ok(if dry { DRY.into() } else { ExitCode::SUCCESS })
        }
        Command::Set { city, number, to, place } => {
            let path = format!("/v1/cities/{city}/numbers/{number}");
            Client::operator(&place)?.put(&path, &json!({ "state": to.as_str() }))?;
            println!("{number} of {city} is {}", to.as_str());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn state(text: &str) -> Result<NumberState, String> {
    let names = || NumberState::ALL.map(NumberState::as_str).join(", ");
    NumberState::ALL
        .into_iter()
        .find(|state| state.as_str() == text)
        .ok_or_else(|| format!("must be one of {}", names()))
}

/// The forecast of every city, or of one, by its name.
pub fn forecasts(operator: &Client, city: Option<City>) -> anyhow::Result<BTreeMap<String, Value>> {
    let names: Vec<String> = if let Some(city) = city {
        vec![city.into()]
    } else {
        let answer = operator.read_json("/v1/cities")?;
        let cities = answer["cities"].as_object().context("control lists no cities")?;
        cities.keys().cloned().collect()
    };
    let forecast = |name: String| {
        let answer = operator.read_json(&format!("/v1/cities/{name}/forecast"))?;
        Ok((name, answer))
    };
    names.into_iter().map(forecast).collect()
}

/// Whether the pool runs dry within 7 days, or did in the last 24 hours and has not been given enough numbers since.
pub fn runs_dry_soon(forecast: &Value) -> bool {
    let some = |name: &str| forecast[name].as_u64().is_some_and(|number| number > 0);
    forecast["runs_dry_in_seconds"].as_u64().is_some_and(|seconds| seconds <= SOON)
        || (some("exhausted_last_day") && some("numbers_to_add"))
}

/// What there is to do about a pool that [`runs_dry_soon`], in a sentence.
pub fn advice(city: &str, forecast: &Value) -> String {
    let dry = forecast["runs_dry_in_seconds"].as_u64().filter(|seconds| *seconds <= SOON);
    let refused = forecast["exhausted_last_day"].as_u64().filter(|trips| *trips > 0);
    let mut facts = Vec::new();
    if let Some(trips) = refused {
        facts.push(format!("has refused {} in the last 24 hours", count(trips, "trip")));
    }
    if let Some(seconds) = dry {
        facts.push(format!("runs dry in {} ({})", span(seconds), word(&forecast["runs_dry_at"])));
    }
    let add = count(forecast["numbers_to_add"].as_u64().unwrap_or(0), "number");
    format!("{city} {}: add {add} or more", facts.join(" and "))
}

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A table with what runs dry first at its top, and below it what there is to do.
fn readable(forecasts: &BTreeMap<String, Value>) -> String {
    if forecasts.is_empty() {
        return "no cities\n".into();
    }
    let mut cities: Vec<_> = forecasts.iter().collect();
    let urgency = |forecast: &Value| forecast["runs_dry_in_seconds"].as_u64().unwrap_or(u64::MAX);
    cities.sort_by_key(|(name, forecast)| (urgency(forecast), name.as_str()));
    let heading = [
        "CITY",
        "ACTIVE",
        "IN USE",
        "RESERVED",
        "DRAINING",
        "SUSPENDED",
        "BUSIEST PARTY HOLDS",
        "TAKES A DAY",
        "NUMBERS REST",
        "RUNS DRY",
        "ADD",
    ];
    let mut text = table(std::iter::once(heading.map(str::to_owned)).chain(cities.iter().map(row)));
    text.push('\n');
    let mut calm = true;
    for (city, forecast) in &cities {
        if runs_dry_soon(forecast) {
            calm = false;
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}.", advice(city, forecast));
        }
        if let Some(borrowed) = forecast["borrowed"].as_u64().filter(|numbers| *numbers > 0) {
            let _ = writeln!(text, "{city} uses numbers of its neighbours for {}.", count(borrowed, "trip"));
        }
    }
    if calm {
        text.push_str("No pool runs dry within 7 days.\n");
    }
    text
}

fn row((city, forecast): &(&String, &Value)) -> [String; 11] {
    let number = |name: &str| word(&forecast["numbers"][name]);
    let busiest = &forecast["busiest_party"];
    let seconds = |name: &str| forecast[name].as_u64().map(span);
    [
        (*city).clone(),
        number("active"),
        word(&forecast["in_use"]),
        number("reserved"),
        number("draining"),
        number("suspended"),
        word(&busiest["numbers_held"]),
        word(&busiest["trips_last_day"]),
        seconds("effective_quarantine_seconds").unwrap_or_else(|| "-".into()),
        seconds("runs_dry_in_seconds").map_or_else(|| "not in 30 d".into(), |span| format!("in {span}")),
        word(&forecast["numbers_to_add"]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forecast(active: u64, held: u64, dry: Option<u64>, exhausted: u64, add: u64) -> Value {
        json!({
            "numbers": {"active": active, "reserved": 1, "draining": 2, "suspended": 0},
            "in_use": held, "trips_last_day": 400, "exhausted_last_day": exhausted, "borrowed": exhausted,
            "busiest_party": {"numbers_held": held, "trips_last_day": 20},
            "free_for_busiest_party": active - held, "effective_quarantine_seconds": 7_200,
            "runs_dry_at": dry.map(|_| "2026-11-24T12:00:00Z"), "runs_dry_in_seconds": dry,
            "numbers_needed": active + add, "numbers_to_add": add
        })
    }

    #[test]
    fn what_runs_dry_stands_first_with_what_to_do() {
        let cities = BTreeMap::from([
            ("amsterdam".to_owned(), forecast(40, 17, None, 0, 0)),
            ("london".to_owned(), forecast(22, 21, Some(9_000), 3, 12)),
            ("paris".to_owned(), forecast(40, 20, Some(SOON + 1), 0, 1)),
        ]);
        let text = readable(&cities);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("CITY"), "{text}");
        let cells = |line: &str| {
            line.split("  ").map(str::trim).filter(|c| !c.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            cells(lines[1]),
            ["london", "22", "21", "1", "2", "0", "21", "20", "2 h", "in 2 h 30 min", "12"]
        );
        assert_eq!(
            cells(lines[3]),
            ["amsterdam", "40", "17", "1", "2", "0", "17", "20", "2 h", "not in 30 d", "0"]
        );
        assert_eq!(
            lines[5..],
            [
                "london has refused 3 trips in the last 24 hours and runs dry in 2 h 30 min (2026-11-24T12:00:00Z): add 12 numbers or more.",
                "london uses numbers of its neighbours for 3 trips.",
            ]
        );
        assert!(runs_dry_soon(&cities["london"]) && !runs_dry_soon(&cities["paris"]));
        let refused = forecast(40, 40, None, 3, 5);
        assert!(
            runs_dry_soon(&refused) && !runs_dry_soon(&forecast(45, 40, None, 3, 0)),
            "numbers were added since"
        );
    }

    #[test]
    fn a_pool_nobody_uses_is_calm() {
        let unused = json!({
            "numbers": {"active": 8, "reserved": 0, "draining": 0, "suspended": 0}, "in_use": 0,
            "exhausted_last_day": 0, "borrowed": 0, "busiest_party": null, "effective_quarantine_seconds": null,
            "runs_dry_at": null, "runs_dry_in_seconds": null, "numbers_to_add": 0
        });
        let text = readable(&BTreeMap::from([("oslo".to_owned(), unused)]));
        assert!(text.contains("oslo") && text.ends_with("\n\nNo pool runs dry within 7 days.\n"), "{text}");
        assert_eq!(readable(&BTreeMap::new()), "no cities\n");
    }
}
