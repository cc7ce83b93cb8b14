//! The decision itself: who calls, what was dialled, and whether a trip lets them talk.
//!
//! Pure functions of the directory, the proxy's question and the time. What is not certain does not connect.

use serde::Deserialize;
use zeroize::Zeroizing;

use super::Routed;
use crate::directory::{Directory, Key};
use crate::moment::Moment;
use crate::number::address::{self, Spelled};
use crate::number::{E164, PoolNumber};

/// `POST /v1/route`. Fields that are not known are passed over: the proxy's configuration may be newer.
#[derive(Deserialize)]
pub struct Question {
    /// The SIP Call-ID.
    pub call_id: Zeroizing<String>,
    /// Who calls: a SIP or tel URI, or a From or P-Asserted-Identity value.
    pub from: Zeroizing<String>,
    /// What was dialled: the request URI, or a To value.
    pub to: Zeroizing<String>,
    /// The trunk that the call came by, as the city's plan names it.
    pub trunk: Option<String>,
}

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// What was dialled is no pool number, or nobody's trip uses it now.
    NoTrip,
    /// The caller's trip on this number has ended.
    TripEnded,
    /// The number is in use, but by nobody who calls from here.
    UnknownCaller,
    /// The caller's number is withheld.
    Withheld,
    /// The question lacks a Call-ID.
    Malformed,
}

impl Reason {
    /// Every reason, in the order of their counters.
    pub const ALL: [Self; 5] =
        [Self::NoTrip, Self::TripEnded, Self::UnknownCaller, Self::Withheld, Self::Malformed];

    /// The name in replies, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoTrip => "no_trip",
            Self::TripEnded => "trip_ended",
            Self::UnknownCaller => "unknown_caller",
            Self::Withheld => "withheld",
            Self::Malformed => "malformed",
        }
    }

    /// What the proxy answers the caller with (RFC 3261 section 21.4; 433: RFC 5079).
    pub const fn sip_code(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::TripEnded => 403,
            // The same for both: a stranger does not learn which numbers are in use.
            Self::NoTrip | Self::UnknownCaller => 404,
            Self::Withheld => 433,
        }
    }
}

/// The question, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The pool number that was dialled; one of ours.
    pub dialled: PoolNumber,
    /// Who calls.
    pub caller: E164,
}

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It connects.
    Connect(Connect),
    /// It is refused.
    Reject(Reason),
}

/// A call that connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// What the NG offer inherits.
    pub routed: Routed,
    /// Whom to call.
    pub callee: E164,
    /// What the callee sees: the pool number that the callee itself dials, so that calling back works.
    pub shown: PoolNumber,
}

/// Understands a question.
pub fn ask(directory: &Directory, question: &Question) -> Result<Asked, Reason> {
    if question.call_id.trim().is_empty() {
        return Err(Reason::Malformed);
    }
    let trunk = question.trunk.as_deref();
    let dialled = dialled(directory, &question.to, trunk).ok_or(Reason::NoTrip)?;
    let plan = directory.city_of(dialled).and_then(|city| directory.city(city)).ok_or(Reason::NoTrip)?;
    let profile = plan.profile(trunk).map_err(|_| Reason::UnknownCaller)?;
    let caller = match address::read(&question.from, &profile) {
        Spelled::Number(number) => number,
        Spelled::Absent => return Err(Reason::Withheld),
        Spelled::Other => return Err(Reason::UnknownCaller),
    };
    Ok(Asked { dialled, caller })
}

/// Our number that `to` spells. Where trunks of several countries could be meant, the readings must agree.
fn dialled(directory: &Directory, to: &str, trunk: Option<&str>) -> Option<PoolNumber> {
    let mut found = None;
    for profile in directory.profiles(trunk) {
        let Spelled::Number(number) = address::read(to, &profile) else { continue };
        let number = PoolNumber::dialled(&number);
        if !directory.is_ours(number) {
            continue;
        }
        match found {
            Some(other) if other != number => return None,
            _ => found = Some(number),
        }
    }
    found
}

/// Decides from memory.
pub fn decide(directory: &Directory, asked: &Asked, now: Moment) -> Decision {
    match directory.key(asked.dialled, &asked.caller, now) {
        Some(key) => decide_key(key, now),
        None if directory.connects_anyone(asked.dialled, now) => Decision::Reject(Reason::UnknownCaller),
        None => Decision::Reject(Reason::NoTrip),
    }
}

fn decide_key(key: &Key, now: Moment) -> Decision {
    let trip = &key.trip;
    if !trip.life.connects(now) {
        return Decision::Reject(Reason::TripEnded);
    }
    let (from, to) = trip.sides(key.party);
    Decision::Connect(Connect {
        routed: Routed {
            trip: trip.id.clone(),
            city: trip.city.clone(),
            caller_role: from.role.clone(),
            callee_role: to.role.clone(),
            record: trip.record,
            max_seconds: trip.max_seconds,
        },
        callee: to.phone.clone(),
        shown: to.dial,
    })
}

#[cfg(test)]
mod tests;
