//! `bauta-relay`: forwards media. Needs no privilege; says what one would add.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use relay::engine::Spans;
use relay::interface::{Address, Interface};
use relay::lane;
use relay::options::Options;
use relay::ports::Ports;
use relay::program::message::Stats;
use relay::server::{self, Limits, Setup};
use relay::settings::{File, PortRange, Section};
use relay::sys::limits;
use relay::worker::{self, Plan};
use relay::{sys, tap};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Forwards the media of masked calls, programmed by bauta-control.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// State directory: sockets are made in its folder `run`.
    #[arg(long, default_value = "var")]
    state: PathBuf,
    /// Settings file; without it `pop.toml` in the current directory, if there is one.
    #[arg(long)]
    config: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let level = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let options = Options::read(&File::open(arguments.config.as_deref())?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let serving = start(&options, &arguments.state)?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            ended = server::serve(serving) => ended.context("the programming socket failed"),
            _ = terminate.recv() => Ok(()),
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })?;
    tracing::info!("stopped");
    Ok(())
}

fn start(options: &Options, state: &std::path::Path) -> anyhow::Result<Setup> {
    let run = state.join("run");
    let listener: UnixListener =
        sys::unix::listen(&run.join("relay.sock")).context("relay.sock cannot be opened")?;
    let epoch = getrandom::u64().context("no random numbers")?;
    let (lane, reason) = lane::choose(options.lane)?;
    tracing::info!("lane {}: {reason}", lane.name());
    let cores = limits::cores()?;
    let workers = options.workers_of(cores.len());
    let files = limits::raise_open_files()?;
    let interfaces = options.interfaces();
    let seed = getrandom::u64().context("no random numbers")?;
    let rest_ns = u64::from(options.port_rest_seconds) * 1_000_000_000;
    let ports = Ports::new(&interfaces, rest_ns, options.receive_buffer_kib as usize * 1024, seed);
    let (mut missing, mut handles, mut rings) =
        (limits::missing(files, ports.total(), workers), Vec::new(), Vec::new());
    // Registered files count against the limit per ring, and each worker may come to serve every call.
    // A little more than there are ports: the slots of a closed call come back a moment after its ports.
    let own = limits::own_files(workers);
    let sockets = files.saturating_sub(own).min(2 * ports.total() as u64 + own);
    let sockets = u32::try_from(sockets).context("too many sockets")?;
    let spans = Spans {
        learn_window_ns: u64::from(options.learn_window_ms) * 1_000_000,
        silence_ns: u64::from(options.silence_seconds) * 1_000_000_000,
    };
    for index in 0..workers {
        let capacity = options.tap_ring_mib as usize * 1024 * 1024;
        let (tap, ring) = tap::create(capacity, epoch).context("the tap ring cannot be made")?;
        rings.push(ring);
        let core = cores.get(index).copied().filter(|_| options.pin);
        let plan = Plan { index, core, lane, sockets, tap, spans };
        let (handle, pinned) = worker::start(plan).with_context(|| format!("worker {index} cannot start"))?;
        if let Err(e) = pinned {
            missing.push(format!("worker {index} is not pinned to a core: {e}"));
        }
        handles.push(handle);
    }
    missing.iter().for_each(|m| tracing::info!("{m}"));
    let (tell, recorder) = tokio::sync::mpsc::unbounded_channel();
    let host = tap::Host::bind(&run.join("tap.sock"), rings, epoch).context("tap.sock cannot be opened")?;
    std::thread::Builder::new().name("tap".into()).spawn(move || {
        let _guard = worker::EndsWithProcess;
        let attached = |attached| {
            // The server is gone only when the process ends.
            let _ = tell.send(attached);
        };
        if let Err(e) = host.serve(attached) {
            tracing::error!("no recorder can attach any more: {e}");
        }
    })?;
    let stats = Stats { lane: lane.name().into(), lane_reason: reason, missing, ..Stats::default() };
    for Interface { name, addresses } in &interfaces {
        for Address { bound, ports: PortRange { first, last }, dscp, .. } in addresses {
            tracing::info!("interface {name}: {bound} ports {first}-{last}, DSCP {dscp}");
        }
    }
    tracing::info!("ready: {workers} worker(s), {} port pairs", ports.total());
    let interfaces = interfaces.iter().map(Interface::told).collect();
    let limits = Limits {
        calls: options.max_calls,
        packets_per_second: options.max_packets_per_second,
        cpu_percent: options.max_cpu_percent,
    };
    Ok(Setup { listener, workers: handles, ports, limits, interfaces, epoch, stats, recorder })
}
