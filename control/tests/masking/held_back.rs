//! A store whose answers a test may hold back while other requests overtake them.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use control::city::{CityPlan, NumberState};
use control::forecast::PoolUse;
use control::live::Later;
use control::moment::Moment;
use control::name::{City, TripId};
use control::number::{E164, PoolNumber};
use control::secret::Lookup;
use control::store::sqlite::Sqlite;
use control::store::{
    AmendError, Cities, CreateError, Created, Page, Purged, PutCityError, RecordingEntry, Resealed, Store,
    StoreError,
};
use control::token::TokenEntry;
use control::trip::{Change, Pin, Trip, TripOrder};
use tokio::sync::oneshot;
use uuid::Uuid;

/// The real store behind a gate.
pub struct HeldBack {
    inner: Sqlite,
    gate: Mutex<Option<Gate>>,
    pins_compared: AtomicUsize,
}

struct Gate {
    answered: oneshot::Sender<()>,
    open: oneshot::Receiver<()>,
}

/// The answer that is held back.
pub struct Held {
    answered: oneshot::Receiver<()>,
    open: oneshot::Sender<()>,
}

impl Held {
    /// Until the store has answered; false when it was never asked.
    pub async fn answered(&mut self) -> bool {
        (&mut self.answered).await.is_ok()
    }

    /// Lets the answer through.
    pub fn release(self) {
        let _ = self.open.send(());
    }
}

impl HeldBack {
    pub fn new(inner: Sqlite) -> Self {
        Self { inner, gate: Mutex::default(), pins_compared: AtomicUsize::new(0) }
    }

    /// Holds back the answer to the next change of a trip or look-up.
    pub fn hold_next(&self) -> Held {
        let ((tell, answered), (open, opened)) = (oneshot::channel(), oneshot::channel());
        *self.gate.lock().unwrap() = Some(Gate { answered: tell, open: opened });
        Held { answered, open }
    }

    /// Holds back nothing.
    pub fn hold_none(&self) {
        drop(self.gate.lock().unwrap().take());
    }

    /// How many PINs were compared so far.
    pub fn pins_compared(&self) -> usize {
        self.pins_compared.load(Ordering::Relaxed)
    }

    fn gated<'a, T: Send + 'a>(&self, answer: Later<'a, T>) -> Later<'a, T> {
        let gate = self.gate.lock().unwrap().take();
        Box::pin(async move {
            let value = answer.await;
            if let Some(Gate { answered, open }) = gate {
                let _ = answered.send(());
                let _ = open.await;
            }
            value
        })
    }
}

/// Requests that are passed on as they are.
macro_rules! passed_on {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        fn $name(&self, $($argument: $type),*) -> Later<'_, $answer> {
            self.inner.$name($($argument),*)
        }
    )*};
}

/// Requests whose answers may be held back.
macro_rules! held_back {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        fn $name(&self, $($argument: $type),*) -> Later<'_, $answer> {
            self.gated(self.inner.$name($($argument),*))
        }
    )*};
}

impl Store for HeldBack {
    held_back! {
        create_trip(order: TripOrder, now: Moment) -> Result<Created, CreateError>;
        amend_trip(trip: TripId, change: Change, now: Moment) -> Result<Trip, AmendError>;
        find_key(dialled: PoolNumber, party: Lookup, now: Moment) -> Result<Option<Trip>, StoreError>;
    }

    fn find_pin(
        &self,
        dialled: PoolNumber,
        pin: Pin,
        now: Moment,
    ) -> Later<'_, Result<Option<(Trip, usize)>, StoreError>> {
        self.pins_compared.fetch_add(1, Ordering::Relaxed);
        self.gated(self.inner.find_pin(dialled, pin, now))
    }

    passed_on! {
        load(now: Moment, each: Box<dyn FnMut(Trip) + Send>) -> Result<Cities, StoreError>;
        put_city(city: City, plan: CityPlan) -> Result<bool, PutCityError>;
        set_number(city: City, number: PoolNumber, state: NumberState) -> Result<CityPlan, PutCityError>;
        block_pair(trip: TripId, blocked: bool, now: Moment) -> Result<Vec<Trip>, AmendError>;
        erase(person: E164, now: Moment) -> Result<Vec<Trip>, StoreError>;
        trip(trip: TripId, now: Moment) -> Result<Option<Trip>, StoreError>;
        page(page: Page, now: Moment) -> Result<Vec<Trip>, StoreError>;
        purge(now: Moment) -> Result<Purged, StoreError>;
        census(now: Moment) -> Result<[u64; 4], StoreError>;
        pool_use(city: City, now: Moment) -> Result<PoolUse, StoreError>;
        sealed_by() -> Result<Vec<(u8, u64)>, StoreError>;
        reseal(after: Option<TripId>) -> Result<Resealed, StoreError>;
        cut_log() -> Result<(), StoreError>;
        back_up(file: PathBuf) -> Result<u64, StoreError>;
        recording_started(recording: RecordingEntry) -> Result<(), StoreError>;
        recordings(trip: TripId) -> Result<Vec<RecordingEntry>, StoreError>;
        recording(id: Uuid) -> Result<Option<RecordingEntry>, StoreError>;
        ping() -> Result<(), StoreError>;
        tokens() -> Result<Vec<TokenEntry>, StoreError>;
        put_token(token: TokenEntry) -> Result<(), StoreError>;
        delete_token(id: Uuid) -> Result<(), StoreError>;
        tokens_used(uses: Vec<(Uuid, Moment)>) -> Result<(), StoreError>;
    }
}
