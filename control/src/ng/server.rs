//! The NG socket: datagrams in, replies out, from the address that the request came to.
//!
//! One task reads, and each new request gets a task of its own, at most [`MOST_RUNNING`] at once. NG has no
//! authentication: this host's loopback and the networks in `ng_allow` are answered, others are dropped and
//! counted. Nothing of a request is logged but its command.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;

use super::cache::{Cache, Key, Known};
use super::counts::Dropped;
use super::message;
use crate::call::Calls;
use crate::settings::{ControlSettings, Network};

/// Most requests that are worked on at once; more are dropped, and asked again by the proxy.
const MOST_RUNNING: usize = 1024;
/// Most unknown keys that are named in the log.
const MOST_NAMED: usize = 64;

/// The NG listener.
pub struct Server {
    socket: UdpSocket,
    allow: Vec<Network>,
    calls: Arc<Calls>,
    cache: Mutex<Cache>,
    running: Arc<Semaphore>,
    named: Mutex<HashSet<String>>,
}

impl Server {
    /// Binds `control.ng`. Refuses an address like 0.0.0.0: a reply must leave from the address that was asked.
    pub async fn bind(settings: &ControlSettings, calls: Arc<Calls>) -> io::Result<Arc<Self>> {
        if settings.ng.ip().is_unspecified() {
            let why = "name one address of this host: replies leave from the address that was asked";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(Arc::new(Self {
            socket: UdpSocket::bind(settings.ng).await?,
            allow: settings.ng_allow.clone(),
            calls,
            cache: Mutex::default(),
            running: Arc::new(Semaphore::new(MOST_RUNNING)),
            named: Mutex::default(),
        }))
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Answers requests, for ever.
    pub async fn run(self: Arc<Self>) {
        let mut buffer = vec![0; 65_536];
        loop {
            match self.socket.recv_from(&mut buffer).await {
                Ok((length, source)) => self.take(buffer.get(..length).unwrap_or_default(), source).await,
                // ICMP errors of earlier replies come back here; a proxy that went away is no reason to stop.
                Err(e) => {
                    tracing::debug!("NG socket: {e}");
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    async fn take(self: &Arc<Self>, datagram: &[u8], source: SocketAddr) {
        if !self.answers(source.ip()) {
            self.refuse(Dropped::Source, source);
            return;
        }
        let Some((cookie, body)) = message::split(datagram) else {
            self.refuse(Dropped::NoCookie, source);
            return;
        };
        let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() else {
            self.refuse(Dropped::Overload, source);
            return;
        };
        let key = Key { source, cookie: cookie.into() };
        let known = lock(&self.cache).begin(&key, Instant::now());
        match known {
            Known::New => {
                let (server, body) = (Arc::clone(self), Bytes::copy_from_slice(body));
                tokio::spawn(async move {
                    let reply = Bytes::from(server.reply(&key.cookie, &body).await);
                    let waiting = lock(&server.cache).finish(key, reply.clone(), Instant::now());
                    for _ in 0..=waiting {
                        server.send(&reply, source).await;
                    }
                    drop(permit);
                });
            }
            Known::Running => self.calls.ng.duplicate(),
            Known::Replied(reply) => {
                self.calls.ng.duplicate();
                self.send(&reply, source).await;
            }
        }
    }

    async fn reply(&self, cookie: &[u8], body: &[u8]) -> Vec<u8> {
        let (encoding, request) = message::read(body);
        let done = match &request {
            Ok(request) => {
                self.calls.ng.request(request.command);
                self.name(&request.unused);
                let done = self.calls.handle(request).await;
                if let Err(e) = &done {
                    tracing::info!(command = request.command.label(), "NG request refused: {e}");
                }
                done
            }
            Err(e) => {
                tracing::info!("NG request refused: {e}");
                Err(e.clone())
            }
        };
        let reply = done.unwrap_or_else(|e| {
            self.calls.ng.error(&e);
            message::refusal(&e, request.is_ok_and(|request| request.options.load_limit))
        });
        message::write(cookie, encoding, &reply)
    }

    async fn send(&self, reply: &[u8], to: SocketAddr) {
        if let Err(e) = self.socket.send_to(reply, to).await {
            tracing::warn!(bytes = reply.len(), "NG reply not sent: {e}");
        }
    }

    fn answers(&self, source: IpAddr) -> bool {
        source.to_canonical().is_loopback() || self.allow.iter().any(|network| network.contains(source))
    }

    /// Counts a datagram that gets no reply, and logs the first of its kind and then ever fewer.
    fn refuse(&self, why: Dropped, source: SocketAddr) {
        let count = self.calls.ng.dropped(why);
        if count.is_power_of_two() {
            let hint = match why {
                Dropped::Source => "its network is not in control.ng_allow",
                Dropped::NoCookie => "it has no cookie in printable ASCII",
                Dropped::Overload => "too many requests are being worked on",
            };
            tracing::warn!(%source, count, "NG datagram dropped: {hint}");
        }
    }

    /// Names unknown keys in the log, each once, and only those that can be nothing but a name.
    fn name(&self, unused: &[String]) {
        for key in unused {
            let name =
                key.len() <= 40 && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'.');
            let mut named = lock(&self.named);
            if name && named.len() < MOST_NAMED && named.insert(key.clone()) {
                tracing::debug!(key, "NG key is not known and changes nothing");
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
