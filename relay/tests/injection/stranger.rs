//! Someone who floods ports with whatever he may have guessed.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::talk::SSRC;

/// What stands in every packet of the stranger.
pub const MARK: u8 = 0xEE;

/// Someone who floods a range of ports until he is dropped.
pub struct Stranger {
    sockets: Vec<UdpSocket>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Stranger {
    /// He knows the parties' SSRCs and what they negotiated. He sends from these addresses to these ports of the relay's.
    pub fn floods(relay: IpAddr, ports: Range<u16>, from: &[SocketAddr]) -> Self {
        Self::sends(relay, ports, from, all)
    }

    /// He knows what was negotiated, and no SSRC.
    pub fn guesses(relay: IpAddr, ports: Range<u16>, from: &[SocketAddr]) -> Self {
        Self::sends(relay, ports, from, |n| vec![rtp(8, 99, n), report(99)])
    }

    fn sends(relay: IpAddr, ports: Range<u16>, from: &[SocketAddr], what: fn(u16) -> Vec<Vec<u8>>) -> Self {
        let sockets: Vec<_> = from.iter().map(|at| UdpSocket::bind(at).unwrap()).collect();
        sockets.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
        let senders: Vec<_> = sockets.iter().map(|s| s.try_clone().unwrap()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut sent, mut sequence) = (0, 0);
            while !stopped.load(Ordering::Relaxed) {
                sequence += 1;
                let packets = what(sequence);
                let targets = || ports.clone().map(|port| SocketAddr::from((relay, port)));
                for (socket, target) in senders.iter().flat_map(|s| targets().map(move |t| (s, t))) {
                    for packet in &packets {
                        sent += u64::from(socket.send_to(packet, target).is_ok());
                    }
                }
                // Leaves the phones some of the processor.
                std::thread::sleep(Duration::from_millis(2));
            }
            sent
        });
        Self { sockets, stop, thread: Some(thread) }
    }

    /// He has heard nothing, since the last look.
    pub fn heard_nothing(&self) {
        let mut buffer = [0; 2048];
        let heard: usize =
            self.sockets.iter().map(|s| std::iter::from_fn(|| s.recv(&mut buffer).ok()).count()).sum();
        assert_eq!(heard, 0, "the stranger was sent something");
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.thread.take().unwrap().join().unwrap();
        println!("the stranger sent {sent} packets");
        assert!(sent > 0 || std::thread::panicking(), "he did not even try");
    }
}

/// Every kind of packet.
fn all(n: u16) -> Vec<Vec<u8>> {
    let goodbye = |ssrc| vec![0x81, 203, 0, 1, 0, 0, 0, ssrc];
    vec![
        rtp(8, SSRC[0], n),
        rtp(8, SSRC[1], n),
        rtp(8, 99, n),
        rtp(0, SSRC[0], n),
        report(SSRC[0]),
        report(SSRC[1]),
        goodbye(SSRC[0]),
        vec![MARK; 40],
    ]
}

pub fn rtp(payload_type: u8, ssrc: u8, n: u16) -> Vec<u8> {
    let [high, low] = n.to_be_bytes();
    let header = [0x80, payload_type, high, low, 0, 0, high, low, 0, 0, 0, ssrc];
    [&header[..], &[MARK; 160]].concat()
}

fn report(ssrc: u8) -> Vec<u8> {
    [&[0x80, 200, 0, 6, 0, 0, 0, ssrc][..], &[MARK; 20]].concat()
}
