//! A worker that stops so that another process's worker can go on, and one that goes on where another stopped.
//!
//! Both wait on their own thread for orders: the lane, which belongs to it, moves no packet meanwhile.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Report, Worker};
use crate::engine::handover::State;
use crate::engine::{Engine, Spans};
use crate::lane::Lane;
use crate::table::Slot;
use crate::tap::Handles;

/// How often the server is waited for to make room for reports, a millisecond each.
const TRIES: u32 = 200;

/// The order to stop. The worker goes on when the other end of `orders` is dropped.
#[derive(Debug)]
pub struct Halt {
    /// Takes what the worker knows.
    pub state: oneshot::Sender<io::Result<State>>,
    /// What is wanted of it then.
    pub orders: mpsc::Receiver<Copies>,
}

/// Asks for descriptors of these slots' sockets.
#[derive(Debug)]
pub struct Copies {
    /// Which.
    pub slots: Vec<Slot>,
    /// Takes the descriptors, in the same order.
    pub reply: mpsc::Sender<io::Result<Vec<OwnedFd>>>,
}

/// A worker that has stopped, as others see it. With its `orders` dropped the worker goes on.
#[derive(Debug)]
pub struct Halted {
    /// What it knows.
    pub state: State,
    /// Asks it for sockets.
    pub orders: Orders,
}

/// Asks a worker that has stopped.
#[derive(Debug)]
pub struct Orders(pub mpsc::Sender<Copies>);

impl Orders {
    /// Descriptors of these slots' sockets.
    pub fn copies(&self, slots: Vec<Slot>) -> io::Result<Vec<OwnedFd>> {
        let (reply, answer) = mpsc::channel();
        let gone = || io::Error::other("the worker's thread ended");
        self.0.send(Copies { slots, reply }).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

/// What a new worker is given, in this order; each is answered by its sender's other end.
#[derive(Debug)]
pub enum Adoption {
    /// What the old worker knew, and its tap ring.
    State(Box<State>, Handles),
    /// Sockets of its slots.
    Sockets(Vec<(Slot, OwnedFd)>),
    /// The old process is done: receive.
    Go,
}

/// An adoption's step, and who wants to know that it was done.
pub type Step = (Adoption, mpsc::Sender<io::Result<()>>);

impl Worker {
    /// Stops, hands out what is asked for, and goes on when nobody can ask any more.
    pub(super) fn halt(&mut self, halt: Halt) -> io::Result<()> {
        let stopped = self.lane.stop(&mut self.engine, &mut self.freed);
        self.freed.drain(..).for_each(|slot| self.engine.release(slot));
        while let Some(digit) = self.engine.next_digit() {
            self.report(Report::Event(digit));
        }
        self.engine.batch_done();
        // What came of earlier commands must be known before anybody writes down how things are.
        for _ in 0..TRIES {
            std::mem::take(&mut self.undelivered).into_iter().for_each(|report| self.report(report));
            if self.undelivered.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let state = match stopped {
            Ok(()) if self.undelivered.is_empty() => Ok(self.engine.export()),
            Ok(()) => Err(io::Error::other("the server takes no reports")),
            Err(e) => Err(e),
        };
        if let Err(Err(e)) = halt.state.send(state) {
            tracing::error!("the worker could not stop: {e}");
        }
        while let Ok(Copies { slots, reply }) = halt.orders.recv() {
            let sockets = slots.into_iter().map(|slot| self.lane.socket(slot)).collect();
            // Whoever asked has given up; the channel ends then.
            let _ = reply.send(sockets);
        }
        self.lane.resume()
    }
}

/// Waits for what another worker knew and goes on with it. None: it never came, and the process is about to end.
pub(super) fn adopt(
    lane: &mut dyn Lane,
    steps: &mpsc::Receiver<Step>,
    size: u32,
    epoch: u64,
    spans: Spans,
) -> Option<Engine> {
    let mut adopted = None;
    loop {
        let (step, reply) = steps.recv().ok()?;
        let done = match step {
            Adoption::State(state, handles) => {
                Engine::resume(*state, size, handles, epoch, spans).map(|engine| adopted = Some(engine))
            }
            Adoption::Sockets(list) => {
                list.into_iter().try_for_each(|(slot, socket)| lane.adopt(slot, socket))
            }
            Adoption::Go => {
                let done = lane.resume();
                let going = done.is_ok();
                let _ = reply.send(done);
                return adopted.filter(|_| going);
            }
        };
        let _ = reply.send(done);
    }
}
