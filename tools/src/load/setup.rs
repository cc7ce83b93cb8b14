//! The threads that set calls up and end them, each with a connection of its own, beside the media thread.
//!
//! A call always has the same thread, so its set-up and its end stay in order.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context, bail};

use super::direct::Programmer;
use super::ng::Client;
use super::options::Arguments;
use super::proxy::{Failure, Manner, Proxy};
use super::timing::Timing;
use super::traffic::Ends;

/// What sets calls up.
pub enum Signalling {
    /// Over NG.
    Proxy(Box<Proxy>),
    /// At the relay itself.
    Programmer(Box<Programmer>),
}

impl Signalling {
    /// Sets up the call `number` between two parties, who receive at `ours`; where each is to send to.
    pub fn open(&mut self, number: u32, ours: [Ends; 2]) -> Result<[Ends; 2], Failure> {
        match self {
            Self::Proxy(proxy) => proxy.open(number, ours),
            Self::Programmer(programmer) => programmer.open(number, ours),
        }
    }

    /// Ends the call `number`.
    pub fn close(&mut self, number: u32) -> Result<(), Failure> {
        match self {
            Self::Proxy(proxy) => proxy.close(number),
            Self::Programmer(programmer) => programmer.close(number),
        }
    }

    /// How long each verb took, and how many questions were sent again.
    pub fn into_timing(self) -> (Timing, u64) {
        match self {
            Self::Proxy(proxy) => (proxy.timing.clone(), proxy.repeated()),
            Self::Programmer(programmer) => (programmer.timing, 0),
        }
    }
}

/// Opens the connections that `arguments` ask for; there is somebody at the other end of each.
pub fn connect(arguments: &Arguments, manner: &Manner) -> anyhow::Result<Vec<Signalling>> {
    if let Some(socket) = &arguments.relay {
        return Ok(vec![Signalling::Programmer(Box::new(programmer(socket, arguments)?))]);
    }
    let address = arguments.ng;
    let proxy = || anyhow::Ok(Proxy::new(Client::open(address)?, manner.clone())?);
    let mut first = proxy().with_context(|| format!("no socket towards --ng {address}"))?;
    if let Err(fault) = first.ping() {
        bail!(
            "--ng {address}: {fault} to a ping. Is the relay running, is that its NG address (control.ng in pop.toml, \
             rtpengine's --listen-ng), and does it answer this host (control.ng_allow)?"
        );
    }
    let others = (1..arguments.clients).map(|_| proxy());
    let all = std::iter::once(Ok(first)).chain(others);
    all.map(|proxy| Ok(Signalling::Proxy(Box::new(proxy?)))).collect()
}

fn programmer(socket: &Path, arguments: &Arguments) -> anyhow::Result<Programmer> {
    Programmer::connect(socket, arguments.codec).with_context(|| format!("--relay {}", socket.display()))
}

/// What came of a job.
#[derive(Debug)]
pub enum Done {
    /// The call is up.
    Opened {
        /// Its number.
        number: u32,
        /// Where caller and callee are to send to.
        relay: [Ends; 2],
    },
    /// It was not set up.
    Failed {
        /// Its number.
        number: u32,
        /// Why.
        failure: Failure,
    },
    /// It was ended, or could not be.
    Closed {
        /// Its number.
        number: u32,
        /// Why it could not be.
        failure: Option<Failure>,
    },
}

enum Task {
    Open(u32, [Ends; 2]),
    Close(u32),
}

/// The threads.
pub struct Desk {
    tasks: Vec<Sender<Task>>,
    /// What came of their jobs.
    pub done: Receiver<Done>,
    threads: Vec<JoinHandle<Signalling>>,
    given_up: Arc<AtomicBool>,
}

impl Desk {
    /// A thread for each connection.
    pub fn start(connections: Vec<Signalling>) -> std::io::Result<Self> {
        let (sender, done) = channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let mut desk = Self { tasks: Vec::new(), done, threads: Vec::new(), given_up };
        for connection in connections {
            let (tasks, receiver) = channel();
            let (sender, given_up) = (sender.clone(), Arc::clone(&desk.given_up));
            let thread = std::thread::Builder::new().name("load-signalling".into());
            desk.threads.push(thread.spawn(move || work(connection, &receiver, &sender, &given_up))?);
            desk.tasks.push(tasks);
        }
        Ok(desk)
    }

    /// Sets up the call `number`; [`Self::done`] tells what came of it.
    pub fn open(&self, number: u32, ours: [Ends; 2]) {
        self.give(number, Task::Open(number, ours));
    }

    /// Ends it.
    pub fn close(&self, number: u32) {
        self.give(number, Task::Close(number));
    }

    fn give(&self, number: u32, task: Task) {
        let whose = number as usize % self.tasks.len().max(1);
        if let Some(tasks) = self.tasks.get(whose) {
            // Its thread ends only with this desk.
            let _ = tasks.send(task);
        }
    }

    /// Leaves undone what they have not begun: nobody answers.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Waits for what they still do; how long each verb took, and how many questions were sent again.
    pub fn finish(self) -> (Timing, u64) {
        drop((self.tasks, self.done));
        let (mut sum, mut repeated) = (Timing::default(), 0);
        for thread in self.threads {
            if let Ok(connection) = thread.join() {
                let (timing, more) = connection.into_timing();
                sum.add(&timing);
                repeated += more;
            }
        }
        (sum, repeated)
    }
}

fn work(
    mut connection: Signalling,
    tasks: &Receiver<Task>,
    done: &Sender<Done>,
    given_up: &AtomicBool,
) -> Signalling {
    while let Ok(task) = tasks.recv() {
        if given_up.load(Ordering::Relaxed) {
            break;
        }
        let result = match task {
            Task::Open(number, ours) => match connection.open(number, ours) {
                Ok(relay) => Done::Opened { number, relay },
                Err(failure) => Done::Failed { number, failure },
            },
            Task::Close(number) => Done::Closed { number, failure: connection.close(number).err() },
        };
        if done.send(result).is_err() {
            break;
        }
    }
    connection
}
