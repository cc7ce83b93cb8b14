//! Cities: made by the API or written in files, their numbers' states, and how their pools will do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Masking, to_the_end};
use crate::city::files::{Found, Watch};
use crate::city::{BadCity, CityPlan, NumberState};
use crate::forecast::{Forecast, forecast};
use crate::moment::Moment;
use crate::name::City;
use crate::number::PoolNumber;
use crate::store::{PutCityError, StoreError};

/// The cities that are written in files, and what is wrong with those files. Locked for moments only: whoever puts a
/// city, or asks for metrics, waits for it on the runtime's thread.
#[derive(Debug)]
pub struct CityFiles {
    folder: PathBuf,
    /// Locked while the folder is read, which may take as long as its disk does: on a thread for that alone.
    watch: Arc<Mutex<Watch>>,
    written: BTreeSet<City>,
    /// Plans that the store did not take: a number was another city's still, or the store was busy.
    waiting: BTreeMap<City, CityPlan>,
    trouble: BTreeMap<City, String>,
}

/// Why a city is not made, before or in the store.
#[derive(Debug, thiserror::Error)]
pub enum OpenCityError {
    /// The plan makes no sense.
    #[error(transparent)]
    Bad(#[from] BadCity),
    /// It would be its own neighbour.
    #[error("{0} cannot be its own neighbour")]
    OwnNeighbour(City),
    /// A file says what the city is.
    #[error("the city {city} is written in {file}: change it there")]
    Written {
        /// The city.
        city: City,
        /// Its file.
        file: String,
    },
    /// The store refuses.
    #[error(transparent)]
    Put(#[from] PutCityError),
}

impl CityFiles {
    /// The files of `folder`, which need not be there.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            watch: Arc::new(Mutex::new(Watch::new(folder))),
            written: BTreeSet::new(),
            waiting: BTreeMap::new(),
            trouble: BTreeMap::new(),
        }
    }

    fn refuse(&self, city: &City) -> Result<(), OpenCityError> {
        if !self.written.contains(city) {
            return Ok(());
        }
        let file = self.folder.join(format!("{city}.toml")).display().to_string();
        Err(OpenCityError::Written { city: city.clone(), file })
    }

    fn forget(&mut self, city: &City) {
        self.written.remove(city);
        self.waiting.remove(city);
        self.trouble.remove(city);
    }

    /// Notes why a city's file is not taken; it is logged once.
    fn refused(&mut self, city: &City, trouble: String) {
        if self.trouble.get(city) != Some(&trouble) {
            tracing::error!(%city, "its file is not taken, the city stays as it was: {trouble}");
            self.trouble.insert(city.clone(), trouble);
        }
    }
}

impl Masking {
    /// Makes or replaces a city; says whether it is new.
    pub async fn put_city(self: &Arc<Self>, name: City, plan: CityPlan) -> Result<bool, OpenCityError> {
        self.files().refuse(&name)?;
        self.keep_city(name, plan).await
    }

    async fn keep_city(self: &Arc<Self>, name: City, plan: CityPlan) -> Result<bool, OpenCityError> {
        plan.check()?;
        if plan.neighbours.contains(&name) {
            return Err(OpenCityError::OwnNeighbour(name));
        }
        let this = Arc::clone(self);
        let done = to_the_end(async move {
            let new = this.store.put_city(name.clone(), plan.clone()).await?;
            this.directory_mut().put_city(&name, plan);
            Ok(new)
        });
        done.await.map_err(PutCityError::from)?
    }

    /// Changes what one number of a city is used for.
    pub async fn set_number(
        self: &Arc<Self>,
        name: City,
        number: PoolNumber,
        state: NumberState,
    ) -> Result<(), OpenCityError> {
        self.files().refuse(&name)?;
        let this = Arc::clone(self);
        let done = to_the_end(async move {
            let plan = this.store.set_number(name.clone(), number, state).await?;
            this.directory_mut().put_city(&name, plan);
            Ok(())
        });
        done.await.map_err(PutCityError::from)?
    }

    /// How a city's pool will do; none for a city that is not there.
    pub async fn forecast(&self, name: &City, now: Moment) -> Result<Option<Forecast>, StoreError> {
        if self.directory().city(name).is_none() {
            return Ok(None);
        }
        let mut pool = self.store.pool_use(name.clone(), now).await?;
        pool.exhausted_last_day = self.tally.exhausted(name, now);
        Ok(Some(forecast(&pool, now)))
    }

    /// Takes in city files that have changed, and those that the store did not take before. To be called every few
    /// seconds.
    pub async fn look_at_files(self: &Arc<Self>) {
        let watch = Arc::clone(&self.files().watch);
        let look = move || watch.lock().unwrap_or_else(PoisonError::into_inner).look();
        let Ok(Found { cities, gone, problems }) = tokio::task::spawn_blocking(look).await else { return };
        for problem in problems {
            tracing::error!("{problem}");
        }
        for city in gone {
            self.files().forget(&city);
            tracing::warn!(%city, "its file is gone; the city stays as it is, and the API may change it");
        }
        let mut plans = std::mem::take(&mut self.files().waiting);
        for (city, plan) in cities {
            match plan {
                Ok(plan) => {
                    self.files().written.insert(city.clone());
                    plans.insert(city, plan);
                }
                Err(bad) => {
                    plans.remove(&city);
                    self.files().refused(&city, bad.to_string());
                }
            }
        }
        self.keep_written(plans).await;
    }

    /// Puts what files say into the store. A number may move from a city to one that comes before it: what is refused
    /// is tried again once another is taken.
    async fn keep_written(self: &Arc<Self>, mut plans: BTreeMap<City, CityPlan>) {
        loop {
            let (tried, mut refused) = (plans.len(), BTreeMap::new());
            for (city, plan) in plans {
                let numbers = plan.numbers.len();
                match self.keep_city(city.clone(), plan.clone()).await {
                    Ok(new) => {
                        tracing::info!(%city, numbers, new, "city file");
                        self.files().trouble.remove(&city);
                    }
                    Err(error @ OpenCityError::Put(_)) => drop(refused.insert(city, (plan, error))),
                    Err(error) => self.files().refused(&city, error.to_string()),
                }
            }
            if refused.is_empty() || refused.len() == tried {
                let mut files = self.files();
                for (city, (plan, error)) in refused {
                    files.refused(&city, error.to_string());
                    files.waiting.insert(city, plan);
                }
                return;
            }
            plans = refused.into_iter().map(|(city, (plan, _))| (city, plan)).collect();
        }
    }

    /// City files that are not taken: by city, what is wrong.
    pub fn file_trouble(&self) -> BTreeMap<City, String> {
        self.files().trouble.clone()
    }

    fn files(&self) -> std::sync::MutexGuard<'_, CityFiles> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
