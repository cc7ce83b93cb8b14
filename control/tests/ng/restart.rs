//! What happens when control or the relay goes away in mid-call.

use std::collections::BTreeMap;

use control::live::LiveCalls;
use relay::program::message::{CallKey, Event};
use serde_json::{Value as Json, json};

use crate::fake_relay::Held;
use crate::site::{CANARY, Site, answer, delete, offer, sdp, until};

#[tokio::test]
async fn a_new_control_goes_on_with_the_calls_of_the_old_one() {
    let mut site = Site::new().await;
    site.route("answered", true, 3600);
    site.route("ringing", true, 3600);
    site.call("answered").await;
    let before = site.control.calls.list();
    let shown = site.proxy.ask(offer("ringing", 4000)).await["sdp"].clone();
    site.restart_control().await;

    let after = site.control.calls.list();
    assert_eq!((after.len(), &after[0]), (2, &before[0]));
    // The answer that was under way is the old offer's; the same offer again looks the same.
    assert_eq!(site.proxy.ask(offer("ringing", 4000)).await["sdp"], shown);
    assert_eq!(site.proxy.ask(answer("ringing", 5000)).await["result"], "ok");
    // A re-offer keeps ports and session.
    let mut hold = offer("answered", 0);
    hold["to-tag"] = format!("to-{CANARY}").into();
    hold["sdp"] = (sdp(4000) + "a=sendonly\r\n").into();
    let out = site.proxy.ask(hold).await["sdp"].as_str().unwrap().to_owned();
    assert!(out.contains("m=audio 30002 ") && out.lines().nth(1).unwrap().contains(" 2 IN IP4 "), "{out}");
    // The BYE is answered, and the archive gets its trip.
    assert_eq!(site.proxy.ask(delete("answered")).await["totals"]["RTP"]["packets"], 15);
    let (_, label) = site.relay.state().closed[0].clone();
    let label = label.unwrap();
    assert_eq!((&label["trip"], &label["ended"]), (&json!("T-1001"), &json!("hangup")));
    assert_eq!(label["recording"], json!(before[0].id));
}

#[tokio::test]
async fn calls_of_others_are_left_alone() {
    let mut site = Site::new().await;
    let (foreign, blobs) = (CallKey(77), [b"".to_vec(), b"not ours".to_vec(), vec![1; 400]]);
    site.call("ours").await;
    for (n, blob) in blobs.into_iter().enumerate() {
        site.relay.state().calls.insert(CallKey(foreign.0 + n as u64), Held { blob, ..Held::default() });
    }
    // More than one page of the relay's list.
    let ours =
        site.relay.state().calls.iter().find(|(key, _)| key.0 > 100).map(|(_, call)| call.clone()).unwrap();
    for n in 0..300 {
        site.relay.state().calls.insert(CallKey(1000 + n), ours.clone());
    }
    site.restart_control().await;
    assert_eq!(site.control.calls.list().len(), 1, "a blob under another key is not taken for a call");
    site.proxy.ask(delete("ours")).await;
    assert_eq!(site.relay.state().calls.len(), 303);

    // They do not stay for ever: nobody else would end them.
    assert!(site.control.calls.metrics().await.contains("bauta_calls_foreign 303\n"));
    site.relay.tell(Event::Silent { call: foreign, seconds: 3599 });
    site.relay.tell(Event::Silent { call: CallKey(78), seconds: 3600 });
    site.relay.tell(Event::Expired { call: CallKey(79) });
    until(|| site.relay.state().calls.len() == 301).await;
    assert!(site.relay.state().calls.contains_key(&foreign));
    while !site.control.calls.metrics().await.contains("bauta_calls_foreign 301\n") {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_new_relay_has_no_calls() {
    let mut site = Site::new().await;
    site.call("gone").await;
    site.relay.stop().await;
    site.control.connected(false).await;
    assert!(site.control.calls.relay().trouble.is_some());
    assert_eq!(site.proxy.ask(json!({"command": "ping"})).await["result"], "pong");
    let reply = site.proxy.ask(offer("new", 4000)).await;
    assert_eq!(reply, json!({"result": "error", "error-reason": "Relay is out of reach"}));
    assert_eq!(site.control.calls.list().len(), 1, "the calls may still be there");

    site.relay.come_back(true);
    site.control.connected(true).await;
    assert!(site.control.calls.list().is_empty());
    assert_eq!(site.proxy.ask(delete("gone")).await["result"], "ok");
    assert_eq!(site.proxy.ask(answer("gone", 5000)).await["error-reason"], "Unknown call-id");
    site.call("new").await;
}

#[tokio::test]
async fn a_delete_while_the_relay_is_away_is_done_when_it_is_back() {
    let mut site = Site::new().await;
    site.route("away", true, 3600);
    site.call("away").await;
    site.call("stays").await;
    site.relay.stop().await;
    site.control.connected(false).await;
    let reply = site.proxy.ask(delete("away")).await;
    assert_eq!((&reply["result"], &reply["totals"]["RTP"]["packets"]), (&json!("ok"), &json!(0)));
    assert_eq!(site.relay.state().calls.len(), 2);

    site.relay.come_back(false);
    until(|| !site.relay.state().closed.is_empty()).await;
    let (_, label) = site.relay.state().closed[0].clone();
    assert_eq!(label.unwrap()["ended"], "hangup");
    assert_eq!(site.relay.state().calls.len(), 1);
    assert_eq!(site.control.calls.list().len(), 1);
}

#[tokio::test]
async fn a_delayed_delete_while_the_relay_is_away_is_not_forgotten_when_it_is_back() {
    let mut site = Site::new().await;
    site.call("away").await;
    site.relay.stop().await;
    site.control.connected(false).await;
    let mut delayed = delete("away");
    delayed["delete-delay"] = "600".into();
    assert_eq!(site.proxy.ask(delayed).await["result"], "ok");
    site.relay.come_back(false);
    until(|| site.relay.state().calls.is_empty()).await;
}

#[tokio::test]
async fn requests_wait_for_a_control_that_has_just_started() {
    let mut site = Site::new().await;
    site.route("waits", true, 3600);
    site.proxy.ask(offer("waits", 4000)).await;
    site.relay.stop().await;
    site.restart_control_alone().await;
    site.proxy.send("1_1", answer("waits", 5000).to_string().as_bytes()).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    site.relay.come_back(false);
    let reply = String::from_utf8(site.proxy.receive().await).unwrap();
    assert!(reply.contains("m=audio 30000 "), "{reply}");
}

#[tokio::test]
async fn a_delete_that_a_new_control_gets_before_it_knows_the_call_is_done() {
    let mut site = Site::new().await;
    site.route("deleted", true, 3600);
    site.call("deleted").await;
    site.relay.stop().await;
    site.restart_control_alone().await;
    assert_eq!(site.proxy.ask(delete("deleted")).await, json!({"result": "ok"}));
    site.relay.come_back(false);
    until(|| !site.relay.state().closed.is_empty()).await;
    let (_, label) = site.relay.state().closed[0].clone();
    let label = label.unwrap();
    assert_eq!((&label["ended"], &label["trip"]), (&json!("hangup"), &json!("T-1001")));
    assert!(site.control.calls.list().is_empty());
}

/// Moves a time in a call's sealed state into the past, as if it had been waiting so long.
fn age(site: &Site, call: &Held, minutes: i64) -> Vec<u8> {
    let plain = site.control.keys.open("call", &call.blob).unwrap();
    let mut state: BTreeMap<String, Json> = serde_json::from_slice(&plain[1..]).unwrap();
    for field in ["offered_at", "answered_at", "signalled_at"] {
        let format = &time::format_description::well_known::Rfc3339;
        let at = time::OffsetDateTime::parse(state[field].as_str().unwrap(), format).unwrap();
        let earlier = at - time::Duration::minutes(minutes);
        state.insert(field.into(), earlier.format(format).unwrap().into());
    }
    let json = serde_json::to_vec(&state).unwrap();
    site.control.keys.seal("call", &[&plain[..1], &json].concat()).unwrap()
}

#[tokio::test]
async fn silence_ends_a_call_that_was_to_speak() {
    let mut site = Site::new().await;
    site.route("silent", true, 0);
    site.call("silent").await;
    let (key, held) = site.relay.call();
    site.relay.tell(Event::Silent { call: key, seconds: 3000 });
    let blob = age(&site, &held, 2);
    site.relay.state().calls.get_mut(&key).unwrap().blob = blob;
    site.restart_control().await;
    assert_eq!(
        site.relay.state().calls.len(),
        1,
        "it was answered a moment ago: no silence could be that long"
    );
    site.relay.tell(Event::Silent { call: key, seconds: 59 });
    site.relay.tell(Event::Silent { call: CallKey(1), seconds: 61 });
    site.relay.tell(Event::Silent { call: key, seconds: 61 });
    until(|| site.relay.state().calls.is_empty()).await;
    let (_, label) = site.relay.state().closed[0].clone();
    assert_eq!(label.unwrap()["ended"], "silence");
    assert_eq!(site.proxy.ask(delete("silent")).await["totals"]["RTP"]["packets"], 15);
}

/// A re-offer of the caller, inside the dialog.
fn again(call_id: &str) -> Json {
    let mut again = offer(call_id, 4000);
    again["to-tag"] = format!("to-{CANARY}").into();
    again
}

#[tokio::test]
async fn a_decision_outlives_a_control_that_is_killed_before_the_offer() {
    let mut site = Site::new().await;
    site.route("decided", true, 60);
    site.restart_control().await;
    site.call("decided").await;
    let label = site.relay.call().1.label.unwrap();
    assert_eq!((&label["trip"], &label["roles"]), (&json!("T-1001"), &json!(["driver", "passenger"])));
    assert_eq!(site.relay.call().1.max_seconds, 60);
}

#[tokio::test]
async fn what_comes_after_the_end_of_a_call_opens_nothing() {
    let mut site = Site::new().await;
    // Ended by its limit, deleted by the proxy, lost with the relay; with a decision and without.
    site.route("limit", true, 1);
    site.call("limit").await;
    until(|| site.relay.state().calls.is_empty()).await;
    for call_id in ["routed", "unrouted"] {
        if call_id == "routed" {
            site.route(call_id, true, 60);
        }
        site.call(call_id).await;
        site.proxy.ask(delete(call_id)).await;
    }
    site.route("lost", true, 60);
    site.call("lost").await;
    site.call("lost unrouted").await;
    site.relay.stop().await;
    site.control.connected(false).await;
    site.relay.come_back(true);
    site.control.connected(true).await;

    let opened = site.relay.state().opened;
    let unknown = json!({"result": "error", "error-reason": "Unknown call-id"});
    for call_id in ["limit", "routed", "unrouted", "lost", "lost unrouted", "never was"] {
        assert_eq!(site.proxy.ask(again(call_id)).await, unknown, "{call_id}");
    }
    for call_id in ["limit", "routed", "lost", "lost unrouted"] {
        assert_eq!(site.proxy.ask(offer(call_id, 4000)).await, unknown, "{call_id}");
    }
    site.restart_control().await;
    for call_id in ["limit", "routed", "lost"] {
        assert_eq!(site.proxy.ask(again(call_id)).await, unknown, "{call_id}");
    }
    assert_eq!(site.relay.state().opened, opened);
}

#[tokio::test]
async fn a_call_that_was_given_up_unanswered_may_be_tried_elsewhere() {
    let mut site = Site::new().await;
    site.route("hunted", true, 60);
    site.proxy.ask(offer("hunted", 4000)).await;
    site.proxy.ask(delete("hunted")).await;
    assert_eq!(site.proxy.ask(again("hunted")).await["error-reason"], "Unknown call-id");
    site.call("hunted").await;
    assert!(site.relay.call().1.label.is_some(), "it is recorded all the same");
}

#[tokio::test]
async fn a_delete_that_waits_for_the_relay_ends_no_later_call() {
    let mut site = Site::new().await;
    site.call("again").await;
    let (key, held) = site.relay.call();
    site.relay.stop().await;
    site.restart_control_alone().await;
    site.proxy.ask(delete("again")).await;
    // While the relay is away another call begins with this Call-ID, as far as the relay can tell.
    let later = age(&site, &held, -1);
    site.relay.state().calls.get_mut(&key).unwrap().blob = later;
    site.relay.come_back(false);
    site.control.connected(true).await;
    assert_eq!(site.control.calls.list().len(), 1);
}
