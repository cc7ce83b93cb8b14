//! Recorded calls at a Bauta POP: it records what its route decision says. One trip, whose parties call each other again and
//! again; each call asks for its route first, as a proxy does.

#![allow(clippy::indexing_slicing, reason = "a member that a JSON value does not have is null")]

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::ng::Fault;
use crate::client::Client;
use crate::place::Place;

/// The caller's and the callee's phone: of the numbers that Ofcom keeps for drama.
const PHONES: [&str; 2] = ["+447700900001", "+447700900002"];
const CITY: &str = "bauta-load";
/// Host part of the URIs. (One under `.invalid` would say that there is no number.)
const HOST: &str = "pop.example";

/// Where routes are asked for.
#[derive(Debug, Clone)]
pub struct Routes {
    http: Client,
    dial: String,
}

/// The trip of a load, open until it is closed.
#[derive(Debug)]
pub struct Trip {
    business: Client,
    name: String,
    /// Its routes.
    pub routes: Routes,
}

impl Trip {
    /// Opens a recorded trip at the POP of `state`.
    pub fn open(state: &Path, config: Option<&Path>) -> anyhow::Result<Self> {
        let place = Place { state: state.to_owned(), config: config.map(Path::to_owned) };
        let http = place.settings()?.control.http;
        let client = |scope| Client::scope(http, state, scope);
        let numbers = ["+442079460971", "+442079460972"];
        let plan = json!({"country": "44", "numbers": numbers, "record": true, "cooling": 0});
        client("operator")?.put(&format!("/v1/cities/{CITY}"), &plan)?;
        let letters = (0..8).map(|n| Ok(char::from(b'a' + (getrandom::u32()? >> n & 15) as u8)));
        let name = format!("load-{}", letters.collect::<Result<String, getrandom::Error>>()?);
        let [caller, callee] = PHONES;
        let wish = json!({
            "trip": name, "city": CITY, "record": true, "expires_in": 86_400, "grace": 0, "max_seconds": 86_400,
            "parties": [{"role": "driver", "phone": caller}, {"role": "passenger", "phone": callee}],
        });
        let business = client("business")?;
        let made = business.post("/v1/trips", &wish)?;
        let dial = made["parties"][0]["dial"].as_str().context("the trip has no number to dial")?.to_owned();
        Ok(Self { business, name, routes: Routes { http: client("proxy")?, dial } })
    }

    /// Closes it.
    pub fn close(self) -> anyhow::Result<()> {
        self.business.post(&format!("/v1/trips/{}/close", self.name), &json!({})).map(drop)
    }
}

impl Routes {
    /// Asks who is behind the dialled number; the offer with the same Call-ID is then recorded.
    pub fn ask(&self, call_id: &str) -> Result<(), Fault> {
        let [caller, _] = PHONES;
        let (from, to) = (format!("sip:{caller}@{HOST}"), format!("sip:{}@{HOST}", self.dial));
        let question = json!({"call_id": call_id, "from": from, "to": to, "trunk": "bauta-load"});
        let answer =
            self.http.post("/v1/route", &question).map_err(|e| Fault::NoRoute(e.root_cause().to_string()))?;
        let decision = &answer["bauta"];
        match (decision["decision"].as_str(), decision["record"].as_bool()) {
            (Some("connect"), Some(true)) => Ok(()),
            (Some("connect"), _) => Err(Fault::NotRecorded("the route decision says so".into())),
            _ => Err(Fault::NoRoute(reason(decision))),
        }
    }
}

fn reason(decision: &Value) -> String {
    decision["reason"].as_str().unwrap_or("no reason given").to_owned()
}
