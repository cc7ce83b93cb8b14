//! Ctrl-C: the first one ends the run, and calls are still deleted and reported; the second one ends the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Whether somebody asked for an early end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens for SIGINT and SIGTERM from now on, on a thread of its own.
    pub fn watch() -> std::io::Result<Self> {
        let asked = Self::default();
        let flag = Arc::clone(&asked.0);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        std::thread::Builder::new().name("load-signals".into()).spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                    if flag.swap(true, Ordering::Relaxed) {
                        std::process::exit(130);
                    }
                    eprintln!("bauta: ends early; once more gives up, and leaves calls open");
                }
            });
        })?;
        Ok(asked)
    }

    /// Whether it was.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
