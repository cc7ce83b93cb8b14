//! The server of the programming protocol: one client at a time, many requests at once. Keeps what the packet path
//! does not need (blobs, ports, which worker has a call) and passes the rest on to the workers.
//!
//! Runs on the main thread, on a single-threaded tokio runtime. The workers forward whatever becomes of it.

mod calls;
mod connection;
mod handover;
mod limits;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::sync::Arc;

use ringbuf::traits::Consumer;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::call::CallKey;
use crate::handover::Freeze;
use crate::lane::express::Opened;
use crate::load::Balance;
use crate::ports::Ports;
use crate::program::message::{Event, Frame, Interface, Refusal, Stats};
use crate::worker::{Answer, Command, Handle, Report};
use calls::Entry;
use connection::Connection;
pub use handover::State;
use limits::Gate;
pub use limits::Limits;

/// What the server starts with.
#[derive(Debug)]
pub struct Setup {
    /// Listens at the programming socket.
    pub listener: UnixListener,
    /// The workers.
    pub workers: Vec<Handle>,
    /// Free ports.
    pub ports: Ports,
    /// What is taken on.
    pub limits: Limits,
    /// What is told of the interfaces.
    pub interfaces: Vec<Interface>,
    /// Random per process.
    pub epoch: u64,
    /// Lane, reason and missing privileges, filled in; the rest is counted.
    pub stats: Stats,
    /// Tells when a recorder attaches (true) or goes.
    pub recorder: mpsc::UnboundedReceiver<bool>,
    /// Asks the server to stop, so that another process can go on.
    pub freezes: mpsc::UnboundedReceiver<Freeze>,
    /// What the server of another process knew, with the connections of its clients.
    pub taken_over: Option<(State, Vec<UnixStream>)>,
    /// The express lane, which goes when the server does.
    pub express: Opened,
}

/// The server's state; borrowed only between awaits.
struct Server {
    workers: Vec<Handle>,
    /// Commands that found a worker's ring full, per worker: none is ever refused for it.
    waiting: Vec<VecDeque<(u64, Command)>>,
    pending: HashMap<u64, oneshot::Sender<Result<Answer, Refusal>>>,
    ticket: u64,
    /// Requests that are being carried out.
    answering: usize,
    /// Whether workers keep what is known of calls.
    keeps: bool,
    calls: BTreeMap<CallKey, Entry>,
    balance: Balance,
    ports: Ports,
    interfaces: Vec<Interface>,
    epoch: u64,
    stats: Stats,
    gate: Gate,
    /// Whether a client has said hello: there is one seat.
    taken: bool,
    /// Where events go: the connected client, once it has subscribed.
    subscriber: Option<mpsc::UnboundedSender<Frame>>,
    /// Whether clients are to end their tasks, because another process may go on.
    leaving: watch::Sender<bool>,
    /// What the subscriber is to be told when somebody goes on.
    held: Vec<Event>,
}

type Shared = Rc<RefCell<Server>>;

/// Serves until the future is dropped.
pub async fn serve(setup: Setup) -> io::Result<()> {
    let Setup {
        listener,
        workers,
        ports,
        limits,
        interfaces,
        epoch,
        stats,
        mut recorder,
        mut freezes,
        taken_over,
        express,
    } = setup;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let bells: Vec<Arc<Notify>> = workers.iter().map(|w| Arc::clone(&w.bell)).collect();
    let server = Rc::new(RefCell::new(Server {
        balance: Balance::new(workers.len()),
        waiting: workers.iter().map(|_| VecDeque::new()).collect(),
        workers,
        pending: HashMap::new(),
        ticket: 0,
        answering: 0,
        keeps: express.keeps(),
        calls: BTreeMap::new(),
        ports,
        interfaces,
        epoch,
        stats,
        gate: Gate::new(limits),
        taken: false,
        subscriber: None,
        leaving: watch::Sender::new(false),
        held: Vec::new(),
    }));
    let mut clients = JoinSet::new();
    if let Some((state, streams)) = taken_over {
        let known = server.borrow_mut().adopt(state);
        for (stream, (buffer, seated, subscribed)) in streams.into_iter().zip(known) {
            Connection::resume(stream, buffer, seated, subscribed)?.serve(&server, &mut clients);
        }
        server.borrow_mut().held.clear();
    }
    for (index, bell) in bells.into_iter().enumerate() {
        let server = Rc::clone(&server);
        tokio::task::spawn_local(async move {
            loop {
                bell.notified().await;
                server.borrow_mut().take_reports(index);
            }
        });
    }
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let stream = match accepted {
                    Ok((stream, _)) => stream,
                    Err(e) => {
                        // Want of descriptors or memory passes; calls must not end for it.
                        tracing::warn!("a control could not connect: {e}");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                        continue;
                    }
                };
                Connection::new(stream).serve(&server, &mut clients);
            }
            Some(attached) = recorder.recv() => server.borrow_mut().recorder_changed(attached),
            Some(_) = clients.join_next() => {}
            Some(freeze) = freezes.recv() => {
                server.borrow_mut().leaving.send_replace(true);
                while let Ok(attached) = recorder.try_recv() {
                    server.borrow_mut().recorder_changed(attached);
                }
                let connections = handover::freeze(&server, freeze, &mut clients).await;
                server.borrow_mut().leaving.send_replace(false);
                connections.into_iter().for_each(|c| c.serve(&server, &mut clients));
                server.borrow_mut().held.clear();
            }
        }
    }
}

impl Server {
    fn take_reports(&mut self, worker: usize) {
        while let Some(report) = self.workers.get_mut(worker).and_then(|w| w.reports.try_pop()) {
            match report {
                Report::Answer(ticket, answer) => {
                    if let Some(waiting) = self.pending.remove(&ticket) {
                        let _ = waiting.send(answer);
                    }
                }
                Report::Event(event) => self.tell(event),
                Report::Load(load) => {
                    self.balance.measured(worker, load);
                    // Each worker reports every second: the first one's turn is as good as a timer.
                    if worker == 0 {
                        self.tell(Event::Load(self.balance.sum()));
                    }
                }
            }
        }
        self.push(worker);
    }

    /// Hands a worker what waits for it, as far as its ring has room; each report is a sign of room.
    fn push(&mut self, worker: usize) {
        let (Some(handle), Some(waiting)) = (self.workers.get_mut(worker), self.waiting.get_mut(worker))
        else {
            return;
        };
        while let Some((ticket, command)) = waiting.pop_front() {
            if let Err(back) = handle.send(ticket, command) {
                waiting.push_front((ticket, back));
                return;
            }
        }
    }

    fn tell(&mut self, event: Event) {
        if *self.leaving.borrow() {
            self.held.push(event);
        } else if let Some(subscriber) = &self.subscriber {
            let _ = subscriber.send(Frame::Event(event));
        }
    }

    fn recorder_changed(&mut self, attached: bool) {
        self.stats.recorder_attached = attached;
        if attached {
            tracing::info!("a recorder attached");
            for worker in 0..self.workers.len() {
                drop(self.command(worker, Command::RecorderAttached));
            }
        } else {
            tracing::warn!("the recorder is gone; its rings hold what they can until it is back");
        }
        self.tell(Event::Recorder { attached });
    }

    /// Sends a command to a worker; the receiver gets its answer.
    fn command(&mut self, worker: usize, command: Command) -> oneshot::Receiver<Result<Answer, Refusal>> {
        let (sender, receiver) = oneshot::channel();
        self.ticket += 1;
        self.pending.insert(self.ticket, sender);
        if let Some(waiting) = self.waiting.get_mut(worker) {
            waiting.push_back((self.ticket, command));
        }
        self.push(worker);
        receiver
    }
}
