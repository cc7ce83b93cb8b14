//! `bauta-control`: numbers masked, the SIP proxy answered, the relay programmed.

#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use control::call::Calls;
use control::http::{self, Access, Api, Archives};
use control::live::LiveCalls;
use control::masking::{CityFiles, Masking};
use control::moment::{Moment, Watch};
use control::ng::server::Server;
use control::quality::journal::{self, Records};
use control::route::RouteBook;
use control::secret::{DATABASE, Keys};
use control::settings::ControlSettings;
use control::store::Store;
use control::store::sqlite::Sqlite;
use control::token::Tokens;
use control::vital::Vital;
use relay::settings::{File, Section};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often trips that are over are forgotten and erased, and the last use of tokens is saved.
const SWEEP: Duration = Duration::from_secs(10);
/// How often it is looked for city files that have changed: their operator waits for it.
const LOOK: Duration = Duration::from_secs(2);
/// How often it is worked out how pools will do.
const FORESEE: Duration = Duration::from_secs(60);

/// Masks numbers, answers the SIP proxy, programs the relay.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// State directory: database, keys, tokens, archives, sockets.
    #[arg(long, default_value = "var")]
    state: PathBuf,
    /// Settings file; pop.toml in the current directory when there is one, else all defaults.
    #[arg(long)]
    config: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let settings = ControlSettings::read(&File::open(arguments.config.as_deref())?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let beside = arguments.config.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let cities = CityFiles::new(&beside.join(&settings.cities));
    runtime.block_on(run(&arguments.state, settings, cities))
}

async fn run(state: &Path, settings: ControlSettings, cities: CityFiles) -> Result<()> {
    std::fs::create_dir_all(state)
        .with_context(|| format!("make the state directory {}", state.display()))?;
    let _alone = alone(state)?;
    let keys = Arc::new(Keys::open_or_make(state)?);
    let database = state.join(DATABASE);
    let mut store =
        Sqlite::open(&database, Arc::clone(&keys)).with_context(|| format!("open {}", database.display()))?;
    let mut vital = Vital::default();
    vital.run("the store's thread", store.ended());
    let store: Arc<dyn Store> = Arc::new(store);
    let tokens = Arc::new(Tokens::open(state, Arc::clone(&store), Moment::now()).await?);
    let book = RouteBook::open(state, Arc::clone(&keys), Moment::now())
        .with_context(|| format!("open routes.journal in {}", state.display()))?;
    let masking = Masking::load(store, keys, Arc::new(book), &settings.sip_host, cities, Moment::now())
        .await
        .with_context(|| format!("load trips from {}", database.display()))?;
    let live = start_calls(state, &settings, &masking, &mut vital).await?;
    let listener = TcpListener::bind(settings.http)
        .await
        .with_context(|| format!("serve HTTP on {} (control.http in pop.toml)", settings.http))?;
    let api = Api {
        masking: Arc::clone(&masking),
        live,
        access: Arc::new(Access::new(Arc::clone(&tokens), settings.http_rate)),
        state: state.to_owned(),
        archives: Arc::new(Archives::new(state)),
        body_limit: usize::try_from(settings.http_body_limit)?,
    };
    tracing::info!(http = %settings.http, ng = %settings.ng, state = %state.display(), "control serves");
    vital.run("the sweep of trips", sweep(Arc::clone(&masking), Arc::clone(&tokens)));
    vital.run("the city files", look(Arc::clone(&masking)));
    vital.run("the forecasts", foresee(masking));
    tokio::select! {
        () = http::serve(listener, api, stopped()?) => {}
        ended = vital.ended() => return Err(ended.into()),
    }
    tokens.save_uses().await;
    tracing::info!("control stops; calls go on in the relay");
    Ok(())
}

/// Nobody else writes to this state directory while the file that this returns is open.
fn alone(state: &Path) -> Result<std::fs::File> {
    let path = state.join("control.lock");
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("open {}", path.display()))?;
    let taken = || format!("{}: another control runs on this state directory", path.display());
    file.try_lock().with_context(taken)?;
    Ok(file)
}

/// Starts the calls half: the connection to the relay and the NG server.
async fn start_calls(
    state: &Path,
    settings: &ControlSettings,
    masking: &Arc<Masking>,
    vital: &mut Vital,
) -> Result<Arc<dyn LiveCalls>> {
    let (keys, book, store) = (masking.keys(), masking.book(), masking.store());
    let records = Records::start(state.join(journal::FOLDER), settings.call_records_days)
        .context("start the thread that writes call records")?;
    let calls = Calls::new(settings, Arc::clone(keys), Arc::clone(book), Arc::clone(store), records);
    let server = Server::bind(settings, Arc::clone(&calls))
        .await
        .with_context(|| format!("answer NG on {} (control.ng in pop.toml)", settings.ng))?;
    vital.run("the connection to the relay", Arc::clone(&calls).attach(state.join("run/relay.sock")));
    vital.run("the NG server", server.run());
    Ok(calls)
}

async fn sweep(masking: Arc<Masking>, tokens: Arc<Tokens>) {
    let mut every = interval(SWEEP);
    let mut watch = Watch::new(Moment::now(), Instant::now());
    loop {
        every.tick().await;
        let now = Moment::now();
        if watch.believes(now, Instant::now()) {
            masking.sweep(now).await;
        }
        tokens.save_uses().await;
    }
}

/// Ticks so often, and late when what was to be done took longer.
fn interval(period: Duration) -> tokio::time::Interval {
    let mut every = tokio::time::interval(period);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every
}

async fn look(masking: Arc<Masking>) {
    let mut every = interval(LOOK);
    loop {
        every.tick().await;
        masking.look_at_files().await;
    }
}

async fn foresee(masking: Arc<Masking>) {
    // What a rotation of keys left undone when control was killed.
    Arc::clone(&masking).reseal().await;
    let mut every = interval(FORESEE);
    loop {
        every.tick().await;
        masking.foresee(Moment::now()).await;
    }
}

/// Ready on SIGTERM or SIGINT.
fn stopped() -> Result<impl Future<Output = ()> + Send + 'static> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}
