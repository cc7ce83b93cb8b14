//! The reply to `POST /v1/route`: the document that Kamailio's `rtjson` executes, our fields beside it.
//!
//! `rtjson` applies `headers` only with `"routing":"serial"`; an empty display name there removes the caller's.
//! This is the one place outside the store where a party's number leaves control.

use serde::Serialize;
use zeroize::Zeroizing;

use super::decide::{Connect, Decision};
use crate::name::{Role, TripId};

#[derive(Serialize)]
struct Document<'a> {
    version: &'static str,
    routing: &'static str,
    routes: Vec<Route<'a>>,
    bauta: Bauta<'a>,
}

#[derive(Serialize)]
struct Route<'a> {
    uri: &'a str,
    headers: Headers<'a>,
}

#[derive(Serialize)]
struct Headers<'a> {
    from: NameAddr<'a>,
    to: NameAddr<'a>,
}

#[derive(Serialize)]
struct NameAddr<'a> {
    display: &'static str,
    uri: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
enum Bauta<'a> {
    Connect { trip: &'a TripId, caller: &'a Role, callee: &'a Role, record: bool, max_seconds: u32 },
    Reject { sip_code: u16, reason: &'static str },
}

/// The document as JSON. `host` is the host part of every URI: never one that the caller chose, for it decides where
/// the callee's own number is sent.
pub fn render(decision: &Decision, host: &str) -> Result<Vec<u8>, serde_json::Error> {
    match decision {
        Decision::Connect(connect) => connected(connect, host),
        Decision::Reject(reason) => serde_json::to_vec(&document(
            Vec::new(),
            Bauta::Reject { sip_code: reason.sip_code(), reason: reason.as_str() },
        )),
    }
}

fn connected(connect: &Connect, host: &str) -> Result<Vec<u8>, serde_json::Error> {
    let Connect { routed, callee, shown } = connect;
    let uri = Zeroizing::new(format!("sip:{}@{host}", *callee.reveal()));
    let from = format!("sip:{shown}@{host}");
    let headers =
        Headers { from: NameAddr { display: "", uri: &from }, to: NameAddr { display: "", uri: &uri } };
    let bauta = Bauta::Connect {
        trip: &routed.trip,
        caller: &routed.caller_role,
        callee: &routed.callee_role,
        record: routed.record,
        max_seconds: routed.max_seconds,
    };
    serde_json::to_vec(&document(vec![Route { uri: &uri, headers }], bauta))
}

fn document<'a>(routes: Vec<Route<'a>>, bauta: Bauta<'a>) -> Document<'a> {
    Document { version: "1.0", routing: "serial", routes, bauta }
}
