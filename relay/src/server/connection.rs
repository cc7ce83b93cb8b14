//! One client's connection: frames in, a task per request, frames out. A client that says something else than frames
//! is told so and disconnected; its calls go on.

use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Shared;
use crate::program::message::{Frame, Refusal, Reply, Request, VERSION};
use crate::program::wire;

/// How long a client has to say hello, and to take what was written to it last.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take to take its answers when the relay is handed over. Then it has to connect anew.
const HASTE: Duration = Duration::from_millis(500);
/// Most answers that are written at once.
const BATCH: usize = 64;

/// A client between two frames.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    /// The beginning of its next frame.
    pub(super) buffer: Vec<u8>,
    /// It has said hello, and has the seat.
    pub(super) seated: bool,
    /// It is told events.
    pub(super) subscribed: bool,
}

impl Connection {
    /// A client that has just connected.
    pub(super) const fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: Vec::new(), seated: false, subscribed: false }
    }

    /// A client of another process's server.
    pub(super) fn resume(
        stream: StdStream,
        buffer: Vec<u8>,
        seated: bool,
        subscribed: bool,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream: UnixStream::from_std(stream)?, buffer, seated, subscribed })
    }

    /// The same connection for another process.
    pub(super) fn copy(&self) -> io::Result<StdStream> {
        Ok(std::os::fd::AsFd::as_fd(&self.stream).try_clone_to_owned()?.into())
    }

    /// Serves it on a task of its own among `clients`, which ends with the connection; or gives it back, between two
    /// frames, when the server leaves.
    pub(super) fn serve(self, server: &Shared, clients: &mut JoinSet<Option<Self>>) {
        let (out, queue) = mpsc::unbounded_channel();
        let leaving = {
            let mut server = server.borrow_mut();
            server.taken |= self.seated;
            if self.subscribed {
                let events = std::mem::take(&mut server.held);
                events.into_iter().for_each(|event| drop(out.send(Frame::Event(event))));
                server.subscriber = Some(out.clone());
            }
            server.leaving.subscribe()
        };
        clients.spawn_local(run(self, Rc::clone(server), leaving, out, queue));
    }
}

/// Serves a client to its end. The first one to say hello has the seat; others are told so.
async fn run(
    connection: Connection,
    server: Shared,
    mut leaving: watch::Receiver<bool>,
    out: mpsc::UnboundedSender<Frame>,
    queue: mpsc::UnboundedReceiver<Frame>,
) -> Option<Connection> {
    let Connection { stream, mut buffer, mut seated, .. } = connection;
    let (mut reader, writer) = stream.into_split();
    let writing = tokio::task::spawn_local(write(writer, queue));
    let left = tokio::select! {
        ended = read(&mut reader, &mut buffer, &server, &out, &mut seated) => {
            if let Err(refusal) = ended {
                tracing::warn!("a client of the programming socket was disconnected: {refusal}");
                let _ = out.send(Frame::Answer { id: 0, answer: Err(refusal) });
            }
            false
        }
        // Whole frames are answered before it waits for more: what is left in the buffer is none.
        _ = leaving.wait_for(|leaving| *leaving) => true,
    };
    let mut subscribed = false;
    if seated {
        let mut server = server.borrow_mut();
        server.taken = false;
        subscribed = server.subscriber.take().is_some();
        if !left {
            tracing::info!("the control is gone; calls go on");
        }
    }
    drop(out);
    if left {
        // Ends when every answer under way is written.
        let writer = timeout(HASTE, writing).await.ok()?.ok()??;
        let stream = reader.reunite(writer).ok()?;
        return Some(Connection { stream, buffer, seated, subscribed });
    }
    // What was answered last is still to be written.
    let _ = timeout(PATIENCE, writing).await;
    None
}

async fn read(
    reader: &mut OwnedReadHalf,
    buffer: &mut Vec<u8>,
    server: &Shared,
    out: &mpsc::UnboundedSender<Frame>,
    seated: &mut bool,
) -> Result<(), Refusal> {
    let malformed = |what: &str| Refusal::Malformed(what.to_owned());
    loop {
        while let Some((frame, used)) = wire::decode(buffer).map_err(|e| malformed(&e.to_string()))? {
            buffer.drain(..used);
            let Frame::Request { id, request } = frame else {
                return Err(malformed("only requests are expected here"));
            };
            let refusal = match &request {
                Request::Hello { version } if *version != VERSION => Some(Refusal::Version { ours: VERSION }),
                Request::Hello { .. } if !*seated && server.borrow().taken => Some(Refusal::Busy),
                Request::Hello { .. } => None,
                _ if !*seated => Some(malformed("the first request must be hello")),
                _ => None,
            };
            if let Some(refusal) = refusal {
                let _ = out.send(Frame::Answer { id, answer: Err(refusal.clone()) });
                return Err(refusal);
            }
            if !std::mem::replace(seated, true) {
                server.borrow_mut().taken = true;
                tracing::info!("a control connected");
            }
            answer(id, request, Rc::clone(server), out.clone());
        }
        let more = reader.read_buf(buffer);
        let read = if *seated {
            more.await
        } else {
            timeout(PATIENCE, more).await.map_err(|_| malformed("no hello came"))?
        };
        match read {
            Ok(0) | Err(_) => return Ok(()),
            Ok(_) => {}
        }
    }
}

fn answer(id: u32, request: Request, server: Shared, out: mpsc::UnboundedSender<Frame>) {
    let immediate = match &request {
        Request::Hello { .. } => {
            let server = server.borrow();
            let interfaces = server.interfaces.clone();
            Some(Reply::Hello { version: VERSION, epoch: server.epoch, interfaces })
        }
        Request::Subscribe => {
            server.borrow_mut().subscriber = Some(out.clone());
            Some(Reply::Done)
        }
        _ => None,
    };
    if let Some(reply) = immediate {
        let _ = out.send(Frame::Answer { id, answer: Ok(reply) });
        return;
    }
    server.borrow_mut().answering += 1;
    tokio::task::spawn_local(async move {
        let answer = super::calls::handle(&server, request).await;
        server.borrow_mut().answering -= 1;
        let _ = out.send(Frame::Answer { id, answer });
    });
}

/// Writes until nobody has anything to say any more; none when the client does not take it.
async fn write(
    mut writer: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Frame>,
) -> Option<OwnedWriteHalf> {
    let (mut batch, mut bytes) = (Vec::with_capacity(BATCH), Vec::new());
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        bytes.clear();
        for frame in batch.drain(..) {
            if let Err(e) = wire::encode(&frame, &mut bytes) {
                tracing::error!("an answer could not be written: {e}");
            }
        }
        writer.write_all(&bytes).await.ok()?;
    }
    Some(writer)
}
