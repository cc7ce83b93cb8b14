//! The embedded store: SQLite in `STATE/bauta.db` (0600, WAL), on a thread of its own.
//!
//! Requests travel to that thread over a bounded channel. It takes what is waiting as one transaction, each
//! request in its own savepoint, and answers after the commit: many writers share one disk flush.
//! Party numbers and PINs are sealed; they are found by keyed HMAC.

mod rows;
mod schema;
mod trips;

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use rusqlite::{Connection, Savepoint, TransactionBehavior};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    AmendError, Change, CreateError, Created, Loaded, PutCityError, RecordingEntry, Store, StoreError,
};
use crate::city::CityPlan;
use crate::live::Later;
use crate::moment::Moment;
use crate::name::{City, TripId};
use crate::number::PoolNumber;
use crate::secret::{Keys, Lookup};
use crate::trip::{Trip, TripOrder};

/// Requests that may wait; beyond that callers are told to come back.
const WAITING: usize = 4_096;
/// Requests that share one commit at most.
const BATCH: usize = 256;

/// Runs inside a savepoint; says afterwards to whom, once the commit's outcome is known.
type Work = Box<dyn FnOnce(&mut rusqlite::Transaction<'_>) -> Reply + Send>;
type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// The SQLite store. Dropping it lets its thread finish what is waiting and end.
pub struct Sqlite {
    work: SyncSender<Work>,
    keys: Arc<Keys>,
    ended: Option<oneshot::Receiver<()>>,
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
        schema::prepare(&mut connection)?;
        let (work, queue) = sync_channel(WAITING);
        let (alive, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || {
                // Gone with the thread, however that ends.
                let _alive: oneshot::Sender<()> = alive;
                serve(&mut connection, &queue);
            })
            .map_err(failed)?;
        Ok(Self { work, keys, ended: Some(ended) })
    }

    /// Ready when the store's thread has ended: nothing is kept any more. To be asked once.
    pub fn ended(&mut self) -> impl Future<Output = ()> + Send + 'static {
        let ended = self.ended.take();
        async move {
            match ended {
                Some(ended) => drop(ended.await),
                None => std::future::pending().await,
            }
        }
    }

    /// Runs `job` on the store's thread; its answer comes when its batch is committed.
    fn run<T, E>(
        &self,
        job: impl FnOnce(&Connection, &Keys) -> Result<T, E> + Send + 'static,
    ) -> Later<'_, Result<T, E>>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let keys = Arc::clone(&self.keys);
        let (tell, told) = oneshot::channel();
        let work: Work = Box::new(move |transaction| {
            let outcome = in_savepoint(transaction, |connection| job(connection, &keys));
            // Nobody listens any more when the request was abandoned: what it did stands.
            Box::new(move |committed| drop(tell.send(committed.map_err(E::from).and(outcome))))
        });
        let sent = self.work.try_send(work).map_err(|e| match e {
            std::sync::mpsc::TrySendError::Full(_) => StoreError::Busy(WAITING),
            std::sync::mpsc::TrySendError::Disconnected(_) => StoreError::Silent,
        });
        Box::pin(async move {
            sent?;
            told.await.unwrap_or_else(|_| Err(StoreError::Silent.into()))
        })
    }
}

fn in_savepoint<T, E: From<StoreError>>(
    transaction: &mut rusqlite::Transaction<'_>,
    job: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    let savepoint: Savepoint<'_> = transaction.savepoint().map_err(StoreError::from)?;
    // Dropping the savepoint without a commit undoes what the job did.
    let value = job(&savepoint)?;
    savepoint.commit().map_err(StoreError::from)?;
    Ok(value)
}

/// Runs requests in one transaction. SQLite ends that transaction by itself when the disk is full or fails: what
/// came after would be committed one by one, so it is given up, and answered `Silent`.
fn work_off(batch: Vec<Work>, transaction: &mut rusqlite::Transaction<'_>) -> Vec<Reply> {
    let mut replies = Vec::with_capacity(batch.len());
    for work in batch {
        replies.push(work(transaction));
        if transaction.is_autocommit() {
            break;
        }
    }
    replies
}

/// The store's thread.
fn serve(connection: &mut Connection, queue: &Receiver<Work>) {
    while let Ok(first) = queue.recv() {
        let batch: Vec<Work> = std::iter::once(first).chain(queue.try_iter().take(BATCH - 1)).collect();
        match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(mut transaction) => {
                let replies = work_off(batch, &mut transaction);
                let committed = transaction.commit().map_err(StoreError::from);
                if let Err(error) = &committed {
                    tracing::error!(%error, "a batch of {} requests was not committed", replies.len());
                }
                for reply in replies {
                    reply(committed.clone());
                }
            }
            // Dropping the batch answers `Silent` to each; the next request tries again.
            Err(error) => tracing::error!(%error, "store: no transaction; {} requests refused", batch.len()),
        }
    }
}

impl Store for Sqlite {
    fn load(&self, now: Moment) -> Later<'_, Result<Loaded, StoreError>> {
        self.run(move |db, keys| Ok(Loaded { cities: rows::cities(db)?, trips: trips::held(db, keys, now)? }))
    }

    fn put_city(&self, city: City, plan: CityPlan) -> Later<'_, Result<bool, PutCityError>> {
        self.run(move |db, _| rows::put_city(db, &city, &plan))
    }

    fn create_trip(&self, order: TripOrder, now: Moment) -> Later<'_, Result<Created, CreateError>> {
        self.run(move |db, keys| trips::create(db, keys, &order, now))
    }

    fn amend_trip(&self, trip: TripId, change: Change, now: Moment) -> Later<'_, Result<Trip, AmendError>> {
        self.run(move |db, keys| trips::amend(db, keys, &trip, change, now))
    }

    fn find_key(
        &self,
        dialled: PoolNumber,
        party: Lookup,
        now: Moment,
    ) -> Later<'_, Result<Option<Trip>, StoreError>> {
        self.run(move |db, keys| trips::holding(db, keys, dialled, &party, now))
    }

    fn purge(&self, now: Moment) -> Later<'_, Result<usize, StoreError>> {
        self.run(move |db, _| trips::purge(db, now))
    }

    fn recording_started(&self, recording: RecordingEntry) -> Later<'_, Result<(), StoreError>> {
        self.run(move |db, _| rows::recording_started(db, &recording))
    }

    fn recordings(&self, trip: TripId) -> Later<'_, Result<Vec<RecordingEntry>, StoreError>> {
        self.run(move |db, _| rows::recordings(db, &trip))
    }

    fn recording(&self, id: Uuid) -> Later<'_, Result<Option<RecordingEntry>, StoreError>> {
        self.run(move |db, _| rows::recording(db, id))
    }

    fn ping(&self) -> Later<'_, Result<(), StoreError>> {
        self.run(|db, _| db.query_row("SELECT 1", [], |_| Ok(())).map_err(StoreError::from))
    }
}

#[cfg(test)]
mod tests;
