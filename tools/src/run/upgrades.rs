//! Where `bauta upgrade` asks the supervisor: a socket, one request per connection, one line of JSON each way.

#![allow(clippy::indexing_slicing, reason = "a member that a JSON value does not have is null")]

use std::path::{Path, PathBuf};
use std::process::ChildStdout;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::upgrade::{SOCKET, outcome};

/// How long whoever connects may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(2);

/// What comes in at the socket.
#[derive(Debug)]
pub struct Upgrades(mpsc::Receiver<Wish>);

/// Somebody who wants a new relay.
#[derive(Debug)]
pub struct Wish {
    stream: UnixStream,
    /// The new relay's program; none for the same path as before.
    pub program: Option<PathBuf>,
}

impl Upgrades {
    /// Listens in this state directory.
    pub fn listen(state: &Path) -> anyhow::Result<Self> {
        let path = state.join(SOCKET);
        let listener = relay::sys::unix::listen(&path).with_context(|| path.display().to_string())?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let (wishes, queue) = mpsc::channel(1);
        tokio::task::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        if let Some(wish) = Wish::read(stream).await {
                            // The supervisor ends with the process.
                            let _ = wishes.send(wish).await;
                        }
                    }
                    // Want of descriptors passes.
                    Err(_) => tokio::time::sleep(PATIENCE).await,
                }
            }
        });
        Ok(Self(queue))
    }

    /// The next wish.
    pub async fn next(&mut self) -> Option<Wish> {
        self.0.recv().await
    }
}

impl Wish {
    /// None for what cannot be understood.
    async fn read(stream: UnixStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        timeout(PATIENCE, reader.read_line(&mut line)).await.ok()?.ok()?;
        let wish: Value = serde_json::from_str(&line).ok()?;
        Some(Self { stream: reader.into_inner(), program: wish["program"].as_str().map(PathBuf::from) })
    }

    /// Answers when it is known what became of the new relay, on a task of its own.
    pub fn answer(mut self, started: anyhow::Result<(ChildStdout, PathBuf, u64)>) {
        tokio::task::spawn(async move {
            let waited = match started {
                Ok((said, log, before)) => {
                    tokio::task::spawn_blocking(move || outcome(said, &log, before)).await
                }
                Err(error) => Ok(Err(error)),
            };
            let answer = match waited {
                Ok(Ok(done)) => json!({ "done": done }),
                Ok(Err(error)) => json!({ "error": format!("{error:#}") }),
                Err(error) => json!({ "error": error.to_string() }),
            };
            // Whoever asked may be gone.
            let _ = self.stream.write_all(format!("{answer}\n").as_bytes()).await;
        });
    }
}
