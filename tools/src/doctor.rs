//! `bauta doctor`: what runs, what is missing, and what to do about it.

#![allow(clippy::indexing_slicing, reason = "a member that a JSON value does not have is null")]

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use relay::settings::PortRange;
use relay::sys::limits;
use serde_json::Value;

use crate::client::Client;
use crate::place::{Place, Settings};
use crate::pool;

/// Free space below which recordings are in danger, in GiB.
const TIGHT_GIB: u64 = 5;

/// Say what runs and what is missing. Exits 1 when calls cannot be placed or recorded.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// As it should be.
    Ok,
    /// Calls go without it.
    Note,
    /// Calls do not go, or are not recorded.
    Missing,
}

/// What was looked at, and what was found.
#[derive(Debug)]
struct Finding(State, &'static str, String);

/// Runs the subcommand.
pub fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let settings = arguments.place.settings()?;
    let mut findings = Vec::new();
    match Client::open(settings.control.http).get("/readyz") {
        Ok(reply) => {
            running(&reply.body, &mut findings);
            let operator = Client::operator(&arguments.place).ok();
            cities(&reply.body, operator.as_ref(), &mut findings);
            pools(operator.as_ref(), &mut findings);
        }
        Err(error) => stopped(&arguments.place, &settings, &format!("{error:#}"), &mut findings),
    }
    host(&arguments.place, &settings, &mut findings);
    for Finding(state, name, words) in &findings {
        let mark = match state {
            State::Ok => "ok     ",
            State::Note => "note   ",
            State::Missing => "MISSING",
        };
        println!("{mark}  {name:<11} {words}");
    }
    let missing = findings.iter().any(|Finding(state, ..)| *state == State::Missing);
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Findings from what control says of itself and the others.
fn running(readyz: &str, findings: &mut Vec<Finding>) {
    let facts: Value = serde_json::from_str(readyz).unwrap_or_default();
    let (relay, store) = (&facts["relay"], &facts["store"]);
    let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let ready = facts["ready"] == true;
    findings.push(if ready {
        Finding(State::Ok, "control", "ready: calls can be placed".into())
    } else {
        Finding(State::Missing, "control", "runs, but is not ready; see below".into())
    });
    if store["ok"] != true {
        findings.push(Finding(State::Missing, "store", text(&store["trouble"])));
    }
    if relay["connected"] == true {
        let lane = format!("lane {}: {}", text(&relay["lane"]), text(&relay["lane_reason"]));
        findings.push(Finding(State::Ok, "relay", lane));
    } else {
        findings.push(Finding(State::Missing, "relay", text(&relay["trouble"])));
    }
    let missing = relay["missing"].as_array().into_iter().flatten();
    findings.extend(missing.map(|words| Finding(State::Note, "relay", text(words))));
    if relay["draining"] == true {
        let words = "draining: no new calls are taken; `bauta drain --undo` ends that";
        findings.push(Finding(State::Missing, "relay", words.into()));
    }
    let trouble = facts["recorder"]["trouble"].as_str();
    findings.push(match (relay["recorder_attached"] == true, relay["connected"] == true) {
        (true, _) if trouble.is_some() => Finding(State::Missing, "recorder", text(&facts["recorder"]["trouble"])),
        (true, _) => Finding(State::Ok, "recorder", "attached to the relay's tap".into()),
        (false, true) => {
            let words = "not attached: calls go on, and what the tap's rings hold is recorded when it comes back in time";
            Finding(State::Missing, "recorder", words.into())
        }
        (false, false) => Finding(State::Note, "recorder", "unknown, without the relay".into()),
    });
}

/// Findings about city files that control does not take: `/readyz` counts them, what is wrong is for the operator.
fn cities(readyz: &str, operator: Option<&Client>, findings: &mut Vec<Finding>) {
    let facts: Value = serde_json::from_str(readyz).unwrap_or_default();
    let count = facts["city_files"]["refused"].as_u64().unwrap_or(0);
    if count > 0 {
        let cities = operator.and_then(|operator| operator.read_json("/v1/cities").ok());
        refused(count, &cities.unwrap_or_default(), findings);
    }
}

/// So many files are refused; `cities` names them, or is null where it could not be read.
fn refused(count: u64, cities: &Value, findings: &mut Vec<Finding>) {
    let Some(files) = cities["refused_files"].as_object() else {
        let words = format!("city files that are not taken: {count}; control's log names them");
        findings.push(Finding(State::Note, "city", words));
        return;
    };
    for (city, trouble) in files {
        let trouble = trouble.as_str().unwrap_or("unknown");
        let words = format!("the file of {city} is not taken, the city stays as it was: {trouble}");
        findings.push(Finding(State::Note, "city", words));
    }
}

/// Findings about pools that run dry soon. Without the operator's token nothing is known of them; [`host`] says so.
fn pools(operator: Option<&Client>, findings: &mut Vec<Finding>) {
    let Some(operator) = operator else { return };
    match pool::forecasts(operator, None) {
        Ok(forecasts) => dry(&forecasts, findings),
        Err(error) => findings.push(Finding(State::Note, "pools", format!("{error:#}"))),
    }
}

fn dry(forecasts: &BTreeMap<String, Value>, findings: &mut Vec<Finding>) {
    let before = findings.len();
    let soon = forecasts.iter().filter(|(_, forecast)| pool::runs_dry_soon(forecast));
    findings.extend(soon.map(|(city, forecast)| Finding(State::Note, "pool", pool::advice(city, forecast))));
    if findings.len() == before {
        findings.push(Finding(State::Ok, "pools", "none runs dry within 7 days".into()));
    }
}

/// Findings where control does not answer.
fn stopped(place: &Place, settings: &Settings, error: &str, findings: &mut Vec<Finding>) {
    let words = format!("{error}; `bauta run` or tools/run starts all three");
    findings.push(Finding(State::Missing, "control", words));
    let socket = place.state.join("run/relay.sock");
    findings.push(match UnixStream::connect(&socket) {
        Ok(_) => Finding(State::Note, "relay", format!("runs and waits for control at {}", socket.display())),
        Err(error) => Finding(State::Missing, "relay", format!("{}: {error}", socket.display())),
    });
    findings.push(match relay::lane::choose(settings.relay.lane) {
        Ok((lane, why)) => Finding(State::Ok, "lane", format!("would be {}: {why}", lane.name())),
        Err(error) => Finding(State::Missing, "lane", error.to_string()),
    });
    // Loaded for a moment, and attached to nothing.
    let interfaces = settings.relay.interfaces();
    findings.push(match relay::lane::express::open(&settings.relay, None, &interfaces, 1, 16, false) {
        Ok(opened) if !opened.reason.is_empty() => Finding(State::Note, "lane", opened.reason),
        Ok(opened) if opened.ends.is_empty() => {
            Finding(State::Note, "lane", "the express lane is not wanted".into())
        }
        Ok(_) => Finding(State::Ok, "lane", "the kernel takes the express lane's program".into()),
        Err(error) => Finding(State::Missing, "lane", error.to_string()),
    });
    would_lack(settings, findings);
}

/// Findings about this host.
fn host(place: &Place, settings: &Settings, findings: &mut Vec<Finding>) {
    let tokens = place.state.join("tokens/operator");
    findings.push(match std::fs::read_to_string(&tokens) {
        Ok(_) => Finding(State::Ok, "state", format!("{} holds tokens", place.state.display())),
        Err(error) => {
            let words = format!("{}: {error}; control makes it at its first start", tokens.display());
            Finding(State::Note, "state", words)
        }
    });
    if let Ok(files) = rustix::fs::statvfs(&place.state) {
        let free = files.f_bavail.saturating_mul(files.f_frsize) >> 30;
        let state = if free < TIGHT_GIB { State::Note } else { State::Ok };
        findings.push(Finding(state, "disk", format!("{free} GiB free for spools and archives")));
    }
    let interfaces = settings.relay.interfaces();
    let addresses = || interfaces.iter().flat_map(|i| &i.addresses);
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let reserved = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    for address in addresses() {
        let PortRange { first, last } = address.ports;
        let ports = format!("udp {} ports {first}-{last}", address.bound);
        findings.push(if strangers_may_take(address.ports, &range, &reserved) {
            let sysctl = format!("sysctl -w net.ipv4.ip_local_reserved_ports={first}-{last}");
            let words = format!("{ports}; other programs may be given some of them by chance: {sysctl}");
            Finding(State::Note, "media", words)
        } else {
            Finding(State::Ok, "media", ports)
        });
    }
}

/// Findings about what a relay that is started from here would lack; one that runs says it of itself.
fn would_lack(settings: &Settings, findings: &mut Vec<Finding>) {
    match limits::raise_open_files() {
        Ok(files) => {
            findings.push(Finding(State::Ok, "open files", format!("{files} at most for each process")));
            let interfaces = settings.relay.interfaces();
            let pairs = interfaces.iter().flat_map(|i| &i.addresses).map(|a| a.ports.pairs()).sum();
            let workers = settings.relay.workers_of(limits::cores().map_or(1, |cores| cores.len()));
            let missing = limits::missing(files, pairs, workers);
            findings.extend(missing.into_iter().map(|m| Finding(State::Note, "limits", m)));
        }
        Err(error) => findings.push(Finding(State::Note, "open files", error.to_string())),
    }
}

/// Whether the kernel may hand some of `ports` to programs that ask for any port: `range` and `reserved` are the
/// texts of `net.ipv4.ip_local_port_range` and `ip_local_reserved_ports`.
fn strangers_may_take(ports: PortRange, range: &str, reserved: &str) -> bool {
    let mut ends = range.split_whitespace().filter_map(|port| port.parse::<u16>().ok());
    let (Some(low), Some(high)) = (ends.next(), ends.next()) else { return false };
    let reserved: Vec<(u16, u16)> = reserved
        .trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            first.parse().ok().zip(last.parse().ok())
        })
        .collect();
    (ports.first.max(low)..=ports.last.min(high))
        .any(|port| !reserved.iter().any(|(first, last)| (*first..=*last).contains(&port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_ports_are_strangers_unless_reserved() {
        let ports = PortRange { first: 30_000, last: 39_999 };
        assert!(strangers_may_take(ports, "32768\t60999\n", "\n"));
        assert!(strangers_may_take(ports, "32768\t60999\n", "8080,32768-39998\n"));
        assert!(!strangers_may_take(ports, "32768\t60999\n", "30000-39999\n"));
        assert!(!strangers_may_take(ports, "40000\t60999\n", ""));
    }

    #[test]
    fn a_missing_recorder_is_named() {
        let mut findings = Vec::new();
        running(
            r#"{"ready":true,"store":{"ok":true},"relay":{"connected":true,"lane":"mmsg","lane_reason":"so",
                "recorder_attached":false,"trouble":null}}"#,
            &mut findings,
        );
        let states: Vec<_> = findings.iter().map(|Finding(state, name, _)| (*name, *state)).collect();
        assert_eq!(states, [("control", State::Ok), ("relay", State::Ok), ("recorder", State::Missing)]);
    }

    #[test]
    fn a_draining_relay_and_a_recorder_that_cannot_write_are_named() {
        let mut findings = Vec::new();
        running(
            r#"{"ready":false,"store":{"ok":true},"recorder":{"trouble":"its disk is full"},"relay":{"connected":true,
                "lane":"uring","lane_reason":"so","draining":true,"recorder_attached":true,"trouble":null}}"#,
            &mut findings,
        );
        let missing = findings.iter().filter(|Finding(state, ..)| *state == State::Missing);
        let words: Vec<_> = missing.map(|Finding(_, _, words)| words.as_str()).collect();
        assert!(words[1].contains("bauta drain --undo"), "{words:?}");
        assert_eq!(words[2], "its disk is full");
    }

    #[test]
    fn a_refused_city_file_and_a_pool_that_runs_dry_are_named() {
        let mut findings = Vec::new();
        cities(r#"{"city_files":{"refused":0}}"#, None, &mut findings);
        cities(r#"{"city_files":{"refused":1}}"#, None, &mut findings);
        refused(
            1,
            &serde_json::json!({"cities": {}, "refused_files": {"london": "cities/london.toml:3: unknown key"}}),
            &mut findings,
        );
        dry(&BTreeMap::new(), &mut findings);
        let soon = serde_json::json!({"runs_dry_in_seconds": 7_200, "runs_dry_at": "2026-11-22T12:00:00Z",
            "exhausted_last_day": 0, "numbers_to_add": 4});
        let later = serde_json::json!({"runs_dry_in_seconds": 2_000_000, "exhausted_last_day": 0});
        dry(&BTreeMap::from([("oslo".into(), soon), ("paris".into(), later)]), &mut findings);
        let all: Vec<_> =
            findings.iter().map(|Finding(state, name, words)| (*state, *name, words.as_str())).collect();
        assert_eq!(
            all,
            [
                (State::Note, "city", "city files that are not taken: 1; control's log names them"),
                (
                    State::Note,
                    "city",
                    "the file of london is not taken, the city stays as it was: cities/london.toml:3: unknown key"
                ),
                (State::Ok, "pools", "none runs dry within 7 days"),
                (State::Note, "pool", "oslo runs dry in 2 h (2026-11-22T12:00:00Z): add 4 numbers or more"),
            ]
        );
    }
}
