//! The embedded store: SQLite in `STATE/bauta.db` (0600, WAL), on threads of its own.
//!
//! One thread writes, many requests to a commit; one answers look-ups that a call may wait for; one reads what takes
//! long (see [`queue`]). Party numbers and PINs are sealed; they are found by keyed HMAC.

mod allot;
mod amend;
mod crowd;
mod queue;
mod rows;
mod schema;
mod sealed;
mod tokens;
mod trips;
mod upkeep;

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    AmendError, Cities, CreateError, Created, Page, Purged, PutCityError, RecordingEntry, Resealed, Store,
    StoreError,
};
use crate::city::{CityPlan, NumberState};
use crate::forecast::PoolUse;
use crate::live::Later;
use crate::moment::Moment;
use crate::name::{City, TripId};
use crate::number::{E164, PoolNumber};
use crate::secret::{Keys, Lookup};
use crate::token::TokenEntry;
use crate::trip::{Change, Pin, Trip, TripOrder};
use queue::{Reader, Writer};

/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 64;

/// The SQLite store. Dropping it lets its threads finish what is waiting and end.
pub struct Sqlite {
    path: PathBuf,
    writer: Writer,
    /// What a call waits for.
    lookups: Reader,
    /// What nobody waits for in a hurry.
    reports: Reader,
    /// Of each thread: gone with it.
    ended: Option<[oneshot::Receiver<()>; 3]>,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.to_string())
    }
}

impl Sqlite {
    /// Opens or makes the database at `path` and brings its schema up to date.
    pub fn open(path: &Path, keys: Arc<Keys>) -> Result<Self, StoreError> {
        let failed = |e: std::io::Error| StoreError::Database(format!("{}: {e}", path.display()));
        // SQLite gives its WAL the mode of the database.
        std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        schema::prepare(&mut connection, &keys)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let reader = |name, alive| {
            // One thread has it: a lock around every column would be a tenth of the time of a start.
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS);
            Reader::start(connection, Arc::clone(&keys), name, alive).map_err(failed)
        };
        let ([first, second, third], ended) = alive();
        let (lookups, reports) = (reader("store lookups", first)?, reader("store reports", second)?);
        let writer = Writer::start(connection, keys, third).map_err(failed)?;
        Ok(Self { path: path.to_owned(), writer, lookups, reports, ended: Some(ended) })
    }

    /// Ready when one of the threads has ended: nothing is kept, or found, any more. To be asked once.
    pub fn ended(&mut self) -> impl Future<Output = ()> + Send + 'static {
        let ended = self.ended.take();
        async move {
            match ended {
                Some([first, second, third]) => tokio::select! {
                    _ = first => {}
                    _ = second => {}
                    _ = third => {}
                },
                None => std::future::pending().await,
            }
        }
    }
}

/// What each of three threads keeps while it is alive, and what says that it is not.
fn alive() -> ([oneshot::Sender<()>; 3], [oneshot::Receiver<()>; 3]) {
    let [(a, first), (b, second), (c, third)] = std::array::from_fn(|_| oneshot::channel());
    ([a, b, c], [first, second, third])
}

impl Store for Sqlite {
    fn load(
        &self,
        now: Moment,
        mut each: Box<dyn FnMut(Trip) + Send>,
    ) -> Later<'_, Result<Cities, StoreError>> {
        self.reports.run(move |db, keys| {
            trips::held(db, keys, now, &mut *each)?;
            rows::cities(db)
        })
    }

    fn put_city(&self, city: City, plan: CityPlan) -> Later<'_, Result<bool, PutCityError>> {
        self.writer.run(move |desk| rows::put_city(desk.db, &city, &plan))
    }

    fn set_number(
        &self,
        city: City,
        number: PoolNumber,
        state: NumberState,
    ) -> Later<'_, Result<CityPlan, PutCityError>> {
        self.writer.run(move |desk| rows::set_number(desk.db, &city, number, state))
    }

    fn create_trip(&self, order: TripOrder, now: Moment) -> Later<'_, Result<Created, CreateError>> {
        self.writer.run(move |desk| allot::create(desk, &order, now))
    }

    fn amend_trip(&self, trip: TripId, change: Change, now: Moment) -> Later<'_, Result<Trip, AmendError>> {
        self.writer.run(move |desk| amend::amend(desk, &trip, &change, now))
    }

    fn block_pair(
        &self,
        trip: TripId,
        blocked: bool,
        now: Moment,
    ) -> Later<'_, Result<Vec<Trip>, AmendError>> {
        self.writer.run(move |desk| amend::block_pair(desk, &trip, blocked, now))
    }

    fn erase(&self, person: E164, now: Moment) -> Later<'_, Result<Vec<Trip>, StoreError>> {
        self.writer.run(move |desk| amend::erase(desk, &person, now))
    }

    fn cut_log(&self) -> Later<'_, Result<(), StoreError>> {
        let database = self.path.clone();
        self.reports.run(move |_, _| upkeep::cut_log(&database))
    }

    fn trip(&self, trip: TripId, now: Moment) -> Later<'_, Result<Option<Trip>, StoreError>> {
        self.lookups.run(move |db, keys| {
            let kept = trips::read(db, keys, &trip)?.filter(|kept| now < kept.trip.life.held_until());
            Ok(kept.map(|kept| kept.trip))
        })
    }

    fn page(&self, page: Page, now: Moment) -> Later<'_, Result<Vec<Trip>, StoreError>> {
        self.reports.run(move |db, keys| trips::page(db, keys, &page, now))
    }

    fn find_key(
        &self,
        dialled: PoolNumber,
        party: Lookup,
        now: Moment,
    ) -> Later<'_, Result<Option<Trip>, StoreError>> {
        self.lookups.run(move |db, keys| trips::holding(db, keys, dialled, &party, now))
    }

    fn find_pin(
        &self,
        dialled: PoolNumber,
        pin: Pin,
        now: Moment,
    ) -> Later<'_, Result<Option<(Trip, usize)>, StoreError>> {
        self.lookups.run(move |db, keys| trips::with_pin(db, keys, dialled, &pin, now))
    }

    fn purge(&self, now: Moment) -> Later<'_, Result<Purged, StoreError>> {
        self.writer.run(move |desk| upkeep::purge(desk, now))
    }

    fn census(&self, now: Moment) -> Later<'_, Result<[u64; 4], StoreError>> {
        self.reports.run(move |db, _| trips::census(db, now))
    }

    fn pool_use(&self, city: City, now: Moment) -> Later<'_, Result<PoolUse, StoreError>> {
        self.reports.run(move |db, _| upkeep::pool_use(db, &city, now))
    }

    fn sealed_by(&self) -> Later<'_, Result<Vec<(u8, u64)>, StoreError>> {
        self.reports.run(|db, _| upkeep::sealed_by(db))
    }

    fn reseal(&self, after: Option<TripId>) -> Later<'_, Result<Resealed, StoreError>> {
        self.writer.run(move |desk| upkeep::reseal(desk, after.as_ref()))
    }

    fn back_up(&self, file: PathBuf) -> Later<'_, Result<u64, StoreError>> {
        let database = self.path.clone();
        self.reports.run(move |_, _| upkeep::back_up(&database, &file))
    }

    fn recording_started(&self, recording: RecordingEntry) -> Later<'_, Result<(), StoreError>> {
        self.writer.run(move |desk| rows::recording_started(desk.db, &recording))
    }

    fn recordings(&self, trip: TripId) -> Later<'_, Result<Vec<RecordingEntry>, StoreError>> {
        self.lookups.run(move |db, _| rows::recordings(db, &trip))
    }

    fn recording(&self, id: Uuid) -> Later<'_, Result<Option<RecordingEntry>, StoreError>> {
        self.lookups.run(move |db, _| rows::recording(db, id))
    }

    fn ping(&self) -> Later<'_, Result<(), StoreError>> {
        // Through the writer: without it nothing is kept.
        self.writer.run(|desk| desk.db.query_row("SELECT 1", [], |_| Ok(())).map_err(StoreError::from))
    }

    fn tokens(&self) -> Later<'_, Result<Vec<TokenEntry>, StoreError>> {
        self.reports.run(|db, _| tokens::all(db))
    }

    fn put_token(&self, token: TokenEntry) -> Later<'_, Result<(), StoreError>> {
        self.writer.run(move |desk| tokens::put(desk.db, &token))
    }

    fn delete_token(&self, id: Uuid) -> Later<'_, Result<(), StoreError>> {
        self.writer.run(move |desk| tokens::delete(desk.db, id))
    }

    fn tokens_used(&self, uses: Vec<(Uuid, Moment)>) -> Later<'_, Result<(), StoreError>> {
        self.writer.run(move |desk| tokens::used(desk.db, &uses))
    }
}

#[cfg(test)]
mod tests;
