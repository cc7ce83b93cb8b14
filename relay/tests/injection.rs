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
#[path = "injection/stranger.rs"]
mod stranger;
#[path = "injection/talk.rs"]
mod talk;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use relay::call::CallKey;
use relay::program::Client;
use relay::program::message::{CallCounters, Event, Learning, LocalPorts, Reply, Request, Stats, Stream};
use rig::{Relay, lanes, opened, own_address};
use stranger::{MARK, Stranger};
use talk::{Phone, TALK, Talk, drain, nothing_more};
use tokio::sync::mpsc::UnboundedReceiver;

const CALL: CallKey = CallKey(42);
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Addresses of other hosts: any port, and `port`.
fn other_hosts(port: u16) -> [SocketAddr; 2] {
    [(Ipv4Addr::new(127, 0, 0, 9), 0).into(), (Ipv4Addr::new(127, 0, 0, 8), port).into()]
}

/// The same, and another port of the phones' own host.
fn anywhere(port: u16) -> Vec<SocketAddr> {
    [&other_hosts(port)[..], &[(HERE, 0).into()]].concat()
}

/// A relay at an address that no other test floods.
async fn relay(settings: &str, address: IpAddr, first: u16) -> (Relay, Client, UnboundedReceiver<Event>) {
    let settings = format!("workers = 1\naddress = \"{address}\"\n{settings}");
    let relay = Relay::start_with(&settings, first, 16);
    let (client, events) = relay.connect().await;
    (relay, client, events)
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

/// Waits until more is dropped at a leg under a name.
async fn more_dropped(client: &Client, leg: usize, reason: &str) {
    let before = dropped(client, leg, reason).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while dropped(client, leg, reason).await == before {
        assert!(Instant::now() < deadline, "nothing is dropped as {reason}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
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

/// The sum of a counter over workers, of their lanes or of their drops.
fn count(stats: &Stats, name: &str) -> u64 {
    let all = stats.workers.iter().flat_map(|w| w.lane.iter().chain(&w.drops));
    all.filter(|(n, _)| n == name).map(|(_, count)| count).sum()
}

async fn no_connect_failed(client: &Client) {
    assert_eq!(count(&rig::stats(client).await, "connect_errors"), 0);
}

/// The phones' packets were forwarded, and no other.
async fn only_theirs(client: &Client, rtp: u16, rtcp: u16) {
    let legs = counters(client).await.streams[0].clone();
    assert_eq!(legs.map(|leg| (leg.rtp.packets, leg.rtcp.packets)), [(u64::from(rtp), u64::from(rtcp)); 2]);
}

#[tokio::test]
async fn strict_legs_hear_their_phones_and_nobody_else_ever() {
    for (lane, more) in lanes() {
        let (address, first) = (IpAddr::from(own_address()), 23_000 + more);
        let (_relay, client, _events) = relay(&format!("lane = \"{lane}\""), address, first).await;
        let phones = [Phone::new(HERE), Phone::new(HERE)];
        let stranger = Stranger::floods(address, first..first + 16, &anywhere(phones[0].address().port()));
        let ports = open(&client, Talk::stream(&phones, Learning::Strict)).await;
        for (leg, reason) in
            [(0, "source_mismatch"), (1, "not_rtp"), (0, "payload_type"), (1, "unexpected_rtp")]
        {
            more_dropped(&client, leg, reason).await;
        }
        let mut talk = Talk { phones, ports, rtcp: true, said: 0 };
        talk.go_on();
        stranger.heard_nothing();
        // All four ports have settled. The flood goes on, and so does the call.
        talk.go_on();

        // A party moves: the old phone is a stranger from now on.
        let old = std::mem::replace(&mut talk.phones[0], Phone::new(Ipv4Addr::new(127, 0, 0, 7).into()));
        update(&client, Talk::stream(&talk.phones, Learning::Strict)).await;
        old.rtp.send_to(&stranger::rtp(8, talk::SSRC[0], 7), (address, ports[0].rtp)).unwrap();
        talk.go_on();
        stranger.heard_nothing();
        nothing_more(&old.rtp);
        nothing_more(&old.rtcp);
        only_theirs(&client, 3 * TALK, 3).await;
        no_connect_failed(&client).await;
    }
}

#[tokio::test]
async fn strangers_are_kept_out_over_ipv6_as_well() {
    for (lane, more) in lanes() {
        let (address, first) = (IpAddr::from(Ipv6Addr::LOCALHOST), 23_020 + more);
        let (_relay, client, _events) = relay(&format!("lane = \"{lane}\""), address, first).await;
        let phones = [Phone::new(address), Phone::new(address)];
        let stranger = Stranger::floods(address, first..first + 16, &[(address, 0).into()]);
        let stream = Talk::stream(&phones, Learning::Strict);
        let ports = open(&client, stream).await;
        more_dropped(&client, 0, "source_mismatch").await;
        let mut talk = Talk { phones, ports, rtcp: true, said: 0 };
        talk.go_on();
        kept_out(&client).await;
        let mut held = stream;
        held.legs[0].remote = None;
        update(&client, held).await;
        more_dropped(&client, 0, "source_mismatch").await;
        update(&client, stream).await;
        talk.go_on();
        kept_out(&client).await;
        stranger.heard_nothing();
        only_theirs(&client, 2 * TALK, 2).await;
        no_connect_failed(&client).await;
    }
}

#[tokio::test]
async fn behind_nat_the_signalled_address_displaces_a_stranger_and_nobody_displaces_it() {
    for (lane, more) in lanes() {
        let (address, first) = (IpAddr::from(own_address()), 23_040 + more);
        let settings = format!("lane = \"{lane}\"\nlearn_window_ms = 60000");
        let (_relay, client, _events) = relay(&settings, address, first).await;
        let phones = [Phone::new(HERE), Phone::new(HERE)];
        let ports = open(&client, Talk::stream(&phones, Learning::Nat)).await;
        // He comes first, inside the window, and is taken for the caller for as long as nobody better is there.
        let early = Phone::new(Ipv4Addr::new(127, 0, 0, 9).into());
        let packet = stranger::rtp(8, 99, 0);
        let mut buffer = [0; 2048];
        early.rtp.send_to(&packet, (address, ports[0].rtp)).unwrap();
        assert_eq!(phones[1].rtp.recv(&mut buffer).unwrap(), packet.len(), "{lane}");
        early.rtcp.send_to(&[0x80, 201, 0, 1, 0, 0, 0, 99], (address, ports[0].rtcp)).unwrap();
        assert!(phones[1].rtcp.recv(&mut buffer).is_ok(), "{lane}");

        let mut talk = Talk { phones, ports, rtcp: false, said: 0 };
        talk.go_on_after(&[MARK]);
        drain(&early.rtp);
        // The caller has sent no RTCP yet: what the callee reports is for him all the same.
        let [caller, callee] = &talk.phones;
        callee.rtcp.send_to(&[0x80, 201, 0, 1, 0, 0, 0, 6], (address, ports[1].rtcp)).unwrap();
        assert!(caller.rtcp.recv(&mut buffer).is_ok(), "{lane}");
        // Not from the phones' host: behind a NAT, RTCP may come from another port of it.
        let hosts = other_hosts(caller.address().port());
        let stranger = Stranger::floods(address, first..first + 16, &hosts);
        talk.rtcp = true;
        talk.go_on();
        talk.go_on();
        stranger.heard_nothing();
        assert!(
            !drain(&early.rtp) && !drain(&early.rtcp),
            "{lane}: he was sent something after he was displaced"
        );

        // The next offer opens the window again; the phone that moved is there first, and nobody takes its place.
        drop(stranger);
        talk.phones[0] = Phone::new(Ipv4Addr::new(127, 0, 0, 7).into());
        update(&client, Talk::stream(&talk.phones, Learning::Nat)).await;
        talk.go_on();
        let _stranger = Stranger::floods(address, first..first + 16, &hosts);
        talk.go_on();
    }
}

#[tokio::test]
async fn the_kernel_keeps_strangers_out_of_settled_ports_until_the_next_offer() {
    for (lane, more) in lanes() {
        let (address, first) = (IpAddr::from(own_address()), 23_060 + more);
        let (_relay, client, _events) = relay(&format!("lane = \"{lane}\""), address, first).await;
        let phones = [Phone::new(HERE), Phone::new(HERE)];
        let mut stream = Talk::stream(&phones, Learning::Strict);
        // One port for both, so that all of the call's settled ports are those of RTP.
        for leg in &mut stream.legs {
            leg.rtcp_mux = true;
        }
        let ports = open(&client, stream).await;
        let flooded = ports[0].rtp..ports[0].rtp + 1;
        let stranger = Stranger::floods(address, flooded, &anywhere(phones[0].address().port()));
        more_dropped(&client, 0, "source_mismatch").await;
        let mut talk = Talk { phones, ports, rtcp: false, said: 0 };
        talk.go_on();
        kept_out(&client).await;
        talk.go_on();
        stranger.heard_nothing();
        // On hold nobody is heard, and the flood is counted again; off hold it is as before.
        let mut held = stream;
        held.legs[0].remote = None;
        update(&client, held).await;
        more_dropped(&client, 0, "source_mismatch").await;
        update(&client, stream).await;
        talk.go_on();
        kept_out(&client).await;
        stranger.heard_nothing();
        no_connect_failed(&client).await;
    }
}

#[tokio::test]
async fn sockets_that_are_connected_and_disconnected_lose_nothing() {
    for (lane, more) in lanes() {
        let (address, first) = (IpAddr::from(own_address()), 23_080 + more);
        let (_relay, client, _events) = relay(&format!("lane = \"{lane}\""), address, first).await;
        let phones = [Phone::new(HERE), Phone::new(HERE)];
        let mut stream = Talk::stream(&phones, Learning::Strict);
        let ports = open(&client, stream).await;
        let mut talk = Talk { phones, ports, rtcp: true, said: 0 };
        let talking = std::thread::spawn(move || (0..5).for_each(|_| talk.go_on()));
        let mut offers = 0;
        while !talking.is_finished() {
            // A change of policy: what has settled is forgotten, and the next packet settles it again.
            for leg in &mut stream.legs {
                leg.learning = if offers % 2 == 0 { Learning::Nat } else { Learning::Strict };
            }
            update(&client, stream).await;
            offers += 1;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        talking.join().unwrap();
        println!("{lane}: {offers} offers");
        assert!(offers > 10, "{offers} offers");
        no_connect_failed(&client).await;
    }
}

#[tokio::test]
async fn a_phone_that_moved_is_heard_from_its_first_packet_on() {
    for (lane, more) in lanes() {
        let (address, first) = (IpAddr::from(own_address()), 23_260 + more);
        let (_relay, client, _events) = relay(&format!("lane = \"{lane}\""), address, first).await;
        let phones = [Phone::new(HERE), Phone::new(HERE)];
        let mut elsewhere = Phone::new(Ipv4Addr::new(127, 0, 0, 7).into());
        let ports = open(&client, Talk::stream(&phones, Learning::Strict)).await;
        let mut talk = Talk { phones, ports, rtcp: false, said: 0 };
        let mut buffer = [0; 2048];
        for n in 0..1000 {
            // It speaks as soon as the relay has answered.
            std::mem::swap(&mut talk.phones[0], &mut elsewhere);
            update(&client, Talk::stream(&talk.phones, Learning::Strict)).await;
            talk.say(&talk.phones[0].rtp, 0, n);
            talk.phones[1].rtp.recv(&mut buffer).unwrap();
            assert_eq!(buffer[12..14], n.to_be_bytes(), "{lane}");
        }
        no_connect_failed(&client).await;
    }
}

#[tokio::test]
async fn a_leg_is_handed_over_to_its_own_phone_and_to_nobody_else() {
    for (lane, more) in lanes() {
        let (address, first) = (IpAddr::from(own_address()), 23_200 + more);
        let (_relay, client, _events) = relay(&format!("lane = \"{lane}\""), address, first).await;
        let phones = [Phone::new(HERE), Phone::new(HERE)];
        let mut stream = Talk::stream(&phones, Learning::Strict);
        stream.legs[0].handover = true;
        let ports = open(&client, stream).await;
        let mut talk = Talk { phones, ports, rtcp: true, said: 0 };
        talk.go_on();
        // Whoever knows all gets nothing while the phone is there, for longer than a silence would take.
        let hosts = other_hosts(talk.phones[0].address().port());
        let stranger = Stranger::floods(address, first..first + 16, &hosts);
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            talk.go_on();
        }
        stranger.heard_nothing();
        drop(stranger);
        // The phone goes to another network and on with what it said; whoever guesses gets nothing meanwhile.
        let stranger = Stranger::guesses(address, first..first + 16, &hosts);
        let old = std::mem::replace(&mut talk.phones[0], Phone::new(Ipv4Addr::new(127, 0, 0, 7).into()));
        let deadline = Instant::now() + Duration::from_secs(10);
        while !drain(&talk.phones[1].rtp) {
            assert!(Instant::now() < deadline, "{lane}: it is not handed over");
            talk.say(&talk.phones[0].rtp, 0, talk.said);
            talk.said += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Its last packet may still be under way.
        talk.go_on_after(&[0]);
        stranger.heard_nothing();
        nothing_more(&old.rtp);
        let settled = counters(&client).await.streams[0][0].settled;
        assert_eq!(settled, Some(talk.phones[0].address()), "{lane}");
    }
}

#[tokio::test]
async fn an_asymmetric_leg_is_heard_where_it_sends_and_sent_to_where_it_was_signalled() {
    for (lane, more) in lanes() {
        let (address, first) = (IpAddr::from(own_address()), 23_220 + more);
        let settings = format!("lane = \"{lane}\"\nlearn_window_ms = 300");
        let (_relay, client, _events) = relay(&settings, address, first).await;
        let phones = [Phone::new(HERE), Phone::new(HERE)];
        let sender = Phone::new(Ipv4Addr::new(127, 0, 0, 7).into()).rtp;
        let mut stream = Talk::stream(&phones, Learning::Nat);
        stream.legs[0].asymmetric = true;
        let ports = open(&client, stream).await;
        let talk = Talk { phones, ports, rtcp: false, said: 0 };
        let [caller, callee] = &talk.phones;
        let deadline = Instant::now() + Duration::from_secs(10);
        while counters(&client).await.streams[0][0].settled != Some(sender.local_addr().unwrap()) {
            assert!(Instant::now() < deadline, "{lane}: it does not settle");
            talk.say(&sender, 0, 0);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drain(&callee.rtp);
        let stranger = Stranger::floods(address, first..first + 16, &other_hosts(caller.address().port()));
        let mut buffer = [0; 2048];
        for n in 1..=TALK {
            for (from, leg, to) in [(&sender, 0, callee), (&callee.rtp, 1, caller)] {
                talk.say(from, leg, n);
                while to.rtp.recv(&mut buffer).unwrap() > 0 {
                    assert_ne!(buffer[14], MARK, "{lane}: of the stranger");
                    if buffer[12..14] == n.to_be_bytes() {
                        break;
                    }
                    assert_eq!(buffer[12..14], [0, 0], "what was said before it settled");
                }
            }
        }
        stranger.heard_nothing();
        nothing_more(&sender);
        nothing_more(&caller.rtp);
        nothing_more(&callee.rtp);
    }
}

#[tokio::test]
async fn a_phone_that_comes_back_after_its_port_was_closed_is_heard_and_hears() {
    for (lane, more) in lanes() {
        let (address, first) = (IpAddr::from(own_address()), 23_240 + more);
        let (_relay, client, _events) = relay(&format!("lane = \"{lane}\""), address, first).await;
        let phones = [Phone::new(HERE), Phone::new(HERE)];
        let ports = open(&client, Talk::stream(&phones, Learning::Strict)).await;
        let mut talk = Talk { phones, ports, rtcp: true, said: 0 };
        talk.go_on();
        // The callee's port closes: what is sent there comes back as ICMP, on a connected socket.
        let [caller, Phone { rtp, rtcp }] = talk.phones;
        let callee = rtp.local_addr().unwrap();
        drop(rtp);
        let deadline = Instant::now() + Duration::from_secs(10);
        while count(&rig::stats(&client).await, "icmp_errors") < 3 {
            assert!(Instant::now() < deadline, "{lane}: no ICMP error was noticed");
            rig::say(&caller.rtp, ports[0], 1);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let rtp = UdpSocket::bind(callee).unwrap();
        rtp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut talk = Talk { phones: [caller, Phone { rtp, rtcp }], ports, rtcp: true, said: talk.said };
        // One more error may be waiting; what comes first in either direction clears it.
        rig::say(&talk.phones[1].rtp, ports[1], 9);
        assert_eq!(rig::heard(&talk.phones[0].rtp), [b'h', b'i', 9]);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !drain(&talk.phones[1].rtp) {
            assert!(Instant::now() < deadline, "{lane}: it does not hear again");
            rig::say(&talk.phones[0].rtp, ports[0], 9);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        talk.go_on_after(&[9]);
    }
}
