use super::*;
use crate::route::RouteBook;
use crate::secret::Keys;
use crate::store::sqlite::Sqlite;

#[test]
fn a_disk_that_hangs_holds_up_no_city_and_no_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    let keys = Arc::new(Keys::open_or_make(state).unwrap());
    let store = Arc::new(Sqlite::open(&state.join("bauta.db"), Arc::clone(&keys)).unwrap());
    let now = Moment::from_unix(1_000);
    let book = Arc::new(RouteBook::open(state, Arc::clone(&keys), now).unwrap());
    let files = CityFiles::new(&state.join("cities"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let masking = runtime.block_on(Masking::load(store, keys, book, "sbc.example", files, now)).unwrap();

    // The look that has begun does not end.
    let watch = Arc::clone(&masking.files().watch);
    let disk = watch.lock().unwrap();
    let looking = Arc::clone(&masking);
    let looked = runtime.spawn(async move { looking.look_at_files().await });
    for n in 1..=20 {
        let plan = format!("{{\"country\":\"44\",\"numbers\":[\"+44207946{n:04}\"]}}");
        let plan: CityPlan = serde_json::from_str(&plan).unwrap();
        assert!(masking.files.try_lock().is_ok(), "whoever asks now waits for the disk");
        runtime.block_on(masking.put_city(City::new("london").unwrap(), plan)).unwrap();
        assert!(masking.file_trouble().is_empty());
    }
    assert!(!looked.is_finished());
    drop(disk);
    runtime.block_on(looked).unwrap();
}
