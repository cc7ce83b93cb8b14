//! `bauta run`: relay, control and recorder under one supervisor; with `--demo`, one call over them.
//!
//! Everything here runs on the main thread (a current-thread runtime), because the kernel ties a child's
//! parent-death signal to the thread that started it. Only the demo has a thread of its own.

pub mod child;
mod service;
mod supervisor;
mod upgrades;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use relay::interface::{Address, DEFAULT, Interface};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::demo;
use crate::place::{Place, Settings};
use supervisor::Supervisor;

/// Start relay, control and recorder, and look after them until Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Place one masked, recorded call, show what each party saw, and stop. Exits 0 only if all of it was right.
    #[arg(long)]
    demo: bool,
}

/// Runs the subcommand.
pub fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let settings = arguments.place.settings()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(arguments, &settings))
}

async fn run(arguments: &Arguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let place = &arguments.place;
    let mut stop = Stop::new()?;
    let mut pop = Supervisor::start(place, settings)?;
    let done = tokio::select! {
        // First: a signal to the whole process group may have ended a child that was just being started.
        biased;
        () = stop.asked() => {
            say("stopping");
            Ok(ExitCode::SUCCESS)
        }
        done = serve(&mut pop, place, settings, arguments.demo) => done,
    };
    tokio::select! {
        () = pop.stop() => {}
        () = stop.asked() => say("asked again: killing what still runs"),
    }
    done
}

/// Ends when something failed at the start, or the demo is over.
async fn serve(
    pop: &mut Supervisor,
    place: &Place,
    settings: &Settings,
    demo: bool,
) -> anyhow::Result<ExitCode> {
    let lane = pop.ready(settings.control.http).await?;
    print!("{}", addresses(&place.state, settings, &lane));
    if !demo {
        println!("\nCtrl-C stops all three.");
        pop.supervise().await;
    }
    let (place, settings) = (place.clone(), settings.clone());
    let call = tokio::task::spawn_blocking(move || demo::play(&place, &settings));
    tokio::select! {
        verdict = call => Ok(if verdict?? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        () = pop.supervise() => unreachable!("supervision has no end"),
    }
}

fn addresses(state: &Path, settings: &Settings, lane: &str) -> String {
    let (relay, control) = (&settings.relay, &settings.control);
    let mut lines = vec![
        ("SIP proxy, NG", format!("udp {}", control.ng)),
        ("HTTP API", format!("http://{}", control.http)),
    ];
    for Interface { name, addresses } in relay.interfaces() {
        for Address { bound, advertised, ports, .. } in addresses {
            let told =
                if advertised == bound { String::new() } else { format!(" (parties are told {advertised})") };
            let of = if name == DEFAULT { String::new() } else { format!(", interface {name}") };
            lines.push(("media", format!("udp {bound} ports {}-{}{told}{of}", ports.first, ports.last)));
        }
    }
    lines.extend([
        ("lane", lane.to_owned()),
        ("tokens", state.join("tokens/{business,proxy,dispute,operator}").display().to_string()),
        ("archives", state.join("archive").display().to_string()),
        ("logs", state.join("log/{relay,control,recorder}.log").display().to_string()),
    ]);
    let mut text = "bauta: relay, control and recorder are ready\n\n".to_owned();
    for (name, value) in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<15} {value}");
    }
    text
}

/// Tells whoever still listens: a closed pipe is no reason to end calls.
fn say(words: &str) {
    let _ = writeln!(std::io::stdout(), "bauta: {words}");
}

/// SIGTERM, Ctrl-C, or the terminal is gone.
struct Stop {
    signals: [Signal; 3],
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        let [term, int, hup] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(Self { signals: [term?, int?, hup?] })
    }

    async fn asked(&mut self) {
        let [term, int, hup] = &mut self.signals;
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            _ = hup.recv() => {}
        }
    }
}
