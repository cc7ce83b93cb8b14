//! SIP that is legal and unusual: the proxy refuses what could carry an identity, and masks however it is written.
#![allow(clippy::similar_names, reason = "caller and callee are the field's words")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::time::Duration;

use tests::deadline::{seconds, until};
use tests::kamailio::Site;
use tests::leak::Canary;
use tests::pop::Lane;
use tests::programs::{A_CALL, installed};
use tests::raw::{Raw, SDP};
use tests::stage::Stage;
use tests::trip::{Trip, trip};

/// The head of a request of the driver's phone, in compact forms, with a second Via, and Via and From folded.
fn request(stage: &Stage, trip: &Trip, method: &str, id: &str, more: &[&str]) -> Vec<String> {
    let (own, dial) = (&trip.driver.phone, &trip.driver.dial);
    let (proxy, port) = (stage.kamailio.address(), stage.pop.ports.caller());
    let mut lines = vec![
        format!("{method} sip:{dial}@{proxy} SIP/2.0"),
        format!("v: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{id};own={own}\r\n ;more={own}"),
        format!(
            "v: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{own}\r\n\t;more={own}\r\n , SIP/2.0/UDP 192.0.2.2;own={own}"
        ),
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

/// What stands twice where it may stand once would pass unread; a length that is none could be a number.
#[test]
fn what_cannot_be_read_to_its_end_goes_nowhere() {
    if !installed(&A_CALL) {
        return;
    }
    let stage = Stage::set(Lane::Chosen);
    let trip = trip(&stage.pop, "T-1", 1);
    let (caller, callee) = (Raw::on(stage.pop.ports.caller()), Raw::on(stage.pop.ports.callee()));
    let (sdp, own) = ("c: application/sdp", trip.driver.phone.trim_start_matches('+'));
    let (cseq, length) = (format!("CSeq: {} INVITE", &own[..9]), format!("Content-Length: {}", &own[..9]));
    let (calls, more) = (format!("i: {own}"), format!("Max-Forwards: 70\r\n {own}"));
    for (id, method, more, body) in [
        ("a", "INVITE", &[cseq.as_str(), sdp][..], SDP),
        ("b", "INVITE", &["max-forwards : 70", sdp][..], SDP),
        ("c", "INVITE", &[&more, sdp][..], SDP),
        ("d", "INVITE", &["Content-Length: 108", &length, sdp][..], SDP),
        ("e", "INVITE", &[&calls, sdp][..], SDP),
        ("f", "INVITE", &[&length, sdp][..], SDP),
        ("g", "BYE", &[length.as_str()][..], ""),
    ] {
        caller.send(stage.kamailio.address(), &request(&stage, &trip, method, id, more), body);
        let answer = caller.receive(Duration::from_millis(300));
        assert!(answer.as_ref().is_none_or(|a| a.starts_with("SIP/2.0 400 ")), "{id}: {answer:?}");
    }
    assert_eq!(callee.receive(seconds(1)), None, "the callee heard of it");
    assert!(stage.pop.ports.media_in_use().is_empty(), "media ports are taken");
    Canary::new(&trip.driver.phone).absent_from("the proxy's log", stage.kamailio.log().as_bytes());
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
    assert!(seen.contains("\r\nMax-Forwards: 69\r\n") && seen.contains("\r\nCSeq: 1 INVITE\r\n"), "{seen}");
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
    // A reply that says twice what may stand there once goes nowhere.
    let mut doubled = lines.to_vec();
    doubled[0] = format!("SIP/2.0 180 {own} rings");
    doubled.push(format!("CSeq: 447700900 {own}"));
    callee.send(stage.kamailio.address(), &doubled, "");
    assert_eq!(caller.receive(Duration::from_millis(300)), None, "a reply with two CSeq passed");
    callee.send(stage.kamailio.address(), &lines, "");
    let answer = caller.expect("answer at the caller");
    assert!(answer.starts_with("SIP/2.0 603 Decline\r\n"), "{answer}");
    Canary::new(own).absent_from("the answer", answer.as_bytes());
    for line in ["z9hG4bKx;own", "192.0.2.2;own", "v: SIP/2.0/UDP 192.0.2.1", "i: x+44", "CSeq: 1 INVITE"] {
        assert!(answer.contains(line), "the caller's {line} is missing: {answer}");
    }
    stage.pop.wait_until_idle();
}

#[test]
fn the_same_call_on_another_way_is_refused() {
    if !installed(&A_CALL) {
        return;
    }
    let stage = Stage::set(Lane::Chosen);
    let trip = trip(&stage.pop, "T-1", 1);
    let (caller, callee) = (Raw::on(stage.pop.ports.caller()), Raw::on(stage.pop.ports.callee()));
    let first = request(&stage, &trip, "INVITE", "x", &["c: application/sdp"]);
    caller.send(stage.kamailio.address(), &first, SDP);
    let seen = callee.expect("INVITE at the callee");

    // Same Call-ID, tag and CSeq, another branch.
    let mut merged = first.clone();
    merged[1] = merged[1].replace("z9hG4bKx", "z9hG4bKmerged");
    caller.send(stage.kamailio.address(), &merged, SDP);
    let answer = caller.expect("refusal");
    assert!(answer.starts_with("SIP/2.0 482 ") && answer.contains("z9hG4bKmerged"), "{answer}");
    acknowledge(&stage, &caller, &merged, &answer);

    // The call itself goes on; refused by the callee, it is over, and the caller may try again.
    let copied = |name: &str| {
        let lines: Vec<_> = seen.split("\r\n").filter(|l| l.starts_with(name)).collect();
        lines.join("\r\n")
    };
    let busy = [
        "SIP/2.0 486 Busy".into(),
        copied("Via:"),
        copied("v:"),
        copied("From:"),
        copied("To:") + ";tag=d",
        copied("Call-ID:"),
        copied("CSeq:"),
    ];
    callee.send(stage.kamailio.address(), &busy, "");
    let answer = caller.expect("answer");
    assert!(answer.starts_with("SIP/2.0 486 ") && answer.contains("z9hG4bKx"), "{answer}");
    acknowledge(&stage, &caller, &first, &answer);
    let _ = callee.expect("ACK at the callee");
    stage.pop.wait_until_idle();
    let mut again = first.clone();
    again[1] = again[1].replace("z9hG4bKx", "z9hG4bKagain");
    again[6] = "CSeq: 2 INVITE".into();
    caller.send(stage.kamailio.address(), &again, SDP);
    let seen = callee.expect("INVITE at the callee");
    assert!(seen.starts_with("INVITE ") && seen.contains("CSeq: 2 INVITE"), "{seen}");
}

#[test]
fn a_call_without_media_is_refused_and_forgotten() {
    if !installed(&A_CALL) {
        return;
    }
    let mut stage = Stage::set(Lane::Chosen);
    let trip = trip(&stage.pop, "T-1", 1);
    stage.pop.kill_relay();
    let (caller, callee) = (Raw::on(stage.pop.ports.caller()), Raw::on(stage.pop.ports.callee()));
    // Twice with one Call-ID and tag: what the first one left behind would refuse the second with 482.
    for n in 1..=2 {
        let mut invite = request(&stage, &trip, "INVITE", "x", &["c: application/sdp"]);
        invite[1] = invite[1].replace("z9hG4bKx", &format!("z9hG4bKx{n}"));
        invite[6] = format!("CSeq: {n} INVITE");
        caller.send(stage.kamailio.address(), &invite, SDP);
        let answer = caller.expect("refusal");
        assert!(answer.starts_with("SIP/2.0 503 ") && answer.contains(&format!("CSeq: {n} ")), "{answer}");
        acknowledge(&stage, &caller, &invite, &answer);
        until("the proxy says why", seconds(5), || {
            (stage.kamailio.log().matches("media refused").count() == n).then_some(())
        });
        assert_eq!(tests::ng::calls(stage.pop.ports.ng()), 0, "control lists a call");
    }
    assert_eq!(callee.receive(seconds(1)), None, "the callee was called");
}

/// The ACK of a refusal: the INVITE's lines with the answer's To.
fn acknowledge(stage: &Stage, caller: &Raw, invite: &[String], answer: &str) {
    let to = answer.split("\r\n").find(|l| l.starts_with("t:") || l.starts_with("To:")).expect("To");
    let mut ack: Vec<String> = invite[..9].to_vec();
    ack[0] = ack[0].replace("INVITE", "ACK");
    to.clone_into(&mut ack[4]);
    ack[6] = ack[6].replace("INVITE", "ACK");
    caller.send(stage.kamailio.address(), &ack, "");
}

#[test]
fn without_a_next_hop_the_caller_does_not_choose_one() {
    if !installed(&A_CALL) {
        return;
    }
    let stage = Stage::with_site(Lane::Chosen, |_| Site { next_hop: Some(String::new()), ..Site::default() });
    let trip = trip(&stage.pop, "T-1", 1);
    let (caller, callee) = (Raw::on(stage.pop.ports.caller()), Raw::on(stage.pop.ports.callee()));
    let mut invite = request(&stage, &trip, "INVITE", "x", &["c: application/sdp"]);
    invite[0] = format!("INVITE sip:{}@127.0.0.1:{} SIP/2.0", trip.driver.dial, stage.pop.ports.callee());
    caller.send(stage.kamailio.address(), &invite, SDP);
    let answer = caller.expect("refusal");
    assert!(answer.starts_with("SIP/2.0 500 "), "{answer}");
    assert_eq!(callee.receive(seconds(1)), None, "the caller's host was told the callee's number");
}
