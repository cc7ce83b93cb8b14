//! Calls from offer to delete: media, trips, recordings, holds, forks, time-outs, and what nobody may learn.

use control::live::LiveCalls;
use control::settings::ControlSettings;
use relay::program::message::{Event, Learning, PayloadTypes};
use serde_json::{Value as Json, json};

use crate::site::{CANARY, Site, answer, delete, logs, offer, sdp, until};

#[tokio::test]
async fn a_routed_call_inherits_trip_roles_and_recording() {
    let mut site = Site::new().await;
    let call_id = &format!("{CANARY}@10.0.0.7");
    site.route(call_id, true, 3600);
    let reply = site.proxy.ask(offer(call_id, 4000)).await;
    assert_eq!(
        reply["sdp"].as_str().unwrap().split_once("IN IP4").unwrap().1,
        " 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 30002 RTP/AVP 8 101\r\nc=IN IP4 127.0.0.1\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=rtcp:30003\r\n"
    );
    let (_, held) = site.relay.call();
    let label = held.label.unwrap();
    assert_eq!((&label["trip"], &label["city"]), (&json!("T-1001"), &json!("london")));
    assert_eq!(label["roles"], json!(["driver", "passenger"]));
    assert!(label["offered_at"].as_str().unwrap().ends_with('Z') && label.get("answered_at").is_none());
    assert_eq!(held.max_seconds, 3600);
    let [caller, callee] = held.streams[0].legs;
    assert_eq!(caller.remote.unwrap().rtp.to_string(), "127.0.0.1:4000");
    assert_eq!((callee.remote, caller.learning), (None, Learning::Strict));
    assert_eq!(caller.accepts, PayloadTypes::NONE.with(8).with(101));
    assert_eq!(caller.tapped, PayloadTypes::NONE.with(8).with(101));

    let reply = site.proxy.ask(answer(call_id, 5000)).await;
    assert!(reply["sdp"].as_str().unwrap().contains("m=audio 30000 RTP/AVP 8 101\r\n"));
    let (_, held) = site.relay.call();
    assert_eq!(held.streams[0].legs[1].remote.unwrap().rtcp.to_string(), "127.0.0.1:5001");
    let label = held.label.unwrap();
    assert!(label["answered_at"].is_string() && label["legs"][1]["codecs"][0]["name"] == "PCMA");

    let shown = site.control.calls.list();
    assert_eq!((shown.len(), shown[0].state, shown[0].recording), (1, "answered", true));
    assert_eq!(json!(shown[0].id), label["recording"]);
    assert_eq!(site.control.calls.in_progress(shown[0].trip.as_ref().unwrap()), 1);
    let detail = site.control.calls.get(shown[0].id).await.unwrap();
    assert_eq!(
        (detail.streams[0].packets, detail.streams[2].packets, detail.lane.as_str()),
        (10, 5, "uring")
    );
    let quiet = detail.streams.iter().map(|stream| stream.last_packet_seconds_ago.is_none());
    assert!(quiet.eq([false, true, false, true]), "no RTCP has come");

    // The store learns of the recording, so that its trip lists it.
    let trip = shown[0].trip.clone().unwrap();
    for _ in 0..1000 {
        if !site.control.store.recordings(trip.clone()).await.unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let noted = site.control.store.recordings(trip).await.unwrap();
    assert_eq!(noted[0].id, shown[0].id);
    assert_eq!(label["call"], control::secret::hex(&noted[0].call));

    let reply = site.proxy.ask(delete(call_id)).await;
    assert_eq!(reply["totals"]["RTP"], json!({"packets": 15, "bytes": 2580, "errors": 2}));
    let (_, last) = site.relay.state().closed[0].clone();
    let last = last.unwrap();
    assert_eq!((&last["ended"], &last["trip"]), (&json!("hangup"), &json!("T-1001")));
    assert!(last["ended_at"].is_string() && last["answered_at"] == label["answered_at"]);
}

#[tokio::test]
async fn query_and_list_tell_what_proxies_read() {
    let mut site = Site::new().await;
    site.call("q").await;
    assert_eq!(site.proxy.ask(json!({"command": "list"})).await["calls"], json!(["q"]));
    let reply = site.proxy.ask(json!({"command": "query", "call-id": "q"})).await;
    assert_eq!(reply["result"], "ok");
    assert!(reply["created"].as_i64().unwrap() > 1_700_000_000 && reply["last signal"].is_i64());
    let stream =
        |tag: &str, n: usize| reply["tags"][format!("{tag}-{CANARY}")]["medias"][0]["streams"][n].clone();
    let caller = stream("from", 0);
    assert_eq!((&caller["local port"], &caller["endpoint"]["port"]), (&json!(30_000), &json!(4000)));
    assert_eq!(caller["stats"], json!({"packets": 10, "bytes": 1720, "errors": 1}));
    assert_eq!(stream("to", 1)["endpoint"]["port"], 5001);
    assert_eq!(reply["totals"]["RTP"]["packets"], 15);
    assert_eq!(
        site.proxy.ask_bencode(json!({"command": "query", "call-id": "q"})).await["tags"],
        reply["tags"]
    );

    let reply = site.proxy.ask(json!({"command": "delete", "call-id": "q", "from-tag": "stranger"})).await;
    assert_eq!(reply["warning"], "Call-ID not found or tags didn't match");
    assert_eq!(
        site.proxy.ask(json!({"command": "delete", "call-id": "q", "flags": ["fast"]})).await,
        json!({"result": "ok"})
    );
    assert!(site.relay.state().calls.is_empty());
    // A second delete, as some proxies send it, finds the figures still.
    assert_eq!(site.proxy.ask(delete("q")).await["totals"]["RTP"]["packets"], 15);
}

#[tokio::test]
async fn hold_and_reoffer_from_either_side_keep_the_ports() {
    let mut site = Site::new().await;
    site.call("h").await;
    let before = site.relay.call().1;
    let swap = |mut request: Json| {
        (request["from-tag"], request["to-tag"]) =
            (format!("to-{CANARY}").into(), format!("from-{CANARY}").into());
        request
    };
    let with = |mut request: Json, sdp: String| {
        request["to-tag"] = format!("to-{CANARY}").into();
        request["sdp"] = sdp.into();
        request
    };
    // The callee holds.
    let hold = swap(with(offer("h", 0), sdp(5000) + "a=sendonly\r\n"));
    let out = site.proxy.ask(hold).await["sdp"].as_str().unwrap().to_owned();
    assert!(out.contains("m=audio 30000 ") && out.contains("a=sendonly\r\n"), "{out}");
    let held = swap(with(answer("h", 0), sdp(4000) + "a=recvonly\r\n"));
    let out = site.proxy.ask(held).await["sdp"].as_str().unwrap().to_owned();
    assert!(out.contains("m=audio 30002 ") && out.contains("a=recvonly\r\n"), "{out}");
    // The caller moves to another port.
    let out = site.proxy.ask(with(offer("h", 0), sdp(4400))).await;
    assert!(out["sdp"].as_str().unwrap().contains("m=audio 30002 "));
    site.proxy.ask(answer("h", 5000)).await;
    let after = site.relay.call().1;
    assert_eq!(before.ports, after.ports);
    assert_eq!(after.streams[0].legs[0].remote.unwrap().rtp.port(), 4400);
    assert_eq!(site.relay.state().opened, 1);
    // Tags that are not this call's.
    let mut stranger = with(offer("h", 0), sdp(6666));
    (stranger["from-tag"], stranger["to-tag"]) = ("x".into(), "y".into());
    assert_eq!(site.proxy.ask(stranger).await["error-reason"], "Invalid dialogue association");
    assert_eq!(site.relay.call().1.streams, after.streams);
}

#[tokio::test]
async fn a_refused_update_changes_nothing() {
    let mut site = Site::new().await;
    site.call("n").await;
    let (_, before) = site.relay.call();
    site.relay.state().refuse = Some(relay::program::message::Refusal::OutOfPorts);
    let mut more = offer("n", 4000);
    more["sdp"] = format!("{}m=audio 4100 RTP/AVP 8\r\n", sdp(4000)).into();
    assert_eq!(site.proxy.ask(more.clone()).await["error-reason"], "Ran out of ports");
    site.relay.state().refuse = None;
    assert_eq!(site.relay.call().1.streams, before.streams);
    site.proxy.ask(more).await;
    assert_eq!(site.relay.call().1.streams.len(), 2);
}

#[tokio::test]
async fn a_branch_that_fails_leaves_the_others() {
    let mut site = Site::new().await;
    let branch = |mut request: Json, name: &str| {
        request["via-branch"] = name.into();
        request
    };
    site.proxy.ask(branch(offer("f", 4000), "z9hG4bK1")).await;
    site.proxy.ask(branch(offer("f", 4000), "z9hG4bK2")).await;
    site.proxy.ask(branch(delete("f"), "z9hG4bK1")).await;
    assert_eq!(site.relay.state().calls.len(), 1);
    // The relay keeps it too: a new control ends the call with its last branch.
    site.restart_control().await;
    site.proxy.ask(branch(delete("f"), "z9hG4bK2")).await;
    assert!(site.relay.state().calls.is_empty());
}

#[tokio::test]
async fn calls_end_by_time_for_a_reason_and_the_late_delete_is_answered() {
    let mut site =
        Site::with(ControlSettings { offer_timeout_seconds: 1, ..ControlSettings::default() }).await;
    for call_id in ["unanswered", "long"] {
        site.route(call_id, true, 1);
    }
    site.call("long").await;
    site.proxy.ask(offer("unanswered", 4000)).await;
    until(|| site.relay.state().calls.is_empty()).await;
    let mut reasons: Vec<_> =
        site.relay.state().closed.iter().map(|(_, label)| label.clone().unwrap()["ended"].clone()).collect();
    reasons.sort_by_key(ToString::to_string);
    assert_eq!(reasons, ["limit", "unanswered"]);
    assert_eq!(site.proxy.ask(delete("long")).await["result"], "ok");
    let metrics = site.control.calls.metrics().await;
    for line in [
        "bauta_calls{state=\"answered\"} 0",
        "bauta_calls_ended_total{reason=\"limit\"} 1",
        "bauta_ng_requests_total{command=\"offer\"} 2",
        "bauta_relay_connected 1",
        "bauta_relay_dropped_packets_total{worker=\"0\",reason=\"source_mismatch\"} 3",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn a_delayed_delete_lets_the_call_go_on_for_a_while_and_an_offer_keeps_it() {
    let mut site = Site::new().await;
    let delayed = |call_id: &str, seconds: &str| {
        let mut request = delete(call_id);
        request["delete-delay"] = seconds.into();
        request
    };
    for call_id in ["gone", "kept"] {
        site.call(call_id).await;
        let reply = site.proxy.ask(delayed(call_id, "1")).await;
        assert_eq!((&reply["result"], reply["tags"].is_object()), (&json!("ok"), true));
    }
    let mut again = offer("kept", 4200);
    again["to-tag"] = answer("kept", 5000)["to-tag"].clone();
    assert_eq!(site.proxy.ask(again).await["result"], "ok");
    assert_eq!(site.relay.state().calls.len(), 2, "both go on");
    // A new control knows it as well.
    site.restart_control().await;
    until(|| site.relay.state().calls.len() == 1).await;
    assert_eq!(site.proxy.ask(delete("gone")).await["result"], "ok");
    assert_eq!(site.proxy.ask(delayed("kept", "0")).await["result"], "ok");
    assert!(site.relay.state().calls.is_empty(), "0 is at once");
}

#[tokio::test]
async fn a_call_that_was_given_up_with_a_delay_may_be_offered_to_another_destination() {
    let mut site = Site::new().await;
    site.route("forked", true, 3600);
    assert_eq!(site.proxy.ask(offer("forked", 4000)).await["result"], "ok");
    let mut delayed = delete("forked");
    delayed["delete-delay"] = "1".into();
    assert_eq!(site.proxy.ask(delayed).await["result"], "ok");
    until(|| site.relay.state().calls.is_empty()).await;
    let again = site.proxy.ask(offer("forked", 4000)).await;
    assert_eq!(again["result"], "ok", "{again}");
}

#[tokio::test]
async fn no_number_leaves_control_nor_gets_into_a_log() {
    let mut site = Site::new().await;
    let call_id = &format!("{CANARY}@10.0.0.7");
    site.route(call_id, true, 3600);
    let mut strange = offer(call_id, 4000);
    strange[format!("X-{CANARY}")] = CANARY.into();
    strange["unheard-of"] = CANARY.into();
    strange["flags"] = json!(["trust-address", CANARY]);
    let shown = [site.proxy.ask(strange).await, site.proxy.ask(answer(call_id, 5000)).await];
    assert!(
        shown.iter().all(|reply| reply["result"] == "ok" && !reply.to_string().contains(CANARY)),
        "{shown:?}"
    );

    // Errors of every kind.
    let mut broken = offer(call_id, 4000);
    broken["sdp"] = format!("v=0\r\nc=IN IP4 {CANARY}\r\n").into();
    let mut command = offer(call_id, 4000);
    command["command"] = CANARY.into();
    let mut tag = offer(call_id, 4000);
    (tag["from-tag"], tag["to-tag"]) = (format!("{CANARY}x").into(), format!("{CANARY}y").into());
    for request in [broken, command, tag, json!({"command": "query", "call-id": format!("{CANARY}?")})] {
        let reply = site.proxy.ask(request).await;
        assert!(reply["result"] == "error" && !reply.to_string().contains(CANARY), "{reply}");
    }
    site.proxy.send(CANARY, b"d garbage").await;
    site.proxy.receive().await;
    site.proxy.socket.send(CANARY.as_bytes()).await.unwrap();

    let (key, held) = site.relay.call();
    assert!(!held.label.unwrap().to_string().contains(CANARY));
    assert!(!String::from_utf8_lossy(&held.blob).contains(CANARY), "the blob is sealed");
    site.relay.tell(Event::Expired { call: key });
    let detail = site.control.calls.get(site.control.calls.list()[0].id).await;
    assert!(!serde_json::to_string(&detail).unwrap().contains(CANARY));
    assert!(!site.control.calls.metrics().await.contains(CANARY));
    site.proxy.ask(delete(call_id)).await;
    let (_, last) = site.relay.state().closed[0].clone();
    assert!(!last.unwrap().to_string().contains(CANARY));

    let logs = logs();
    assert!(
        logs.contains("trip=\"T-1001\"") && logs.contains("NG key is not known"),
        "there are logs:\n{logs}"
    );
    let leak = logs.lines().find(|line| line.contains(CANARY));
    assert_eq!(leak, None, "a number is in the log");
}

#[tokio::test]
async fn sources_are_learned_where_the_settings_or_the_proxy_say_so() {
    use control::settings::SourceLearning;
    let learning = |site: &Site| site.relay.call().1.streams[0].legs.map(|leg| leg.learning);
    let flagged = |mut request: Json, flag: &str| {
        request["flags"] = json!([flag]);
        request
    };
    let mut site = Site::new().await;
    site.proxy.ask(flagged(offer("s", 4000), "pierce-NAT")).await;
    site.proxy.ask(answer("s", 5000)).await;
    assert_eq!(learning(&site), [Learning::Nat, Learning::Strict]);

    let settings = ControlSettings { learning: SourceLearning::Nat, ..ControlSettings::default() };
    let mut site = Site::with(settings).await;
    site.proxy.ask(flagged(offer("n", 4000), "endpoint-learning-off")).await;
    site.proxy.ask(answer("n", 5000)).await;
    assert_eq!(learning(&site), [Learning::Strict, Learning::Nat]);
}

#[tokio::test]
async fn of_a_forked_call_one_dialog_is_left() {
    let mut site = Site::new().await;
    let to = |mut request: Json, tag: &str| {
        request["to-tag"] = tag.into();
        request
    };
    let ringing = |mut request: Json| {
        request["flags"] = json!(["provisional"]);
        request
    };
    site.route("f", true, 60);
    site.proxy.ask(offer("f", 4000)).await;
    site.proxy.ask(to(ringing(answer("f", 5000)), "b")).await;
    assert!(site.relay.call().1.label.unwrap().get("answered_at").is_none());
    assert_eq!(site.control.calls.list()[0].state, "offered");
    site.proxy.ask(to(answer("f", 6000), "c")).await;
    let held = site.relay.call().1;
    assert_eq!(held.streams[0].legs[1].remote.unwrap().rtp.port(), 6000);
    assert!(held.label.unwrap()["answered_at"].is_string());
    for late in ["b", "d"] {
        let reply = site.proxy.ask(to(answer("f", 7000), late)).await;
        assert_eq!(reply["error-reason"], "Invalid dialogue association");
        assert_eq!(site.proxy.ask(to(delete("f"), late)).await, json!({"result": "ok"}));
    }
    let held = site.relay.call().1;
    assert_eq!(held.streams[0].legs[1].remote.unwrap().rtp.port(), 6000);
    site.proxy.ask(to(delete("f"), "c")).await;
    assert!(site.relay.state().calls.is_empty());
}
