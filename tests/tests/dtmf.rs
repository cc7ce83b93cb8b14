//! Digits that a party keys reach the other party, unless they are blocked, and no file: counted, silenced with the tone
//! beside them, never kept.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::archive::{Archive, files};
use tests::audio::Stereo;
use tests::deadline::{seconds, until};
use tests::ng::ask;
use tests::pop::{Lane, Pop};
use tests::trip::{city, trip};

const SSRC: [u8; 4] = [0xD1, 0x61, 0x75, 0x53];
/// Digits, with the packet at which each begins; 100 ms each.
const KEYED: [(u8, u16); 2] = [(5, 75), (9, 110)];

/// A leg's socket, and what its SDP says.
fn leg() -> (UdpSocket, String) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("socket");
    let port = socket.local_addr().expect("address").port();
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 8 101\r\n\
         a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
    );
    (socket, sdp)
}

/// Where the answer's media is to be sent.
fn media(answer: &Value) -> SocketAddr {
    let sdp = answer["sdp"].as_str().unwrap_or_else(|| panic!("no SDP: {answer}"));
    let line = sdp.lines().find_map(|l| l.strip_prefix("m=audio ")).expect("audio");
    let port = line.split(' ').next().and_then(|p| p.parse().ok()).expect("port");
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn rtp(payload_type: u8, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let [high, low] = sequence.to_be_bytes();
    [&[0x80, payload_type, high, low][..], &timestamp.to_be_bytes(), &SSRC, payload].concat()
}

/// A square wave of 800 Hz: an A-law code and the one of the opposite sign.
fn hum(code: u8) -> Vec<u8> {
    (0..160).map(|i| if i % 10 < 5 { code } else { code ^ 0x80 }).collect()
}

#[test]
fn a_digit_reaches_the_other_party_and_no_file() {
    keyed(false);
}

#[test]
fn a_blocked_digit_reaches_neither_the_other_party_nor_a_file() {
    keyed(true);
}

/// A call in which digits are keyed.
fn keyed(blocked: bool) {
    let pop = Pop::start_tracing(Lane::Chosen);
    city(&pop);
    let trip = trip(&pop, "T-1", 1);
    let question = json!({"call_id": "keyed", "from": format!("sip:{}@sbc.example", trip.driver.phone),
        "to": format!("sip:{}@pop.example", trip.driver.dial)});
    let _ = pop.client("proxy").post("/v1/route", &question).expect(200);
    let ((caller, offer), (callee, answer)) = (leg(), leg());
    let ng = pop.ports.ng();
    let to_callee = ask(ng, &json!({"command": "offer", "call-id": "keyed", "from-tag": "a", "sdp": offer}));
    let to_caller = ask(
        ng,
        &json!({"command": "answer", "call-id": "keyed", "from-tag": "a", "to-tag": "b", "sdp": answer}),
    );
    let (to_callee, to_caller) = (media(&to_caller), media(&to_callee));
    if blocked {
        let reply = ask(ng, &json!({"command": "block DTMF", "call-id": "keyed"}));
        assert_eq!(reply["result"], "ok", "{reply}");
    }
    callee.set_read_timeout(Some(Duration::from_millis(100))).expect("time-out");
    until("the recording begins", seconds(5), || pop.logs().contains("a call begins").then_some(()));
    let logged = pop.logs();
    let (begun, mut sequence) = (Instant::now(), 0);
    for n in 0..150_u16 {
        std::thread::sleep(
            (begun + Duration::from_millis(20) * n.into()).saturating_duration_since(Instant::now()),
        );
        let keyed = KEYED.into_iter().find(|(_, at)| (*at..at + 5).contains(&n));
        // The tone sounds in the speech, too, and from 20 ms before the event is told.
        let tone = KEYED.into_iter().any(|(_, at)| (at - 1..at + 5).contains(&n));
        let speech = rtp(8, sequence, u32::from(n) * 160, &hum(if tone { 0x2A } else { 0x35 }));
        caller.send_to(&speech, to_callee).expect("send");
        sequence += 1;
        if let Some((digit, at)) = keyed {
            let [high, low] = ((n - at + 1) * 160).to_be_bytes();
            let end = if n == at + 4 { 0x80 } else { 0 };
            let event = rtp(101, sequence, u32::from(at) * 160, &[digit, end | 0x0A, high, low]);
            caller.send_to(&event, to_callee).expect("send");
            sequence += 1;
        }
        callee.send_to(&rtp(8, n, u32::from(n) * 160, &hum(0x35)), to_caller).expect("send");
    }
    let (mut heard, mut buffer) = (Vec::new(), [0; 2048]);
    while let Ok(length) = callee.recv(&mut buffer) {
        if buffer[1] & 0x7F == 101 && length == 16 {
            heard.push(buffer[12]);
        }
    }
    let keys = if blocked { Vec::new() } else { [[5; 5], [9; 5]].concat() };
    assert_eq!(heard, keys, "the digits that the callee heard");
    assert!(pop.logs() == logged, "somebody logs a word while keys are pressed");
    let counted = "bauta_telephone_events_total{leg=\"caller\"} 2\n";
    until("control has heard of both keys", seconds(5), || {
        pop.client("operator").get("/metrics").expect(200).body.contains(counted).then_some(())
    });
    let _ = ask(ng, &json!({"command": "delete", "call-id": "keyed", "from-tag": "a", "delete delay": 0}));

    let archive = &Archive::of_trip(&pop, &trip.name, 1)[0];
    archive.holds_and_tells_changes();
    assert_eq!((archive.number("/left/dtmf"), archive.number("/right/dtmf")), (2, 0));
    assert!(archive.gaps().is_empty(), "{:?}", archive.gaps());
    let silenced = archive.manifest["silenced"].as_array().expect("a list");
    assert_eq!(silenced.len(), 2, "{silenced:?}");
    let stereo = Stereo::decode(&archive.audio(), pop.folder());
    let loudest = |samples: &[f64]| samples.iter().fold(0.0_f64, |most, s| most.max(s.abs()));
    for (span, (_, at)) in silenced.iter().zip(KEYED) {
        let [from, to] =
            ["from_ms", "to_ms"].map(|k| usize::try_from(span[k].as_u64().expect("ms")).expect("fits"));
        let said = usize::from(at) * 20;
        assert!(from <= said && to >= said + 100 && to - from < 450, "{span}");
        assert!(loudest(&stereo.left[(from + 50) * 48..(to - 50) * 48]) < 0.02, "a tone at {from} ms");
        assert!(loudest(&stereo.right[from * 48..to * 48]) > 0.05, "the other side speaks on");
    }
    assert!(loudest(&stereo.left[20 * 960..50 * 960]) > 0.05);
    // The spool holds the tone until its archive is made, and no digit ever.
    pop.wait_until_idle();
    until("the spool is given up", seconds(10), || {
        let spools = files(&pop.state().join("spool"));
        spools.iter().all(|file| file.extension().is_none_or(|e| e != "pcapng")).then_some(())
    });
    let mut masked = 0;
    for file in files(&pop.state()) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        for at in bytes.windows(4).enumerate().filter(|(_, w)| *w == SSRC).map(|(at, _)| at + 4) {
            let payload = &bytes[at..(at + 40).min(bytes.len())];
            for (digit, _) in KEYED {
                assert!(
                    !payload.starts_with(&[digit, 10]) && !payload.starts_with(&[digit, 0x8A]),
                    "{}",
                    file.display()
                );
            }
            masked += usize::from(payload.starts_with(&[0xFF]) || payload.starts_with(&[0; 4]));
            assert!(!payload.starts_with(&hum(0x2A)[..40]), "the tone is in {}", file.display());
        }
    }
    assert!(masked >= 10, "{masked} events without their digit");
}
