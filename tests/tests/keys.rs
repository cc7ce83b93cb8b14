//! Keys rotated while trips are made, and control killed in the middle of it: nothing that was promised is lost.
#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tests::archive::files;
use tests::deadline::{seconds, until};
use tests::http::Client;
use tests::leak::Canary;
use tests::pop::{Lane, Pop};
use tests::trip::{city, phones, wish};

/// Trips before the rotation.
const BEFORE: u32 = 400;
/// What every driver's number has in it, and every passenger's.
const EVERY_NUMBER: [&[u8]; 2] = [b"770090", b"770091"];

/// A trip that control has promised: who calls which number, and reaches whom.
struct Promised {
    name: String,
    n: u32,
    dial: String,
}

/// Makes the trips that `next` counts, up to the one before `end` or until control is gone; keeps those that were
/// answered 201.
fn create(business: &Client, next: &AtomicU32, end: u32, kept: &Mutex<Vec<Promised>>) {
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= end {
            return;
        }
        let name = format!("T-{n}");
        let Ok(reply) = business.try_post("/v1/trips", &wish(&name, n, &json!({}))) else { return };
        let made = reply.expect(201).json();
        let dial = made["parties"][0]["dial"].as_str().unwrap_or_default().to_owned();
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(Promised { name, n, dial });
    }
}

fn count(kept: &Mutex<Vec<Promised>>) -> usize {
    kept.lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// How often control has said that it has sealed all anew.
fn sealed(pop: &Pop) -> usize {
    pop.logs().matches("sealed anew").count()
}

/// Rotates the keys while trips are made, and kills control before it has sealed all anew; the id of the newest key.
fn kill_in_the_middle(pop: &mut Pop, next: &AtomicU32, kept: &Mutex<Vec<Promised>>) -> u64 {
    for _ in 0..5 {
        let (before, business) = (sealed(pop), pop.client("business"));
        let newest = std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| create(&business, next, u32::MAX, kept));
            }
            let goal = count(kept) + 40;
            until("trips are made", seconds(10), || (count(kept) > goal).then_some(()));
            let rotated = pop.client("operator").post("/v1/keys/rotate", &json!({})).expect(202).json();
            pop.kill_control();
            rotated["newest"].as_u64().unwrap_or_default()
        });
        if sealed(pop) == before {
            return newest;
        }
        pop.start_control();
    }
    panic!("control was faster than its killer, five times");
}

#[test]
fn control_killed_while_it_seals_anew_keeps_every_promise() {
    let mut pop = Pop::start(Lane::Chosen);
    city(&pop);
    let (next, kept) = (AtomicU32::new(1), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| create(&pop.client("business"), &next, BEFORE, &kept));
        }
    });
    let newest = kill_in_the_middle(&mut pop, &next, &kept);
    let before = sealed(&pop);
    pop.start_control();

    let (business, proxy, operator) = (pop.client("business"), pop.client("proxy"), pop.client("operator"));
    let kept = kept.into_inner().unwrap_or_default();
    assert!(kept.len() > BEFORE as usize, "{} trips", kept.len());
    for Promised { name, n, dial } in &kept {
        let _ = business.get(&format!("/v1/trips/{name}")).expect(200);
        let [driver, passenger] = phones(*n);
        let question = json!({"call_id": format!("c-{name}"), "from": format!("sip:{driver}@sbc.example"),
            "to": format!("sip:{dial}@pop.example")});
        let routed = proxy.post("/v1/route", &question).expect(200).json();
        let to = routed["routes"][0]["uri"].as_str().unwrap_or_default();
        assert!(
            routed["bauta"]["trip"] == **name && to.contains(&passenger),
            "{name} does not route: {}",
            routed["bauta"]
        );
    }
    until("all is sealed by the newest key", seconds(20), || {
        let keys: Value = operator.get("/v1/keys").expect(200).json();
        (keys["newest"] == newest && keys["waiting"] == 0).then_some(())
    });
    until("control says that it went on", seconds(5), || (sealed(&pop) > before).then_some(()));

    let canaries = [phones(1)[0].as_str(), phones(BEFORE)[1].as_str()].map(Canary::new);
    for file in files(&pop.state()) {
        let content = std::fs::read(&file).unwrap_or_default();
        let plain = EVERY_NUMBER.iter().any(|part| content.windows(part.len()).any(|window| window == *part));
        assert!(!plain, "{} holds a number", file.display());
        for canary in &canaries {
            let found = canary.found_in(&content);
            assert!(found.is_empty(), "{} holds a number: {}", file.display(), found.join(", "));
        }
    }
    for canary in &canaries {
        canary.absent_from("a log of ours", pop.logs().as_bytes());
    }
}
