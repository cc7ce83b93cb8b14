//! SIP that is legal and unusual: the proxy refuses what could carry an identity, and masks however it is written.
#![allow(clippy::similar_names, reason = "caller and callee are the field's words")]
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use tests::deadline::seconds;
use tests::leak::Canary;
use tests::pop::Lane;
use tests::programs::{A_CALL, installed};
use tests::raw::Raw;
use tests::stage::Stage;
use tests::trip::{Trip, trip};

const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 29999 RTP/AVP 8\r\n";

/// The head of a request of the driver's phone, in compact forms, with a second Via and a folded From.
fn request(stage: &Stage, trip: &Trip, method: &str, id: &str, more: &[&str]) -> Vec<String> {
    let (own, dial) = (&trip.driver.phone, &trip.driver.dial);
    let (proxy, port) = (stage.kamailio.address(), stage.pop.ports.caller());
    let mut lines = vec![
        format!("{method} sip:{dial}@{proxy} SIP/2.0"),
        format!("v: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{id};own={own}"),
        format!("v: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{own}"),
        format!("f: \"{own}\"\r\n <sip:{own}@192.0.2.1>;tag={id}{own}"),
        format!("t: \"{dial}\" <sip:{dial}@{proxy}>"),
        format!("i: {id}{own}"),
        format!("CSeq: 1 {method}"),
        format!("m: <sip:{own}@127.0.0.1:{port}>"),
        "Max-Forwards: 70".into(),
        format!("s: {own}"),
        format!("b: sip:{own}@192.0.2.1"),
        format!("p-asserted-identity : <sip:{own}@192.0.2.1>"),
    ];
    lines.extend(more.iter().map(|&line| line.to_owned()));
    lines
}

#[test]
fn what_could_carry_an_identity_is_refused() {
    if !installed(&A_CALL) {
        return;
    }
    let stage = Stage::set(Lane::Chosen);
    let trip = trip(&stage.pop, "T-1", 1);
    let (caller, callee) = (Raw::on(stage.pop.ports.caller()), Raw::on(stage.pop.ports.callee()));
    let sdp = "c: application/sdp";
    for (id, method, more, body, code) in [
        ("a", "REFER", &["r: <sip:+447700900777@192.0.2.1>"][..], "", 405),
        ("b", "MESSAGE", &["c: text/plain"][..], "hello", 405),
        ("c", "INFO", &["c: application/dtmf-relay"][..], "Signal=1\r\n", 405),
        ("d", "INVITE", &["c: multipart/mixed;boundary=x"][..], "--x\r\n\r\n--x--\r\n", 415),
        ("e", "INVITE", &["Require: 100rel", sdp][..], SDP, 420),
        ("f", "INVITE", &["Proxy-Require: privacy", sdp][..], SDP, 420),
        ("g", "BYE", &[][..], "", 481),
        // Last: the proxy repeats this answer until it is acknowledged.
        ("h", "INVITE", &[][..], "", 488),
    ] {
        caller.send(stage.kamailio.address(), &request(&stage, &trip, method, id, more), body);
        let answer = caller.expect("refusal");
        assert!(answer.starts_with(&format!("SIP/2.0 {code} ")), "{method} {more:?}: {answer}");
    }
    assert_eq!(callee.receive(seconds(1)), None, "the callee heard of a refused request");
    assert!(stage.pop.ports.media_in_use().is_empty(), "media ports are taken");
}

#[test]
fn compact_and_folded_headers_are_masked() {
    if !installed(&A_CALL) {
        return;
    }
    let stage = Stage::set(Lane::Chosen);
    let trip = trip(&stage.pop, "T-1", 1);
    let (caller, callee) = (Raw::on(stage.pop.ports.caller()), Raw::on(stage.pop.ports.callee()));
    let invite = request(&stage, &trip, "INVITE", "x", &["c: application/sdp"]);
    caller.send(stage.kamailio.address(), &invite, SDP);
    let seen = callee.expect("INVITE at the callee");
    Canary::new(&trip.driver.phone).absent_from("the INVITE", seen.as_bytes());
    assert!(seen.contains(&trip.passenger.dial), "no pool number is shown: {seen}");

    // The callee answers in kind. Every line of the caller's request comes back to it, and nothing else does.
    let own = &trip.passenger.phone;
    let echo = |name: &str| {
        seen.split("\r\n")
            .filter(move |l| l.to_ascii_lowercase().starts_with(name))
            .collect::<Vec<_>>()
            .join("\r\n")
    };
    let lines = [
        format!("SIP/2.0 603 {own} declines"),
        [echo("via:"), echo("v:")].join("\r\n"),
        echo("from:"),
        format!("{};tag={own}", echo("to:")),
        echo("call-id:"),
        echo("cseq:"),
        format!("m: <sip:{own}@192.0.2.2>"),
        format!("remote-party-id : <sip:{own}@192.0.2.2>"),
    ];
    callee.send(stage.kamailio.address(), &lines, "");
    let answer = caller.expect("answer at the caller");
    assert!(answer.starts_with("SIP/2.0 603 Decline\r\n"), "{answer}");
    Canary::new(own).absent_from("the answer", answer.as_bytes());
    for line in ["z9hG4bKx;own", "v: SIP/2.0/UDP 192.0.2.1", "i: x+44", "CSeq: 1 INVITE"] {
        assert!(answer.contains(line), "the caller's {line} is missing: {answer}");
    }
    stage.pop.wait_until_idle();
}
