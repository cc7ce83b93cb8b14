//! The HTTP listener: connections in bounded number, each with a time for its headers.
//!
//! One task accepts, and each connection has a task of its own. Whoever opens connections and says nothing, or says
//! it slowly, holds one of [`MOST_CONNECTIONS`] for [`HEADER_TIME`] at most.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most connections at a time; more wait in the system's queue.
const MOST_CONNECTIONS: usize = 256;
/// How long a request's headers may take, from the end of the one before on.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// How long requests in progress may take when the server stops.
const FAREWELL: Duration = Duration::from_secs(3);
/// Pause after the system refused a connection: it has no more files, and the next try would fail too.
const PAUSE: Duration = Duration::from_millis(100);

/// The address that a request comes from: an extension of each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub IpAddr);

/// What bounds connections; the defaults but in tests.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most connections at a time.
    pub connections: usize,
    /// How long a request's headers may take.
    pub headers: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: MOST_CONNECTIONS, headers: HEADER_TIME }
    }
}

/// Serves until `stop` is ready, then lets requests in progress finish for a moment.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, stop: impl Future<Output = ()>) {
    let (room, graceful) = (Arc::new(Semaphore::new(bounds.connections)), GracefulShutdown::new());
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.headers);
    let mut stop = std::pin::pin!(stop);
    loop {
        let (stream, peer, permit) = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            () = &mut stop => break,
        };
        let routes = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            routes.call(request)
        });
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "HTTP connection");
            }
            drop(permit);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(FAREWELL, graceful.shutdown()).await;
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, Peer, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let permit = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // A proxy waits for each answer before it asks again: nothing is gained by holding segments back.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY");
                }
                return (stream, Peer(peer.ip()), permit);
            }
            Err(error) => {
                tracing::warn!(%error, "HTTP connection not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn start(connections: usize) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        let bounds = Bounds { connections, headers: Duration::from_millis(200) };
        tokio::spawn(serve(listener, router, bounds, std::future::pending()));
        address
    }

    #[tokio::test]
    async fn who_says_nothing_or_too_little_is_sent_away_and_makes_room() {
        let address = start(2).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-").await.unwrap();
        // Both places are taken: the third waits until they are free.
        let mut third = TcpStream::connect(address).await.unwrap();
        third.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut early = [0; 64];
        let waits = tokio::time::timeout(Duration::from_millis(50), third.read(&mut early)).await;
        assert!(waits.is_err(), "there was room for a third");
        let mut answer = String::new();
        third.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
        for stream in [&mut silent, &mut slow] {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            assert!(!rest.starts_with(b"HTTP/1.1 200"));
        }
    }
}
