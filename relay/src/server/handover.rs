//! What the server hands to another process's server: its books, and its clients with what they have half said.

use std::io;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::calls::Entry;
use super::connection::Connection;
use super::{Server, Shared};
use crate::call::CallKey;
use crate::handover::link;
use crate::handover::{Freeze, Frozen};
use crate::ports::Ports;
use crate::program::message::Event;
use crate::worker::Command;
use crate::worker::handover::{Halt, Halted, Orders};

/// How long clients may take to take their answers.
const HASTE: Duration = Duration::from_secs(1);

/// All that the server knows beside what the workers do.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    calls: Vec<(CallKey, Entry)>,
    /// Per address: pairs that rest, and until when.
    ports: Vec<(IpAddr, Vec<(u16, u64)>)>,
    draining: bool,
    recorder_attached: bool,
    /// What the subscriber has not been told.
    events: Vec<Event>,
    clients: Vec<Client>,
}

/// A client between two frames.
#[derive(Debug, Serialize, Deserialize)]
struct Client {
    /// The beginning of its next frame.
    buffer: Vec<u8>,
    seated: bool,
    subscribed: bool,
}

impl State {
    /// Of a server that knew these calls, each with its entry as [`Server`] had it written down, and whose addresses of media were
    /// `addresses`. None where an entry is not understood.
    #[cfg(feature = "xdp")]
    pub fn of(calls: &[(CallKey, &[u8])], addresses: &[IpAddr]) -> Option<Self> {
        let read = |(call, book): &(CallKey, &[u8])| Some((*call, postcard::from_bytes::<Entry>(book).ok()?));
        let calls = calls.iter().map(read).collect::<Option<Vec<_>>>()?;
        Some(Self {
            calls,
            ports: addresses.iter().map(|address| (*address, Vec::new())).collect(),
            draining: false,
            recorder_attached: false,
            events: Vec::new(),
            clients: Vec::new(),
        })
    }

    /// Finds the pairs that calls have, or that rest, among these ports. They are taken then, or rest on.
    pub fn settle(&mut self, ports: &mut Ports) {
        let taken = self.calls.iter_mut().flat_map(|(_, entry)| entry.ports.iter_mut().flatten());
        ports.adopt(&self.ports, taken);
    }
}

impl Server {
    /// Goes on where another process's server was.
    pub(super) fn adopt(&mut self, state: State) -> Vec<(Vec<u8>, bool, bool)> {
        let State { calls, ports: _, draining, recorder_attached, events, clients } = state;
        for (_, entry) in &calls {
            self.balance.opened(entry.worker, entry.ports.len());
        }
        self.calls = calls.into_iter().collect();
        self.gate.drain(draining);
        self.stats.recorder_attached = recorder_attached;
        self.held = events;
        clients.into_iter().map(|c| (c.buffer, c.seated, c.subscribed)).collect()
    }

    fn export(&self, connections: &[Connection]) -> State {
        let clients = connections.iter().map(|c| Client {
            buffer: c.buffer.clone(),
            seated: c.seated,
            subscribed: c.subscribed,
        });
        State {
            calls: self.calls.iter().map(|(call, entry)| (*call, entry.clone())).collect(),
            ports: self.ports.export(),
            draining: self.gate.draining(),
            recorder_attached: self.stats.recorder_attached,
            events: self.held.clone(),
            clients: clients.collect(),
        }
    }
}

/// Stops, gives everything to whoever asked, and waits until all is to go on. Gives the connections back, which have
/// ended their tasks meanwhile.
pub(super) async fn freeze(
    server: &Shared,
    freeze: Freeze,
    clients: &mut JoinSet<Option<Connection>>,
) -> Vec<Connection> {
    let Freeze { frozen, thaw } = freeze;
    let mut connections = Vec::new();
    // One that takes longer is being disconnected anyway.
    while let Ok(Some(ended)) = timeout(HASTE, clients.join_next()).await {
        connections.extend(ended.ok().flatten());
    }
    // Nobody asks any more and every request was answered; the workers finish what needs no answer, and stop.
    let result = match halt(server).await {
        Ok(workers) => {
            let (states, orders): (Vec<_>, Vec<Orders>) =
                workers.into_iter().map(|Halted { state, orders }| (state, orders)).unzip();
            take_answers(server).await;
            let server = server.borrow();
            let copies = connections.iter().map(Connection::copy).collect::<io::Result<Vec<UnixStream>>>();
            let state = link::State { server: server.export(&connections), workers: states, recorder: false };
            copies.map(|connections| Frozen { state, connections, orders }).map_err(|e| e.to_string())
        }
        Err(e) => Err(e),
    };
    // Whoever asked may have given up.
    let _ = frozen.send(result);
    let _ = thaw.await;
    connections
}

/// Sees every request to its end, also those of clients that are gone: the workers have done what was asked of them.
async fn take_answers(server: &Shared) {
    loop {
        {
            let mut server = server.borrow_mut();
            (0..server.workers.len()).for_each(|worker| server.take_reports(worker));
            if server.answering == 0 {
                return;
            }
        }
        tokio::task::yield_now().await;
    }
}

async fn halt(server: &Shared) -> Result<Vec<Halted>, String> {
    let workers = server.borrow().workers.len();
    let mut asked = Vec::with_capacity(workers);
    for worker in 0..workers {
        let (state, stopped) = oneshot::channel();
        let (sender, orders) = mpsc::channel();
        drop(server.borrow_mut().command(worker, Command::Halt(Halt { state, orders })));
        asked.push((stopped, Orders(sender)));
    }
    let mut halted = Vec::with_capacity(asked.len());
    for (stopped, orders) in asked {
        let state = stopped.await.map_err(|_| "a worker is gone".to_owned())?;
        halted.push(Halted { state: state.map_err(|e| e.to_string())?, orders });
    }
    Ok(halted)
}
