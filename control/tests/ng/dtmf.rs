//! Telephone events: blocked and passed over NG and by the settings, told to the site's receiver, and to nobody else.

use std::time::{Duration, Instant};

use control::live::LiveCalls;
use control::settings::{ControlSettings, Dtmf};
use relay::program::message::{CallKey, Event, Leg, TelephoneEvent};
use serde_json::{Value as Json, json};
use tokio::net::UdpSocket;

use crate::site::{CANARY, Site, answer, logs, offer};

/// A number that stands in nothing but these keys.
const DURATION: u32 = 2_718_281_828;

fn command(command: &str, call_id: &str, more: Json) -> Json {
    let mut request = json!({"command": command, "call-id": call_id});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// Whose events the relay was told to block, in every stream.
fn blocked(site: &Site) -> [bool; 2] {
    let streams = site.relay.call().1.streams;
    let blocked = streams[0].legs.map(|leg| leg.block_events);
    assert!(streams.iter().all(|stream| stream.legs.map(|leg| leg.block_events) == blocked));
    blocked
}

fn digit(site: &Site, leg: Leg, event: u8) -> Event {
    let (call, event) = (site.relay.call().0, TelephoneEvent(event));
    Event::Digit { call, leg, event, duration_ms: DURATION, volume: 10 }
}

#[tokio::test]
async fn events_are_blocked_for_the_call_or_one_party_in_every_spelling() {
    let mut site = Site::new().await;
    site.call("b").await;
    let events =
        site.relay.call().1.streams[0].legs.map(|leg| leg.events.contains(101) && !leg.events.contains(8));
    assert_eq!(events, [true, true]);
    let (from, to) = (format!("from-{CANARY}"), format!("to-{CANARY}"));
    for (name, more, want) in [
        ("block DTMF", json!({}), [true, true]),
        ("unblock DTMF", json!({}), [false, false]),
        // Kamailio always says who sent the SIP message; alone that selects nobody.
        ("block-DTMF", json!({"from-tag": from}), [true, true]),
        ("unblock_dtmf", json!({"from tag": from}), [false, false]),
        ("block DTMF", json!({"from-tag": from, "flags": ["directional"]}), [true, false]),
        ("block DTMF", json!({"from-tag": to, "rtpp-flags": "directional"}), [true, true]),
        ("unblock DTMF", json!({}), [true, true]),
        ("unblock DTMF", json!({"from-tag": from, "flags": ["Directional"]}), [false, true]),
        ("unblock DTMF", json!({"flags": ["all"]}), [false, false]),
        ("block DTMF", json!({"from-tag": to, "flags": ["directional"]}), [false, true]),
        ("unblock DTMF", json!({"all": "all", "from-tag": from, "flags": ["directional"]}), [false, false]),
    ] {
        let asked = command(name, "b", more.clone());
        assert_eq!(site.proxy.ask(asked.clone()).await, json!({"result": "ok"}), "{name} {more}");
        assert_eq!(blocked(&site), want, "{name} {more}");
        assert_eq!(site.proxy.ask_bencode(asked).await, json!({"result": "ok"}), "again");
        assert_eq!(blocked(&site), want, "{name} {more}");
    }
}

#[tokio::test]
async fn what_cannot_be_blocked_is_an_error_and_changes_nothing() {
    let mut site = Site::new().await;
    site.call("e").await;
    let directional = json!({"from-tag": format!("x-{CANARY}"), "flags": ["directional"]});
    for (call_id, more, error) in [
        ("nobody", json!({}), "Unknown call-id"),
        ("e", directional, "From-tag given, but no such tag exists"),
        ("e", json!({"label": "agent"}), "Parties are selected by from-tag and the flag directional"),
        ("e", json!({"address": "192.0.2.1"}), "Parties are selected by from-tag and the flag directional"),
    ] {
        let reply = site.proxy.ask(command("block DTMF", call_id, more)).await;
        assert_eq!(reply, json!({"result": "error", "error-reason": error}));
    }
    let reply = site.proxy.ask(json!({"command": "block DTMF"})).await;
    assert_eq!(reply["error-reason"], "No call-id in message");
    assert_eq!(blocked(&site), [false, false]);
    site.relay.state().refuse = Some(relay::program::message::Refusal::Impossible("no".into()));
    let reply = site.proxy.ask(command("block DTMF", "e", json!({}))).await;
    assert_eq!(reply["error-reason"], "Relay refused the request");
    site.relay.state().refuse = None;
    site.proxy.ask(answer("e", 5000)).await;
    assert_eq!(blocked(&site), [false, false], "a refusal changes nothing");
}

#[tokio::test]
async fn an_offers_flag_blocks_its_party_and_stays_over_reoffers_and_restarts() {
    let mut site = Site::new().await;
    let mut first = offer("f", 4000);
    first["flags"] = json!(["trust-address", "block-DTMF"]);
    assert_eq!(site.proxy.ask(first).await["result"], "ok");
    assert_eq!(blocked(&site), [true, false], "at once: early media has keys too");
    assert_eq!(site.proxy.ask(answer("f", 5000)).await["result"], "ok");
    assert_eq!(blocked(&site), [true, false]);
    site.restart_control().await;
    let mut again = offer("f", 4000);
    again["to-tag"] = format!("to-{CANARY}").into();
    assert_eq!(site.proxy.ask(again).await["result"], "ok");
    let mut taken = answer("f", 5000);
    taken["rtpp-flags"] = "block_dtmf".into();
    assert_eq!(site.proxy.ask(taken).await["result"], "ok");
    assert_eq!(blocked(&site), [true, true]);
}

#[tokio::test]
async fn the_settings_may_block_until_the_proxy_says_otherwise() {
    let mut site = Site::with(ControlSettings { dtmf: Dtmf::Block, ..ControlSettings::default() }).await;
    site.call("s").await;
    assert_eq!(blocked(&site), [true, true]);
    site.proxy.ask(command("unblock DTMF", "s", json!({}))).await;
    assert_eq!(blocked(&site), [false, false]);
    site.restart_control().await;
    assert_eq!(site.proxy.ask(answer("s", 5000)).await["result"], "ok");
    assert_eq!(blocked(&site), [false, false], "the settings speak of new calls");
}

#[tokio::test]
async fn each_key_is_told_to_the_receiver_and_stands_nowhere_else() {
    let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dtmf_notify = receiver.local_addr().unwrap().to_string();
    let mut site = Site::with(ControlSettings { dtmf_notify, ..ControlSettings::default() }).await;
    site.call("n").await;
    let (from, to) = (format!("from-{CANARY}"), format!("to-{CANARY}"));
    let pressed = [(Leg::Caller, 4), (Leg::Caller, 9), (Leg::Callee, 11), (Leg::Caller, 2)];
    for (leg, event) in pressed {
        site.relay.tell(digit(&site, leg, event));
    }
    let mut buffer = [0; 2048];
    for (leg, event) in pressed {
        let wait = tokio::time::timeout(Duration::from_secs(5), receiver.recv(&mut buffer));
        let length = wait.await.unwrap().unwrap();
        let mut told: Json = serde_json::from_slice(&buffer[..length]).unwrap();
        let at = told.as_object_mut().unwrap().remove("timestamp").unwrap().as_i64().unwrap();
        assert!((time::OffsetDateTime::now_utc().unix_timestamp() - at).abs() < 60);
        let source_tag = if leg == Leg::Caller { &from } else { &to };
        let want = json!({"callid": "n", "source_tag": source_tag, "tags": [from, to], "type": "DTMF",
                          "event": event, "duration": DURATION, "volume": 10});
        assert_eq!(told, want);
    }
    let metrics = site.control.calls.metrics().await;
    for line in [
        "bauta_telephone_events_total{leg=\"caller\"} 3\n",
        "bauta_telephone_events_total{leg=\"callee\"} 1\n",
        "bauta_dtmf_notices_total{result=\"sent\"} 4\n",
        "bauta_dtmf_notices_total{result=\"lost\"} 0\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
    let shown = site.control.calls.list()[0].id;
    let detail = serde_json::to_string(&site.control.calls.get(shown).await.unwrap()).unwrap();
    let query = site.proxy.ask(command("query", "n", json!({}))).await.to_string();
    assert!(detail.contains("\"events\":2") && query.contains("\"telephone events\":2"), "{detail}\n{query}");
    // All of a key goes together: where its duration is not, the digit is not.
    for text in [metrics, detail, query, logs()] {
        assert!(!text.contains(&DURATION.to_string()) && !text.contains("\"DTMF\""), "{text}");
    }
}

#[tokio::test]
async fn without_a_receiver_or_with_one_out_of_reach_keys_are_counted_and_calls_go_on() {
    // Nobody may send to the last one.
    for (dtmf_notify, lost) in [("", 0), ("255.255.255.255:9", 3)] {
        let dtmf_notify = dtmf_notify.to_owned();
        let mut site = Site::with(ControlSettings { dtmf_notify, ..ControlSettings::default() }).await;
        site.call("w").await;
        for event in [1, 2, 3] {
            site.relay.tell(digit(&site, Leg::Callee, event));
        }
        let (call, event) = (CallKey(7), TelephoneEvent(1));
        site.relay.tell(Event::Digit { call, leg: Leg::Caller, event, duration_ms: DURATION, volume: 0 });
        let want = [
            "bauta_telephone_events_total{leg=\"caller\"} 1\n".to_owned(),
            "bauta_telephone_events_total{leg=\"callee\"} 3\n".to_owned(),
            format!("bauta_dtmf_notices_total{{result=\"lost\"}} {lost}\n"),
        ];
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let metrics = site.control.calls.metrics().await;
            if want.iter().all(|line| metrics.contains(line)) {
                break;
            }
            assert!(Instant::now() < end, "{metrics}");
        }
        assert_eq!(site.proxy.ask(command("query", "w", json!({}))).await["result"], "ok");
    }
}
