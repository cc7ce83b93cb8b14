//! What the masking half counts, and its metric families.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Masking;
use crate::city::NumberState;
use crate::forecast::Forecast;
use crate::metrics::{Kind, Text};
use crate::moment::Moment;
use crate::name::City;
use crate::pool::Rung;
use crate::route::{self, Decision};
use crate::store::{CreateError, Created};
use crate::trip::TripState;

/// How long a count of trips may take.
const CENSUS_TIME: Duration = Duration::from_secs(5);
/// A count of trips is good for so many times as long as it took.
const CENSUS_PAUSE: u32 = 20;
const CREATIONS: &str = "bauta_trip_creations_total";
const GIVEN: &str = "bauta_pool_numbers_given_total";

/// Counters since the start of this process.
#[derive(Debug, Default)]
pub(super) struct Tally {
    routes: route::Tally,
    new: AtomicU64,
    known: AtomicU64,
    conflict: AtomicU64,
    exhausted: AtomicU64,
    failed: AtomicU64,
    /// Numbers given, by rung of the ladder.
    rungs: [AtomicU64; 3],
    /// Trips that a city's exhausted pool has refused, hour by hour, the last day's.
    dry: Mutex<BTreeMap<City, VecDeque<(i64, u64)>>>,
    /// Trips by state, and until when that is good enough.
    census: Mutex<Option<(Instant, [u64; 4])>>,
}

impl Tally {
    /// Counts a decision.
    pub fn route(&self, decision: &Decision) {
        self.routes.count(decision);
    }

    /// Counts a trip that was asked for, `now`.
    pub fn created(&self, created: &Result<Created, CreateError>, now: Moment) {
        let counter = match created {
            Ok(Created::New(made)) => {
                for rung in made.rungs {
                    if let Some(count) = self.rungs.get(rung as usize) {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
                &self.new
            }
            Ok(Created::Known(_)) => &self.known,
            Err(CreateError::Conflict(_)) => &self.conflict,
            Err(CreateError::Exhausted { city, .. }) => {
                self.ran_dry(city, now);
                &self.exhausted
            }
            Err(CreateError::NoCity(_) | CreateError::Store(_)) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn ran_dry(&self, city: &City, now: Moment) {
        let hour = now.unix().div_euclid(3_600);
        let mut dry = self.dry.lock().unwrap_or_else(PoisonError::into_inner);
        let hours = dry.entry(city.clone()).or_default();
        match hours.back_mut().filter(|(at, _)| *at == hour) {
            Some((_, count)) => *count += 1,
            None => hours.push_back((hour, 1)),
        }
        hours.retain(|(at, _)| *at > hour - 24);
    }

    /// Trips that a city's exhausted pool has refused in the last day.
    pub fn exhausted(&self, city: &City, now: Moment) -> u64 {
        let hour = now.unix().div_euclid(3_600);
        let dry = self.dry.lock().unwrap_or_else(PoisonError::into_inner);
        dry.get(city).into_iter().flatten().filter(|(at, _)| *at > hour - 24).map(|(_, count)| count).sum()
    }

    fn write(&self, text: &mut Text) {
        self.routes.write(text);
        text.family(CREATIONS, Kind::Counter, "Trips asked for, by outcome.");
        for (outcome, counter) in [
            ("new", &self.new),
            ("known", &self.known),
            ("conflict", &self.conflict),
            ("exhausted", &self.exhausted),
            ("failed", &self.failed),
        ] {
            text.sample(CREATIONS, &[("outcome", outcome)], counter.load(Ordering::Relaxed));
        }
        text.family(GIVEN, Kind::Counter, "Pool numbers given to parties, by where they came from.");
        for rung in Rung::ALL {
            let count = self.rungs.get(rung as usize).map_or(0, |count| count.load(Ordering::Relaxed));
            text.sample(GIVEN, &[("from", rung.as_str())], count);
        }
    }
}

impl Masking {
    /// Trips by state; as they were some time ago, when counting them takes long.
    async fn census(&self, now: Moment) -> Option<[u64; 4]> {
        let known = *self.tally.census.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, census)) = known.filter(|(good_until, _)| Instant::now() < *good_until) {
            return Some(census);
        }
        let began = Instant::now();
        let census = tokio::time::timeout(CENSUS_TIME, self.store.census(now)).await.ok()?.ok()?;
        let good_until = Instant::now() + began.elapsed() * CENSUS_PAUSE;
        *self.tally.census.lock().unwrap_or_else(PoisonError::into_inner) = Some((good_until, census));
        Some(census)
    }

    /// Writes the metric families of this half. What is counted in the store is left out when it does not answer.
    pub async fn metrics(&self, text: &mut Text, now: Moment) {
        self.tally.write(text);
        if let Some(census) = self.census(now).await {
            text.family("bauta_trips", Kind::Gauge, "Trips by state.");
            for (state, count) in TripState::ALL.iter().zip(census) {
                text.sample("bauta_trips", &[("state", state.as_str())], count);
            }
        }
        let trouble = self.file_trouble().len();
        text.single("bauta_city_files_refused", Kind::Gauge, "City files that are not taken.", trouble);
        let cities: Vec<_> =
            self.directory().cities().map(|(city, plan)| (city.clone(), plan.numbers.clone())).collect();
        text.family(
            "bauta_pool_numbers",
            Kind::Gauge,
            "Numbers in a city's pool, by what they are used for.",
        );
        for (city, numbers) in &cities {
            for state in NumberState::ALL {
                let count = numbers.values().filter(|s| **s == state).count();
                text.sample(
                    "bauta_pool_numbers",
                    &[("city", city.as_str()), ("state", state.as_str())],
                    count,
                );
            }
        }
        let forecasts = self.foreseen();
        for (name, help, value) in FORECAST {
            text.family(name, Kind::Gauge, help);
            for (city, forecast) in &forecasts {
                // What is not known, or never comes, has no sample.
                if let Some(value) = value(forecast) {
                    text.sample(name, &[("city", city.as_str())], value);
                }
            }
        }
    }
}

/// A gauge of a forecast: name, meaning, value.
type Gauge = (&'static str, &'static str, fn(&Forecast) -> Option<u64>);

/// The gauges of a city's forecast, worked out every minute.
const FORECAST: [Gauge; 6] = [
    ("bauta_pool_in_use", "Pool numbers that at least one trip holds.", |f| Some(f.in_use)),
    ("bauta_pool_busiest_party_numbers", "Pool numbers that the busiest party's trips hold.", |f| {
        f.busiest_party.as_ref().map(|party| party.numbers_held)
    }),
    (
        "bauta_pool_effective_quarantine_seconds",
        "Shortest time in the last day until a party had a number again.",
        |f| f.effective_quarantine_seconds.map(Into::into),
    ),
    (
        "bauta_pool_runs_dry_seconds",
        "Seconds until the pool runs dry at today's rate; no sample: not within 30 days.",
        |f| f.runs_dry_in_seconds,
    ),
    ("bauta_pool_numbers_needed", "Active pool numbers with which it would not run dry.", |f| {
        Some(f.numbers_needed)
    }),
    ("bauta_pool_numbers_to_add", "Pool numbers to add to that end.", |f| Some(f.numbers_to_add)),
];
