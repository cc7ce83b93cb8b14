//! The server of the programming protocol: one client at a time, many requests at once. Keeps what the packet path
//! does not need (blobs, ports, which worker has a call) and passes the rest on to the workers.
//!
//! Runs on the main thread, on a single-threaded tokio runtime. The workers forward whatever becomes of it.

mod calls;
mod connection;
mod limits;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::sync::Arc;

use ringbuf::traits::Consumer;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::call::CallKey;
use crate::load::Balance;
use crate::ports::Ports;
use crate::program::message::{Event, Frame, Interface, Refusal, Stats};
use crate::worker::{Answer, Command, Handle, Report};
use calls::Entry;
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
}

/// The server's state; borrowed only between awaits.
struct Server {
    workers: Vec<Handle>,
    /// Commands that found a worker's ring full, per worker: none is ever refused for it.
    waiting: Vec<VecDeque<(u64, Command)>>,
    pending: HashMap<u64, oneshot::Sender<Result<Answer, Refusal>>>,
    ticket: u64,
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
}

type Shared = Rc<RefCell<Server>>;

/// Serves until the future is dropped.
pub async fn serve(setup: Setup) -> io::Result<()> {
    let Setup { listener, workers, ports, limits, interfaces, epoch, stats, mut recorder } = setup;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let bells: Vec<Arc<Notify>> = workers.iter().map(|w| Arc::clone(&w.bell)).collect();
    let server = Rc::new(RefCell::new(Server {
        balance: Balance::new(workers.len()),
        waiting: workers.iter().map(|_| VecDeque::new()).collect(),
        workers,
        pending: HashMap::new(),
        ticket: 0,
        calls: BTreeMap::new(),
        ports,
        interfaces,
        epoch,
        stats,
        gate: Gate::new(limits),
        taken: false,
        subscriber: None,
    }));
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
                tokio::task::spawn_local(connection::run(stream, Rc::clone(&server)));
            }
            Some(attached) = recorder.recv() => server.borrow_mut().recorder_changed(attached),
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

    fn tell(&self, event: Event) {
        if let Some(subscriber) = &self.subscriber {
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
