//! Cities: made by the API or written in files, their numbers' states, and how their pools will do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::Masking;
use crate::city::files::{Found, Watch};
use crate::city::{BadCity, CityPlan, NumberState};
use crate::forecast::{Forecast, forecast};
use crate::moment::Moment;
use crate::name::City;
use crate::number::PoolNumber;
use crate::store::{PutCityError, StoreError};

/// The cities that are written in files, and what is wrong with those files.
#[derive(Debug)]
pub struct CityFiles {
    folder: PathBuf,
    watch: Watch,
    written: BTreeSet<City>,
    trouble: BTreeMap<String, String>,
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
            watch: Watch::new(folder),
            written: BTreeSet::new(),
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
        let task = tokio::spawn(async move {
            let new = this.store.put_city(name.clone(), plan.clone()).await?;
            this.directory_mut().put_city(&name, plan);
            Ok(new)
        });
        task.await.unwrap_or_else(|_| Err(PutCityError::from(StoreError::Silent).into()))
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
        let task = tokio::spawn(async move {
            let plan = this.store.set_number(name.clone(), number, state).await?;
            this.directory_mut().put_city(&name, plan);
            Ok(())
        });
        task.await.unwrap_or_else(|_| Err(PutCityError::from(StoreError::Silent).into()))
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

    /// Takes in city files that have changed. To be called every few seconds.
    pub async fn look_at_files(self: &Arc<Self>) {
        let this = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || this.files().watch.look());
        let Ok(Found { cities, gone, problems }) = looked.await else { return };
        for problem in problems {
            tracing::error!("{problem}");
        }
        for city in gone {
            self.files().written.remove(&city);
            self.files().trouble.remove(city.as_str());
            tracing::warn!(%city, "its file is gone; the city stays as it is, and the API may change it");
        }
        for (city, plan) in cities {
            let kept = match plan {
                Ok(plan) => {
                    self.files().written.insert(city.clone());
                    let numbers = plan.numbers.len();
                    let kept = self.keep_city(city.clone(), plan).await;
                    kept.map(|new| tracing::info!(%city, numbers, new, "city file"))
                        .map_err(|e| e.to_string())
                }
                Err(bad) => Err(bad.to_string()),
            };
            let mut files = self.files();
            match kept {
                Ok(()) => drop(files.trouble.remove(city.as_str())),
                Err(trouble) => {
                    tracing::error!(%city, "its file is not taken, the city stays as it was: {trouble}");
                    files.trouble.insert(city.to_string(), trouble);
                }
            }
        }
    }

    /// City files that are not taken: by city, what is wrong.
    pub fn file_trouble(&self) -> BTreeMap<String, String> {
        self.files().trouble.clone()
    }

    fn files(&self) -> std::sync::MutexGuard<'_, CityFiles> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
