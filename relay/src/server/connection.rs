//! One client's connection: frames in, a task per request, frames out. A client that says something else than frames
//! is told so and disconnected; its calls go on.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Shared;
use crate::program::message::{Frame, Refusal, Reply, Request, VERSION};
use crate::program::wire;

/// How long a client has to say hello, and to take what was written to it last.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves a client to its end. The first one to say hello has the seat; others are told so.
pub(super) async fn run(stream: UnixStream, server: Shared) {
    let (reader, writer) = stream.into_split();
    let (out, queue) = mpsc::unbounded_channel();
    let writing = tokio::task::spawn_local(write(writer, queue));
    let mut seated = false;
    if let Err(refusal) = read(reader, &server, &out, &mut seated).await {
        tracing::warn!("a client of the programming socket was disconnected: {refusal}");
        let _ = out.send(Frame::Answer { id: 0, answer: Err(refusal) });
    }
    if seated {
        let mut server = server.borrow_mut();
        server.taken = false;
        server.subscriber = None;
        tracing::info!("the control is gone; calls go on");
    }
    drop(out);
    // What was answered last is still to be written.
    let _ = timeout(PATIENCE, writing).await;
}

async fn read(
    mut reader: OwnedReadHalf,
    server: &Shared,
    out: &mpsc::UnboundedSender<Frame>,
    seated: &mut bool,
) -> Result<(), Refusal> {
    let malformed = |what: &str| Refusal::Malformed(what.to_owned());
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        while let Some((frame, used)) = wire::decode(&buffer).map_err(|e| malformed(&e.to_string()))? {
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
        let more = reader.read_buf(&mut buffer);
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
    tokio::task::spawn_local(async move {
        let answer = super::calls::handle(&server, request).await;
        let _ = out.send(Frame::Answer { id, answer });
    });
}

async fn write(mut writer: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Frame>) {
    let mut bytes = Vec::new();
    while let Some(frame) = queue.recv().await {
        bytes.clear();
        if let Err(e) = wire::encode(&frame, &mut bytes) {
            tracing::error!("an answer could not be written: {e}");
            continue;
        }
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
