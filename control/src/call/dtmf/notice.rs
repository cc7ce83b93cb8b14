//! Notices of keys: one JSON datagram each to the address that the settings name, in the shape that the incumbent's
//! `dtmf-log-dest` has, but for the party's address.
//!
//! [`Notices::send`] never waits; one task, [`Notices::run`], owns the socket. A receiver that is away costs notices,
//! which are counted, and nothing else. Nothing of a notice is logged.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::metrics::{Kind, Text};

/// Most notices that wait for the socket.
const WAITING: usize = 1024;
const NOTICES: &str = "bauta_dtmf_notices_total";

/// A key that was pressed, as the receiver reads it. It holds tags and a digit, and does not print.
#[derive(Serialize)]
pub(super) struct Notice<'a> {
    /// SIP Call-ID.
    pub(super) callid: &'a str,
    /// Who pressed it.
    pub(super) source_tag: &'a str,
    /// Every tag of the call.
    pub(super) tags: Vec<&'a str>,
    /// `DTMF`.
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// Seconds since 1970.
    pub(super) timestamp: i64,
    pub(super) event: u8,
    /// Milliseconds.
    pub(super) duration: u32,
    /// dBm0 below 0.
    pub(super) volume: u8,
}

impl Notice<'_> {
    pub(super) fn to_json(&self) -> Vec<u8> {
        // Strings and numbers always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The way to the receiver.
pub struct Notices {
    /// `HOST:PORT`; empty for nowhere.
    receiver: String,
    queue: Sender<Vec<u8>>,
    waiting: Mutex<Option<Receiver<Vec<u8>>>>,
    sent: AtomicU64,
    lost: AtomicU64,
}

impl Notices {
    pub(super) fn new(receiver: &str) -> Self {
        let (queue, waiting) = channel(WAITING);
        let (sent, lost) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { receiver: receiver.to_owned(), queue, waiting: Mutex::new(Some(waiting)), sent, lost }
    }

    pub(super) const fn wanted(&self) -> bool {
        !self.receiver.is_empty()
    }

    pub(super) fn send(&self, notice: Vec<u8>) {
        if self.queue.try_send(notice).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn write(&self, text: &mut Text) {
        text.family(
            NOTICES,
            Kind::Counter,
            "Notices of keys for control.dtmf_notify, by what became of them.",
        )
        .sample(NOTICES, &[("result", "sent")], self.sent.load(Ordering::Relaxed))
        .sample(NOTICES, &[("result", "lost")], self.lost.load(Ordering::Relaxed));
    }

    /// Sends what comes, for ever; at once over when nobody wants it, or it runs already.
    pub async fn run(&self) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut waiting) = waiting.filter(|_| self.wanted()) else { return };
        let (mut socket, mut well) = (None, true);
        while let Some(notice) = waiting.recv().await {
            match self.deliver(&mut socket, &notice).await {
                Ok(()) => {
                    self.sent.fetch_add(1, Ordering::Relaxed);
                    well = true;
                }
                Err(e) => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    // The name may lead elsewhere next time.
                    socket = None;
                    if std::mem::take(&mut well) {
                        tracing::warn!(
                            "DTMF notices do not reach control.dtmf_notify = {}: {e}",
                            self.receiver
                        );
                    }
                }
            }
        }
    }

    async fn deliver(&self, socket: &mut Option<UdpSocket>, notice: &[u8]) -> io::Result<()> {
        if let Some(socket) = socket {
            // What the network says of the notice before comes back here, in place of this one.
            return match socket.send(notice).await {
                Ok(_) => Ok(()),
                Err(_) => socket.send(notice).await.map(drop),
            };
        }
        let address = tokio::net::lookup_host(&self.receiver).await?.next();
        let address = address.ok_or_else(|| io::Error::other("the name has no address"))?;
        let any = if address.is_ipv4() {
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
        } else {
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
        };
        let new = UdpSocket::bind(any).await?;
        new.connect(address).await?;
        new.send(notice).await?;
        *socket = Some(new);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_as_the_incumbents_readers_expect_it_and_names_no_address() {
        let notice = Notice {
            callid: "c-1",
            source_tag: "a\"",
            tags: vec!["a\"", "b"],
            kind: "DTMF",
            timestamp: 1_795_000_000,
            event: 5,
            duration: 100,
            volume: 10,
        };
        let json: serde_json::Value = serde_json::from_slice(&notice.to_json()).unwrap();
        let expected = serde_json::json!({
            "callid": "c-1", "source_tag": "a\"", "tags": ["a\"", "b"], "type": "DTMF",
            "timestamp": 1_795_000_000, "event": 5, "duration": 100, "volume": 10,
        });
        assert_eq!(json, expected);
    }
}
