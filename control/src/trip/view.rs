//! A trip as the API shows it. Never holds a party's own number.

use serde::Serialize;
use zeroize::Zeroizing;

use super::{Trip, TripState};
use crate::moment::Moment;
use crate::name::{City, Role, TripId};
use crate::number::PoolNumber;

/// What creating a trip answers. Holds PINs, and is not printed.
#[derive(Serialize)]
pub struct TripView {
    trip: TripId,
    state: TripState,
    version: u64,
    expires_at: Moment,
    parties: Vec<PartyView>,
    /// The trip of the same two people that it goes on with: their numbers stay what they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    continues: Option<TripId>,
}

#[derive(Serialize)]
struct PartyView {
    role: Role,
    dial: PoolNumber,
    pin: Zeroizing<String>,
    /// The person was erased: calls to and from it are over.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    erased: bool,
}

/// What reading a trip adds to what creating it says.
#[derive(Serialize)]
#[allow(clippy::struct_excessive_bools, reason = "an answer, not a state: each is a member of the JSON")]
pub struct TripDetail {
    #[serde(flatten)]
    view: TripView,
    city: City,
    record: bool,
    callers: Vec<Role>,
    max_seconds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ring_seconds: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_calls: Option<u32>,
    sliding: bool,
    created_at: Moment,
    /// Its absolute end.
    ends_by: Moment,
    /// When grace ends.
    cools_at: Moment,
    /// When its numbers are free again.
    held_until: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<Moment>,
    /// The parties are kept from talking to each other.
    blocked: bool,
    /// A number of it has passed to a later trip: no call of it connects, and it is not reopened.
    handed_on: bool,
    /// Calls of this trip in progress.
    calls: usize,
}

impl Trip {
    /// The trip at `now`, as creating it answers; it goes on with the numbers of `continues`.
    pub fn view(&self, now: Moment, continues: Option<TripId>) -> TripView {
        let party = |p: &super::Party| PartyView {
            role: p.role.clone(),
            dial: p.dial,
            pin: p.pin.reveal(),
            erased: p.phones.called().is_none(),
        };
        TripView {
            trip: self.id.clone(),
            state: self.life.state(now),
            version: self.version,
            expires_at: self.life.expires_at,
            parties: self.parties.iter().map(party).collect(),
            continues,
        }
    }

    /// The trip at `now` in full; `calls` of it are in progress.
    pub fn detail(&self, now: Moment, calls: usize) -> TripDetail {
        let (rules, life) = (&self.rules, &self.life);
        let may = self.parties.iter().zip(rules.callers).filter(|(_, may)| *may);
        TripDetail {
            view: self.view(now, None),
            city: self.city.clone(),
            record: rules.record,
            callers: may.map(|(party, _)| party.role.clone()).collect(),
            max_seconds: rules.max_seconds,
            ring_seconds: rules.ring_seconds.map(Into::into),
            max_calls: rules.max_calls.map(Into::into),
            sliding: life.sliding,
            created_at: life.created_at,
            ends_by: life.ends_by,
            cools_at: life.cools_at(),
            held_until: life.held_until(),
            closed_at: life.closed_at,
            blocked: self.blocked,
            handed_on: self.handed_on(),
            calls,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    /// Either for everything, or for what can be printed: which of the two is clear for what cannot be printed alone.
    trait Unprinted<A> {
        fn is() {}
    }

    impl<T> Unprinted<()> for T {}
    impl<T: Debug> Unprinted<u8> for T {}

    #[test]
    fn what_holds_a_pin_cannot_be_printed() {
        // That this compiles is the test.
        <TripView as Unprinted<_>>::is();
        <TripDetail as Unprinted<_>>::is();
        <PartyView as Unprinted<_>>::is();
    }
}
