//! The running relay's side: whoever connects may take over, once it has shown that it can. A thread of its own.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::oneshot;

use super::link::{self, Message, State, Welcome};
use super::{HandoverError, STATE_VERSION};
use crate::engine;
use crate::tap;
use crate::worker::handover::Orders;

/// How long the relay may stand still. Its sockets hold what comes in meanwhile: 150 packets at 50 a second.
pub const STILL: Duration = Duration::from_secs(3);
/// How long a new relay may take to say who it is.
const HELLO: Duration = Duration::from_secs(5);
/// How long it may take to prepare itself, while this one forwards.
const PREPARATION: Duration = Duration::from_secs(20);
/// Sockets of one message.
const BATCH: usize = 250;

/// Asks the server to stop, with all workers. When `thaw` ends, everything goes on.
#[derive(Debug)]
pub struct Freeze {
    /// Takes what the server and the workers know.
    pub frozen: mpsc::Sender<Result<Frozen, String>>,
    /// Its other end is held for as long as the relay must stand still.
    pub thaw: oneshot::Receiver<()>,
}

/// A server and workers that have stopped. With `orders` dropped the workers go on.
#[derive(Debug)]
pub struct Frozen {
    /// What they know; whether there is a recorder is for the keeper to say.
    pub state: State,
    /// The connections of controls, in the order of that state.
    pub connections: Vec<UnixStream>,
    /// Asks each worker for its sockets.
    pub orders: Vec<Orders>,
}

/// Hands the relay over.
#[derive(Debug)]
pub struct Keeper {
    /// Listens at `upgrade.sock`.
    pub listener: UnixListener,
    /// Listens at `relay.sock`.
    pub programming: UnixListener,
    /// The tap.
    pub host: Arc<tap::Host>,
    /// The relay's.
    pub epoch: u64,
    /// Slots of each worker.
    pub sockets: u32,
    /// To the server.
    pub freezes: tokio::sync::mpsc::UnboundedSender<Freeze>,
}

impl Keeper {
    /// Serves until the relay is taken over, which ends the process.
    pub fn serve(self) {
        loop {
            // A thread that waits in accept keeps a descriptor's number from others all the time.
            let mut readable = [PollFd::new(&self.listener, PollFlags::IN)];
            let waited = poll(&mut readable, None).map_err(io::Error::from);
            match waited.and_then(|_| self.listener.accept()) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok((link, _)) => {
                    let Err(e) = self.hand_over(&link);
                    tracing::warn!("not taken over, everything goes on: {e}");
                    // It may be gone.
                    let _ = link::say(&link, &Message::Refused(e.to_string()), &[]);
                }
                Err(e) => {
                    // Want of descriptors or memory passes.
                    tracing::warn!("a new relay could not connect: {e}");
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    fn hand_over(&self, link: &UnixStream) -> Result<Infallible, HandoverError> {
        link.set_write_timeout(Some(STILL))?;
        let program = self.greet(link)?;
        link.set_read_timeout(Some(PREPARATION))?;
        expect(link, &Message::Prepared)?;
        tracing::info!("{program} takes over");
        let deadline = Instant::now() + STILL;
        // In this order: a recorder that has just attached is told to the server before it stops.
        let seat = self.host.seat();
        let (frozen, wait) = mpsc::channel();
        let (_thaws, thaw) = oneshot::channel();
        let server_gone = || HandoverError::Impossible("the server does not stop".into());
        self.freezes.send(Freeze { frozen, thaw }).map_err(|_| server_gone())?;
        let frozen = wait.recv_timeout(STILL).map_err(|_| server_gone())?;
        let Frozen { mut state, connections, orders } = frozen.map_err(HandoverError::Impossible)?;
        state.recorder = seat.recorder().is_some();
        let fds: Vec<BorrowedFd<'_>> =
            seat.recorder().into_iter().chain(connections.iter().map(AsFd::as_fd)).collect();
        let calls = give(link, state, &fds, &orders, deadline)?;
        tracing::info!("{calls} call(s) handed over to {program}; this relay ends");
        // While everything is still held: nothing of this process may go on, not even for a moment.
        std::process::exit(0);
    }

    /// Says what there is to whoever understands it. Gives its name.
    fn greet(&self, link: &UnixStream) -> Result<String, HandoverError> {
        link.set_read_timeout(Some(HELLO))?;
        let (Message::Hello { version, program }, _) = link::hear(link)? else {
            return Err(HandoverError::Alien("something else than hello"));
        };
        if version != STATE_VERSION {
            return Err(HandoverError::Refused(format!(
                "{program} takes over state of version {version}, this is {} with version {STATE_VERSION}; drain this relay and start anew",
                super::name()
            )));
        }
        let handles = self.host.handles();
        let welcome = Welcome {
            program: super::name(),
            epoch: self.epoch,
            workers: handles.len(),
            sockets: self.sockets,
        };
        let seat = self.host.seat();
        let listeners = [self.programming.as_fd(), seat.listener(), self.listener.as_fd()];
        let fds: Vec<BorrowedFd<'_>> =
            listeners.into_iter().chain(handles.iter().flat_map(tap::Handles::fds)).collect();
        link::say(link, &Message::Welcome(welcome), &fds)?;
        Ok(program)
    }
}

/// Gives everything to the new relay. Unless this was an error, nothing here may go on after it. Gives the number of
/// calls.
fn give(
    link: &UnixStream,
    state: State,
    connections: &[BorrowedFd<'_>],
    orders: &[Orders],
    deadline: Instant,
) -> Result<usize, HandoverError> {
    let slots: Vec<_> = state.workers.iter().map(engine::handover::State::slots).collect();
    let calls = state.workers.iter().map(engine::handover::State::call_count).sum();
    in_time(link, deadline)?;
    link::say(link, &Message::State(Box::new(state)), connections)?;
    for (worker, (slots, orders)) in slots.into_iter().zip(orders).enumerate() {
        for slots in slots.chunks(BATCH) {
            let sockets = orders.copies(slots.to_vec())?;
            let fds: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
            link::say(link, &Message::Sockets { worker, slots: slots.to_vec() }, &fds)?;
            in_time(link, deadline)?;
            expect(link, &Message::Taken)?;
            in_time(link, deadline)?;
        }
    }
    expect(link, &Message::Ready)?;
    link::say(link, &Message::Go, &[])?;
    Ok(calls)
}

/// Bounds what is said and heard next.
fn in_time(link: &UnixStream, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    link.set_read_timeout(Some(left))?;
    link.set_write_timeout(Some(left))
}

fn expect(link: &UnixStream, wanted: &Message) -> Result<(), HandoverError> {
    match link::hear(link)? {
        (Message::Refused(reason), _) => Err(HandoverError::Refused(reason)),
        (said, _) if std::mem::discriminant(&said) == std::mem::discriminant(wanted) => Ok(()),
        _ => Err(HandoverError::Alien("something out of turn")),
    }
}
