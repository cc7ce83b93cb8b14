//! The masking half as one thing: the store, its copy in memory, and the decisions made from it.
//!
//! Called by HTTP on the runtime's thread. A write goes to the store first and into memory when the store has
//! said yes; it runs in a task of its own, so that a client that hangs up cannot leave the two apart.
//! [`trips`] makes and changes trips, [`cities`] their pools, [`routing`] decides about calls, [`upkeep`] is the rest.

mod cities;
mod meter;
mod routing;
mod tally;
mod trips;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::Semaphore;

use crate::directory::Directory;
use crate::forecast::Forecast;
use crate::moment::Moment;
use crate::name::City;
use crate::route::RouteBook;
use crate::route::intents::Intents;
use crate::route::tries::Tries;
use crate::secret::Keys;
use crate::store::{Store, StoreError};
pub use cities::{CityFiles, OpenCityError};
use meter::Meter;
pub use routing::Routing;
use tally::Tally;
pub use trips::{OpenIntentError, OpenTripError};

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
    /// What was counted of calls, intents that are open, wrong PINs: what a decision changes.
    doors: Mutex<Doors>,
    /// One PIN is looked at after the other: of many at once, too many would be compared before one is counted.
    pin_turn: tokio::sync::Mutex<()>,
    files: Mutex<CityFiles>,
    tally: Tally,
    /// How each pool will do, as it was worked out last.
    forecasts: Mutex<BTreeMap<City, Forecast>>,
    reseal_turn: tokio::sync::Mutex<()>,
    /// The store's log still holds what was erased.
    log_to_cut: AtomicBool,
}

/// What lets a call in or keeps it out besides trips. Never locked across an await.
#[derive(Default)]
struct Doors {
    meter: Meter,
    intents: Intents,
    tries: Tries,
}

impl Masking {
    /// Loads what is live from the store; decisions go into `book`. `sip_host` is the setting of that name, `files`
    /// what cities are written in.
    pub async fn load(
        store: Arc<dyn Store>,
        keys: Arc<Keys>,
        book: Arc<RouteBook>,
        sip_host: &str,
        files: CityFiles,
        now: Moment,
    ) -> Result<Arc<Self>, StoreError> {
        let directory = Arc::new(Mutex::new(Directory::default()));
        let fill = Arc::clone(&directory);
        let each = Box::new(move |trip| {
            fill.lock().unwrap_or_else(PoisonError::into_inner).put_trip(trip);
        });
        let cities = store.load(now, each).await?;
        let mut directory = std::mem::take(&mut *directory.lock().unwrap_or_else(PoisonError::into_inner));
        for (name, plan) in cities {
            directory.put_city(&name, plan);
        }
        let masking = Arc::new(Self {
            store,
            book,
            keys,
            directory: RwLock::new(directory),
            sip_host: sip_host.to_owned(),
            look_ups: Semaphore::new(LOOK_UPS),
            doors: Mutex::default(),
            pin_turn: tokio::sync::Mutex::default(),
            files: Mutex::new(files),
            tally: Tally::default(),
            forecasts: Mutex::default(),
            reseal_turn: tokio::sync::Mutex::default(),
            log_to_cut: AtomicBool::new(false),
        });
        masking.look_at_files().await;
        Ok(masking)
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

    fn doors(&self) -> MutexGuard<'_, Doors> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does `work` to its end, even when whoever asked for it goes away meanwhile: what the store has kept reaches memory.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::spawn(work).await.map_err(|_| StoreError::Silent)
}
