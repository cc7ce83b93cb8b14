//! A relay between networks: calls choose its interfaces and families, and what it sends is marked. The real process, on
//! both lanes.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

#[path = "running_relay/rig.rs"]
mod rig;

use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use relay::call::CallKey;
use relay::program::Client;
use relay::program::client::ClientError;
use relay::program::message::{Event, Family, Interface, LocalPorts, Place, Refusal, Request, Stats, Stream};
use rig::{Relay, heard, lanes, media, opened, own_address, phone, phone_at, say, stats};

const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn open(call: u64, phones: [&UdpSocket; 2], places: [Place; 2]) -> Request {
    let mut stream = Stream { legs: phones.map(media), ..Stream::default() };
    stream.legs.iter_mut().zip(places).for_each(|(leg, place)| leg.place = place);
    Request::Open { call: CallKey(call), blob: vec![], max_seconds: 0, label: None, streams: vec![stream] }
}

fn place(interface: u8, family: Family) -> Place {
    Place { interface, family }
}

async fn close(client: &Client, call: u64) {
    client.ask(Request::Close { call: CallKey(call), label: None }).await.unwrap();
}

#[tokio::test]
async fn legs_lie_where_the_call_says_and_families_are_bridged() {
    for (lane, offset) in lanes() {
        let (own, first) = (own_address(), 21_500 + offset);
        let settings = format!(
            "lane = \"{lane}\"\nworkers = 1\nports = \"{first}-{}\"\ninterfaces = [
                {{ name = \"inside\", address = \"{own}\" }},
                {{ name = \"outside\", address = [\"127.0.0.1\", \"::1\"], advertised = [\"192.0.2.9\", \"\"] }},
            ]",
            first + 19
        );
        let relay = Relay::configured(&settings, None);
        let (client, _events) = relay.connect().await;
        let localhost: IpAddr = "127.0.0.1".parse().unwrap();
        let told = |name: &str, addresses: Vec<(IpAddr, IpAddr)>| Interface { name: name.into(), addresses };
        let advertised: IpAddr = "192.0.2.9".parse().unwrap();
        assert_eq!(
            client.interfaces(),
            [
                told("inside", vec![(own.into(), own.into())]),
                told("outside", vec![(localhost, advertised), (V6, V6)])
            ]
        );

        // From IPv4 inside to IPv6 outside.
        let phones = [phone(), phone_at(V6)];
        let places = [place(0, Family::Any), place(1, Family::Ip6)];
        let [caller, callee] = opened(&client, open(1, phones.each_ref(), places)).await[0];
        assert_eq!((caller.address, callee.address), (own.into(), V6));
        say(&phones[0], caller, 1);
        assert_eq!(heard(&phones[1]), b"hi\x01");
        say(&phones[1], callee, 2);
        assert_eq!(heard(&phones[0]), b"hi\x02");

        // The advertised address is told, the other one is bound.
        let [_, outside] =
            opened(&client, open(2, [&phones[0]; 2], [place(0, Family::Any), place(1, Family::Any)])).await
                [0];
        assert_eq!(outside.address, advertised);
        assert!(UdpSocket::bind((localhost, outside.rtp)).is_err());

        for wrong in [place(0, Family::Ip6), place(2, Family::Any)] {
            let request = open(3, phones.each_ref(), [place(0, Family::Any), wrong]);
            let answer = client.ask(request).await;
            assert!(matches!(answer, Err(ClientError::Refused(Refusal::NoInterface))), "{answer:?}");
        }
        let counts = |stats: &Stats| -> Vec<(String, u64, u64, u64)> {
            let figures = stats.interfaces.iter();
            figures.map(|i| (i.name.clone(), i.pairs_free, i.pairs_resting, i.pairs_total)).collect()
        };
        let now = stats(&client).await;
        assert_eq!(counts(&now), [("inside".into(), 8, 0, 10), ("outside".into(), 18, 0, 20)]);
        assert_eq!((now.pairs_free, now.pairs_resting, now.pairs_total), (26, 0, 30));
        close(&client, 1).await;
        let now = stats(&client).await;
        assert_eq!(
            now.interfaces.iter().map(|i| i.pairs_free + i.pairs_resting).collect::<Vec<_>>(),
            [9, 19]
        );
    }
}

/// tcpdump; ended when dropped.
struct Dump(Child);

impl Drop for Dump {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What tcpdump says of the first packet to `phone` that it sees while `provoke` is called again and again. None where
/// it may not look.
fn seen_on_the_wire(phone: &UdpSocket, provoke: impl Fn()) -> Option<String> {
    let filter = format!("udp and dst port {}", phone.local_addr().unwrap().port());
    let dump = Command::new("tcpdump")
        .args(["-i", "lo", "-n", "-v", "-c", "1", "--immediate-mode", &filter])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(dump) = dump else {
        println!("skipped: there is no tcpdump to look at the wire with");
        return None;
    };
    let mut dump = Dump(dump);
    let mut words = BufReader::new(dump.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        if words.read_line(&mut line).unwrap() == 0 {
            println!("skipped: tcpdump may not look at the wire");
            return None;
        }
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while dump.0.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "tcpdump sees nothing");
        provoke();
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut seen = String::new();
    dump.0.stdout.take().unwrap().read_to_string(&mut seen).unwrap();
    Some(seen)
}

#[tokio::test]
async fn packets_carry_the_mark_of_their_interface() {
    for (lane, offset) in lanes() {
        let (own, first) = (own_address(), 21_800 + offset);
        let settings = format!(
            "lane = \"{lane}\"\nworkers = 1\nports = \"{first}-{}\"\ninterfaces = [
                {{ name = \"voice\", address = [\"{own}\", \"::1\"] }},
                {{ name = \"video\", address = \"127.0.0.1\", dscp = 34 }},
            ]",
            first + 19
        );
        let relay = Relay::configured(&settings, None);
        let (client, _events) = relay.connect().await;
        let (voice, video) = (place(0, Family::Ip4), place(1, Family::Ip4));
        let cases = [
            ([phone(), phone()], [voice, voice], "tos 0xb8"),
            ([phone(), phone()], [voice, video], "tos 0x88"),
            ([phone(), phone_at(V6)], [voice, place(0, Family::Ip6)], "class 0xb8"),
        ];
        for (call, (phones, places, mark)) in (0..).zip(cases) {
            let [caller, _]: [LocalPorts; 2] =
                opened(&client, open(call, phones.each_ref(), places)).await[0];
            let seen = seen_on_the_wire(&phones[1], || {
                say(&phones[0], caller, 1);
                assert_eq!(heard(&phones[1]), b"hi\x01");
            });
            assert!(seen.is_none_or(|seen| seen.contains(mark)), "{mark}");
        }
    }
}

#[tokio::test]
async fn new_calls_go_to_the_worker_with_less_to_do() {
    let (own, first) = (own_address(), 22_100);
    let settings =
        format!("workers = 2\npin = false\naddress = \"{own}\"\nports = \"{first}-{}\"", first + 39);
    let relay = Relay::configured(&settings, None);
    let (client, mut events) = relay.connect().await;
    let phones = [phone(), phone()];
    let anywhere = [Place::default(); 2];
    let [caller, _] = opened(&client, open(0, phones.each_ref(), anywhere)).await[0];
    // One call speaks as much as many do.
    let loud = phones[0].try_clone().unwrap();
    let speaking = tokio::spawn(async move {
        loop {
            (0..10).for_each(|number| say(&loud, caller, number));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut load = async |wanted: fn(u64) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let event = tokio::time::timeout(Duration::from_secs(20), events.recv()).await;
            if let Event::Load(load) = event.unwrap().unwrap()
                && wanted(load.packets_per_second)
            {
                return load;
            }
            assert!(Instant::now() < deadline);
        }
    };
    let busy = load(|packets| packets > 1_000).await;
    assert!((1..=1_000).contains(&busy.busy_permille), "{busy:?}");
    for call in 1..3 {
        opened(&client, open(call, phones.each_ref(), anywhere)).await;
    }
    let workers = stats(&client).await.workers;
    assert_eq!(workers.iter().map(|w| w.sockets).collect::<Vec<_>>(), [4, 8], "{workers:?}");
    assert!(workers[0].load.packets_per_second > 0 && workers[1].load.packets_per_second == 0, "{workers:?}");
    speaking.abort();
    load(|packets| packets == 0).await;
}
