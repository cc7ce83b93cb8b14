//! Trips made and changed: the store first, then memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Masking, to_the_end};
use crate::live::Later;
use crate::moment::Moment;
use crate::name::{Role, TripId};
use crate::number::E164;
use crate::route::Reason;
use crate::route::decide;
use crate::route::intents::Pending;
use crate::store::{AmendError, CreateError, Created, Page, StoreError};
use crate::trip::{BadTrip, Change, Trip, TripRequest};

/// A trip that was asked for.
#[derive(Debug)]
pub struct Opened {
    /// The trip.
    pub trip: Arc<Trip>,
    /// It was not there before.
    pub new: bool,
    /// The trip of the same two people that it goes on with: their numbers stay.
    pub continues: Option<TripId>,
}

/// Why a trip is not made, before or in the store.
#[derive(Debug, thiserror::Error)]
pub enum OpenTripError {
    /// The request makes no sense.
    #[error(transparent)]
    Bad(#[from] BadTrip),
    /// The store refuses.
    #[error(transparent)]
    Create(#[from] CreateError),
}

/// Why no intent is opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenIntentError {
    /// No such trip.
    #[error("there is no trip {0}")]
    NoTrip(TripId),
    /// No such party.
    #[error("the trip has no {0}")]
    NoRole(Role),
    /// A call of this party would be refused anyhow.
    #[error("a call of the {role} would be refused: {}", .reason.as_str())]
    Refused {
        /// The party.
        role: Role,
        /// Why.
        reason: Reason,
    },
    /// Another party's is open on the same pool number: the two could not be told apart.
    #[error(transparent)]
    Pending(#[from] Pending),
}

impl Masking {
    /// Makes a trip.
    pub async fn open_trip(
        self: &Arc<Self>,
        request: &TripRequest,
        now: Moment,
    ) -> Result<Opened, OpenTripError> {
        let order = {
            let directory = self.directory();
            let plan =
                directory.city(&request.city).ok_or_else(|| CreateError::NoCity(request.city.clone()))?;
            request.order(plan, |number| directory.is_ours(number), now)?
        };
        let this = Arc::clone(self);
        let done = to_the_end(async move {
            let created = this.store.create_trip(order, now).await;
            this.tally.created(&created, now);
            match created? {
                Created::New(made) => {
                    // A trip of this id that is over may have left something.
                    this.doors().intents.withdraw(&made.trip.id);
                    this.doors().meter.began(&made.trip.id);
                    for trip in made.forfeited {
                        this.taken_in(trip, now);
                    }
                    let mut directory = this.directory_mut();
                    let continues = made.continues;
                    Ok(Opened { trip: directory.put_trip(made.trip), new: true, continues })
                }
                Created::Known(trip) => {
                    Ok(Opened { trip: this.directory_mut().put_trip(trip), new: false, continues: None })
                }
            }
        });
        done.await.map_err(CreateError::from)?
    }

    /// Changes a trip.
    pub async fn amend_trip(
        self: &Arc<Self>,
        id: TripId,
        change: Change,
        now: Moment,
    ) -> Result<Arc<Trip>, AmendError> {
        let this = Arc::clone(self);
        let done = to_the_end(async move {
            let trip = this.store.amend_trip(id, change, now).await?;
            Ok(this.taken_in(trip, now))
        });
        done.await?
    }

    /// Into memory, after the store has said yes.
    fn taken_in(&self, trip: Trip, now: Moment) -> Arc<Trip> {
        if !trip.connects(now) {
            self.doors().intents.withdraw(&trip.id);
        }
        self.directory_mut().put_trip(trip)
    }

    /// Keeps the two people of a trip from talking to each other, in every trip of theirs, or lets them again.
    pub async fn block_pair(
        self: &Arc<Self>,
        id: TripId,
        blocked: bool,
        now: Moment,
    ) -> Result<Arc<Trip>, AmendError> {
        let this = Arc::clone(self);
        let done = to_the_end(async move {
            let changed = this.store.block_pair(id.clone(), blocked, now).await?;
            let mut taken =
                changed.into_iter().map(|trip| this.taken_in(trip, now)).collect::<Vec<_>>().into_iter();
            taken.next().ok_or(AmendError::NoTrip(id))
        });
        done.await?
    }

    /// Removes a person's number everywhere; answers how many trips it was in.
    pub async fn erase(self: &Arc<Self>, person: E164, now: Moment) -> Result<usize, StoreError> {
        let this = Arc::clone(self);
        let done = to_the_end(async move {
            let erased = this.store.erase(person, now).await?;
            let count = erased.len();
            erased.into_iter().for_each(|trip| drop(this.taken_in(trip, now)));
            this.log_to_cut.store(true, Ordering::Relaxed);
            this.cut_log().await;
            Ok(count)
        });
        done.await?
    }

    /// A page of trips, by id.
    pub fn page(&self, page: Page, now: Moment) -> Later<'_, Result<Vec<Trip>, StoreError>> {
        self.store.page(page, now)
    }

    /// Opens a window in which one call from an unknown number to this party's pool number counts as this party's;
    /// answers until when.
    pub fn open_intent(&self, id: &TripId, role: &Role, now: Moment) -> Result<Moment, OpenIntentError> {
        let directory = self.directory();
        let trip = directory.trip(id, now).ok_or_else(|| OpenIntentError::NoTrip(id.clone()))?;
        let party = trip.parties.iter().position(|party| party.role == *role);
        let party = party.ok_or_else(|| OpenIntentError::NoRole(role.clone()))?;
        let refused = |reason| OpenIntentError::Refused { role: role.clone(), reason };
        decide::connect(crate::directory::Key { trip, party }, now).map_err(refused)?;
        let dial = trip.sides(party).0.dial;
        if directory.is_suspended(dial) {
            return Err(refused(Reason::NumberSuspended));
        }
        Ok(self.doors().intents.open(dial, id.clone(), party, now)?)
    }
}
