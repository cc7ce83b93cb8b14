//! One client's connection: frames in, a task per request, frames out. A client that says something else than frames
//! is told so and disconnected; its calls go on.

use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::Shared;
use crate::program::message::{Frame, Refusal, Reply, Request, VERSION};
use crate::program::wire;

/// Serves a client to its end; without `free` it is only told that another one is there.
pub(super) async fn run(stream: UnixStream, server: Shared, free: bool) {
    let (reader, writer) = stream.into_split();
    let (out, queue) = mpsc::unbounded_channel();
    let writing = tokio::task::spawn_local(write(writer, queue));
    if free {
        tracing::info!("a control connected");
    } else {
        tracing::warn!("a second control was refused");
    }
    if let Err(refusal) = read(reader, &server, &out, free).await {
        tracing::warn!("a control was disconnected: {refusal}");
        let _ = out.send(Frame::Answer { id: 0, answer: Err(refusal) });
    }
    if free {
        server.borrow_mut().subscriber = None;
        tracing::info!("the control is gone; calls go on");
    }
    drop(out);
    // What was answered last is still to be written.
    let _ = writing.await;
}

async fn read(
    mut reader: OwnedReadHalf,
    server: &Shared,
    out: &mpsc::UnboundedSender<Frame>,
    free: bool,
) -> Result<(), Refusal> {
    let malformed = |what: String| Refusal::Malformed(what);
    let mut buffer = Vec::with_capacity(64 * 1024);
    let mut greeted = false;
    loop {
        while let Some((frame, used)) = wire::decode(&buffer).map_err(|e| malformed(e.to_string()))? {
            buffer.drain(..used);
            let Frame::Request { id, request } = frame else {
                return Err(malformed("only requests are expected here".into()));
            };
            let refusal = match &request {
                _ if !free => Some(Refusal::Busy),
                Request::Hello { version } if *version != VERSION => Some(Refusal::Version { ours: VERSION }),
                Request::Hello { .. } => None,
                _ if !greeted => Some(malformed("the first request must be hello".into())),
                _ => None,
            };
            if let Some(refusal) = refusal {
                let _ = out.send(Frame::Answer { id, answer: Err(refusal.clone()) });
                return Err(refusal);
            }
            greeted = true;
            answer(id, request, Rc::clone(server), out.clone());
        }
        match reader.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(_) => {}
        }
    }
}

fn answer(id: u32, request: Request, server: Shared, out: mpsc::UnboundedSender<Frame>) {
    let immediate = match &request {
        Request::Hello { .. } => Some(Reply::Hello { version: VERSION, epoch: server.borrow().epoch }),
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
