//! A masking half on a real database, that can be killed and started again.

use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use control::masking::{CityFiles, Masking};
use control::moment::Moment;
use control::route::RouteBook;
use control::secret::{DATABASE, Keys};
use control::store::Store;
use control::store::sqlite::Sqlite;

use crate::held_back::HeldBack;

pub struct Site {
    folder: tempfile::TempDir,
    pub store: Arc<HeldBack>,
    pub masking: Arc<Masking>,
}

impl Site {
    pub async fn start(now: Moment) -> Self {
        let folder = folder();
        let (store, masking) = load(folder.path(), now).await;
        Self { folder, store, masking }
    }

    /// As after a kill: what is in memory is gone.
    pub async fn restart(&mut self, now: Moment) {
        (self.store, self.masking) = load(self.folder.path(), now).await;
    }

    /// What runs beside the answers, such as counting a call, is done when this returns.
    pub async fn settle(&self) {
        for _ in 0..2 {
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            self.store.ping().await.unwrap();
        }
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }
}

/// A state directory in memory where there is one (thousands of commits), with keys that are always the same.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let keys = folder.path().join("keys");
    std::fs::DirBuilder::new().mode(0o700).create(&keys).unwrap();
    let mut file = std::fs::OpenOptions::new();
    let file = file.create_new(true).write(true).mode(0o600).open(keys.join("numbers.key"));
    std::io::Write::write_all(&mut file.unwrap(), format!("1 {}\n", "5a".repeat(32)).as_bytes()).unwrap();
    folder
}

/// A store on the database of `state`, as another process would open it.
pub fn open_store(state: &Path) -> (Sqlite, Arc<Keys>) {
    let keys = Arc::new(Keys::open_or_make(state).unwrap());
    (Sqlite::open(&state.join(DATABASE), Arc::clone(&keys)).unwrap(), keys)
}

async fn load(state: &Path, now: Moment) -> (Arc<HeldBack>, Arc<Masking>) {
    let (store, keys) = open_store(state);
    let store = Arc::new(HeldBack::new(store));
    let kept: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
    let book = Arc::new(RouteBook::open(state, Arc::clone(&keys), now).unwrap());
    let files = CityFiles::new(&state.join("cities"));
    let masking = Masking::load(kept, keys, book, "sbc.example", files, now).await.unwrap();
    (store, masking)
}
