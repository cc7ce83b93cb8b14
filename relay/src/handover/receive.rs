//! The new relay's side: what the running one offers, then all of it. On the main thread, before it serves.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::link::{self, Message, State, Welcome};
use super::{HandoverError, STATE_VERSION, name};
use crate::engine;
use crate::server;
use crate::table::Slot;
use crate::tap::Handles;
use crate::worker::handover::{Adoption, Step};

/// How long the running relay may take to answer: another upgrade may just be failing.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running relay that lets itself be taken over.
#[derive(Debug)]
pub struct Offer {
    link: UnixStream,
    /// What it is.
    pub welcome: Welcome,
    listeners: [OwnedFd; 3],
    rings: Vec<Handles>,
}

/// Everything of a relay that has ended.
#[derive(Debug)]
pub struct Taken {
    /// Listen at `relay.sock`, both of them: one is for whoever takes over next.
    pub programming: [UnixListener; 2],
    /// Listens at `tap.sock`.
    pub tap: UnixListener,
    /// Listens at `upgrade.sock`.
    pub upgrade: UnixListener,
    /// The tap rings, one per worker.
    pub rings: Vec<Handles>,
    /// The attached recorder's connection.
    pub recorder: Option<UnixStream>,
    /// What the server goes on with.
    pub server: server::State,
    /// The connections of controls, in the order of that state.
    pub connections: Vec<UnixStream>,
    /// Calls.
    pub calls: usize,
    /// How long nobody forwarded.
    pub still: Duration,
}

impl Offer {
    /// Asks the relay whose sockets are in the folder `run`.
    pub fn ask(run: &Path) -> Result<Self, HandoverError> {
        let path = run.join("upgrade.sock");
        let none = |cause| HandoverError::NoRelay { path: path.display().to_string(), cause };
        let link = UnixStream::connect(&path).map_err(none)?;
        link.set_read_timeout(Some(PATIENCE))?;
        link.set_write_timeout(Some(PATIENCE))?;
        link::say(&link, &Message::Hello { version: STATE_VERSION, program: name() }, &[])?;
        let (Message::Welcome(welcome), fds) = hear(&link)? else {
            return Err(HandoverError::Alien("something else than welcome"));
        };
        let mut fds = fds.into_iter();
        let missing = || HandoverError::Alien("a welcome without its descriptors");
        let mut next = || fds.next().ok_or_else(missing);
        let listeners = [next()?, next()?, next()?];
        let rings = (0..welcome.workers).map(|_| Ok(Handles::new(next()?, next()?)));
        let rings = rings.collect::<Result<Vec<_>, HandoverError>>()?;
        Ok(Self { link, welcome, listeners, rings })
    }

    /// Takes everything over: `workers` are those that wait for it, as many as the offer says, of at least as many
    /// slots. `settle` is given what the server goes on with, before there is no way back. When this returns, the workers
    /// forward and the old process does not.
    pub fn take(
        self,
        workers: &[mpsc::Sender<Step>],
        settle: impl FnOnce(&mut server::State),
    ) -> Result<Taken, HandoverError> {
        let Self { link, welcome, listeners, rings } = self;
        // What may fail comes before there is no way back.
        let [programming, tap, upgrade] = listeners.map(UnixListener::from);
        let programming = [programming.try_clone()?, programming];
        let since = Instant::now();
        link::say(&link, &Message::Prepared, &[])?;
        let (Message::State(state), fds) = hear(&link)? else {
            return Err(HandoverError::Alien("something else than the state"));
        };
        let State { mut server, workers: states, recorder } = *state;
        let mut fds = fds.into_iter();
        let mut streams = fds.by_ref().map(UnixStream::from);
        let recorder = if recorder { streams.next() } else { None };
        let connections: Vec<UnixStream> = streams.collect();
        if states.len() != workers.len() || rings.len() != workers.len() {
            return Err(HandoverError::Alien("another number of workers than it said"));
        }
        let calls = states.iter().map(engine::handover::State::call_count).sum();
        let mut missing: usize = states.iter().map(|s| s.slots().len()).sum();
        for ((worker, state), ring) in workers.iter().zip(states).zip(&rings) {
            if state.size() > welcome.sockets {
                return Err(HandoverError::Alien("slots beyond those that it said"));
            }
            step(worker, Adoption::State(Box::new(state), ring.try_clone()?))?;
        }
        settle(&mut server);
        while missing > 0 {
            let (Message::Sockets { worker, slots }, fds) = hear(&link)? else {
                return Err(HandoverError::Alien("something else than sockets"));
            };
            let worker = workers.get(worker).filter(|_| slots.len() == fds.len() && !fds.is_empty());
            let worker = worker.ok_or(HandoverError::Alien("sockets of nobody"))?;
            missing = missing.saturating_sub(slots.len());
            let list: Vec<(Slot, OwnedFd)> = slots.into_iter().zip(fds).collect();
            step(worker, Adoption::Sockets(list))?;
            link::say(&link, &Message::Taken, &[])?;
        }
        link::say(&link, &Message::Ready, &[])?;
        // Either it says go, or it closes: it does not forget. Giving up here could leave nobody to forward.
        link.set_read_timeout(None)?;
        let (Message::Go, _) = hear(&link)? else {
            return Err(HandoverError::Alien("something else than go"));
        };
        workers.iter().try_for_each(|worker| step(worker, Adoption::Go))?;
        let still = since.elapsed();
        Ok(Taken { programming, tap, upgrade, rings, recorder, server, connections, calls, still })
    }
}

fn hear(link: &UnixStream) -> Result<(Message, Vec<OwnedFd>), HandoverError> {
    match link::hear(link)? {
        (Message::Refused(reason), _) => Err(HandoverError::Refused(reason)),
        heard => Ok(heard),
    }
}

/// Has a worker do a step, and waits for it.
pub(super) fn step(worker: &mpsc::Sender<Step>, adoption: Adoption) -> Result<(), HandoverError> {
    let impossible = |e: &dyn std::fmt::Display| HandoverError::Impossible(format!("a worker failed: {e}"));
    let gone = io::Error::other("its thread ended");
    let (reply, answer) = mpsc::channel();
    worker.send((adoption, reply)).map_err(|_| impossible(&gone))?;
    answer.recv().map_err(|_| impossible(&gone))?.map_err(|e| impossible(&e))
}
