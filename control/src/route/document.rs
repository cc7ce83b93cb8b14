//! The reply to `POST /v1/route`: the document that Kamailio's `rtjson` executes, our fields beside it.
//!
//! `rtjson` applies `headers` only with `"routing":"serial"`; an empty display name there removes the caller's.
//! This is the one place outside the store where a party's number leaves control.

use serde::Serialize;
use zeroize::Zeroizing;

use super::decide::{Connect, Decision};
use crate::city::CityPlan;
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
    Connect {
        trip: &'a TripId,
        caller: &'a Role,
        callee: &'a Role,
        record: bool,
        max_seconds: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        ring_seconds: Option<u16>,
        #[serde(skip_serializing_if = "Option::is_none")]
        consent_prompt: Option<&'a str>,
    },
    Reject {
        sip_code: u16,
        reason: &'static str,
        announcement: &'a str,
    },
}

/// The document as JSON. `host` is the host part of every URI: never one that the caller chose, for it decides where
/// the callee's own number is sent. `plan` is the policy that tells it: of the trip's city when it connects, else of the
/// city whose number was dialled, if it is one of ours.
pub fn render(
    decision: &Decision,
    plan: Option<&CityPlan>,
    host: &str,
) -> Result<Vec<u8>, serde_json::Error> {
    match decision {
        Decision::Connect(connect) => connected(connect, plan, host),
        Decision::Reject(reason) => {
            let usual = (reason.sip_code(), reason.announcement());
            let (sip_code, announcement) = plan.map_or(usual, |plan| plan.answer(*reason));
            let reject = Bauta::Reject { sip_code, reason: reason.as_str(), announcement };
            serde_json::to_vec(&document(Vec::new(), reject))
        }
    }
}

fn connected(connect: &Connect, plan: Option<&CityPlan>, host: &str) -> Result<Vec<u8>, serde_json::Error> {
    let Connect { routed, callee, shown, ring_seconds } = connect;
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
        ring_seconds: ring_seconds.map(Into::into),
        consent_prompt: plan.and_then(|plan| plan.consent_prompt.as_deref()).filter(|_| routed.record),
    };
    serde_json::to_vec(&document(vec![Route { uri: &uri, headers }], bauta))
}

fn document<'a>(routes: Vec<Route<'a>>, bauta: Bauta<'a>) -> Document<'a> {
    Document { version: "1.0", routing: "serial", routes, bauta }
}
