//! The three processes together: started, waited for, watched, stopped in order.

#![allow(clippy::indexing_slicing, reason = "a member that a JSON value does not have is null")]

use std::fs::File;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::say;
use super::service::Service;
use super::upgrades::Upgrades;
use crate::client::Client;
use crate::place::{Place, Settings};

/// How often the processes are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long all three together may take to be ready.
const START: Duration = Duration::from_secs(30);
/// How long one may take to end when asked.
const END: Duration = Duration::from_secs(10);

/// Running processes. Dropped, it kills them.
#[derive(Debug)]
pub struct Supervisor {
    /// In the order of stopping: whoever asks others stops before them.
    services: Vec<Service>,
    upgrades: Upgrades,
    _lock: File,
}

impl Supervisor {
    /// Starts all three.
    pub fn start(place: &Place, settings: &Settings) -> anyhow::Result<Self> {
        for folder in [place.state.clone(), place.state.join("log")] {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        }
        let lock = lock(&place.state)?;
        let control = &settings.control;
        free("control.http", control.http, TcpListener::bind(control.http).map(drop))?;
        free("control.ng", control.ng, UdpSocket::bind(control.ng).map(drop))?;
        let upgrades = Upgrades::listen(&place.state)?;
        let mut pop = Self { services: Vec::new(), upgrades, _lock: lock };
        for name in ["relay", "recorder", "control"] {
            pop.services.insert(0, Service::start(name, place)?);
        }
        // Now control, recorder, relay; a call that ends in the last moment still reaches the recorder.
        pop.services.sort_by_key(|s| ["control", "relay", "recorder"].iter().position(|n| *n == s.name));
        Ok(pop)
    }

    /// Waits until calls can be placed and recorded. Returns the relay's lane and why it is that one.
    pub async fn ready(&mut self, http: SocketAddr) -> anyhow::Result<String> {
        let client = Client::open(http);
        let deadline = Instant::now() + START;
        loop {
            for service in &mut self.services {
                if let Some(status) = service.ended() {
                    let (name, words) = (service.name, service.last_words());
                    bail!("{name} ended at its start ({status}); {} says:\n  {words}", service.log.display());
                }
            }
            let answer = client.get("/readyz");
            let facts: Value =
                answer.as_ref().ok().and_then(|a| serde_json::from_str(&a.body).ok()).unwrap_or_default();
            let relay = &facts["relay"];
            if facts["ready"] == true && relay["recorder_attached"] == true {
                let text = |key: &str| relay[key].as_str().unwrap_or("unknown").to_owned();
                return Ok(format!("{}: {}", text("lane"), text("lane_reason")));
            }
            if Instant::now() > deadline {
                let trouble = match &answer {
                    Ok(answer) => answer.body.clone(),
                    Err(error) => format!("{error:#}"),
                };
                bail!("not ready after {} s: {trouble}", START.as_secs());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Starts again whichever dies, and says so; has the relay taken over by a new one when asked. Has no end.
    pub async fn supervise(&mut self) {
        loop {
            for service in &mut self.services {
                if let Some(news) = service.look_after(Instant::now()) {
                    say(&format!("{news} (log: {})", service.log.display()));
                }
            }
            tokio::select! {
                Some(wish) = self.upgrades.next() => {
                    let relay = self.services.iter_mut().find(|s| s.name == "relay");
                    let started = relay.context("no relay").and_then(|r| r.upgrade(wish.program.clone()));
                    wish.answer(started);
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Stops all three, one after the other, each when the one before it has ended.
    pub async fn stop(&mut self) {
        for service in &mut self.services {
            service.terminate();
            let deadline = Instant::now() + END;
            while service.runs() && service.ended().is_none() {
                if Instant::now() > deadline {
                    say(&format!("{} does not end within {} s: killed", service.name, END.as_secs()));
                    service.kill();
                }
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.services.iter_mut().for_each(Service::kill);
    }
}

/// One supervisor per state directory, until the file is closed.
fn lock(state: &Path) -> anyhow::Result<File> {
    let path = state.join("bauta-run.lock");
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            bail!("another `bauta run` uses the state directory {}; stop it first", state.display())
        }
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Refuses an address that cannot be listened on, before anything is started.
fn free(key: &str, address: SocketAddr, bound: std::io::Result<()>) -> anyhow::Result<()> {
    bound.with_context(|| format!("{key} = \"{address}\" (pop.toml) cannot be listened on"))
}
