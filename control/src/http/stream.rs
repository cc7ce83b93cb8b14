//! A file as a body, a piece at a time: a recording of hours takes no more memory than one of seconds.
//!
//! Read on a thread that may wait; the reader waits while the client does, and ends when it goes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

/// Bytes in one piece.
const PIECE: usize = 64 * 1024;
/// Pieces that wait for the client.
const WAITING: usize = 2;

struct Pieces {
    from: mpsc::Receiver<std::io::Result<Bytes>>,
    left: u64,
}

/// These bytes of `file`. Must be called on the runtime.
pub(super) fn body(mut file: File, bytes: Range<u64>) -> Body {
    let length = bytes.end.saturating_sub(bytes.start);
    let (to, from) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || match file.seek(SeekFrom::Start(bytes.start)) {
        Ok(_) => read(file.take(length), length, &to),
        // Who does not hear of it has gone.
        Err(error) => drop(to.blocking_send(Err(error))),
    });
    Body::new(Pieces { from, left: length })
}

fn read(mut file: impl Read, mut left: u64, to: &mpsc::Sender<std::io::Result<Bytes>>) {
    while left > 0 {
        let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
        let piece = file.read_exact(&mut piece).map(|()| Bytes::from(piece));
        left -= piece.as_ref().map_or(left, |piece| piece.len() as u64);
        // Nobody takes it: the client has gone.
        if to.blocking_send(piece).is_err() {
            return;
        }
    }
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        let piece = ready!(self.from.poll_recv(context));
        if let Some(Ok(piece)) = &piece {
            self.left = self.left.saturating_sub(piece.len() as u64);
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(length: usize) -> (File, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audio");
        let bytes: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        (File::open(path).unwrap(), bytes)
    }

    #[tokio::test]
    async fn a_file_comes_whole_or_the_body_fails() {
        for length in [0, 1, PIECE, 5 * PIECE + 7] {
            let (open, bytes) = file(length);
            let got = axum::body::to_bytes(body(open, 0..length as u64), usize::MAX).await.unwrap();
            assert!(got == bytes, "{length}");
        }
        let (open, _) = file(PIECE);
        assert!(axum::body::to_bytes(body(open, 0..2 * PIECE as u64), usize::MAX).await.is_err());
        let (open, bytes) = file(3 * PIECE);
        let part = PIECE - 1..2 * PIECE + 1;
        let got =
            axum::body::to_bytes(body(open, part.start as u64..part.end as u64), usize::MAX).await.unwrap();
        assert!(got == bytes[part]);
    }
}
