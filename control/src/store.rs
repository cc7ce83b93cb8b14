//! Where cities, trips and recordings are kept: the [`Store`] trait, and what it takes and gives.
//!
//! The store owns the one hard rule, that (pool number, party) is unique while a trip holds it, and keeps it
//! with a unique index. Called by [`crate::masking`]; an implementation never blocks the caller's thread.

pub mod sqlite;

use std::path::PathBuf;

use uuid::Uuid;

use crate::city::{CityPlan, NumberState};
use crate::forecast::PoolUse;
use crate::live::Later;
use crate::moment::Moment;
use crate::name::{City, Role, TripId};
use crate::number::{E164, PoolNumber};
use crate::pool::{Exhausted, Rung};
use crate::secret::Lookup;
use crate::token::TokenEntry;
use crate::trip::{Change, Pin, Trip, TripOrder, TripState, Unchanged};

/// What the store does, for `now` as the caller sees it. Every answer of a write is given after it is on disk.
pub trait Store: Send + Sync {
    /// Everything that is live, for the copy in memory: the cities as an answer, each trip whose numbers are held
    /// through `each`, on a thread of the store's.
    fn load(&self, now: Moment, each: Box<dyn FnMut(Trip) + Send>) -> Later<'_, Result<Cities, StoreError>>;

    /// Makes or replaces a city; says whether it is new.
    fn put_city(&self, city: City, plan: CityPlan) -> Later<'_, Result<bool, PutCityError>>;

    /// Changes what one number of a city is used for; answers the city's plan.
    fn set_number(
        &self,
        city: City,
        number: PoolNumber,
        state: NumberState,
    ) -> Later<'_, Result<CityPlan, PutCityError>>;

    /// Chooses pool numbers and PINs for a trip and keeps it.
    fn create_trip(&self, order: TripOrder, now: Moment) -> Later<'_, Result<Created, CreateError>>;

    /// Changes a trip that is not purged yet.
    fn amend_trip(&self, trip: TripId, change: Change, now: Moment) -> Later<'_, Result<Trip, AmendError>>;

    /// Keeps the two people of a trip from talking to each other, in every trip of theirs, or lets them again. Answers
    /// the trips that are held and changed, the one that was named first.
    fn block_pair(
        &self,
        trip: TripId,
        blocked: bool,
        now: Moment,
    ) -> Later<'_, Result<Vec<Trip>, AmendError>>;

    /// Removes a person's number: ends its trips, and forgets which numbers it has and had. Answers the trips.
    fn erase(&self, person: E164, now: Moment) -> Later<'_, Result<Vec<Trip>, StoreError>>;

    /// A trip that is not purged at `now`.
    fn trip(&self, trip: TripId, now: Moment) -> Later<'_, Result<Option<Trip>, StoreError>>;

    /// A page of trips that are not purged at `now`, by id.
    fn page(&self, page: Page, now: Moment) -> Later<'_, Result<Vec<Trip>, StoreError>>;

    /// The trip that holds (pool number, party) at `now`.
    fn find_key(
        &self,
        dialled: PoolNumber,
        party: Lookup,
        now: Moment,
    ) -> Later<'_, Result<Option<Trip>, StoreError>>;

    /// The trip in which somebody has this PIN on this pool number at `now`, and which of its parties that is.
    fn find_pin(
        &self,
        dialled: PoolNumber,
        pin: Pin,
        now: Moment,
    ) -> Later<'_, Result<Option<(Trip, usize)>, StoreError>>;

    /// Erases some trips whose numbers are not held any more, and their parties' numbers. To be called again while there
    /// is more.
    fn purge(&self, now: Moment) -> Later<'_, Result<Purged, StoreError>>;

    /// How many trips are in each state, in the order of [`TripState::ALL`].
    fn census(&self, now: Moment) -> Later<'_, Result<[u64; 4], StoreError>>;

    /// What a city's numbers are used for.
    fn pool_use(&self, city: City, now: Moment) -> Later<'_, Result<PoolUse, StoreError>>;

    /// How many trips each key seals, by the key's id.
    fn sealed_by(&self) -> Later<'_, Result<Vec<(u8, u64)>, StoreError>>;

    /// Seals some trips anew that come after `after` and are sealed by an older key than the newest.
    fn reseal(&self, after: Option<TripId>) -> Later<'_, Result<Resealed, StoreError>>;

    /// Removes from the store's log what rows were before they changed.
    fn cut_log(&self) -> Later<'_, Result<(), StoreError>>;

    /// Writes a copy of the whole to `file`, which must not be there; returns its size in bytes.
    fn back_up(&self, file: PathBuf) -> Later<'_, Result<u64, StoreError>>;

    /// Notes that the recording of a call began, so that it is found by its trip.
    fn recording_started(&self, recording: RecordingEntry) -> Later<'_, Result<(), StoreError>>;

    /// The recordings of a trip, oldest first.
    fn recordings(&self, trip: TripId) -> Later<'_, Result<Vec<RecordingEntry>, StoreError>>;

    /// One recording.
    fn recording(&self, id: Uuid) -> Later<'_, Result<Option<RecordingEntry>, StoreError>>;

    /// Whether the store answers.
    fn ping(&self) -> Later<'_, Result<(), StoreError>>;

    /// Every token, by id; those that have expired too.
    fn tokens(&self) -> Later<'_, Result<Vec<TokenEntry>, StoreError>>;

    /// Makes or replaces a token.
    fn put_token(&self, token: TokenEntry) -> Later<'_, Result<(), StoreError>>;

    /// Erases a token; one that is not there is erased already.
    fn delete_token(&self, id: Uuid) -> Later<'_, Result<(), StoreError>>;

    /// Notes when tokens were last used.
    fn tokens_used(&self, uses: Vec<(Uuid, Moment)>) -> Later<'_, Result<(), StoreError>>;
}

/// Every city.
pub type Cities = Vec<(City, CityPlan)>;

/// A trip that was asked for.
#[derive(Debug)]
pub enum Created {
    /// It is new.
    New(NewTrip),
    /// It was there already, asked for in the same words.
    Known(Trip),
}

/// A trip that was made.
#[derive(Debug)]
pub struct NewTrip {
    /// The trip.
    pub trip: Trip,
    /// Trips that handed a number on to it, as they are now.
    pub forfeited: Vec<Trip>,
    /// The trip of the same two people that it goes on with.
    pub continues: Option<TripId>,
    /// Where each party's number came from.
    pub rungs: [Rung; 2],
}

/// Which trips of a list are wanted.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Those after this one.
    pub after: Option<TripId>,
    /// So many at most.
    pub limit: usize,
    /// Those in this state.
    pub state: Option<TripState>,
    /// Those of this city.
    pub city: Option<City>,
}

/// What a purge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// Trips that were erased.
    pub trips: usize,
    /// There may be more.
    pub more: bool,
}

/// How far sealing anew has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resealed {
    /// Trips sealed anew in this step.
    pub trips: usize,
    /// Where the next step goes on; none when this was the last.
    pub next: Option<TripId>,
}

/// A recording and what it belongs to. Holds no number and no SIP Call-ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingEntry {
    /// The recording's id (UUID v7, made at the offer).
    pub id: Uuid,
    /// The trip, when the call had a route decision.
    pub trip: Option<TripId>,
    /// The SIP Call-ID's pseudonym.
    pub call: [u8; 16],
    /// When the recording began.
    pub started_at: Moment,
}

/// The store failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database refused. Statement parameters are never part of the text.
    #[error("store: {0}")]
    Database(String),
    /// Too much is waiting already.
    #[error("store: more than {0} requests are waiting; try again")]
    Busy(usize),
    /// No transaction could begin, or the store's thread is gone; the log says why.
    #[error("store: gives no answer; see control's log")]
    Silent,
    /// A stored value does not make sense or does not open.
    #[error("store: trip {trip}: {what}")]
    Damaged {
        /// The trip that it belongs to.
        trip: String,
        /// What is wrong.
        what: String,
    },
}

/// Why a city is not kept.
#[derive(Debug, thiserror::Error)]
pub enum PutCityError {
    /// There is no such city, or it has no such number.
    #[error("there is no {0}")]
    Unknown(String),
    /// A number belongs to another city.
    #[error("{number} belongs to the city {city} already")]
    Taken {
        /// The pool number.
        number: PoolNumber,
        /// Its city.
        city: City,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a trip is not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The id is in use for something else.
    #[error("trip {0} exists with other content")]
    Conflict(TripId),
    /// The city is gone.
    #[error("there is no city {0}")]
    NoCity(City),
    /// Every pool number is held by trips of one party.
    #[error(
        "{city}: all {} numbers are held by trips of the {role}; {} active numbers would be enough",
        .exhausted.have,
        .exhausted.enough
    )]
    Exhausted {
        /// The city.
        city: City,
        /// The party that has no number left.
        role: Role,
        /// How many there are and would be enough.
        exhausted: Exhausted,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a trip is not changed.
#[derive(Debug, thiserror::Error)]
pub enum AmendError {
    /// No such trip, or nothing is left of it.
    #[error("there is no trip {0}")]
    NoTrip(TripId),
    /// It stays what it is.
    #[error("trip {trip}: {why}")]
    Unchanged {
        /// The trip.
        trip: TripId,
        /// Why.
        why: Unchanged,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
