//! Control's end of the programming protocol, on tokio.
//!
//! [`Client::connect`] gives a cloneable handle and the stream of events. Requests may be made from many tasks at
//! once; answers find their request by id. When the connection ends, open requests fail with
//! [`ClientError::Gone`] and the event receiver ends: connect anew then.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::message::{Event, Frame, Interface, Refusal, Reply, Request, VERSION};
use super::wire::{self, WireError};

/// Why a request got no reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The relay said no.
    #[error("the relay refused: {0}")]
    Refused(#[from] Refusal),
    /// The connection is gone (or could not be made).
    #[error("the relay is out of reach: {0}")]
    Gone(String),
    /// The relay spoke something else.
    #[error("the relay's answer could not be read: {0}")]
    Wire(#[from] WireError),
    /// An answer of the wrong kind.
    #[error("the relay answered something else than asked")]
    Unexpected,
}

type Answer = Result<Reply, Refusal>;
type Waiting = Arc<Mutex<Option<HashMap<u32, oneshot::Sender<Answer>>>>>;

/// A connection to the relay. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    requests: mpsc::Sender<(Request, oneshot::Sender<Answer>)>,
    connection: AbortHandle,
    epoch: u64,
    interfaces: Arc<[Interface]>,
}

/// How long the relay may take to answer: it does so in microseconds, or it hangs.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most requests that are written at once.
const BATCH: usize = 64;

impl Client {
    /// Connects to the socket at `path`, says hello and subscribes to events.
    pub async fn connect(path: &Path) -> Result<(Self, mpsc::UnboundedReceiver<Event>), ClientError> {
        let gone = |e: std::io::Error| ClientError::Gone(format!("{}: {e}", path.display()));
        let (reader, writer) = UnixStream::connect(path).await.map_err(gone)?.into_split();
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let (requests, queue) = mpsc::channel(256);
        let (event_sender, events) = mpsc::unbounded_channel();
        tokio::spawn(send(writer, queue, Arc::clone(&waiting)));
        let receiving = tokio::spawn(async move {
            // Gone with this task: fails every open request, and those still to come.
            let _closed = FailsAll(Arc::clone(&waiting));
            if let Err(e) = receive(reader, &waiting, &event_sender).await {
                tracing::warn!("connection to the relay ended: {e}");
            }
        });
        let mut client =
            Self { requests, connection: receiving.abort_handle(), epoch: 0, interfaces: Arc::default() };
        let Reply::Hello { epoch, interfaces, .. } = client.ask(Request::Hello { version: VERSION }).await?
        else {
            return Err(ClientError::Unexpected);
        };
        client.epoch = epoch;
        client.interfaces = interfaces.into();
        client.ask(Request::Subscribe).await?;
        Ok((client, events))
    }

    /// The relay process's random number: a different one after reconnecting means a new relay without calls.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The relay's interfaces, the default one first.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Asks and waits for the answer. A relay that does not answer within two seconds counts as gone: what it still
    /// does is found out by connecting anew.
    pub async fn ask(&self, request: Request) -> Result<Reply, ClientError> {
        let gone = || ClientError::Gone("the connection closed".into());
        let (sender, answer) = oneshot::channel();
        let asked = async {
            self.requests.send((request, sender)).await.map_err(|_| gone())?;
            Ok(answer.await.map_err(|_| gone())??)
        };
        timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
            self.connection.abort();
            Err(ClientError::Gone("it does not answer".into()))
        })
    }
}

struct FailsAll(Waiting);

impl Drop for FailsAll {
    fn drop(&mut self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

async fn send(
    mut writer: OwnedWriteHalf,
    mut queue: mpsc::Receiver<(Request, oneshot::Sender<Answer>)>,
    waiting: Waiting,
) {
    let mut next: u32 = 0;
    let (mut batch, mut bytes) = (Vec::with_capacity(BATCH), Vec::new());
    // What was asked at the same time is written at once.
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        bytes.clear();
        for (request, sender) in batch.drain(..) {
            next = next.wrapping_add(1);
            match waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                Some(open) => drop(open.insert(next, sender)),
                None => return,
            }
            // What does not fit leaves the bytes as they were.
            if wire::encode(&Frame::Request { id: next, request }, &mut bytes).is_err()
                && let Some(open) = waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
                && let Some(sender) = open.remove(&next)
            {
                let _ = sender.send(Err(Refusal::Impossible("the request is too long".into())));
            }
        }
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn receive(
    mut reader: OwnedReadHalf,
    waiting: &Waiting,
    events: &mpsc::UnboundedSender<Event>,
) -> Result<(), ClientError> {
    let gone = |e: std::io::Error| ClientError::Gone(e.to_string());
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        while let Some((frame, used)) = wire::decode(&buffer)? {
            buffer.drain(..used);
            match frame {
                Frame::Event(event) => drop(events.send(event)),
                Frame::Answer { id, answer } => {
                    let mut open = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(sender) = open.as_mut().and_then(|o| o.remove(&id)) {
                        let _ = sender.send(answer);
                    }
                }
                Frame::Request { .. } => return Err(ClientError::Unexpected),
            }
        }
        if reader.read_buf(&mut buffer).await.map_err(gone)? == 0 {
            return Err(ClientError::Gone("the relay closed the connection".into()));
        }
    }
}
