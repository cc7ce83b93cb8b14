//! Route decisions: from memory; on a miss one bounded look-up in the store; else the ladder of a caller that is not
//! known: PIN, intent, refusal.

use std::sync::Arc;
use std::time::Duration;

use super::Masking;
use crate::city::CityPlan;
use crate::directory::Key;
use crate::live::Later;
use crate::moment::Moment;
use crate::number::{E164, PoolNumber};
use crate::route::{Asked, Decision, Outcome, Question, Reason, decide};
use crate::store::StoreError;
use crate::trip::{Change, Pin, Trip};

/// How long a route decision that misses memory may wait for the store.
const LOOK_UP_TIME: Duration = Duration::from_millis(50);

/// A decision, and the policy by which it is told.
pub struct Routing {
    /// What becomes of the call.
    pub decision: Decision,
    /// When it connects, the plan of the trip's city; else that of the city whose number was dialled, if it is one of
    /// ours. The two differ where a neighbour lends its numbers.
    pub plan: Option<Arc<CityPlan>>,
}

/// Who calls, as far as it is certain: a party of a trip.
struct Found {
    trip: Arc<Trip>,
    party: usize,
}

impl From<Key<'_>> for Found {
    fn from(key: Key<'_>) -> Self {
        Self { trip: Arc::clone(key.trip), party: key.party }
    }
}

impl Masking {
    /// Decides about a call and remembers it for the offer that follows.
    pub async fn route(self: &Arc<Self>, question: &Question, now: Moment) -> Routing {
        let (asked, plan) = {
            let directory = self.directory();
            let asked = decide::ask(&directory, question);
            let city = asked.as_ref().ok().and_then(|asked| directory.city_of(asked.dialled));
            (asked, city.and_then(|city| directory.city(city)).map(Arc::clone))
        };
        let decision = match asked {
            Ok(asked) => match self.find(&asked, question, now).await {
                Ok(found) => self.admit(&found, question, now),
                Err(reason) => Decision::Reject(reason),
            },
            Err(reason) => Decision::Reject(reason),
        };
        let outcome = match &decision {
            Decision::Connect(connect) => Outcome::Connect(connect.routed.clone()),
            Decision::Reject(reason) => Outcome::Reject { reason: reason.as_str() },
        };
        self.book.remember(&question.call_id, outcome, now);
        self.tally.route(&decision);
        let plan = match &decision {
            Decision::Connect(connect) => self.directory().city(&connect.routed.city).map(Arc::clone),
            Decision::Reject(_) => plan,
        };
        Routing { decision, plan }
    }

    /// Who calls: by the exact key, by PIN, by an open intent. Never a guess.
    async fn find(&self, asked: &Asked, question: &Question, now: Moment) -> Result<Found, Reason> {
        if self.directory().is_suspended(asked.dialled) {
            return Err(Reason::NumberSuspended);
        }
        if let Ok(caller) = &asked.caller
            && let Some(found) = self.holder(asked.dialled, caller, now).await
            // Whose own trip is over may have borrowed the phone of somebody whose is not.
            && (found.trip.connects(now) || asked.pin.is_none())
        {
            return Ok(found);
        }
        if let Some(pin) = &asked.pin {
            return self.by_pin(asked, pin.as_ref().ok(), now).await;
        }
        // An intent is for a number that nobody knows, not for one that the carrier says is false.
        if asked.caller == Err(Reason::Unverified) {
            return Err(Reason::Unverified);
        }
        let call = self.book.pseudonym(&question.call_id);
        let intent = self.doors().intents.take(asked.dialled, call, now);
        let directory = self.directory();
        let trip = intent.as_ref().and_then(|(trip, _)| directory.trip(trip, now));
        match trip.zip(intent.as_ref()) {
            Some((trip, (_, party))) => Ok(Found { trip: Arc::clone(trip), party: *party }),
            None => Err(decide::stranger(&directory, asked, now)),
        }
    }

    /// From memory; where memory knows no trip of this caller, one look-up in the store may still find one.
    async fn holder(&self, dialled: PoolNumber, caller: &E164, now: Moment) -> Option<Found> {
        if let Some(found) = self.directory().key(dialled, caller, now).map(Found::from) {
            return Some(found);
        }
        let trip = self.look_up(self.store.find_key(dialled, self.keys.lookup(caller), now)).await.ok()??;
        self.directory_mut().put_trip(trip);
        self.directory().key(dialled, caller, now).map(Found::from)
    }

    /// By the PIN, unless too many wrong ones came before. What is no PIN at all counts as a wrong one.
    async fn by_pin(&self, asked: &Asked, pin: Option<&Pin>, now: Moment) -> Result<Found, Reason> {
        let caller = asked
            .caller
            .as_ref()
            .ok()
            .map(|caller| self.keys.pseudonym("caller", &caller.handset().reveal()));
        let locked = || match self.doors().tries.locked(asked.dialled, caller, now) {
            Some(_) => Err(Reason::PinLocked),
            None => Ok(()),
        };
        // Who is locked does not stand in anybody's way; and is asked for again, since the turn before may have locked.
        locked()?;
        let _turn = self.pin_turn.lock().await;
        locked()?;
        // Found by its keyed pseudonym: how long that takes says nothing about how much of a guess was right.
        let found = match pin {
            Some(pin) => self.look_up(self.store.find_pin(asked.dialled, pin.clone(), now)).await,
            None => Ok(None),
        };
        // No answer of the store says nothing about the PIN.
        let found = found.map_err(|()| Reason::Unavailable)?;
        let mut doors = self.doors();
        let Some((trip, party)) = found else {
            doors.tries.wrong(asked.dialled, caller, now);
            return Err(Reason::PinWrong);
        };
        doors.tries.right(asked.dialled, caller, now);
        drop(doors);
        Ok(Found { trip: self.directory_mut().put_trip(trip), party })
    }

    /// An answer of the store, if it comes in time and not too many wait for one.
    async fn look_up<T>(&self, asked: Later<'_, Result<T, StoreError>>) -> Result<T, ()> {
        let Ok(_turn) = self.look_ups.try_acquire() else { return Err(()) };
        match tokio::time::timeout(LOOK_UP_TIME, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a route decision was made from memory alone");
                Err(())
            }
            Err(_) => {
                tracing::warn!("a route decision was made from memory alone: the store took too long");
                Err(())
            }
        }
    }

    /// Whether the trip lets the call begin, and not too many did before.
    fn admit(self: &Arc<Self>, found: &Found, question: &Question, now: Moment) -> Decision {
        let trip = &found.trip;
        let connect = match decide::connect(Key { trip, party: found.party }, now) {
            Ok(connect) => connect,
            Err(reason) => return Decision::Reject(reason),
        };
        // The proxy asks again when an answer was lost: that is the same call.
        if self.book.awaits_offer(&question.call_id, now).is_none_or(|awaited| awaited != trip.id) {
            let plan = self.directory().city(&trip.city).map(Arc::clone);
            let (caller, _) = trip.sides(found.party);
            let person = || caller.phones.called().map(|phone| self.keys.lookup(phone));
            let admitted = match plan {
                Some(plan) => self.doors().meter.admit(trip, &plan, person, now),
                None => Err(Reason::NoTrip),
            };
            match admitted {
                Ok(calls) => self.keep_call(trip, calls, now),
                Err(reason) => return Decision::Reject(reason),
            }
        }
        Decision::Connect(connect)
    }

    /// Keeps what a call changes of its trip, after the decision: nobody waits for it.
    fn keep_call(self: &Arc<Self>, trip: &Arc<Trip>, calls: u32, now: Moment) {
        let expires_at = trip.life.slid(now);
        if trip.rules.max_calls.is_none() && expires_at.is_none() {
            return;
        }
        let (this, trip) = (Arc::clone(self), Arc::clone(trip));
        tokio::spawn(async move {
            match this.store.amend_trip(trip.id.clone(), Change::Called { calls, expires_at }, now).await {
                Ok(changed) => {
                    this.doors().meter.stored(&changed);
                    this.directory_mut().put_trip(changed);
                }
                Err(error) => tracing::warn!(%error, trip = %trip.id, "a call was not kept in the store"),
            }
        });
    }
}
