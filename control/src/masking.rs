//! The masking half as one thing: the store, its copy in memory, and the decisions made from it.
//!
//! Called by HTTP on the runtime's thread. A write goes to the store first and into memory when the store has
//! said yes; it runs in a task of its own, so that a client that hangs up cannot leave the two apart.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::city::{BadCity, CityPlan, LONGEST_SECONDS, within};
use crate::directory::Directory;
use crate::metrics::{Kind, Text};
use crate::moment::Moment;
use crate::name::{City, TripId};
use crate::route::{Asked, Decision, Outcome, Question, Reason, RouteBook, Tally, decide};
use crate::secret::Keys;
use crate::store::{AmendError, Change, CreateError, Created, PutCityError, Store, StoreError};
use crate::trip::{BadTrip, Trip, TripRequest, TripState};

/// How long a route decision that misses memory may wait for the store.
const LOOK_UP_TIME: Duration = Duration::from_millis(50);
/// Look-ups in the store at a time; a flood of unknown callers must not crowd out trips.
const LOOK_UPS: usize = 16;

/// Cities, trips and route decisions.
pub struct Masking {
    store: Arc<dyn Store>,
    keys: Arc<Keys>,
    directory: RwLock<Directory>,
    book: Arc<RouteBook>,
    sip_host: String,
    look_ups: Semaphore,
    tally: Tally,
    created: CreateTally,
}

/// Trip creations by outcome.
#[derive(Debug, Default)]
struct CreateTally {
    new: AtomicU64,
    known: AtomicU64,
    conflict: AtomicU64,
    exhausted: AtomicU64,
    failed: AtomicU64,
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

/// Why a city is not made, before or in the store.
#[derive(Debug, thiserror::Error)]
pub enum OpenCityError {
    /// The plan makes no sense.
    #[error(transparent)]
    Bad(#[from] BadCity),
    /// The store refuses.
    #[error(transparent)]
    Put(#[from] PutCityError),
}

impl Masking {
    /// Loads what is live from the store; decisions go into `book`. `sip_host` is the setting of that name.
    pub async fn load(
        store: Arc<dyn Store>,
        keys: Arc<Keys>,
        book: Arc<RouteBook>,
        sip_host: &str,
        now: Moment,
    ) -> Result<Self, StoreError> {
        let loaded = store.load(now).await?;
        let mut directory = Directory::default();
        for (name, plan) in loaded.cities {
            directory.put_city(&name, plan);
        }
        for trip in loaded.trips {
            directory.put_trip(trip);
        }
        Ok(Self {
            store,
            book,
            keys,
            directory: RwLock::new(directory),
            sip_host: sip_host.to_owned(),
            look_ups: Semaphore::new(LOOK_UPS),
            tally: Tally::default(),
            created: CreateTally::default(),
        })
    }

    /// What was decided for which SIP Call-ID: for the calls half.
    pub fn book(&self) -> &Arc<RouteBook> {
        &self.book
    }

    /// The keys in use.
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Host part of the URIs in a route decision.
    pub fn sip_host(&self) -> &str {
        &self.sip_host
    }

    /// The copy in memory. Not to be held across an await.
    pub fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory_mut(&self) -> RwLockWriteGuard<'_, Directory> {
        self.directory.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes or replaces a city; says whether it is new.
    pub async fn put_city(self: &Arc<Self>, name: City, plan: CityPlan) -> Result<bool, OpenCityError> {
        plan.check()?;
        let this = Arc::clone(self);
        let task = tokio::spawn(async move {
            let new = this.store.put_city(name.clone(), plan.clone()).await?;
            this.directory_mut().put_city(&name, plan);
            Ok(new)
        });
        task.await.unwrap_or_else(|_| Err(PutCityError::from(StoreError::Silent).into()))
    }

    /// Makes a trip; says whether it is new.
    pub async fn open_trip(
        self: &Arc<Self>,
        request: &TripRequest,
        now: Moment,
    ) -> Result<(Arc<Trip>, bool), OpenTripError> {
        let order = {
            let directory = self.directory();
            let plan =
                directory.city(&request.city).ok_or_else(|| CreateError::NoCity(request.city.clone()))?;
            request.order(plan, |number| directory.is_ours(number), now)?
        };
        let this = Arc::clone(self);
        let task = tokio::spawn(async move {
            let created = this.store.create_trip(order, now).await;
            this.created.count(&created);
            let (trip, new) = match created? {
                Created::New(trip) => (trip, true),
                Created::Known(trip) => (trip, false),
            };
            Ok((this.directory_mut().put_trip(trip), new))
        });
        task.await.unwrap_or_else(|_| Err(CreateError::from(StoreError::Silent).into()))
    }

    /// Lets a trip run out `expires_in` seconds from now.
    pub async fn extend_trip(
        self: &Arc<Self>,
        id: TripId,
        expires_in: u32,
        now: Moment,
    ) -> Result<Arc<Trip>, AmendError> {
        self.amend_trip(id, Change::Expire(now.plus(expires_in.into())), now).await
    }

    /// Closes a trip.
    pub async fn close_trip(self: &Arc<Self>, id: TripId, now: Moment) -> Result<Arc<Trip>, AmendError> {
        self.amend_trip(id, Change::Close, now).await
    }

    async fn amend_trip(
        self: &Arc<Self>,
        id: TripId,
        change: Change,
        now: Moment,
    ) -> Result<Arc<Trip>, AmendError> {
        let this = Arc::clone(self);
        let task = tokio::spawn(async move {
            let trip = this.store.amend_trip(id, change, now).await?;
            Ok(this.directory_mut().put_trip(trip))
        });
        task.await.unwrap_or_else(|_| Err(StoreError::Silent.into()))
    }

    /// Decides about a call and remembers it for the offer that follows.
    pub async fn route(&self, question: &Question, now: Moment) -> Decision {
        let asked = decide::ask(&self.directory(), question);
        let decision = match asked {
            Ok(asked) => self.decide(&asked, now).await,
            Err(reason) => Decision::Reject(reason),
        };
        let outcome = match &decision {
            Decision::Connect(connect) => Outcome::Connect(connect.routed.clone()),
            Decision::Reject(reason) => Outcome::Reject { reason: reason.as_str() },
        };
        self.book.remember(&question.call_id, outcome, now);
        self.tally.count(&decision);
        decision
    }

    /// From memory; where memory knows no trip of this caller, one look-up in the store may still find one.
    async fn decide(&self, asked: &Asked, now: Moment) -> Decision {
        let decision = decide::decide(&self.directory(), asked, now);
        if !matches!(decision, Decision::Reject(Reason::NoTrip | Reason::UnknownCaller)) {
            return decision;
        }
        let Ok(_turn) = self.look_ups.try_acquire() else { return decision };
        let party = self.keys.lookup(&asked.caller);
        match tokio::time::timeout(LOOK_UP_TIME, self.store.find_key(asked.dialled, party, now)).await {
            Ok(Ok(Some(trip))) => {
                self.directory_mut().put_trip(trip);
                decide::decide(&self.directory(), asked, now)
            }
            Ok(Ok(None)) => decision,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a route decision was made from memory alone");
                decision
            }
            Err(_) => {
                tracing::warn!("a route decision was made from memory alone: the store took too long");
                decision
            }
        }
    }

    /// Forgets and erases what is over. To be called every few seconds.
    pub async fn sweep(&self, now: Moment) {
        let forgotten = self.directory_mut().sweep(now);
        match self.store.purge(now).await {
            Ok(erased) if forgotten + erased > 0 => tracing::info!(forgotten, erased, "trips purged"),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "trips that are over were not erased; the next sweep tries again");
            }
        }
    }

    /// Writes the metric families of this half.
    pub fn metrics(&self, text: &mut Text, now: Moment) {
        self.tally.write(text);
        self.created.write(text);
        let directory = self.directory();
        text.family("bauta_trips", Kind::Gauge, "Trips in memory by state.");
        for (state, count) in TripState::ALL.iter().zip(directory.census(now)) {
            text.sample("bauta_trips", &[("state", state.as_str())], count);
        }
        text.family("bauta_pool_numbers", Kind::Gauge, "Numbers in a city's pool.");
        for (city, plan) in directory.cities() {
            text.sample("bauta_pool_numbers", &[("city", city.as_str())], plan.numbers.len());
        }
    }
}

/// Refuses an extension out of range.
pub fn check_extension(expires_in: u32) -> Result<(), BadCity> {
    within("expires_in", expires_in, 1, LONGEST_SECONDS)
}

impl CreateTally {
    fn count(&self, created: &Result<Created, CreateError>) {
        let counter = match created {
            Ok(Created::New(_)) => &self.new,
            Ok(Created::Known(_)) => &self.known,
            Err(CreateError::Conflict(_)) => &self.conflict,
            Err(CreateError::Exhausted { .. }) => &self.exhausted,
            Err(CreateError::NoCity(_) | CreateError::Store(_)) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn write(&self, text: &mut Text) {
        const NAME: &str = "bauta_trip_creations_total";
        text.family(NAME, Kind::Counter, "Trips asked for, by outcome.");
        for (outcome, counter) in [
            ("new", &self.new),
            ("known", &self.known),
            ("conflict", &self.conflict),
            ("exhausted", &self.exhausted),
            ("failed", &self.failed),
        ] {
            text.sample(NAME, &[("outcome", outcome)], counter.load(Ordering::Relaxed));
        }
    }
}
