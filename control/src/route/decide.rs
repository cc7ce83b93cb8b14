//! The decision itself: who calls, what was dialled, and whether a trip lets them talk.
//!
//! Pure functions of the directory, the proxy's question and the time. What is not certain does not connect.

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Routed;
use crate::city::CityPlan;
use crate::directory::{Directory, Key};
use crate::moment::Moment;
use crate::number::address::{self, Spelled};
use crate::number::verstat::{self, Verstat};
use crate::number::{E164, PoolNumber};
use crate::trip::Pin;

/// `POST /v1/route`. Fields that are not known are passed over: the proxy's configuration may be newer.
#[derive(Deserialize)]
pub struct Question {
    /// The SIP Call-ID.
    pub call_id: Zeroizing<String>,
    /// Who calls: a SIP or tel URI, or a From or P-Asserted-Identity value. Absent, the number is withheld.
    #[serde(default)]
    pub from: Zeroizing<String>,
    /// What was dialled: the request URI, or a To value.
    pub to: Zeroizing<String>,
    /// The trunk that the call came by, as the city's plan names it.
    pub trunk: Option<String>,
    /// What the caller typed when it was asked for its PIN: digits.
    pub pin: Option<Zeroizing<String>>,
    /// What the carrier found out about the caller's number (STIR), as 3GPP TS 24.229 has it: `TN-Validation-Passed`
    /// and so on. Without it, a `verstat` parameter of `from` is read.
    pub verstat: Option<String>,
}

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// What was dialled is no pool number, or nobody's trip uses it now.
    NoTrip,
    /// The caller's trip on this number has ended.
    TripEnded,
    /// The number is in use, but by nobody who calls from here.
    UnknownCaller,
    /// The caller's number is withheld.
    Withheld,
    /// The trunk says of the caller's number what the policy does not take for certain (STIR).
    Unverified,
    /// One of the two does not want to be reached by the other.
    Blocked,
    /// The trip lets the other party call alone.
    Direction,
    /// The trip has had all its calls.
    Limit,
    /// The trip begins calls too fast.
    TripRate,
    /// The party begins calls too fast.
    PartyRate,
    /// The number is taken out of use.
    NumberSuspended,
    /// The PIN belongs to no trip on this number.
    PinWrong,
    /// Too many wrong PINs: none is looked at for a while.
    PinLocked,
    /// The store does not answer, so that it is not known whose PIN it is.
    Unavailable,
    /// The question lacks a Call-ID.
    Malformed,
}

impl Reason {
    /// Every reason, in the order of their counters.
    pub const ALL: [Self; 15] = [
        Self::NoTrip,
        Self::TripEnded,
        Self::UnknownCaller,
        Self::Withheld,
        Self::Unverified,
        Self::Blocked,
        Self::Direction,
        Self::Limit,
        Self::TripRate,
        Self::PartyRate,
        Self::NumberSuspended,
        Self::PinWrong,
        Self::PinLocked,
        Self::Unavailable,
        Self::Malformed,
    ];

    /// The name in replies, policies, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoTrip => "no_trip",
            Self::TripEnded => "trip_ended",
            Self::UnknownCaller => "unknown_caller",
            Self::Withheld => "withheld",
            Self::Unverified => "unverified",
            Self::Blocked => "blocked",
            Self::Direction => "direction",
            Self::Limit => "limit",
            Self::TripRate => "trip_rate",
            Self::PartyRate => "party_rate",
            Self::NumberSuspended => "number_suspended",
            Self::PinWrong => "pin_wrong",
            Self::PinLocked => "pin_locked",
            Self::Unavailable => "unavailable",
            Self::Malformed => "malformed",
        }
    }

    /// What the proxy answers the caller with, unless the city says otherwise (RFC 3261 section 21.4; 433: RFC 5079).
    pub const fn sip_code(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::TripEnded
            | Self::Unverified
            | Self::Blocked
            | Self::Direction
            | Self::Limit
            | Self::PinWrong
            | Self::PinLocked => 403,
            // The same for both: a stranger does not learn which numbers are in use.
            Self::NoTrip | Self::UnknownCaller => 404,
            Self::Withheld => 433,
            // For now: the same call may be let through later.
            Self::TripRate | Self::PartyRate | Self::NumberSuspended | Self::Unavailable => 480,
        }
    }

    /// The announcement that the proxy plays to the caller, unless the city names another: that of the reason's name,
    /// but one for the reasons that a stranger is not to tell apart.
    pub const fn announcement(self) -> &'static str {
        match self {
            Self::NoTrip | Self::UnknownCaller => Self::NoTrip.as_str(),
            reason => reason.as_str(),
        }
    }
}

/// The question, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The pool number that was dialled; one of ours.
    pub dialled: PoolNumber,
    /// Who calls, or why that is not certain.
    pub caller: Result<E164, Reason>,
    /// What the caller typed, if it is a PIN at all.
    pub pin: Option<Result<Pin, Reason>>,
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
    /// How long it may ring, in seconds; as long as the proxy lets it when none.
    pub ring_seconds: Option<NonZeroU16>,
}

/// Understands a question.
pub fn ask(directory: &Directory, question: &Question) -> Result<Asked, Reason> {
    if question.call_id.trim().is_empty() {
        return Err(Reason::Malformed);
    }
    let trunk = question.trunk.as_deref();
    let dialled = dialled(directory, &question.to, trunk).ok_or(Reason::NoTrip)?;
    let plan = directory.city_of(dialled).and_then(|city| directory.city(city)).ok_or(Reason::NoTrip)?;
    let pin = question.pin.as_ref().map(|pin| Pin::from_digits(pin).ok_or(Reason::PinWrong));
    Ok(Asked { dialled, caller: caller(question, plan), pin })
}

fn caller(question: &Question, plan: &CityPlan) -> Result<E164, Reason> {
    let profile = plan.profile(question.trunk.as_deref()).map_err(|_| Reason::UnknownCaller)?;
    let number = match address::read(&question.from, &profile) {
        Spelled::Number(number) => number,
        Spelled::Absent => return Err(Reason::Withheld),
        Spelled::Other => return Err(Reason::UnknownCaller),
    };
    let verdict = match &question.verstat {
        Some(text) => Verstat::parse(text),
        None => verstat::in_address(&question.from),
    };
    if profile.verstat().accepts(verdict) { Ok(number) } else { Err(Reason::Unverified) }
}

/// Our number that `to` spells. Where trunks of several countries could be meant, the readings must agree.
fn dialled(directory: &Directory, to: &str, trunk: Option<&str>) -> Option<PoolNumber> {
    let mut found = None;
    for profile in directory.profiles(trunk) {
        let Some(number) = address::dialled(to, profile) else { continue };
        let ours = PoolNumber::dialled(&number);
        if !directory.is_ours(ours) {
            continue;
        }
        match found {
            Some(other) if other != ours => return None,
            _ => found = Some(ours),
        }
        // Written in full, it is the same number to every profile.
        if to.contains(number.reveal().as_str()) {
            break;
        }
    }
    found
}

/// Why nobody's call to `dialled` goes on, when its caller holds no key there and proved nothing otherwise.
pub fn stranger(directory: &Directory, asked: &Asked, now: Moment) -> Reason {
    match &asked.caller {
        Err(reason) => *reason,
        Ok(_) if directory.in_use(asked.dialled, now) => Reason::UnknownCaller,
        Ok(_) => Reason::NoTrip,
    }
}

/// Whether the trip lets this party call the other at `now`; how often is not asked here.
pub fn connect(key: Key<'_>, now: Moment) -> Result<Connect, Reason> {
    let trip = key.trip;
    let (from, to) = trip.sides(key.party);
    let callee = to.phones.called().filter(|_| trip.connects(now)).ok_or(Reason::TripEnded)?;
    if trip.blocked {
        return Err(Reason::Blocked);
    }
    if trip.rules.callers.get(key.party) != Some(&true) {
        return Err(Reason::Direction);
    }
    Ok(Connect {
        routed: Routed {
            trip: trip.id.clone(),
            city: trip.city.clone(),
            caller_role: from.role.clone(),
            callee_role: to.role.clone(),
            record: trip.rules.record,
            max_seconds: trip.rules.max_seconds,
        },
        callee: callee.clone(),
        shown: to.dial,
        ring_seconds: trip.rules.ring_seconds,
    })
}

#[cfg(test)]
mod tests;
