//! Hot upgrade under load: real relay processes follow each other on both lanes, and no packet is lost, doubled or late;
//! and where the new process fails, the old one goes on.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

#[path = "upgrade/rig.rs"]
mod rig;

use std::time::Duration;

use relay::call::CallKey;
use relay::program::Client;
use relay::program::message::{CallCounters, LiveCall, Reply, Request};
use rig::{Call, Recorder, Relay, Traffic};

const CALLS: u64 = 24;

async fn open(client: &Client) -> Vec<Call> {
    let mut calls = Vec::new();
    for key in 0..CALLS {
        calls.push(Call::open(client, key).await);
    }
    calls
}

async fn list(client: &Client) -> Vec<LiveCall> {
    match client.ask(Request::List { after: None }).await.unwrap() {
        Reply::Calls(calls) => calls,
        other => panic!("{other:?}"),
    }
}

async fn read(client: &Client, call: CallKey) -> CallCounters {
    match client.ask(Request::Read { call }).await.unwrap() {
        Reply::Counters(counters) => counters,
        other => panic!("{other:?}"),
    }
}

/// What the relay counted of a call is what its parties sent, nothing was dropped and nothing is missing in the tap.
async fn check_counters(client: &Client, call: &Call) {
    let counters = read(client, call.key).await;
    for (leg, sent) in counters.streams[0].iter().zip(call.sent()) {
        assert_eq!((leg.rtp.packets, leg.tap_lost), (u64::from(sent), 0), "{leg:?}");
        assert!(leg.drops.is_empty() && leg.settled.is_some(), "{leg:?}");
    }
}

#[tokio::test]
async fn relays_follow_each_other_under_load_and_nobody_notices() {
    for (lane, first) in rig::lanes(26_000) {
        let mut relay = Relay::start(lane, first);
        let recorder = Recorder::attach(&relay);
        let (client, mut events) = relay.connect().await;
        let traffic = Traffic::start(open(&client).await);
        let before = list(&client).await;
        for _ in 0..4 {
            println!("{lane}: {}", relay.upgrade());
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!(list(&client).await, before, "the control's connection goes on, with all calls");
        }
        let calls = traffic.stop();
        for call in &calls {
            check_counters(&client, call).await;
        }
        recorder.stop(&calls);
        while let Ok(event) = events.try_recv() {
            let calm = matches!(event, relay::program::message::Event::Load(_))
                || event == relay::program::message::Event::Recorder { attached: true };
            assert!(
                calm || event == relay::program::message::Event::Recorder { attached: false },
                "{event:?}"
            );
        }
    }
}
