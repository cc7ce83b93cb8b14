//! Trips made with durable commits, by many clients at a time, through control's library.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use control::masking::{CityFiles, Masking};
use control::moment::Moment;
use control::route::RouteBook;
use control::secret::{DATABASE, Keys};
use control::store::Store;
use control::store::sqlite::Sqlite;
use control::trip::Change;
use tokio::task::LocalSet;

use super::people::{self, People};
use super::table::{self, Times};

/// Says with how many trips a folder was filled.
const FILLED: &str = "filled";
/// Rows of the table, each for an equal part of the trips: whether it gets slower.
const STRETCHES: u32 = 4;

/// Control's masking half on a state directory, put together as `bauta-control` does.
pub async fn masking(state: &Path) -> Result<Arc<Masking>> {
    let keys = Arc::new(Keys::open_or_make(state)?);
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&state.join(DATABASE), Arc::clone(&keys))?);
    let book = Arc::new(RouteBook::open(state, Arc::clone(&keys), Moment::now())?);
    let files = CityFiles::new(&state.join("cities"));
    Ok(Masking::load(store, keys, book, "sbc.example", files, Moment::now()).await?)
}

/// The runtime that `bauta-control` has.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Fills `state`, unless this bench did so before.
pub fn unless_filled(state: &Path, people: People, clients: usize) -> Result<()> {
    let mark = state.join(FILLED);
    if let Ok(filled) = std::fs::read_to_string(&mark) {
        ensure!(filled == people.trips.to_string(), "{} is filled with {filled} trips", state.display());
        println!("filled before");
        return Ok(());
    }
    ensure!(!state.join(DATABASE).exists(), "{} was not filled to the end: remove it", state.display());
    LocalSet::new().block_on(&runtime()?, async {
        let masking = masking(state).await?;
        for (city, plan) in people::plans(people) {
            masking.put_city(city, plan).await?;
        }
        table::head();
        for stretch in 0..STRETCHES {
            let from =
                |stretch| u32::try_from(u64::from(people.all()) * u64::from(stretch) / u64::from(STRETCHES));
            let (from, to) = (from(stretch)?, from(stretch + 1)?);
            make(&masking, people, from..to, clients).await;
        }
        close(&masking, people).await
    })?;
    Ok(std::fs::write(mark, people.trips.to_string())?)
}

async fn make(masking: &Arc<Masking>, people: People, trips: std::ops::Range<u32>, clients: usize) {
    let what = format!("trip made in the process, {clients} clients, from the {}th on", trips.start);
    let times = Rc::new(RefCell::new(Times::begin(&what, std::process::id())));
    let next = Rc::new(Cell::new(trips.start));
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (masking, times, next) = (Arc::clone(masking), Rc::clone(&times), Rc::clone(&next));
            tokio::task::spawn_local(async move {
                loop {
                    let trip = next.replace(next.get() + 1);
                    if trip >= trips.end {
                        return;
                    }
                    let request = people.trip_request(trip);
                    let began = Instant::now();
                    masking.open_trip(&request, Moment::now()).await.expect("a trip");
                    times.borrow_mut().add(began.elapsed());
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a client");
    }
    Rc::into_inner(times).expect("all clients have ended").into_inner().end();
}

async fn close(masking: &Arc<Masking>, people: People) -> Result<()> {
    let closing: Vec<_> = (people.trips..people.all())
        .map(|trip| {
            let masking = Arc::clone(masking);
            async move { masking.amend_trip(people::trip_id(trip), Change::Close, Moment::now()).await }
        })
        .collect();
    let mut closing = closing.into_iter();
    loop {
        let some: Vec<_> = closing.by_ref().take(256).map(tokio::task::spawn_local).collect();
        if some.is_empty() {
            return Ok(());
        }
        for one in some {
            one.await??;
        }
    }
}
