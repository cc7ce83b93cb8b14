//! Recordings paused and resumed: over NG and by whoever asks through HTTP, over re-offers and restarts; and what no
//! proxy may do to a recording.

use control::live::{Asker, LiveCalls, PauseError};
use control::name::TripId;
use relay::program::message::Refusal;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::site::{CANARY, Site, answer, delete, logs, offer, until};

fn command(command: &str, call_id: &str, more: Json) -> Json {
    let mut request = json!({"command": command, "call-id": call_id});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// A re-offer of the caller with these options, and its answer: SDP and warnings of both.
async fn offer_again(site: &mut Site, call_id: &str, more: Json) -> [Json; 2] {
    let mut requests = [offer(call_id, 4000), answer(call_id, 5000)];
    requests[0]["to-tag"] = format!("to-{CANARY}").into();
    for request in &mut requests {
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    let [offer, answer] = requests;
    let replies = [site.proxy.ask(offer).await, site.proxy.ask(answer).await];
    assert!(replies.iter().all(|reply| reply["result"] == "ok" && reply["sdp"].is_string()), "{replies:?}");
    replies
}

#[tokio::test]
async fn the_proxy_pauses_and_resumes_in_every_way_that_it_knows() {
    let mut site = Site::new().await;
    site.route("t", true, 0);
    site.call("t").await;
    for (name, more, paused) in [
        ("pause recording", json!({}), true),
        ("start recording", json!({}), false),
        ("stop recording", json!({"pause": "yes"}), true),
        ("start recording", json!({"metadata": "x", "recording-file": "/tmp/x"}), false),
        ("stop recording", json!({"flags": ["pause"]}), true),
        ("start recording", json!({"from-tag": format!("from-{CANARY}")}), false),
        ("stop recording", json!({}), true),
        ("stop recording", json!({}), true),
    ] {
        assert_eq!(site.proxy.ask(command(name, "t", more)).await, json!({"result": "ok"}), "{name}");
        assert_eq!(site.relay.call().1.paused, paused, "{name}");
        let told = site.proxy.ask(command("query", "t", json!({}))).await;
        assert_eq!(told["recording"], json!({"call recording": i64::from(!paused), "forwarding": 0}));
        let party = &told["tags"][format!("from-{CANARY}")];
        assert_eq!(party["recording"], json!({"excluded": 0, "forwarding": 0}));
        let shown = &site.control.calls.list()[0];
        assert!(shown.recording);
        assert_eq!(shown.paused.map(|pause| pause.by), paused.then_some(Asker::Proxy));
    }
    assert!(site.control.calls.metrics().await.contains("bauta_recordings_paused 1\n"));
}

#[tokio::test]
async fn who_paused_and_when_is_in_the_log_by_the_calls_pseudonym() {
    let mut site = Site::new().await;
    site.route("logged", true, 0);
    site.call("logged").await;
    let id = site.control.calls.list()[0].id;
    let label = site.relay.call().1.label.unwrap();
    let pseudonym = label["call"].as_str().unwrap();
    let done = site.control.calls.pause_call(id, true, Asker::Operator).await.unwrap();
    assert_eq!((done.call.as_str(), done.id, done.paused), (pseudonym, id, true));
    let paused = site.control.calls.list()[0].paused;
    // The proxy's asking again does not make it the proxy's.
    site.proxy.ask(command("pause recording", "logged", json!({}))).await;
    assert_eq!(site.control.calls.list()[0].paused, paused);
    site.proxy.ask(command("start recording", "logged", json!({}))).await;
    let said: Vec<String> = logs().lines().filter(|l| l.contains(pseudonym)).map(str::to_owned).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("recording paused") && said[0].contains("by=Operator"), "{said:?}");
    assert!(said[1].contains("recording resumed") && said[1].contains("by=Proxy"), "{said:?}");
}

#[tokio::test]
async fn a_trips_recorded_calls_are_paused_those_being_opened_too_and_no_other() {
    let mut site = Site::new().await;
    let trip = TripId::new("T-1001").unwrap();
    site.route("answered", true, 0);
    site.route("opening", true, 0);
    site.route("unrecorded", false, 0);
    site.call("answered").await;
    site.call("unrecorded").await;
    site.call("unrouted").await;
    site.relay.state().slow = std::time::Duration::from_millis(300);
    site.proxy.send("1_1", offer("opening", 4000).to_string().as_bytes()).await;
    // Its offer is at the relay, which has not answered.
    until(|| site.relay.state().waiting > 0).await;
    let done = site.control.calls.pause_trip(&trip, true, Asker::Business).await.unwrap();
    assert_eq!(done.len(), 2);
    assert!(done[0].id < done[1].id);
    let held: Vec<(bool, bool)> =
        site.relay.state().calls.values().map(|call| (call.label.is_some(), call.paused)).collect();
    assert_eq!(held.iter().filter(|call| **call == (true, true)).count(), 2, "{held:?}");
    assert_eq!(held.iter().filter(|call| **call == (false, false)).count(), 2, "{held:?}");
    site.proxy.receive().await;

    let none = TripId::new("T-2").unwrap();
    assert_eq!(site.control.calls.pause_trip(&none, true, Asker::Business).await, Ok(Vec::new()));
    let shown = site.control.calls.list();
    let unrecorded = shown.iter().find(|call| !call.recording).unwrap().id;
    let refused = site.control.calls.pause_call(unrecorded, true, Asker::Operator).await;
    assert_eq!(refused, Err(PauseError::NotRecorded));
    let unknown = site.control.calls.pause_call(Uuid::nil(), true, Asker::Operator).await;
    assert_eq!(unknown, Err(PauseError::NoCall));
}

#[tokio::test]
async fn a_reoffer_and_a_new_control_leave_a_pause_as_it_is() {
    let mut site = Site::new().await;
    site.route("p", true, 0);
    site.call("p").await;
    site.proxy.ask(command("pause recording", "p", json!({}))).await;
    let before = site.control.calls.list();
    // A proxy may say `record-call` with every offer.
    offer_again(&mut site, "p", json!({"record-call": "yes"})).await;
    assert!(site.relay.call().1.paused);
    site.restart_control().await;
    assert_eq!(site.control.calls.list(), before);
    offer_again(&mut site, "p", json!({})).await;
    assert!(site.relay.call().1.paused);
    site.proxy.ask(command("start recording", "p", json!({}))).await;
    assert!(!site.relay.call().1.paused);
    site.restart_control().await;
    assert_eq!(site.control.calls.list()[0].paused, None);
    assert!(!site.relay.call().1.paused);
}

#[tokio::test]
async fn a_control_killed_while_it_pauses_leaves_nothing_recorded() {
    let mut site = Site::new().await;
    site.route("k", true, 0);
    site.call("k").await;
    site.proxy.ask(command("pause recording", "k", json!({}))).await;
    // As if it had been killed after the blob was written, before the tap was told; or after the tap was told to go
    // on, before that was written: the blob says paused, the tap runs.
    let (key, _) = site.relay.call();
    site.relay.state().calls.get_mut(&key).unwrap().paused = false;
    site.restart_control().await;
    until(|| site.relay.call().1.paused).await;
    // And one that the relay refuses to keep is not done.
    site.proxy.ask(command("start recording", "k", json!({}))).await;
    site.relay.state().refuse = Some(Refusal::Impossible("a test".into()));
    let refused = site.proxy.ask(command("pause recording", "k", json!({}))).await;
    assert_eq!(refused["error-reason"], "Relay refused the request");
    assert!(!site.relay.call().1.paused && site.control.calls.list()[0].paused.is_none());
}

#[tokio::test]
async fn what_is_recorded_is_not_for_the_proxy_to_say_nor_to_throw_away() {
    let mut site = Site::new().await;
    site.route("recorded", true, 0);
    site.call("recorded").await;
    let kept = "Recordings are not discarded";
    for more in [json!({"flags": ["discard-recording"]}), json!({"discard-recording": "yes"})] {
        let reply = site.proxy.ask(command("stop recording", "recorded", more)).await;
        assert_eq!(reply, json!({"result": "error", "error-reason": kept}));
        assert!(!site.relay.call().1.paused);
    }
    for (more, warning) in [
        (json!({"record-call": "discard"}), json!(kept)),
        (json!({"flags": ["discard-recording"]}), json!(kept)),
        (json!({"record-call": "no"}), json!("Call is recorded by its route decision")),
        (json!({"rtpp-flags": "record-call=off"}), json!("Call is recorded by its route decision")),
        (json!({"record-call": "yes"}), Json::Null),
        (json!({}), Json::Null),
    ] {
        for reply in offer_again(&mut site, "recorded", more.clone()).await {
            assert_eq!(reply["warning"], warning, "{more}");
        }
        let (_, held) = site.relay.call();
        assert!(held.label.is_some() && !held.paused);
    }
    let mut last = delete("recorded");
    last["flags"] = json!(["discard-recording"]);
    let reply = site.proxy.ask(last).await;
    assert_eq!((&reply["result"], &reply["warning"]), (&json!("ok"), &json!(kept)));
    assert_eq!(reply["recording"]["call recording"], 1);
    let (_, label) = site.relay.state().closed[0].clone();
    assert_eq!(label.unwrap()["ended"], "hangup");

    // Nobody told these two that they are recorded.
    site.route("unrecorded", false, 0);
    for call_id in ["unrecorded", "unrouted"] {
        site.call(call_id).await;
        for reply in offer_again(&mut site, call_id, json!({"record-call": "on"})).await {
            assert_eq!(reply["warning"], "Call is not recorded");
        }
        let replies = offer_again(&mut site, call_id, json!({"flags": ["discard-recording"]})).await;
        assert!(replies.iter().all(|reply| reply.get("warning").is_none()));
        for name in ["start recording", "pause recording"] {
            let reply = site.proxy.ask(command(name, call_id, json!({}))).await;
            assert_eq!(reply["error-reason"], "Call is not recorded");
        }
        assert!(site.relay.call().1.label.is_none());
        let figures = site.proxy.ask(delete(call_id)).await;
        assert!(figures.get("recording").is_none() && figures.get("warning").is_none(), "{figures}");
    }
    assert_eq!(
        site.proxy.ask(command("pause recording", "?", json!({}))).await["error-reason"],
        "Unknown call-id"
    );
}

#[tokio::test]
async fn without_a_relay_nothing_is_paused_and_that_is_said() {
    let mut site = Site::new().await;
    site.route("away", true, 0);
    site.call("away").await;
    let id = site.control.calls.list()[0].id;
    site.relay.stop().await;
    site.control.connected(false).await;
    let trip = TripId::new("T-1001").unwrap();
    assert_eq!(site.control.calls.pause_trip(&trip, true, Asker::Business).await, Err(PauseError::Relay));
    assert_eq!(site.control.calls.pause_call(id, true, Asker::Operator).await, Err(PauseError::Relay));
    let reply = site.proxy.ask(command("pause recording", "away", json!({}))).await;
    assert_eq!(reply["error-reason"], "Relay is out of reach");
    assert_eq!(site.control.calls.list()[0].paused, None);
}
