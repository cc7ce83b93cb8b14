//! What the relay takes on, through the whole process: calls beyond its limits, a draining relay, and a party that sends
//! more than was negotiated.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]
#![allow(clippy::large_types_passed_by_value, reason = "a stream is written where it is used")]

#[path = "running_relay/rig.rs"]
mod rig;

use std::net::UdpSocket;
use std::time::Duration;

use relay::call::CallKey;
use relay::program::Client;
use relay::program::client::ClientError;
use relay::program::message::{CallCounters, LegMedia, Limit, Refusal, Reply, Request, Stream};
use rig::{Relay, heard, lanes, opened, phone, say, stats};

fn stream(phones: &[UdpSocket; 2], packets_per_second: u32) -> Stream {
    let media = |phone: &UdpSocket| LegMedia { packets_per_second, ..rig::media(phone) };
    Stream { legs: phones.each_ref().map(media), ..Stream::default() }
}

fn open(call: u64, stream: Stream) -> Request {
    let streams = vec![stream];
    Request::Open { call: CallKey(call), blob: Vec::new(), max_seconds: 0, label: None, streams }
}

async fn refusal(client: &Client, request: Request) -> Refusal {
    match client.ask(request).await {
        Err(ClientError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

async fn close(client: &Client, call: u64) -> CallCounters {
    match client.ask(Request::Close { call: CallKey(call), label: None }).await.unwrap() {
        Reply::Closed(counters) => counters,
        other => panic!("{other:?}"),
    }
}

/// Packets of the caller that came, forwarded or not.
async fn came(client: &Client) -> u64 {
    let Reply::Counters(counters) = client.ask(Request::Read { call: CallKey(1) }).await.unwrap() else {
        panic!("counters");
    };
    let caller = &counters.streams[0][0];
    caller.rtp.packets + caller.drops.iter().map(|(_, count)| count).sum::<u64>()
}

#[tokio::test]
async fn calls_beyond_the_limit_are_refused_and_those_in_progress_go_on() {
    let relay = Relay::start_with("lane = \"mmsg\"\nworkers = 1\nmax_calls = 1", 28_900, 16);
    let (client, _events) = relay.connect().await;
    let phones = [phone(), phone()];
    let ports = opened(&client, open(1, stream(&phones, 0))).await[0];
    let limit = |limit| Refusal::Overloaded(limit);
    assert_eq!(refusal(&client, open(2, stream(&phones, 0))).await, limit(Limit::Calls));
    let again =
        Request::Update { call: CallKey(1), blob: None, label: None, streams: vec![stream(&phones, 0)] };
    assert_eq!(opened(&client, again).await[0], ports, "a call in progress is not asked");
    say(&phones[0], ports[0], 7);
    assert_eq!(heard(&phones[1]), b"hi\x07");
    assert_eq!(stats(&client).await.workers[0].sockets, 4, "of the refused call nothing is left");

    assert_eq!(client.ask(Request::Drain { draining: true }).await.unwrap(), Reply::Done);
    close(&client, 1).await;
    assert_eq!(refusal(&client, open(2, stream(&phones, 0))).await, limit(Limit::Draining));
    assert!(stats(&client).await.draining);
    assert_eq!(client.ask(Request::Drain { draining: false }).await.unwrap(), Reply::Done);
    opened(&client, open(2, stream(&phones, 0))).await;
}

#[tokio::test]
async fn a_party_that_floods_gets_no_more_through_than_was_negotiated() {
    for (lane, more) in lanes() {
        let relay = Relay::start(lane, 28_920 + more, 8);
        let (client, _events) = relay.connect().await;
        let phones = [phone(), phone()];
        let ports = opened(&client, open(1, stream(&phones, 20))).await[0];
        for _ in 0..100 {
            say(&phones[0], ports[0], 1);
        }
        // The other direction has a cap of its own.
        say(&phones[1], ports[1], 2);
        assert_eq!(heard(&phones[0]), b"hi\x02", "{lane}");
        // Until all of them have come.
        while came(&client).await < 100 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let counters = close(&client, 1).await;
        let [caller, callee] = &counters.streams[0];
        let (dropped, forwarded) = (&caller.drops, caller.rtp.packets);
        assert_eq!(dropped.len(), 1, "{dropped:?}");
        assert_eq!((dropped[0].0.as_str(), dropped[0].1 + forwarded), ("rate_limit", 100), "{lane}");
        assert!(forwarded >= 20, "a second's worth may come at once: {forwarded}");
        assert_eq!((callee.rtp.packets, callee.drops.len()), (1, 0));
        println!("{lane}: {forwarded} of 100 passed");
    }
}
