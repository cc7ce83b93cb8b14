//! `bauta-recorder`: reads settings, starts capture, archiver and sync, writes the metrics file, stops on SIGTERM.

#![forbid(unsafe_code)]

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use crossbeam::channel::unbounded;
use recorder::capture::{Calls, Context, Pace, Recovered, SpoolFiles, Syncer, TapSocket, Work, recover, run};
use recorder::metrics::{self, Metrics};
use recorder::settings::Settings;
use recorder::{archive, archiver};
use relay::settings::{File, Section};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Turns the tap of every recorded call into an archive.
#[derive(Parser)]
#[command(name = "bauta-recorder", version)]
struct Arguments {
    /// The state directory.
    #[arg(long, default_value = "var")]
    state: PathBuf,
    /// The settings file [default: pop.toml in the current directory, if there is one].
    #[arg(long)]
    config: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let settings = Settings::read(&File::open(arguments.config.as_deref())?)?;
    serve(&arguments.state, settings)
}

fn serve(state: &Path, settings: Settings) -> anyhow::Result<()> {
    let (run_folder, spool) = (state.join("run"), state.join(archive::SPOOLS));
    for folder in [&run_folder, &spool, &state.join(archive::ARCHIVES)] {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.with_context(|| format!("making {}", folder.display()))?;
    }
    raise_file_limit();
    let _lock = lock(&spool)?;
    let (stop, counters) = (Arc::new(AtomicBool::new(false)), Arc::new(Metrics::default()));
    let spools = recover(&spool).with_context(|| format!("reading the spools in {}", spool.display()))?;
    let (work, queue) = unbounded();
    for found in &spools {
        metrics::add(&counters.spool_bytes, found.length);
        if found.closed {
            metrics::add(&counters.waiting, 1);
            work.send(Work::Closed(found.path.clone()))?;
        }
    }
    if !spools.is_empty() {
        let open = spools.iter().filter(|s| !s.closed).count();
        tracing::info!("found {open} unfinished spools and {} to archive", spools.len() - open);
    }
    let archiver = {
        let (stop, counters, state) = (stop.clone(), counters.clone(), state.to_owned());
        let context = archiver::Context { state, settings, stop, counters };
        std::thread::Builder::new().name("archiver".into()).spawn(move || archiver::run(&queue, &context))?
    };
    let syncer = Some(Syncer::start(&spool, counters.clone())?);
    let tap = TapSocket(run_folder.join("tap.sock"));
    let context =
        Context { stop: stop.clone(), counters: counters.clone(), work, syncer, pace: Pace::default() };
    let capture = std::thread::Builder::new()
        .name("capture".into())
        .spawn(move || capture(tap, &spool, &spools, context))?;
    watch(&run_folder.join("recorder.metrics"), &counters, &capture)?;
    stop.store(true, Relaxed);
    let result = capture.join();
    if archiver.join().is_err() {
        tracing::error!("the archiver ended by a fault; its spool is kept");
    }
    // The last second counts too.
    if let Err(error) = counters.write(&run_folder.join("recorder.metrics")) {
        tracing::warn!("the metrics were not written: {error}");
    }
    match result {
        Ok(result) => result,
        Err(_) => bail!("capture ended by a fault; the rings and spools hold what was captured"),
    }
}

/// The capture thread: chooses how files are written, and captures.
fn capture(tap: TapSocket, spool: &Path, spools: &[Recovered], context: Context) -> anyhow::Result<()> {
    let calls = Calls::recovered(spools);
    match uring() {
        Ok(runtime) => {
            tracing::info!("spools are written through io_uring");
            runtime.block_on(async {
                let mut disk = SpoolFiles::new(spool, true);
                disk.adopt(spools)?;
                run(tap, disk, calls, context).await;
                Ok(())
            })
        }
        Err(error) => {
            tracing::warn!("spools are written by plain writes: io_uring is refused: {error}");
            let mut disk = SpoolFiles::new(spool, false);
            disk.adopt(spools)?;
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            runtime.block_on(run(tap, disk, calls, context));
            Ok(())
        }
    }
}

/// A tokio-uring runtime on this thread, if the kernel lets us: it may lack io_uring, or forbid it.
fn uring() -> std::io::Result<tokio_uring::Runtime> {
    let runtime = tokio_uring::Runtime::new(&tokio_uring::builder())?;
    runtime.block_on(tokio_uring::no_op())?;
    Ok(runtime)
}

/// Writes the metrics file every second until told to stop, or capture is no more.
fn watch<T>(path: &Path, counters: &Metrics, capture: &JoinHandle<T>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut second = tokio::time::interval(Duration::from_secs(1));
        while !capture.is_finished() {
            if let Err(error) = counters.write(path) {
                tracing::warn!("{}: {error}", path.display());
            }
            tokio::select! {
                _ = second.tick() => {}
                _ = term.recv() => break,
                _ = int.recv() => break,
            }
        }
        tracing::info!("stopping: unfinished spools are left for the next start");
        Ok(())
    })
}

/// One recorder per spool folder. A predecessor that is about to end is waited for.
fn lock(spool: &Path) -> anyhow::Result<std::fs::File> {
    let path = spool.join(".lock");
    let file = std::fs::File::create(&path).with_context(|| format!("making {}", path.display()))?;
    for attempt in 0..50 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if attempt == 0 => {
                tracing::warn!("another recorder uses {}: waiting for it to end", spool.display());
            }
            Err(std::fs::TryLockError::WouldBlock) => {}
            Err(error) => return Err(error).with_context(|| format!("locking {}", path.display())),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("another recorder uses {}; stop it first", spool.display())
}

/// One open file per call: as many as the system lets us.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}
