//! A relay that runs out of ports or file descriptors: it says which, nothing is lost by it, and calls in progress never
//! notice. The real process, on both lanes.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

#[path = "running_relay/rig.rs"]
mod rig;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use relay::call::CallKey;
use relay::program::Client;
use relay::program::client::ClientError;
use relay::program::message::{LocalPorts, Refusal, Reply, Request, Stats, Stream};
use rig::{Relay, heard, lanes, media, opened, own_address, phone, say, stats};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// A relay on an address of its own, its client, and two phones that speak through it.
struct Site {
    relay: Relay,
    client: Client,
    phones: [UdpSocket; 2],
    /// First and last port.
    ports: (u16, u16),
}

impl Site {
    async fn start(lane: &str, ports: (u16, u16), rest: u32, files: Option<u16>) -> Self {
        let settings = format!(
            "lane = \"{lane}\"\nworkers = 1\naddress = \"{}\"\nports = \"{}-{}\"\nport_rest_seconds = {rest}",
            own_address(),
            ports.0,
            ports.1
        );
        let relay = Relay::configured(&settings, files);
        let (client, _events) = relay.connect().await;
        Self { relay, client, phones: [phone(), phone()], ports }
    }

    fn stream(&self) -> Stream {
        Stream { legs: self.phones.each_ref().map(media), ..Stream::default() }
    }

    fn open(&self, call: u64, streams: usize) -> Request {
        let streams = vec![self.stream(); streams];
        Request::Open { call: CallKey(call), blob: b"first".to_vec(), max_seconds: 0, label: None, streams }
    }

    /// A change that shows if it is made: the callee elsewhere, another blob, a stream more.
    fn change(&self, call: u64, elsewhere: &UdpSocket) -> Request {
        let mut streams = vec![self.stream(); 2];
        streams[0].legs[1] = media(elsewhere);
        Request::Update { call: CallKey(call), blob: Some(b"second".to_vec()), label: None, streams }
    }

    async fn refused(&self, request: Request) -> Refusal {
        match self.client.ask(request).await {
            Err(ClientError::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    }

    async fn close(&self, call: u64) {
        self.client.ask(Request::Close { call: CallKey(call), label: None }).await.unwrap();
    }

    /// Asks until the relay is as `wanted`: a lane lets go of sockets a moment after their call is closed.
    async fn until(&self, wanted: impl Fn(&Stats) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let stats = stats(&self.client).await;
            if wanted(&stats) {
                return;
            }
            assert!(Instant::now() < deadline, "{stats:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Both phones hear each other through these ports of the relay.
    fn speaks(&self, [caller, callee]: [LocalPorts; 2], number: u8) {
        say(&self.phones[0], caller, number);
        assert_eq!(heard(&self.phones[1]), [b'h', b'i', number]);
        say(&self.phones[1], callee, number);
        assert_eq!(heard(&self.phones[0]), [b'h', b'i', number]);
    }

    /// Every port of the range can be bound: the relay has none of them.
    fn all_ports_are_unbound(&self) -> bool {
        (self.ports.0..=self.ports.1).all(|port| UdpSocket::bind((own_address(), port)).is_ok())
    }

    fn descriptors(&self) -> BTreeSet<u64> {
        let list = std::fs::read_dir(format!("/proc/{}/fd", self.relay.child.id())).unwrap();
        list.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
    }

    /// The process may open so many descriptors beside those that it has: the limit is on their numbers.
    fn allow(&self, more: usize) {
        let taken = self.descriptors();
        let last = (0..).filter(|number| !taken.contains(number)).nth(more).unwrap();
        let limit = Rlimit { current: Some(last), ..getrlimit(Resource::Nofile) };
        prlimit(Some(Pid::from_child(&self.relay.child)), Resource::Nofile, limit).unwrap();
    }
}

#[tokio::test]
async fn out_of_ports_is_said_and_what_was_taken_for_it_comes_back() {
    for (lane, offset) in lanes() {
        // Three pairs: a call of one stream takes two, a second one has a pair for one leg only.
        let site = Site::start(lane, (20_000 + offset, 20_005 + offset), 0, None).await;
        let before = site.descriptors();
        for round in 0..20 {
            assert_eq!(
                site.refused(site.open(1, 2)).await,
                Refusal::OutOfPorts,
                "its second stream has one pair"
            );
            site.until(|s| (s.calls, s.pairs_free, s.workers[0].sockets) == (0, 3, 0)).await;
            assert!(site.all_ports_are_unbound());

            let ports = opened(&site.client, site.open(1, 1)).await[0];
            site.until(|s| (s.calls, s.pairs_free, s.workers[0].sockets) == (1, 1, 4)).await;
            assert_eq!(site.refused(site.open(2, 1)).await, Refusal::OutOfPorts, "it has a pair for one leg");
            let elsewhere = phone();
            assert_eq!(site.refused(site.change(1, &elsewhere)).await, Refusal::OutOfPorts);
            site.until(|s| (s.calls, s.pairs_free, s.workers[0].sockets) == (1, 1, 4)).await;
            site.speaks(ports, round);
            let Reply::Calls(calls) = site.client.ask(Request::List { after: None }).await.unwrap() else {
                panic!()
            };
            assert_eq!((calls.len(), &calls[0].blob[..], calls[0].ports.len()), (1, &b"first"[..], 1));

            site.close(1).await;
            site.until(|s| (s.calls, s.pairs_free, s.workers[0].sockets) == (0, 3, 0)).await;
            assert!(site.all_ports_are_unbound());
        }
        assert_eq!(site.descriptors(), before);
    }
}

#[tokio::test]
async fn a_relay_with_few_descriptors_takes_as_many_calls_as_it_can_serve() {
    for (lane, offset) in lanes() {
        let site = Site::start(lane, (20_300 + offset, 20_399 + offset), 0, Some(100)).await;
        let missing = stats(&site.client).await.missing;
        assert!(missing.iter().any(|m| m.starts_with("at most 100 open files")), "{missing:?}");
        let before = site.descriptors();
        let mut most = None;
        for round in 0..3 {
            let (mut ports, mut refusal) = (Vec::new(), None);
            while refusal.is_none() {
                match site.client.ask(site.open(ports.len() as u64, 1)).await {
                    Ok(Reply::Opened(opened)) => ports.push(opened[0]),
                    Err(ClientError::Refused(said)) => refusal = Some(said),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(refusal, Some(Refusal::OutOfFiles));
            let calls = ports.len() as u64;
            assert!((4..25).contains(&calls), "{calls} calls with 100 descriptors");
            assert_eq!(*most.get_or_insert(calls), calls, "as many as the first time");
            let all = |s: &Stats| {
                (s.calls, s.pairs_free, s.workers[0].sockets) == (calls, 50 - 2 * calls, 4 * calls)
            };
            site.until(all).await;

            let elsewhere = phone();
            assert_eq!(site.refused(site.change(0, &elsewhere)).await, Refusal::OutOfFiles);
            site.until(all).await;
            ports.iter().for_each(|ports| site.speaks(*ports, round));

            for call in 0..calls {
                site.close(call).await;
            }
            site.until(|s| (s.calls, s.pairs_free, s.workers[0].sockets) == (0, 50, 0)).await;
            assert!(site.all_ports_are_unbound());
            assert_eq!(site.descriptors(), before);
        }
    }
}

#[tokio::test]
async fn a_stream_that_gets_no_socket_takes_the_ones_before_it_back() {
    for (lane, offset) in lanes() {
        let site = Site::start(lane, (20_600 + offset, 20_699 + offset), 0, None).await;
        let before = site.descriptors();
        // Four descriptors for the first stream, and the second one's RTP of one leg.
        site.allow(5);
        assert_eq!(site.refused(site.open(1, 2)).await, Refusal::OutOfFiles);
        assert_eq!(site.descriptors(), before);
        site.until(|s| (s.calls, s.pairs_free, s.workers[0].sockets) == (0, 50, 0)).await;
        assert!(site.all_ports_are_unbound());

        let ports = opened(&site.client, site.open(1, 1)).await[0];
        let during = site.descriptors();
        let elsewhere = phone();
        site.allow(3);
        assert_eq!(site.refused(site.change(1, &elsewhere)).await, Refusal::OutOfFiles);
        assert_eq!(site.descriptors(), during);
        site.until(|s| (s.calls, s.pairs_free, s.workers[0].sockets) == (1, 48, 4)).await;
        site.speaks(ports, 1);

        // With room again the same change goes through.
        site.allow(4);
        let both = opened(&site.client, site.change(1, &elsewhere)).await;
        assert_eq!((both.len(), both[0]), (2, ports));
        say(&site.phones[0], ports[0], 9);
        elsewhere.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(heard(&elsewhere), b"hi\x09", "the callee has moved");
        site.close(1).await;
        site.until(|s| (s.calls, s.pairs_free, s.workers[0].sockets) == (0, 50, 0)).await;
        assert_eq!(site.descriptors(), before);
    }
}

#[tokio::test]
async fn ports_of_an_ended_call_are_closed_and_rest() {
    for (lane, offset) in lanes() {
        let site = Site::start(lane, (20_900 + offset, 20_903 + offset), 3_600, None).await;
        let [caller, _] = opened(&site.client, site.open(1, 1)).await[0];
        site.close(1).await;
        site.until(|s| s.workers[0].sockets == 0).await;
        let stats = stats(&site.client).await;
        assert_eq!((stats.pairs_free, stats.pairs_resting, stats.pairs_total), (0, 2, 2));
        assert_eq!(
            site.refused(site.open(2, 1)).await,
            Refusal::OutOfPorts,
            "used or resting is all the same"
        );
        // The late packet of the old call.
        let late = &site.phones[0];
        late.connect((caller.address, caller.rtp)).unwrap();
        late.send(&[0x80, 8, 0, 1, 0, 0, 0, 80, 0, 0, 0, 5, 1]).unwrap();
        assert_eq!(late.recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}

#[tokio::test]
async fn rested_ports_carry_the_next_call() {
    let site = Site::start("auto", (21_200, 21_203), 1, None).await;
    for call in 0..2 {
        let ports = opened(&site.client, site.open(call, 1)).await[0];
        site.speaks(ports, 1);
        site.close(call).await;
        site.until(|s| (s.pairs_free, s.pairs_resting) == (2, 0)).await;
    }
}
