//! The relay as a process, programmed over its socket, as control and recorder see it. On both lanes.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

#[path = "running_relay/rig.rs"]
mod rig;

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use relay::call::{CallKey, Leg};
use relay::program::client::ClientError;
use relay::program::message::{
    Event, Frame, Learning, LegMedia, PayloadTypes, Refusal, Remote, Reply, Request, Stream,
};
use relay::program::{Client, wire};
use relay::tap::{self, Kind, TapError};
use rig::{Relay, heard, lanes, media, opened, phone, say, stats};

const CALL: CallKey = CallKey(0x1234);

fn open(streams: Vec<Stream>, label: Option<&[u8]>) -> Request {
    Request::Open {
        call: CALL,
        blob: b"state".to_vec(),
        max_seconds: 1,
        label: label.map(<[u8]>::to_vec),
        streams,
    }
}

#[tokio::test]
async fn a_call_is_forwarded_both_ways_and_tapped_and_everything_is_given_back() {
    for (lane, offset) in lanes() {
        let first = 27_000 + offset;
        let relay = Relay::start(lane, first, 40);
        let mut recorder = tap::attach(&relay.socket("tap.sock")).unwrap();
        let (client, _events) = relay.connect().await;
        let phones = [phone(), phone()];
        let mut stream = Stream { legs: phones.each_ref().map(media), ..Stream::default() };
        stream.legs[1] = LegMedia::default();
        let ports = opened(&client, open(vec![stream], Some(b"label"))).await;
        let [caller, callee] = ports[0];
        assert!(
            caller.rtp % 2 == 0 && caller.rtcp == caller.rtp + 1 && (first..first + 40).contains(&caller.rtp)
        );

        stream.legs[1] = media(&phones[1]);
        let update = Request::Update {
            call: CALL,
            blob: Some(b"answered".to_vec()),
            label: None,
            streams: vec![stream],
        };
        assert_eq!(opened(&client, update).await, ports, "an answer moves no port");
        for number in 0..50 {
            say(&phones[0], caller, number);
            say(&phones[1], callee, number);
            assert_eq!(heard(&phones[1]), [b'h', b'i', number]);
            assert_eq!(heard(&phones[0]), [b'h', b'i', number]);
        }
        let Reply::Calls(calls) = client.ask(Request::List { after: None }).await.unwrap() else { panic!() };
        assert_eq!(
            (calls.len(), calls[0].call, &calls[0].blob[..], &calls[0].ports),
            (1, CALL, &b"answered"[..], &ports)
        );
        let Reply::Closed(counters) = client.ask(Request::Close { call: CALL, label: None }).await.unwrap()
        else {
            panic!()
        };
        assert!(
            counters.streams[0]
                .iter()
                .all(|leg| leg.rtp.packets == 50 && leg.drops.is_empty() && leg.settled.is_some())
        );
        assert_eq!(
            client.ask(Request::Read { call: CALL }).await.unwrap_err().to_string(),
            "the relay refused: unknown call"
        );

        let (mut kinds, mut payload) = (Vec::new(), Vec::new());
        let deadline = Instant::now() + Duration::from_secs(10);
        while kinds.last() != Some(&Kind::Close) {
            assert!(Instant::now() < deadline, "{kinds:?}");
            recorder.wait(Duration::from_millis(100)).unwrap();
            while let Some(record) = recorder.rings[0].next(&mut payload).unwrap() {
                kinds.push(record.kind);
            }
        }
        assert_eq!(kinds.iter().filter(|k| **k == Kind::Packet { leg: Leg::Callee, stream: 0 }).count(), 50);
        // The attached recorder may be told of the call a second time.
        kinds.dedup();
        assert_eq!(kinds[0], Kind::Open);
        assert!(!kinds.iter().any(|k| matches!(k, Kind::Gap { .. })), "{kinds:?}");

        let stats = stats(&client).await;
        assert_eq!((stats.lane.as_str(), stats.calls, stats.recorder_attached), (lane, 0, true));
        assert_eq!((stats.pairs_free + stats.pairs_resting, stats.pairs_total), (20, 20));
        assert_eq!(stats.workers[0].forwarded.packets, 100);
    }
}

#[tokio::test]
async fn keys_are_reported_once_and_reach_the_other_party_unless_they_are_blocked() {
    for (lane, offset) in lanes() {
        let relay = Relay::start(lane, 27_040 + offset, 40);
        let (client, mut events) = relay.connect().await;
        let phones = [phone(), phone()];
        let mut stream = Stream { legs: phones.each_ref().map(media), ..Stream::default() };
        stream.legs[0].accepts = PayloadTypes::NONE.with(8).with(101);
        stream.legs[0].events = PayloadTypes::NONE.with(101);
        let [caller, _] = opened(&client, open(vec![stream], None)).await[0];
        for (digit, blocked) in [(2, false), (4, true)] {
            stream.legs[0].block_events = blocked;
            let update = Request::Update { call: CALL, blob: None, label: None, streams: vec![stream] };
            opened(&client, update).await;
            // Two packets while it is pressed, three when it is over.
            for (n, flags, ticks) in
                [(1, 10, 160), (2, 10, 320), (3, 0x8a, 400), (4, 0x8a, 400), (5, 0x8a, 400)]
            {
                let [high, low] = u16::to_be_bytes(ticks);
                let header = [0x80, 101, digit, n, 0, 0, digit, 80, 0, 0, 0, 5];
                let event = [&header[..], &[digit, flags, high, low]].concat();
                phones[0].send_to(&event, (caller.address, caller.rtp)).unwrap();
            }
            say(&phones[0], caller, digit);
            let mut arrived = Vec::new();
            while arrived.last() != Some(&vec![b'h', b'i', digit]) {
                arrived.push(heard(&phones[1]));
            }
            assert_eq!(arrived.len(), if blocked { 1 } else { 6 }, "speech always arrives");
            let key = loop {
                let event = tokio::time::timeout(Duration::from_secs(5), events.recv()).await.unwrap();
                if let Event::Digit { call, leg, event, duration_ms, volume } = event.unwrap() {
                    break (call, leg, event.0, duration_ms, volume);
                }
            };
            assert_eq!(key, (CALL, Leg::Caller, digit, 50, 10));
        }
        let Reply::Closed(counters) = client.ask(Request::Close { call: CALL, label: None }).await.unwrap()
        else {
            panic!()
        };
        let [caller, callee] = &counters.streams[0];
        assert_eq!((caller.events, callee.events), (2, 0));
        assert_eq!(caller.drops, [("event_blocked".to_owned(), 5)]);
        while let Ok(event) = events.try_recv() {
            assert!(!matches!(event, Event::Digit { .. }), "a key is told once");
        }
    }
}

#[tokio::test]
async fn calls_outlive_their_control_and_the_next_one_finds_them() {
    let relay = Relay::start("auto", 27_200, 40);
    let phones = [phone(), phone()];
    let stream = Stream { legs: phones.each_ref().map(media), ..Stream::default() };
    let (client, _events) = relay.connect().await;
    let epoch = client.epoch();
    let [caller, _] = opened(&client, open(vec![stream], None)).await[0];
    drop(client);
    say(&phones[0], caller, 1);
    assert_eq!(heard(&phones[1]), b"hi\x01");
    let (client, _events) = relay.connect().await;
    assert_eq!(client.epoch(), epoch);
    let Reply::Calls(calls) = client.ask(Request::List { after: None }).await.unwrap() else { panic!() };
    assert_eq!(calls[0].blob, b"state");
    assert!(
        matches!(client.ask(Request::List { after: Some(CALL) }).await.unwrap(), Reply::Calls(rest) if rest.is_empty())
    );
}

#[tokio::test]
async fn a_relay_that_hangs_is_given_up_and_found_again() {
    let relay = Relay::start("auto", 27_700, 40);
    let (client, mut events) = relay.connect().await;
    let phones = [phone(), phone()];
    opened(&client, open(vec![Stream { legs: phones.each_ref().map(media), ..Stream::default() }], None))
        .await;
    let signal = |signal| {
        rustix::process::kill_process(rustix::process::Pid::from_child(&relay.child), signal).unwrap();
    };
    signal(rustix::process::Signal::STOP);
    let error = client.ask(Request::Stats).await.unwrap_err().to_string();
    assert!(error.contains("does not answer"), "{error}");
    while events.recv().await.is_some() {}
    assert!(matches!(client.ask(Request::Stats).await, Err(ClientError::Gone(_))));
    drop(client);
    signal(rustix::process::Signal::CONT);
    let (client, _events) = relay.connect().await;
    assert_eq!(stats(&client).await.calls, 1, "the call is still there");
}

#[tokio::test]
async fn a_second_control_and_alien_messages_are_refused_and_calls_go_on() {
    let relay = Relay::start("auto", 27_300, 40);
    let phones = [phone(), phone()];
    let (client, _events) = relay.connect().await;
    let [caller, _] =
        opened(&client, open(vec![Stream { legs: phones.each_ref().map(media), ..Stream::default() }], None))
            .await[0];
    let path = relay.socket("relay.sock");
    let error = Client::connect(&path).await.unwrap_err().to_string();
    assert!(error.contains("another control is connected"), "{error}");
    drop(client);

    let hello = |version| {
        let mut bytes = Vec::new();
        wire::encode(&Frame::Request { id: 1, request: Request::Hello { version } }, &mut bytes).unwrap();
        bytes
    };
    let mut early = Vec::new();
    wire::encode(&Frame::Request { id: 1, request: Request::Stats }, &mut early).unwrap();
    for (bytes, expected) in [
        (vec![0xff; 16], "8388608"),
        (vec![3, 0, 0, 0, 9, 9, 9], "not a frame"),
        (hello(99), "version 3"),
        (early, "hello"),
        (hello(1)[..5].to_vec(), ""),
    ] {
        let answer = tokio::task::spawn_blocking({
            let path = path.clone();
            move || {
                let deadline = Instant::now() + Duration::from_secs(10);
                loop {
                    let mut stream = UnixStream::connect(&path).unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                    stream.write_all(&bytes).unwrap();
                    stream.shutdown(std::net::Shutdown::Write).unwrap();
                    let mut answer = Vec::new();
                    stream.read_to_end(&mut answer).unwrap();
                    let frame = wire::decode(&answer).unwrap().map(|(frame, _)| frame);
                    let busy = matches!(&frame, Some(Frame::Answer { answer: Err(Refusal::Busy), .. }));
                    if !busy || Instant::now() > deadline {
                        break frame;
                    }
                }
            }
        })
        .await
        .unwrap();
        match answer {
            Some(Frame::Answer { answer: Err(refusal), .. }) => {
                assert!(refusal.to_string().contains(expected), "{refusal}");
            }
            None => assert_eq!(expected, "", "half a frame needs no answer"),
            Some(other) => panic!("{other:?}"),
        }
        say(&phones[0], caller, 7);
        assert_eq!(heard(&phones[1]), b"hi\x07");
    }
}

#[tokio::test]
async fn a_refused_call_leaves_nothing_behind() {
    // Two streams take eight ports; there are seven pairs.
    let relay = Relay::start("auto", 27_400, 14);
    let (client, _events) = relay.connect().await;
    let phones = [phone(), phone()];
    let stream = Stream { legs: phones.each_ref().map(media), ..Stream::default() };
    assert_eq!(opened(&client, open(vec![stream; 2], None)).await.len(), 2);
    let other = Request::Open {
        call: CallKey(2),
        blob: vec![],
        max_seconds: 0,
        label: None,
        streams: vec![stream; 2],
    };
    assert!(matches!(client.ask(other).await, Err(ClientError::Refused(Refusal::OutOfPorts))));
    assert!(matches!(
        client.ask(open(vec![stream], None)).await,
        Err(ClientError::Refused(Refusal::CallExists))
    ));
    for streams in [vec![], vec![stream; 9]] {
        let wrong = Request::Open { call: CallKey(3), blob: vec![], max_seconds: 0, label: None, streams };
        assert!(matches!(client.ask(wrong).await, Err(ClientError::Refused(Refusal::Impossible(_)))));
    }
    let fewer = Request::Update { call: CALL, blob: None, label: None, streams: vec![stream] };
    assert!(matches!(client.ask(fewer).await, Err(ClientError::Refused(Refusal::Impossible(_)))));
    assert_eq!((stats(&client).await.calls, stats(&client).await.pairs_free), (1, 3));
    let more = Request::Update { call: CALL, blob: None, label: None, streams: vec![stream; 3] };
    assert_eq!(opened(&client, more).await.len(), 3);
    client.ask(Request::Close { call: CALL, label: None }).await.unwrap();
    let stats = stats(&client).await;
    assert_eq!(stats.pairs_free + stats.pairs_resting, 7);
}

#[tokio::test]
async fn ipv6_several_workers_and_addresses_learned_behind_nat() {
    let relay = Relay::start_with("address = \"::1\"\nworkers = 2", 27_600, 80);
    let (client, _events) = relay.connect().await;
    for key in 0..6 {
        let phones = [0; 2].map(|_| {
            let phone = UdpSocket::bind("[::1]:0").unwrap();
            phone.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            phone
        });
        let mut stream = Stream { legs: phones.each_ref().map(media), ..Stream::default() };
        // The caller's SDP names an address that is not where its packets come from.
        let nowhere = "[::1]:9".parse().unwrap();
        stream.legs[0].remote = Some(Remote { rtp: nowhere, rtcp: nowhere });
        stream.legs[0].learning = if key == 5 { Learning::Strict } else { Learning::Nat };
        let request = Request::Open {
            call: CallKey(key),
            blob: vec![],
            max_seconds: 0,
            label: None,
            streams: vec![stream],
        };
        let [caller, callee] = opened(&client, request).await[0];
        say(&phones[0], caller, 1);
        if key == 5 {
            let deadline = Instant::now() + Duration::from_secs(10);
            loop {
                let Reply::Counters(counters) = client.ask(Request::Read { call: CallKey(5) }).await.unwrap()
                else {
                    panic!()
                };
                if counters.streams[0][0].drops == [("source_mismatch".to_owned(), 1)] {
                    break;
                }
                assert!(Instant::now() < deadline, "{counters:?}");
            }
        } else {
            assert_eq!(heard(&phones[1]), b"hi\x01");
            say(&phones[1], callee, 2);
            assert_eq!(heard(&phones[0]), b"hi\x02", "sent to where the caller's packets come from");
        }
    }
    let workers = stats(&client).await.workers;
    assert!(workers.len() == 2 && workers.iter().all(|w| w.sockets == 12), "{workers:?}");
}

#[tokio::test]
async fn silence_expiry_and_recorders_are_reported() {
    let relay = Relay::start("auto", 27_500, 40);
    let (client, mut events) = relay.connect().await;
    let phones = [phone(), phone()];
    opened(&client, open(vec![Stream { legs: phones.each_ref().map(media), ..Stream::default() }], None))
        .await;
    let recorder = tap::attach(&relay.socket("tap.sock")).unwrap();
    assert!(matches!(tap::attach(&relay.socket("tap.sock")), Err(TapError::Taken)));
    drop(recorder);
    let mut seen = (false, false, false, false);
    while seen != (true, true, true, true) {
        match tokio::time::timeout(Duration::from_secs(10), events.recv()).await.unwrap().unwrap() {
            Event::Silent { call: CALL, .. } => seen.0 = true,
            Event::Expired { call: CALL } => seen.1 = true,
            Event::Recorder { attached: true } => seen.2 = true,
            Event::Recorder { attached: false } => seen.3 = true,
            Event::Load(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn settings_that_cannot_be_are_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pop.toml");
    std::fs::write(&config, "[relay]\nports = \"30000-30002\"\n").unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_bauta-relay"))
        .args(["--state".as_ref(), folder.path().as_os_str(), "--config".as_ref(), config.as_os_str()])
        .output()
        .unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(!out.status.success() && text.contains("pop.toml:2: relay.ports"), "{text}");
}
