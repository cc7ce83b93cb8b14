//! Strangers: someone floods every port of a call before, during and after its set-up, with whatever he may have guessed.
//! Nothing of his is forwarded once the call has settled (in `strict`: ever), he is never sent a byte, and the call loses
//! nothing. On both lanes, through the whole process.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]
#![allow(clippy::large_types_passed_by_value, reason = "a stream is written where it is used")]

#[path = "running_relay/rig.rs"]
mod rig;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use relay::call::CallKey;
use relay::program::Client;
use relay::program::message::{CallCounters, Learning, LegMedia, LocalPorts, Remote, Reply, Request, Stream};
use rig::{Relay, lanes, opened, phone, phone_at};

const CALL: CallKey = CallKey(42);
/// The parties' SSRCs, which the stranger knows.
const SSRC: [u8; 2] = [5, 6];
/// What stands in every packet of the stranger.
const MARK: u8 = 0xEE;
/// Numbers per direction and phase of the call.
const TALK: u16 = 100;

/// Someone who floods a range of ports until he is dropped.
struct Stranger {
    sockets: Vec<UdpSocket>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Stranger {
    /// From another host, from its port with the caller's number, and from another port of the phones' own host.
    fn floods(ports: std::ops::Range<u16>, port_of_caller: u16) -> Self {
        Self::floods_from(
            &[([127, 0, 0, 9], 0), ([127, 0, 0, 9], port_of_caller), ([127, 0, 0, 1], 0)],
            ports,
        )
    }

    fn floods_from(addresses: &[([u8; 4], u16)], ports: std::ops::Range<u16>) -> Self {
        let sockets: Vec<_> =
            addresses.iter().map(|at| UdpSocket::bind(SocketAddr::from(*at)).unwrap()).collect();
        sockets.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, senders) =
            (Arc::clone(&stop), sockets.iter().map(|s| s.try_clone().unwrap()).collect::<Vec<_>>());
        let thread = Some(std::thread::spawn(move || flood(&senders, &ports, &stopped)));
        Self { sockets, stop, thread }
    }

    /// Everything that he was sent: nothing.
    fn heard(&self) -> usize {
        let mut buffer = [0; 2048];
        self.sockets.iter().map(|s| std::iter::from_fn(|| s.recv(&mut buffer).ok()).count()).sum()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.thread.take().unwrap().join().unwrap();
        println!("the stranger sent {sent} packets");
    }
}

/// Sends every kind of packet to every port, again and again; a little rest between rounds leaves the phones some of
/// the processor.
fn flood(sockets: &[UdpSocket], ports: &std::ops::Range<u16>, stop: &AtomicBool) -> u64 {
    let (mut sent, mut sequence) = (0, 0_u16);
    while !stop.load(Ordering::Relaxed) {
        sequence = sequence.wrapping_add(1);
        let [high, low] = sequence.to_be_bytes();
        let rtp = |payload_type, ssrc| {
            [&[0x80, payload_type, high, low, 0, 0, high, low, 0, 0, 0, ssrc][..], &[MARK; 160]].concat()
        };
        let report = |ssrc| [&[0x80, 200, 0, 6, 0, 0, 0, ssrc][..], &[MARK; 20]].concat();
        let goodbye = |ssrc| vec![0x81, 203, 0, 1, 0, 0, 0, ssrc];
        let packets = [
            rtp(8, SSRC[0]),
            rtp(8, SSRC[1]),
            rtp(8, 99),
            rtp(0, SSRC[0]),
            report(SSRC[0]),
            report(SSRC[1]),
            goodbye(SSRC[0]),
            vec![MARK; 40],
        ];
        for (socket, port) in sockets.iter().flat_map(|s| ports.clone().map(move |port| (s, port))) {
            for packet in &packets {
                sent += u64::from(socket.send_to(packet, (Ipv4Addr::LOCALHOST, port)).is_ok());
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    sent
}

/// The two phones of a call.
struct Talk {
    phones: [UdpSocket; 2],
    ports: [LocalPorts; 2],
    said: u16,
}

impl Talk {
    /// Each leg's index, what fills its payloads, and its phone.
    fn legs(&self) -> impl Iterator<Item = (usize, u8, &UdpSocket)> {
        (0..).zip(0..).zip(&self.phones).map(|((leg, mark), phone)| (leg, mark, phone))
    }

    /// Both say numbered packets; each hears all of the other's, in order, and nothing else. Where strangers may have
    /// been heard before (`nat`, until the phones spoke), what is heard before the first number does not count.
    fn go_on(&mut self, after_strangers: bool) {
        let numbers = self.said..self.said + TALK;
        for n in numbers.clone() {
            for (leg, mark, phone) in self.legs() {
                let [high, low] = n.to_be_bytes();
                let header = [0x80, 8, high, low, 0, 0, high, low, 0, 0, 0, SSRC[leg]];
                let packet = [&header[..], &[high, low], &[mark; 158]].concat();
                phone.send_to(&packet, (self.ports[leg].address, self.ports[leg].rtp)).unwrap();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.said += TALK;
        for (leg, mark, phone) in self.legs() {
            let (mut buffer, mut next) = ([0; 2048], numbers.start);
            while next < numbers.end {
                let (length, from) = phone.recv_from(&mut buffer).unwrap();
                assert_eq!(from.port(), self.ports[leg].rtp);
                if after_strangers && next == numbers.start && buffer[14] == MARK {
                    continue;
                }
                assert_eq!(buffer[14..length], [1 - mark; 158], "of the other phone");
                assert_eq!(buffer[12..14], next.to_be_bytes(), "all, in order");
                next += 1;
            }
            phone.set_nonblocking(true).unwrap();
            let more = phone.recv(&mut buffer).map_err(|e| e.kind());
            assert_eq!(more, Err(ErrorKind::WouldBlock), "and nothing else");
            phone.set_nonblocking(false).unwrap();
        }
    }
}

fn stream(phones: &[UdpSocket; 2], learning: Learning, claimed: Option<SocketAddr>) -> Stream {
    let media = |phone: &UdpSocket| {
        let rtp = phone.local_addr().unwrap();
        LegMedia {
            learning,
            remote: Some(Remote { rtp, rtcp: (rtp.ip(), rtp.port() + 1).into() }),
            ..rig::media(phone)
        }
    };
    let mut stream = Stream { legs: phones.each_ref().map(media), ..Stream::default() };
    if let Some(rtp) = claimed {
        stream.legs[0].remote = Some(Remote { rtp, rtcp: rtp });
    }
    stream
}

async fn open(client: &Client, stream: Stream) -> [LocalPorts; 2] {
    let streams = vec![stream];
    let request = Request::Open { call: CALL, blob: Vec::new(), max_seconds: 0, label: None, streams };
    opened(client, request).await[0]
}

async fn update(client: &Client, stream: Stream) {
    let update = Request::Update { call: CALL, blob: None, label: None, streams: vec![stream] };
    client.ask(update).await.unwrap();
}

async fn counters(client: &Client) -> CallCounters {
    match client.ask(Request::Read { call: CALL }).await.unwrap() {
        Reply::Counters(counters) => counters,
        other => panic!("{other:?}"),
    }
}

/// What was dropped at one leg.
async fn dropped(client: &Client, leg: usize, reason: &str) -> u64 {
    let drops = counters(client).await.streams[0][leg].drops.clone();
    drops.iter().find(|(name, _)| name == reason).map_or(0, |(_, count)| *count)
}

/// Waits until the kernel keeps the flood out: no more drops are counted.
async fn kept_out(client: &Client) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut last = None;
    loop {
        let now = counters(client).await.streams[0].clone().map(|leg| (leg.rtp, leg.drops));
        if last.as_ref() == Some(&now) {
            return;
        }
        assert!(Instant::now() < deadline, "strangers still come through the kernel: {now:?}");
        last = Some(now);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// With the stranger's sockets: they have heard nothing, since the last look.
fn nothing_leaks(stranger: &Stranger) {
    assert_eq!(stranger.heard(), 0, "the stranger was sent something");
}

#[tokio::test]
async fn strict_legs_hear_their_phones_and_nobody_else_ever() {
    for (lane, more) in lanes() {
        let first = 27_000 + more;
        let relay = Relay::start(lane, first, 16);
        let (client, _events) = relay.connect().await;
        let phones = [phone(), phone()];
        let stranger = Stranger::floods(first..first + 16, phones[0].local_addr().unwrap().port());
        let ports = open(&client, stream(&phones, Learning::Strict, None)).await;
        while dropped(&client, 0, "source_mismatch").await == 0 || dropped(&client, 1, "not_rtp").await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut talk = Talk { phones, ports, said: 0 };
        talk.go_on(false);
        nothing_leaks(&stranger);
        // RTCP has not settled: only the RTP ports are the kernel's to guard. The flood goes on, and so does the call.
        talk.go_on(false);

        // A party moves: the old phone is a stranger from now on.
        let moved = phone_at(Ipv4Addr::new(127, 0, 0, 7).into());
        let old = std::mem::replace(&mut talk.phones[0], moved);
        update(&client, stream(&talk.phones, Learning::Strict, None)).await;
        old.send_to(
            &[0x80, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, SSRC[0], MARK, MARK, MARK],
            ("127.0.0.1", ports[0].rtp),
        )
        .unwrap();
        talk.go_on(false);
        nothing_leaks(&stranger);
        let legs = counters(&client).await.streams[0].clone();
        assert_eq!(
            legs.map(|leg| leg.rtp.packets),
            [u64::from(3 * TALK); 2],
            "{lane}: the phones' and no other"
        );
    }
}

#[tokio::test]
async fn behind_nat_the_signalled_address_displaces_a_stranger_and_nobody_displaces_it() {
    for (lane, more) in lanes() {
        let first = 27_020 + more;
        let relay =
            Relay::start_with(&format!("lane = \"{lane}\"\nworkers = 1\nlearn_window_ms = 60000"), first, 16);
        let (client, _events) = relay.connect().await;
        let phones = [phone(), phone()];
        let ports = open(&client, stream(&phones, Learning::Nat, None)).await;
        // He comes first, inside the window, and is taken for the caller for as long as nobody better is there.
        let early = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 9), 0)).unwrap();
        let packet = [&[0x80, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 99][..], &[MARK; 160]].concat();
        early.send_to(&packet, ("127.0.0.1", ports[0].rtp)).unwrap();
        let mut buffer = [0; 2048];
        assert_eq!(phones[1].recv(&mut buffer).unwrap(), packet.len(), "{lane}");

        let mut talk = Talk { phones, ports, said: 0 };
        talk.go_on(true);
        early.set_nonblocking(true).unwrap();
        while early.recv(&mut buffer).is_ok() {}
        // Not from the phones' host: behind a NAT, RTCP may come from another port of it.
        let port_of_caller = talk.phones[0].local_addr().unwrap().port();
        let hosts = [([127, 0, 0, 9], 0), ([127, 0, 0, 8], port_of_caller)];
        let stranger = Stranger::floods_from(&hosts, first..first + 16);
        talk.go_on(false);
        nothing_leaks(&stranger);
        assert!(early.recv(&mut buffer).is_err(), "{lane}: he was sent something after he was displaced");
    }
}

#[tokio::test]
async fn the_kernel_keeps_strangers_out_of_settled_ports_until_the_next_offer() {
    for (lane, more) in lanes() {
        let first = 27_040 + more;
        let relay = Relay::start(lane, first, 8);
        let (client, _events) = relay.connect().await;
        let phones = [phone(), phone()];
        let port_of_caller = phones[0].local_addr().unwrap().port();
        let mut stream = stream(&phones, Learning::Strict, None);
        // One port for both, so that all of the call's settled ports are those of RTP.
        for leg in &mut stream.legs {
            leg.rtcp_mux = true;
        }
        let ports = open(&client, stream).await;
        let stranger = Stranger::floods(ports[0].rtp..ports[0].rtp + 1, port_of_caller);
        while dropped(&client, 0, "source_mismatch").await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut talk = Talk { phones, ports, said: 0 };
        talk.go_on(false);
        kept_out(&client).await;
        talk.go_on(false);
        nothing_leaks(&stranger);
        // On hold nobody is heard, and the flood is counted again; off hold it is as before.
        let mut held = stream;
        held.legs[0].remote = None;
        let before = dropped(&client, 0, "source_mismatch").await;
        update(&client, held).await;
        while dropped(&client, 0, "source_mismatch").await == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        update(&client, stream).await;
        talk.go_on(false);
        kept_out(&client).await;
        nothing_leaks(&stranger);
        assert!(relay_has_no_connect_errors(&client).await, "{lane}");
    }
}

async fn relay_has_no_connect_errors(client: &Client) -> bool {
    let stats = rig::stats(client).await;
    let count = |name: &str| {
        stats
            .workers
            .iter()
            .flat_map(|w| &w.lane)
            .filter(|(n, _)| n == name)
            .map(|(_, count)| count)
            .sum::<u64>()
    };
    count("connect_errors") == 0
}

#[tokio::test]
async fn a_phone_that_comes_back_after_its_port_was_closed_is_heard_and_hears() {
    for (lane, more) in lanes() {
        let relay = Relay::start(lane, 27_060 + more, 8);
        let (client, _events) = relay.connect().await;
        let phones = [phone(), phone()];
        let ports = open(&client, stream(&phones, Learning::Strict, None)).await;
        let mut talk = Talk { phones, ports, said: 0 };
        talk.go_on(false);
        // The callee's port closes: what is sent there comes back as ICMP, on a connected socket.
        let [caller, callee] = talk.phones;
        let address = callee.local_addr().unwrap();
        drop(callee);
        let deadline = Instant::now() + Duration::from_secs(10);
        let icmp = |stats: relay::program::message::Stats| {
            let all = stats
                .workers
                .iter()
                .flat_map(|w| w.lane.iter().map(|(n, c)| (n.clone(), *c)).chain(w.drops.clone()));
            all.filter(|(n, _)| n == "icmp_errors" || n == "send_failed").map(|(_, count)| count).sum::<u64>()
        };
        while icmp(rig::stats(&client).await) < 3 {
            assert!(Instant::now() < deadline, "{lane}: no ICMP error was noticed");
            rig::say(&caller, ports[0], 1);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let again = UdpSocket::bind(address).unwrap();
        again.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // One more error may be waiting; what comes first in either direction clears it.
        let mut talk = Talk { phones: [caller, again], ports, said: talk.said };
        rig::say(&talk.phones[1], ports[1], 9);
        let mut buffer = [0; 2048];
        assert_eq!(talk.phones[0].recv(&mut buffer).unwrap(), 15);
        rig::say(&talk.phones[0], ports[0], 9);
        talk.phones[1].set_nonblocking(true).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        while talk.phones[1].recv(&mut buffer).is_ok() {}
        talk.phones[1].set_nonblocking(false).unwrap();
        talk.said += 100;
        talk.go_on(false);
    }
}
