//! Threads with a connection each, and the bounded queues by which requests reach them.
//!
//! The **writer** takes what is waiting as one transaction, each request in its own savepoint, and answers after the
//! commit: many requests share one disk flush. A **reader** sees what was committed last and answers at once; it never
//! waits for the writer, nor the writer for it (WAL).

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use rusqlite::{Connection, Savepoint, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::crowd::Crowd;
use crate::live::Later;
use crate::secret::Keys;
use crate::store::StoreError;

/// Requests that may wait; beyond that callers are told to come back.
const WAITING: usize = 4_096;
/// Requests that share one commit at most.
const BATCH: usize = 256;

/// What a writing request works with.
pub(super) struct Desk<'a> {
    /// The database, inside the request's savepoint.
    pub db: &'a Connection,
    /// The keys in use.
    pub keys: &'a Keys,
    /// How many PINs each number has.
    pub crowd: &'a mut Crowd,
}

/// Runs inside a savepoint; says afterwards to whom, once the commit's outcome is known.
type Write = Box<dyn FnOnce(&mut Transaction<'_>, &mut Crowd) -> Reply + Send>;
type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Read = Box<dyn FnOnce(&mut Connection) + Send>;

/// The thread that writes.
pub(super) struct Writer {
    work: SyncSender<Write>,
    keys: Arc<Keys>,
}

/// A thread that reads.
pub(super) struct Reader {
    work: SyncSender<Read>,
    keys: Arc<Keys>,
}

impl Writer {
    /// Starts the thread; `alive` goes with it, however that ends.
    pub fn start(
        mut connection: Connection,
        keys: Arc<Keys>,
        alive: oneshot::Sender<()>,
    ) -> std::io::Result<Self> {
        let (work, queue) = sync_channel(WAITING);
        std::thread::Builder::new().name("store".into()).spawn(move || {
            let _alive: oneshot::Sender<()> = alive;
            write(&mut connection, &queue);
        })?;
        Ok(Self { work, keys })
    }

    /// Runs `job` on the thread; its answer comes when its batch is committed.
    pub fn run<T, E>(
        &self,
        job: impl FnOnce(&mut Desk<'_>) -> Result<T, E> + Send + 'static,
    ) -> Later<'_, Result<T, E>>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let keys = Arc::clone(&self.keys);
        let (tell, told) = oneshot::channel();
        let work: Write = Box::new(move |transaction, crowd| {
            let outcome = in_savepoint(transaction, |db| job(&mut Desk { db, keys: &keys, crowd }));
            // Nobody listens any more when the request was abandoned: what it did stands.
            Box::new(move |committed| drop(tell.send(committed.map_err(E::from).and(outcome))))
        });
        answered(sent(&self.work, work), told)
    }
}

impl Reader {
    /// Starts the thread; `alive` goes with it, however that ends.
    pub fn start(
        mut connection: Connection,
        keys: Arc<Keys>,
        name: &str,
        alive: oneshot::Sender<()>,
    ) -> std::io::Result<Self> {
        let (work, queue) = sync_channel::<Read>(WAITING);
        std::thread::Builder::new().name(name.into()).spawn(move || {
            let _alive: oneshot::Sender<()> = alive;
            while let Ok(work) = queue.recv() {
                work(&mut connection);
            }
        })?;
        Ok(Self { work, keys })
    }

    /// Runs `job` on the thread, in one view of the database.
    pub fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection, &Keys) -> Result<T, StoreError> + Send + 'static,
    ) -> Later<'_, Result<T, StoreError>> {
        let keys = Arc::clone(&self.keys);
        let (tell, told) = oneshot::channel();
        let work: Read = Box::new(move |connection| {
            // Who asked has gone: nothing is worth reading.
            if !tell.is_closed() {
                let view = connection.transaction_with_behavior(TransactionBehavior::Deferred);
                let outcome = view.map_err(StoreError::from).and_then(|view| job(&view, &keys));
                drop(tell.send(outcome));
            }
        });
        answered(sent(&self.work, work), told)
    }
}

fn sent<W>(queue: &SyncSender<W>, work: W) -> Result<(), StoreError> {
    queue.try_send(work).map_err(|e| match e {
        TrySendError::Full(_) => StoreError::Busy(WAITING),
        TrySendError::Disconnected(_) => StoreError::Silent,
    })
}

fn answered<'a, T, E>(
    sent: Result<(), StoreError>,
    told: oneshot::Receiver<Result<T, E>>,
) -> Later<'a, Result<T, E>>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    Box::pin(async move {
        sent?;
        told.await.unwrap_or_else(|_| Err(StoreError::Silent.into()))
    })
}

fn in_savepoint<T, E: From<StoreError>>(
    transaction: &mut Transaction<'_>,
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
fn work_off(batch: Vec<Write>, transaction: &mut Transaction<'_>, crowd: &mut Crowd) -> Vec<Reply> {
    let mut replies = Vec::with_capacity(batch.len());
    for work in batch {
        replies.push(work(transaction, crowd));
        if transaction.is_autocommit() {
            break;
        }
    }
    replies
}

fn write(connection: &mut Connection, queue: &Receiver<Write>) {
    let mut crowd = Crowd::default();
    while let Ok(first) = queue.recv() {
        let batch: Vec<Write> = std::iter::once(first).chain(queue.try_iter().take(BATCH - 1)).collect();
        match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(mut transaction) => {
                let replies = work_off(batch, &mut transaction, &mut crowd);
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
