//! Hot upgrade under load: real relay processes follow each other on both lanes, and no packet is lost, doubled or late;
//! and where the new process fails, the old one goes on.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

#[path = "upgrade/fake.rs"]
mod fake;
#[path = "upgrade/rig.rs"]
mod rig;
#[path = "running_relay/rig.rs"]
mod running;

use std::time::Duration;

use relay::call::CallKey;
use relay::program::Client;
use relay::program::message::{CallCounters, Event, LiveCall, Reply, Request};
use relay::tap;
use rig::{Call, Recorder, Succession, Traffic};
use running::stats;

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
        let mut relay = rig::start(lane, first);
        let recorder = Recorder::attach(&relay);
        let (client, mut events) = relay.connect().await;
        let epoch = client.epoch();
        let traffic = Traffic::start(open(&client).await);
        let before = list(&client).await;
        for _ in 0..4 {
            println!("{lane}: {}", relay.upgrade());
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(list(&client).await, before, "the control's connection goes on, with all calls");
        }
        let calls = traffic.stop();
        for call in &calls {
            check_counters(&client, call).await;
        }
        recorder.stop(&calls);
        // The last relay sees the recorder go that attached to the first, and is the first to say so.
        loop {
            match tokio::time::timeout(Duration::from_secs(10), events.recv()).await.unwrap().unwrap() {
                Event::Recorder { attached: false } => break,
                Event::Recorder { attached: true } | Event::Load(_) | Event::Silent { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        drop(tap::attach(&relay.socket("tap.sock")).unwrap());
        drop(client);
        let (client, _events) = relay.connect().await;
        assert_eq!((client.epoch(), list(&client).await), (epoch, before));
    }
}

#[tokio::test]
async fn after_an_upgrade_calls_are_opened_changed_and_closed_as_ever() {
    for (lane, first) in rig::lanes(25_000) {
        let mut relay = rig::start(lane, first);
        let (client, _events) = relay.connect().await;
        let mut calls = open(&client).await;
        let closed = calls.pop().unwrap();
        client.ask(Request::Close { call: closed.key, label: None }).await.unwrap();
        let traffic = Traffic::start(calls);
        relay.upgrade();
        let mut calls = traffic.stop();
        let totals = stats(&client).await;
        let pairs = 2 * calls.len() as u64;
        assert_eq!((totals.calls, totals.pairs_free + totals.pairs_resting), (CALLS - 1, 200 - pairs));
        assert_eq!(totals.workers.iter().map(|w| w.sockets).sum::<u64>(), pairs * 2);

        calls[0].move_callee(&client).await;
        calls.push(Call::open(&client, 1_000).await);
        let calls = Traffic::start(calls).stop();
        let mut ports: Vec<u16> = calls.iter().flat_map(|call| call.ports.map(|p| p.rtp)).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 2 * calls.len(), "no port was given away twice");
        for call in &calls {
            check_counters(&client, call).await;
            client.ask(Request::Close { call: call.key, label: None }).await.unwrap();
        }
        let totals = stats(&client).await;
        assert_eq!((totals.calls, totals.pairs_free + totals.pairs_resting), (0, 200));
        // A slot comes back a moment after its call.
        while stats(&client).await.workers.iter().any(|w| w.sockets > 0) {}
    }
}

#[test]
fn requests_under_way_are_answered_whoever_answers() {
    let mut relay = rig::start("auto", 24_600);
    let control = rig::Busy::start(&relay);
    for _ in 0..5 {
        relay.upgrade();
        let before = control.answers();
        rig::until("the control goes on", || control.answers() > before + 50);
    }
    control.stop();
}

#[tokio::test]
async fn settings_may_change_with_an_upgrade() {
    for (lane, first) in rig::lanes(24_000) {
        let mut relay = rig::start(lane, first);
        let (client, _events) = relay.connect().await;
        let traffic = Traffic::start(open(&client).await);
        // The other lane, one worker, and ports that no call has.
        let other = if lane == "mmsg" { "auto" } else { "mmsg" };
        let last = first + 399;
        let address = running::own_address();
        let settings = format!(
            "address = \"{address}\"\nlane = \"{other}\"\nworkers = 1\nports = \"{}-{last}\"",
            first + 380
        );
        relay.write("other.toml", &settings);
        relay.upgrade();
        let totals = stats(&client).await;
        assert_eq!((totals.workers.len(), totals.pairs_total), (2, 10), "a tap ring needs its worker");
        let calls = traffic.stop();
        let new = Call::open(&client, 1_000).await;
        assert!(new.ports.iter().all(|p| p.rtp >= first + 380), "{:?}", new.ports);
        for call in &calls {
            check_counters(&client, call).await;
            client.ask(Request::Close { call: call.key, label: None }).await.unwrap();
        }
        let totals = stats(&client).await;
        assert_eq!(totals.pairs_free + totals.pairs_resting, 8, "ports that are no more are forgotten");
    }
}

#[tokio::test]
async fn where_the_new_relay_fails_the_old_one_goes_on() {
    for (lane, first) in rig::lanes(23_000) {
        let mut relay = rig::start(lane, first);
        let recorder = Recorder::attach(&relay);
        let (client, _events) = relay.connect().await;
        let traffic = Traffic::start(open(&client).await);
        relay.write("bad.toml", "ports = \"30000-30002\"");
        assert!(!rig::ended(&mut relay.successor("bad.toml")).success());

        let path = relay.socket("upgrade.sock");
        fake::wrong_version(&path);
        fake::talks_nonsense(&path);
        for step in fake::Step::ALL {
            fake::vanishes_after(&path, step);
        }
        fake::hangs_after(&path, fake::Step::State);
        let silent = std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert!(relay.runs(), "none of them ended it");
        // This one has to wait until the relay has lost its patience with the silent one.
        relay.upgrade();
        drop(silent);
        let calls = traffic.stop();
        for call in &calls {
            check_counters(&client, call).await;
        }
        recorder.stop(&calls);
    }
}

#[tokio::test]
async fn a_new_relay_that_is_stopped_and_killed_at_any_time_does_no_harm() {
    for (lane, first) in rig::lanes(22_000) {
        let mut relay = rig::start(lane, first);
        let recorder = Recorder::attach(&relay);
        let (client, _events) = relay.connect().await;
        let traffic = Traffic::start(open(&client).await);
        let mut killed = 0;
        for round in 0..25 {
            killed += u32::from(relay.upgrade_and_kill(Duration::from_millis(round * 2)));
        }
        println!("{lane}: {killed} of 25 were killed before they had taken over");
        assert!(killed > 0 && relay.runs());
        relay.upgrade();
        let calls = traffic.stop();
        for call in &calls {
            check_counters(&client, call).await;
        }
        recorder.stop(&calls);
    }
}

#[test]
fn where_no_relay_runs_there_is_nothing_to_take_over() {
    let mut relay = rig::start("auto", 21_800);
    relay.child.kill().unwrap();
    relay.child.wait().unwrap();
    assert!(!rig::ended(&mut relay.successor("other.toml")).success());
}
