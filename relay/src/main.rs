//! `bauta-relay`: forwards media. Needs no privilege; says what one would add.

mod start;

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use relay::lane::express;
use relay::options::Options;
use relay::server;
use relay::settings::{File, Section};
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
    /// Take over everything from the relay that runs with this state directory; no packet is lost. If that fails, the
    /// running one goes on. Says on standard output when it is done.
    #[arg(long)]
    take_over: bool,
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
        let begin = if arguments.take_over { start::take_over } else { start::fresh };
        let serving = begin(&options, &arguments.state)?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            ended = server::serve(serving) => ended.context("the programming socket failed"),
            _ = terminate.recv() => Ok(()),
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })?;
    express::leave(&options, &arguments.state);
    tracing::info!("stopped");
    Ok(())
}
