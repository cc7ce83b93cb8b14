//! What goes on beside calls: forgetting what is over, forecasts, keys, copies.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::macros::format_description;

use super::Masking;
use crate::forecast::Forecast;
use crate::moment::Moment;
use crate::name::City;
use crate::secret::SecretError;
use crate::store::StoreError;

/// Trips that are forgotten in one go: decisions wait meanwhile.
const SWEPT: usize = 5_000;
/// Pause between two steps of sealing anew: others write, too.
const RESEAL_PAUSE: Duration = Duration::from_millis(20);
/// After a forecast it rests for so many times as long as that took.
const FORESEE_PAUSE: u32 = 9;
/// Folder of copies in the state directory.
const BACKUPS: &str = "backups";

impl Masking {
    /// Forgets and erases what is over. To be called every few seconds.
    pub async fn sweep(&self, now: Moment) {
        let mut forgotten = 0;
        loop {
            let swept = self.directory_mut().sweep(now, SWEPT);
            forgotten += swept;
            if swept < SWEPT {
                break;
            }
            tokio::task::yield_now().await;
        }
        let mut erased = 0;
        loop {
            match self.store.purge(now).await {
                Ok(purged) => {
                    erased += purged.trips;
                    if !purged.more {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "trips that are over were not erased; the next sweep tries again");
                    break;
                }
            }
        }
        if forgotten + erased > 0 {
            tracing::info!(forgotten, erased, "trips purged");
        }
        self.forget_calls(now);
        self.cut_log().await;
    }

    /// Calls of trips that are no more are not counted any more.
    fn forget_calls(&self, now: Moment) {
        let directory = self.directory();
        self.doors().meter.keep_only(|trip| directory.trip(trip, now).is_some());
    }

    /// Cuts the store's log off, if it still holds what was erased. What does not succeed is tried with the next sweep.
    pub(super) async fn cut_log(&self) {
        if !self.log_to_cut.swap(false, Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.store.cut_log().await {
            tracing::warn!(%error, "what was erased is still sealed in the store's log; the next sweep tries again");
            self.log_to_cut.store(true, Ordering::Relaxed);
        }
    }

    /// Works out how every pool will do, for the metrics. To be called every minute or so.
    pub async fn foresee(&self, now: Moment) {
        let names: Vec<City> = self.directory().cities().map(|(name, _)| name.clone()).collect();
        let mut forecasts = BTreeMap::new();
        for name in names {
            let began = Instant::now();
            let forecast = self.forecast(&name, now).await;
            // Whoever else reads the store comes first.
            tokio::time::sleep(began.elapsed() * FORESEE_PAUSE).await;
            match forecast {
                Ok(Some(forecast)) => drop(forecasts.insert(name, forecast)),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, city = %name, "no forecast"),
            }
        }
        *self.forecasts.lock().unwrap_or_else(PoisonError::into_inner) = forecasts;
    }

    /// What [`Self::foresee`] found last.
    pub(super) fn foreseen(&self) -> BTreeMap<City, Forecast> {
        self.forecasts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a key by which is sealed from now on, and begins to seal anew what older ones have; returns its id.
    pub async fn rotate_keys(self: &Arc<Self>) -> Result<u8, SecretError> {
        let this = Arc::clone(self);
        // It waits for the disk. A client that hangs up leaves no key without its trips.
        let task = tokio::spawn(async move {
            let keys = Arc::clone(&this.keys);
            let newest = tokio::task::spawn_blocking(move || keys.rotate()).await;
            let newest = newest.unwrap_or(Err(SecretError::Interrupted))?;
            tokio::spawn(this.reseal());
            Ok(newest)
        });
        task.await.unwrap_or(Err(SecretError::Interrupted))
    }

    /// Seals anew what an older key than the newest has sealed. To be called at start, too: a control that was killed
    /// meanwhile goes on.
    pub async fn reseal(self: Arc<Self>) {
        let _turn = self.reseal_turn.lock().await;
        let newest = self.keys.newest_id();
        let (mut after, mut trips) = (None, 0);
        loop {
            match self.store.reseal(after).await {
                Ok(step) => {
                    trips += step.trips;
                    if step.next.is_none() {
                        break;
                    }
                    after = step.next;
                }
                Err(error) => {
                    tracing::error!(%error, newest, "not every trip is sealed by the newest key; a restart tries again");
                    return;
                }
            }
            tokio::time::sleep(RESEAL_PAUSE).await;
        }
        if trips > 0 {
            tracing::info!(trips, newest, "sealed anew");
        }
    }

    /// Copies the database into the state directory's folder for copies; answers the file's name and its bytes. The
    /// key file is not in it, and must be kept elsewhere.
    pub async fn back_up(&self, state: &Path, now: Moment) -> Result<(String, u64), StoreError> {
        use std::os::unix::fs::DirBuilderExt;
        let folder = state.join(BACKUPS);
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|e| StoreError::Database(format!("{}: {e}", folder.display())))?;
        let day = format_description!("[year][month][day]T[hour][minute][second]Z");
        let at = OffsetDateTime::from_unix_timestamp(now.unix()).ok().and_then(|at| at.format(day).ok());
        let name = format!("bauta-{}.db", at.unwrap_or_else(|| now.unix().to_string()));
        let bytes = self.store.back_up(folder.join(&name)).await?;
        Ok((name, bytes))
    }
}
