//! How many calls trips and parties have begun, and how fast. Pure; owned by [`super::Masking`].

use std::collections::HashMap;

use crate::city::CityPlan;
use crate::moment::Moment;
use crate::name::TripId;
use crate::pace::Paces;
use crate::route::Reason;
use crate::secret::Lookup;
use crate::trip::Trip;

/// Parties, and trips, whose pace is kept at most.
const PACED: usize = 262_144;

/// The counters.
#[derive(Debug)]
pub(super) struct Meter {
    parties: Paces<Lookup>,
    trips: Paces<TripId>,
    /// Calls of trips with a limit, while the store may not know all of them.
    calls: HashMap<TripId, u32>,
}

impl Default for Meter {
    fn default() -> Self {
        Self { parties: Paces::new(PACED), trips: Paces::new(PACED), calls: HashMap::new() }
    }
}

impl Meter {
    /// Lets one more call of `trip` begin, by the party that `party` names (asked only where the city keeps a pace).
    /// Answers the calls of the trip so far, this one included; counts nothing when it refuses.
    pub fn admit(
        &mut self,
        trip: &Trip,
        plan: &CityPlan,
        party: impl FnOnce() -> Option<Lookup>,
        now: Moment,
    ) -> Result<u32, Reason> {
        let calls = self.calls.get(&trip.id).copied().unwrap_or(0).max(trip.calls);
        if trip.rules.max_calls.is_some_and(|most| calls >= most.get()) {
            return Err(Reason::Limit);
        }
        let now_ms = u64::try_from(now.unix()).unwrap_or(0).saturating_mul(1_000);
        if let Some(pace) = plan.trip_pace {
            self.trips.peek(&trip.id, pace, now_ms).map_err(|_| Reason::TripRate)?;
        }
        if let Some((pace, party)) = plan.party_pace.and_then(|pace| Some((pace, party()?))) {
            self.parties.take(party, pace, now_ms).map_err(|_| Reason::PartyRate)?;
        }
        if let Some(pace) = plan.trip_pace {
            self.trips.take(trip.id.clone(), pace, now_ms).map_err(|_| Reason::TripRate)?;
        }
        let calls = calls.saturating_add(1);
        if trip.rules.max_calls.is_some() {
            self.calls.insert(trip.id.clone(), calls);
        }
        Ok(calls)
    }

    /// A trip is made: calls of an earlier one of its id are not its own.
    pub fn began(&mut self, trip: &TripId) {
        self.calls.remove(trip);
    }

    /// Forgets the calls of trips that are no more.
    pub fn keep_only(&mut self, is_there: impl Fn(&TripId) -> bool) {
        self.calls.retain(|trip, _| is_there(trip));
    }

    /// The store knows so many calls of the trip.
    pub fn stored(&mut self, trip: &Trip) {
        if self.calls.get(&trip.id).is_some_and(|calls| *calls <= trip.calls) {
            self.calls.remove(&trip.id);
        }
    }
}
