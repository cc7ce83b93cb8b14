//! Where cities, trips and recordings are kept: the [`Store`] trait, and what it takes and gives.
//!
//! The store owns the one hard rule, that (pool number, party) is unique while a trip holds it, and keeps it
//! with a unique index. Called by [`crate::masking`]; an implementation never blocks the caller's thread.

pub mod sqlite;

use uuid::Uuid;

use crate::city::CityPlan;
use crate::live::Later;
use crate::moment::Moment;
use crate::name::{City, Role, TripId};
use crate::number::PoolNumber;
use crate::pool::Exhausted;
use crate::secret::Lookup;
use crate::trip::{Trip, TripOrder};

/// What the store does, for `now` as the caller sees it. Every answer of a write is given after it is on disk.
pub trait Store: Send + Sync {
    /// Everything that is live: for the copy in memory.
    fn load(&self, now: Moment) -> Later<'_, Result<Loaded, StoreError>>;

    /// Makes or replaces a city; says whether it is new.
    fn put_city(&self, city: City, plan: CityPlan) -> Later<'_, Result<bool, PutCityError>>;

    /// Chooses pool numbers and PINs for a trip and keeps it.
    fn create_trip(&self, order: TripOrder, now: Moment) -> Later<'_, Result<Created, CreateError>>;

    /// Extends or closes a trip that is not purged yet.
    fn amend_trip(&self, trip: TripId, change: Change, now: Moment) -> Later<'_, Result<Trip, AmendError>>;

    /// The trip that holds (pool number, party) at `now`.
    fn find_key(
        &self,
        dialled: PoolNumber,
        party: Lookup,
        now: Moment,
    ) -> Later<'_, Result<Option<Trip>, StoreError>>;

    /// Erases trips whose numbers are not held any more, and their parties' numbers; returns how many.
    fn purge(&self, now: Moment) -> Later<'_, Result<usize, StoreError>>;

    /// Notes that the recording of a call began, so that it is found by its trip.
    fn recording_started(&self, recording: RecordingEntry) -> Later<'_, Result<(), StoreError>>;

    /// The recordings of a trip, oldest first.
    fn recordings(&self, trip: TripId) -> Later<'_, Result<Vec<RecordingEntry>, StoreError>>;

    /// One recording.
    fn recording(&self, id: Uuid) -> Later<'_, Result<Option<RecordingEntry>, StoreError>>;

    /// Whether the store answers.
    fn ping(&self) -> Later<'_, Result<(), StoreError>>;
}

/// What is live in the store.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Every city.
    pub cities: Vec<(City, CityPlan)>,
    /// Every trip whose numbers are held.
    pub trips: Vec<Trip>,
}

/// A trip that was asked for.
#[derive(Debug)]
pub enum Created {
    /// It is new.
    New(Trip),
    /// It was there already, asked for in the same words.
    Known(Trip),
}

/// How a trip changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It runs out at this moment.
    Expire(Moment),
    /// It is closed now. Closing a closed trip changes nothing.
    Close,
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
    #[error("{city}: all {} numbers are held by trips of the {role}; {} numbers would be enough", .exhausted.have, .exhausted.enough)]
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
    /// A closed or ended trip is not extended.
    #[error("trip {0} has ended; make a new one")]
    Ended(TripId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
