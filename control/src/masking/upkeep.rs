//! What goes on beside calls: forgetting what is over, forecasts, keys, copies.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

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
    }

    /// Works out how every pool will do, for the metrics. To be called every minute or so.
    pub async fn foresee(&self, now: Moment) {
        let names: Vec<City> = self.directory().cities().map(|(name, _)| name.clone()).collect();
        let mut forecasts = BTreeMap::new();
        for name in names {
            match self.forecast(&name, now).await {
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
    pub fn rotate_keys(self: &Arc<Self>) -> Result<u8, SecretError> {
        let newest = self.keys.rotate()?;
        tokio::spawn(Arc::clone(self).reseal());
        Ok(newest)
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
