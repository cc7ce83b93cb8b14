//! Brings what was written to the disk, once a second, with one call for all spools. On a thread of its own, so
//! that a slow disk does not hold capture up.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

use crate::metrics::{self, Metrics};

/// The sync thread.
#[derive(Debug)]
pub struct Syncer {
    wanted: Option<Sender<()>>,
    trouble: Receiver<String>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread for the file system that holds `folder`.
    pub fn start(folder: &Path, counters: Arc<Metrics>) -> io::Result<Self> {
        let folder = File::open(folder)?;
        let (wanted, requests) = bounded(1);
        let (tell, trouble) = unbounded();
        let thread = std::thread::Builder::new().name("sync".into()).spawn(move || {
            for () in requests {
                let result = rustix::fs::syncfs(&folder);
                let before = counters.sync_alarm.swap(result.is_err().into(), Relaxed);
                match result {
                    Err(error) if before == 0 => {
                        metrics::add(&counters.alarms, 1);
                        tracing::error!(
                            "ALARM: the spool does not reach the disk: {error}; trying again every second"
                        );
                        // Fails only when capture is gone.
                        let _ = tell.send(error.to_string());
                    }
                    Ok(()) if before == 1 => tracing::warn!("the spool reaches the disk again"),
                    _ => {}
                }
            }
        })?;
        Ok(Self { wanted: Some(wanted), trouble, thread: Some(thread) })
    }

    /// Why syncs began to fail, told once each time that they do.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.try_recv().ok()
    }

    /// Asks for a sync; does not wait. False when the one before has not begun yet.
    pub fn sync(&self) -> bool {
        self.wanted.as_ref().is_some_and(|w| w.try_send(()).is_ok())
    }
}

impl Drop for Syncer {
    /// A last sync, waited for.
    fn drop(&mut self) {
        if let Some(wanted) = self.wanted.take() {
            // Fails only when the thread is gone.
            let _ = wanted.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
