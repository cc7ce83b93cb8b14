//! The server of the programming protocol: one client at a time, many requests at once. Keeps what the packet path
//! does not need (blobs, ports, which worker has a call) and passes the rest on to the workers.
//!
//! Runs on the main thread, on a single-threaded tokio runtime. The workers forward whatever becomes of it.

mod calls;
mod connection;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::sync::Arc;

use ringbuf::traits::Consumer;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::call::CallKey;
use crate::ports::Ports;
use crate::program::message::{Event, Frame, Refusal, Stats};
use crate::worker::{Answer, Command, Handle, Report};
use calls::Entry;

/// What the server starts with.
#[derive(Debug)]
pub struct Setup {
    /// Listens at the programming socket.
    pub listener: UnixListener,
    /// The workers.
    pub workers: Vec<Handle>,
    /// Free ports.
    pub ports: Ports,
    /// The address that is told to the outside.
    pub advertised: IpAddr,
    /// Random per process.
    pub epoch: u64,
    /// Lane, reason and missing privileges, filled in; the rest is counted.
    pub stats: Stats,
    /// Tells when a recorder attaches (true) or goes.
    pub recorder: mpsc::UnboundedReceiver<bool>,
}

/// The server's state; borrowed only between awaits.
struct Server {
    commands: Vec<Handle>,
    pending: HashMap<u64, oneshot::Sender<Result<Answer, Refusal>>>,
    ticket: u64,
    calls: BTreeMap<CallKey, Entry>,
    /// Calls per worker.
    load: Vec<usize>,
    ports: Ports,
    advertised: IpAddr,
    epoch: u64,
    stats: Stats,
    /// Where events go: the connected client, once it has subscribed.
    subscriber: Option<mpsc::UnboundedSender<Frame>>,
}

type Shared = Rc<RefCell<Server>>;

/// Serves until the future is dropped.
pub async fn serve(setup: Setup) -> io::Result<()> {
    let Setup { listener, workers, ports, advertised, epoch, stats, mut recorder } = setup;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let bells: Vec<Arc<Notify>> = workers.iter().map(|w| Arc::clone(&w.bell)).collect();
    let server = Rc::new(RefCell::new(Server {
        load: vec![0; workers.len()],
        commands: workers,
        pending: HashMap::new(),
        ticket: 0,
        calls: BTreeMap::new(),
        ports,
        advertised,
        epoch,
        stats,
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
    let mut client: Option<tokio::task::JoinHandle<()>> = None;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                let free = client.as_ref().is_none_or(tokio::task::JoinHandle::is_finished);
                let task = tokio::task::spawn_local(connection::run(stream, Rc::clone(&server), free));
                if free {
                    client = Some(task);
                }
            }
            Some(attached) = recorder.recv() => server.borrow_mut().recorder_changed(attached),
        }
    }
}

impl Server {
    fn take_reports(&mut self, worker: usize) {
        while let Some(report) = self.commands.get_mut(worker).and_then(|w| w.reports.try_pop()) {
            match report {
                Report::Answer(ticket, answer) => {
                    if let Some(waiting) = self.pending.remove(&ticket) {
                        let _ = waiting.send(answer);
                    }
                }
                Report::Event(event) => self.tell(event),
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
            for worker in 0..self.commands.len() {
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
        if self.commands.get_mut(worker).is_some_and(|w| w.send(self.ticket, command)) {
            self.pending.insert(self.ticket, sender);
        } else {
            let _ =
                sender.send(Err(Refusal::Impossible("too many commands are under way; try again".into())));
        }
        receiver
    }
}
