//! Quality as people see it: what proxies read, what the operator is shown, what is counted and kept of a call.

use control::live::LiveCalls;
use control::ng::bencode;
use control::ng::value::Value;
use control::settings::ControlSettings;
use serde_json::{Value as Json, json};

use crate::site::{CANARY, Site, answer, delete, offer, sdp, until};

/// The records of calls that ended, in the order in which they were written.
fn records(site: &Site) -> Vec<Json> {
    text(site).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(site: &Site) -> String {
    let Ok(days) = std::fs::read_dir(site.state.path().join("calls")) else { return String::new() };
    days.map(|day| std::fs::read_to_string(day.unwrap().path()).unwrap()).collect()
}

/// What the rtpengine modules of Kamailio and OpenSIPS make of a reply: the average MOS of all SSRCs in tenths, or of the
/// one that a tag's first stream names.
fn as_a_proxy_reads(reply: &Json, tag: Option<&str>) -> Option<i64> {
    let own = tag.map(|tag| reply["tags"][tag]["medias"][0]["streams"][0]["SSRC"].as_i64().unwrap());
    let all = reply["SSRC"].as_object().unwrap().iter();
    let scores: Vec<i64> = all
        .filter(|(id, _)| own.is_none_or(|own| id.parse() == Ok(own)))
        .filter_map(|(_, of)| of["average MOS"]["MOS"].as_i64())
        .collect();
    scores.iter().sum::<i64>().checked_div(i64::try_from(scores.len()).unwrap())
}

#[tokio::test]
async fn a_proxy_reads_scores_per_ssrc_and_per_tag() {
    let mut site = Site::new().await;
    site.route("q", true, 3600);
    site.call("q").await;
    let reply = site.proxy.ask(json!({"command": "query", "call-id": "q"})).await;
    let caller = &reply["SSRC"][(u32::MAX - 10).to_string()];
    let cut = ["bytes", "packets", "last RTP timestamp", "last RTP seq", "cumulative loss"]
        .map(|key| caller[key].clone());
    assert_eq!(json!(cut), json!([1720, 10, 1_234_567, 4_321, 2]));
    let average = json!({"MOS": 27, "round-trip time": 80_000, "round-trip time leg": 40_000, "jitter": 3,
                         "packet loss": 17, "samples": 1});
    assert_eq!(caller["average MOS"], average);
    for key in ["lowest MOS", "highest MOS"] {
        assert_eq!(caller[key]["MOS"], 27, "no whole span was measured");
        assert!(caller[key]["reported at"].as_i64() >= reply["created"].as_i64());
    }
    let tag = format!("from-{CANARY}");
    assert_eq!((as_a_proxy_reads(&reply, None), as_a_proxy_reads(&reply, Some(&tag))), (Some(27), Some(27)));
    let media = &reply["tags"][tag]["medias"][0];
    assert_eq!(media["ingress SSRCs"], json!([{"SSRC": u32::MAX - 10}]));

    let bytes = bencode::encode(&Value::from_json(reply)).len();
    assert!(bytes < 8_192, "{bytes} bytes");
    let ended = site.proxy.ask(delete("q")).await;
    assert_eq!(as_a_proxy_reads(&ended, None), Some(27));
}

#[tokio::test]
async fn the_operator_is_shown_how_a_call_sounds() {
    let mut site = Site::new().await;
    site.call("o").await;
    let id = site.control.calls.list()[0].id;
    // Jitter is measured in the clock that was negotiated.
    let clock = site.relay.call().1.streams[0].legs[0].clocks[0];
    assert!(clock.hz == 8_000 && clock.payload_types.contains(8), "{clock:?}");
    let shown = json!(site.control.calls.get(id).await.unwrap().streams);
    let [caller, rtcp, callee] = [0, 1, 2].map(|n| &shown[n]);
    let measured = json!({
        "loss": 0.1667, "jitter_ms": 2.5, "duplicates": 3, "reordered": 4, "round_trip_ms": 40.0, "mos": 2.73,
        "mos_lowest": 2.73, "mos_last": 2.73, "mos_heard": null
    });
    for (key, value) in measured.as_object().unwrap() {
        assert_eq!(&caller[key], value, "{key}");
        assert!(rtcp[key].is_null(), "{key} of RTCP");
    }
    assert_eq!((&caller["events"], &rtcp["events"]), (&json!(2), &json!(0)));
    // It missed one of the ten that were sent to it.
    assert!(callee["mos_heard"].as_f64() > callee["mos"].as_f64());
}

#[tokio::test]
async fn what_was_measured_is_counted_when_a_call_ends() {
    let mut site = Site::new().await;
    site.call("m").await;
    let mos = "bauta_call_mos_count{from=\"caller\"}";
    assert!(site.control.calls.metrics().await.contains(&format!("{mos} 0\n")));
    site.proxy.ask(delete("m")).await;
    site.proxy.ask(delete("m")).await;
    let metrics = site.control.calls.metrics().await;
    for line in [
        &format!("{mos} 1"),
        "bauta_call_mos_bucket{from=\"caller\",le=\"2.5\"} 0",
        "bauta_call_mos_bucket{from=\"caller\",le=\"3\"} 1",
        "bauta_call_seconds_count 1",
        "bauta_call_round_trip_seconds_sum{from=\"callee\"} 0.04",
        "bauta_call_packets_lost_total{from=\"caller\"} 2",
        "bauta_call_packets_duplicate_total{from=\"callee\"} 3",
        "bauta_call_records_lost_total 0",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn every_call_that_ends_has_a_record_without_numbers() {
    let mut site = Site::new().await;
    let call_id = &format!("{CANARY}@10.0.0.7");
    site.route(call_id, true, 3600);
    // The number wherever a party or the proxy can put one: in the name of a codec, too.
    let strange = |mut request: Json, port: u16| {
        let more = format!("a=rtpmap:97 {CANARY}/8000\r\na=mid:{CANARY}\r\n");
        request["sdp"] = (sdp(port).replace("RTP/AVP 8", "RTP/AVP 97 8") + &more).into();
        request["via-branch"] = CANARY.into();
        request["label"] = CANARY.into();
        request
    };
    let offered = site.proxy.ask(strange(offer(call_id, 4000), 4000)).await;
    assert_eq!(offered["result"], "ok", "{offered}");
    assert_eq!(site.proxy.ask(strange(answer(call_id, 5000), 5000)).await["result"], "ok");
    let id = site.control.calls.list()[0].id;
    site.proxy.ask(delete(call_id)).await;
    // One that nobody answers, and one that nobody routed.
    site.proxy.ask(offer(&format!("2{CANARY}"), 4000)).await;
    site.proxy.ask(delete(&format!("2{CANARY}"))).await;
    until(|| records(&site).len() == 2).await;

    let [first, second] = records(&site).try_into().unwrap();
    let leg = json!({
        "from": "caller", "media": "audio", "codec": "PCMA", "packets": 10, "bytes": 1720, "lost": 2, "duplicates": 3,
        "reordered": 4, "jitter_ms": 2.5, "round_trip_ms": 40.0, "mos": 2.73, "mos_lowest": 2.73, "mos_heard": null,
        "drops": {"payload_type": 1}, "events": 2, "tap_lost": 6
    });
    assert_eq!(first["legs"][0], leg);
    assert_eq!(
        (first["legs"][1]["from"].as_str(), first["legs"][1]["packets"].as_u64()),
        (Some("callee"), Some(5))
    );
    let facts =
        ["id", "trip", "city", "caller", "callee", "ended", "recorded", "lane"].map(|key| first[key].clone());
    assert_eq!(json!(facts), json!([id, "T-1001", "london", "driver", "passenger", "hangup", true, "uring"]));
    for key in ["offered_at", "answered_at", "ended_at"] {
        assert!(first[key].as_str().unwrap().ends_with('Z'), "{key}");
    }
    assert_eq!(first["seconds"], 0);
    let facts = ["trip", "caller", "answered_at", "ended", "recorded"].map(|key| second[key].clone());
    assert_eq!(json!(facts), json!([null, null, null, "unanswered", false]));
    for private in [CANARY, "from-", "10.0.0.7", "127.0.0.1", "4000", "5000"] {
        assert!(!text(&site).contains(private), "{private} is in {}", text(&site));
    }
}

#[tokio::test]
async fn calls_that_end_without_the_relay_have_records_without_figures() {
    let mut site = Site::new().await;
    for call_id in ["away", "lost"] {
        site.route(call_id, false, 60);
        site.call(call_id).await;
    }
    site.relay.stop().await;
    site.control.connected(false).await;
    site.proxy.ask(delete("away")).await;
    site.relay.come_back(true);
    site.control.connected(true).await;
    until(|| records(&site).len() == 2).await;
    let told: Vec<_> =
        records(&site).iter().map(|r| json!([r["ended"], r["trip"], r["legs"], r["lane"]])).collect();
    assert_eq!(json!(told), json!([["hangup", "T-1001", [], "uring"], ["lost", "T-1001", [], "uring"]]));
    // A new control goes on in the same file, and keeps none when it is told so.
    site.restart_control().await;
    site.call("after").await;
    site.proxy.ask(delete("after")).await;
    until(|| records(&site).len() == 3).await;
    site.set(ControlSettings { call_records_days: 0, ..ControlSettings::default() });
    site.restart_control().await;
    assert_eq!(text(&site), "");
    site.call("unkept").await;
    site.proxy.ask(delete("unkept")).await;
    assert_eq!(text(&site), "");
}
