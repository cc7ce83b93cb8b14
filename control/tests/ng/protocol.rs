//! The protocol itself: encodings, cookies, duplicates, who is answered, and the exact texts of errors.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use control::moment::Moment;
use control::route::Outcome;
use control::settings::{ControlSettings, UnroutedOffers};
use relay::program::message::Refusal;
use serde_json::json;

use crate::site::{CANARY, Proxy, Site, answer, delete, offer, sdp, until};

#[tokio::test]
async fn both_encodings_are_answered_in_kind() {
    let mut site = Site::new().await;
    assert_eq!(site.proxy.ask_bytes(b"d7:command4:pinge").await, b"d6:result4:ponge");
    assert_eq!(site.proxy.ask_bytes(br#"{"command":"ping"}"#).await, br#"{"result":"pong"}"#);
    let reply = site.proxy.ask_bencode(offer("b", 4000)).await;
    assert!(reply["sdp"].as_str().unwrap().contains("m=audio 30002 RTP/AVP 8 101\r\n"));
    assert_eq!(site.proxy.ask_bencode(delete("b")).await["result"], "ok");
}

#[tokio::test]
async fn errors_have_their_exact_texts() {
    let mut site = Site::new().await;
    let without = |mut request: serde_json::Value, key: &str| {
        request.as_object_mut().unwrap().remove(key);
        request
    };
    let with_sdp = |sdp: &str| {
        let mut request = offer("e", 4000);
        request["sdp"] = sdp.into();
        request
    };
    let mut savp = offer("e", 4000);
    savp["transport-protocol"] = "RTP/SAVP".into();
    for (request, error) in [
        (json!({}), "Dictionary contains no key \"command\""),
        (json!({"command": "dance"}), "Unrecognized command"),
        (without(offer("e", 1), "sdp"), "No SDP body in message"),
        (without(offer("e", 1), "call-id"), "No call-id in message"),
        (without(offer("e", 1), "from-tag"), "No from-tag in message"),
        (without(answer("e", 1), "to-tag"), "No to-tag in message"),
        (with_sdp("garbage"), "Failed to parse SDP"),
        (with_sdp("v=0\r\ns=-\r\n"), "Incomplete SDP specification"),
        (with_sdp("v=0\r\nm=audio 4000 RTP/AVP 8\r\n"), "Incomplete SDP specification"),
        (
            with_sdp(&sdp(4000).replace("RTP/AVP", "RTP/SAVP")),
            "Unsupported media (RTP/AVP, RTP/AVPF and T.38 are relayed)",
        ),
        (savp, "Unsupported transport protocol (RTP/AVP and RTP/AVPF are relayed)"),
        (answer("e", 1), "Unknown call-id"),
        (json!({"command": "query", "call-id": "e"}), "Unknown call-id"),
        (json!({"command": "query"}), "No call-id in message"),
        (json!({"command": "start recording", "call-id": "e"}), "Unknown call-id"),
        (
            json!({"command": "delete", "call-id": "e", "flags": ["fatal"]}),
            "Call-ID not found or tags didn't match",
        ),
    ] {
        for reply in [site.proxy.ask(request.clone()).await, site.proxy.ask_bencode(request.clone()).await] {
            assert_eq!(reply, json!({"result": "error", "error-reason": error}), "{request}");
        }
    }
    for (body, error) in [
        (&b""[..], "Invalid data (no payload)"),
        (b"<xml/>", "Invalid NG data format"),
        (b"d3:foo", "Could not decode bencode dictionary"),
    ] {
        let reply = String::from_utf8(site.proxy.ask_bytes(body).await).unwrap();
        assert_eq!(reply, format!("d6:result5:error12:error-reason{}:{error}e", error.len()));
    }
    let reply = site.proxy.ask_bytes(b"{nonsense").await;
    assert_eq!(reply, br#"{"error-reason":"Failed to parse JSON document","result":"error"}"#);
    let reply = site.proxy.ask(json!({"command": "delete", "call-id": "e"})).await;
    assert_eq!(reply, json!({"result": "ok", "warning": "Call-ID not found or tags didn't match"}));
    assert!(site.relay.state().calls.is_empty());
    assert_eq!(site.relay.state().opened, 0);
}

#[tokio::test]
async fn ports_and_files_running_out_have_one_text_and_leave_no_call() {
    let mut site = Site::new().await;
    for refusal in [Refusal::OutOfPorts, Refusal::OutOfFiles] {
        site.relay.state().refuse = Some(refusal);
        let reply = site.proxy.ask(offer("p", 4000)).await;
        assert_eq!(reply, json!({"result": "error", "error-reason": "Ran out of ports"}));
        assert_eq!(site.proxy.ask(json!({"command": "list"})).await["calls"], json!([]));
    }
    site.relay.state().refuse = None;
    site.call("p").await;
}

#[tokio::test]
async fn a_request_that_comes_again_is_run_once() {
    let mut site = Site::new().await;
    site.relay.state().slow = Duration::from_millis(200);
    let body = offer("d", 4000).to_string();
    // Twice while the first is being worked on, once after.
    for _ in 0..3 {
        site.proxy.send("1_1", body.as_bytes()).await;
    }
    let replies = [site.proxy.receive().await, site.proxy.receive().await, site.proxy.receive().await];
    site.proxy.send("1_1", body.as_bytes()).await;
    let late = site.proxy.receive().await;
    assert!(String::from_utf8_lossy(&late).contains("m=audio 30002 "));
    assert!(replies.iter().all(|reply| *reply == late));
    assert_eq!(site.relay.counts(), (1, 0, 1));

    // The same cookie from another proxy is another request.
    let other = Proxy::new(site.control.address).await;
    other.send("1_1", br#"{"command":"ping"}"#).await;
    assert_eq!(other.receive().await, br#"1_1 {"result":"pong"}"#);

    // A retransmitted INVITE, with a new cookie, gets the same ports.
    let again = site.proxy.ask(offer("d", 4000)).await;
    assert!(again["sdp"].as_str().unwrap().contains("m=audio 30002 "));
    assert_eq!(site.relay.counts(), (1, 1, 1));
}

#[tokio::test]
async fn two_first_offers_at_once_make_one_call() {
    let mut site = Site::new().await;
    site.relay.state().slow = Duration::from_millis(100);
    let body = offer("t", 4000).to_string();
    site.proxy.send("1_1", body.as_bytes()).await;
    site.proxy.send("1_2", body.as_bytes()).await;
    for _ in 0..2 {
        assert!(String::from_utf8_lossy(&site.proxy.receive().await).contains("m=audio 30002 "));
    }
    assert_eq!(site.relay.counts(), (1, 1, 1));
    site.relay.state().slow = Duration::ZERO;
    site.proxy.ask(delete("t")).await;
}

#[tokio::test]
async fn what_has_no_cookie_gets_no_reply() {
    let mut site = Site::new().await;
    site.proxy.socket.send(b"d7:command4:pinge").await.unwrap();
    site.proxy.socket.send(b" d7:command4:pinge").await.unwrap();
    // An RTP packet whose payload is a request.
    site.proxy.socket.send(b"\x80\x08\x00\x01AAAABBBB d7:command4:pinge").await.unwrap();
    // The next reply is the next request's.
    assert_eq!(site.proxy.ask(json!({"command": "ping"})).await["result"], "pong");
}

#[tokio::test]
async fn other_networks_are_not_answered_unless_listed() {
    // An address of this host that is not its loopback: nothing is sent to find it.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let Some(ip) = probe.connect("192.0.2.1:9").ok().and_then(|()| probe.local_addr().ok()).map(|a| a.ip())
    else {
        println!("skipped: this host has no address but its loopback");
        return;
    };
    let settings = |allow: &[String]| ControlSettings {
        ng: SocketAddr::new(ip, 0),
        ng_allow: allow.iter().map(|n| n.parse().unwrap()).collect(),
        ..ControlSettings::default()
    };
    let site = Site::with(settings(&[])).await;
    site.proxy.send("1_1", br#"{"command":"ping"}"#).await;
    let dropped = || async {
        use control::live::LiveCalls;
        site.control.calls.metrics().await.contains("bauta_ng_dropped_total{reason=\"source\"} 1")
    };
    for _ in 0..1000 {
        if dropped().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(dropped().await);
    assert!(site.proxy.socket.try_recv(&mut [0; 64]).is_err(), "there is no reply");

    let mut site = Site::with(settings(&[format!("{ip}/32")])).await;
    assert_eq!(site.proxy.ask(json!({"command": "ping"})).await["result"], "pong");
}

#[tokio::test]
async fn an_unspecified_address_is_refused() {
    use std::sync::Arc;
    let site = Site::new().await;
    let settings =
        ControlSettings { ng: SocketAddr::new(IpAddr::from([0; 4]), 0), ..ControlSettings::default() };
    let error =
        control::ng::server::Server::bind(&settings, Arc::clone(&site.control.calls)).await.err().unwrap();
    assert!(error.to_string().starts_with("name one address of this host"));
}

#[tokio::test]
async fn a_call_that_was_not_routed_takes_no_ports() {
    let mut site = Site::new().await;
    site.control.book.remember("r", Outcome::Reject { reason: "no_trip" }, Moment::now());
    let reply = site.proxy.ask(offer("r", 4000)).await;
    assert_eq!(reply, json!({"result": "error", "error-reason": "Call was refused by its route decision"}));

    let settings = ControlSettings { unrouted_offers: UnroutedOffers::Refuse, ..ControlSettings::default() };
    let mut strict = Site::with(settings).await;
    let reply = strict.proxy.ask(offer("r", 4000)).await;
    assert_eq!(reply, json!({"result": "error", "error-reason": "Call was not routed"}));
    assert_eq!((site.relay.state().opened, strict.relay.state().opened), (0, 0));
    strict.route("r", true, 60);
    strict.call("r").await;
}

#[tokio::test]
async fn alien_datagrams_do_no_harm() {
    let mut site = Site::new().await;
    let whole = offer("x", 4000).to_string().into_bytes();
    for cut in (0..whole.len()).step_by(7) {
        site.proxy.send("9", &whole[..cut]).await;
        let mut broken = whole.clone();
        broken[cut] ^= 0x15;
        site.proxy.send(&format!("8_{cut}"), &broken).await;
    }
    // Drain what came back, then see that it still lives.
    until(|| site.proxy.socket.try_recv(&mut [0; 4096]).is_err()).await;
    let mut other = Proxy::new(site.control.address).await;
    assert_eq!(other.ask(json!({"command": "ping"})).await["result"], "pong");
    assert!(
        !site.relay.state().calls.values().any(|call| String::from_utf8_lossy(&call.blob).contains(CANARY))
    );
    site.relay.stop().await;
}
