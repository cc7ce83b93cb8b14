//! A recorded call of several lines: voice, video and a fax. Each goes its own way, and only the voice is in the archive.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use tests::archive::{Archive, files};
use tests::ng::ask;
use tests::phone::Phone;
use tests::pop::{Lane, Pop};
use tests::trip::{city, trip};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// What a fax says (T.38: a sequence number, then what is left to its receiver), and in no file may stand.
const FAX: &[u8] = b"\x00\x07\x06\xc0\x01\x80\x00\x00\xff a page of a fax";
const PICTURE: &[u8] = b"a slice of a picture";

/// A party with a socket for each line, and what its SDP says.
struct Party {
    lines: [Phone; 3],
}

impl Party {
    fn new(ssrc: u32) -> Self {
        Self { lines: [ssrc, ssrc + 10, ssrc + 20].map(|ssrc| Phone::at(HERE, ssrc)) }
    }

    fn sdp(&self) -> String {
        let [voice, video, fax] = self.lines.each_ref().map(|phone| phone.address().port());
        self.lines[0].sdp_of(&format!(
            "m=audio {voice} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n\
             m=video {video} RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n\
             m=image {fax} udptl t38\r\na=T38FaxVersion:0\r\na=T38FaxRateManagement:transferredTCF\r\n"
        ))
    }

    /// Takes the relay's port of each line out of the SDP that it is shown.
    fn shown(&mut self, reply: &Value) {
        let sdp = reply["sdp"].as_str().unwrap_or_else(|| panic!("no SDP: {reply}"));
        let ports = sdp.lines().filter_map(|line| line.strip_prefix("m=")?.split(' ').nth(1)?.parse().ok());
        let ports: Vec<u16> = ports.collect();
        assert!(ports.len() == 3 && !ports.contains(&0), "{sdp}");
        for (phone, port) in self.lines.iter_mut().zip(ports) {
            phone.towards = Some(SocketAddr::new(HERE, port));
        }
    }

    fn says(&self, line: usize, datagram: &[u8]) {
        let phone = &self.lines[line];
        phone.rtp.send_to(datagram, phone.towards.expect("shown")).expect("send");
    }

    fn hears(&self, line: usize) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let length = self.lines[line].rtp.recv(&mut buffer).expect("a datagram");
        buffer[..length].to_vec()
    }
}

#[test]
fn voice_video_and_fax_each_go_their_way_and_only_the_voice_is_recorded() {
    let pop = Pop::start(Lane::Chosen);
    city(&pop);
    let trip = trip(&pop, "T-1", 1);
    let question = json!({"call_id": "kinds", "from": format!("sip:{}@sbc.example", trip.driver.phone),
        "to": format!("sip:{}@pop.example", trip.driver.dial)});
    let _ = pop.client("proxy").post("/v1/route", &question).expect(200);
    let ng = pop.ports.ng();
    let (mut caller, mut callee) = (Party::new(1), Party::new(2));
    callee.shown(&ask(
        ng,
        &json!({"command": "offer", "call-id": "kinds", "from-tag": "a", "sdp": caller.sdp()}),
    ));
    let answer =
        json!({"command": "answer", "call-id": "kinds", "from-tag": "a", "to-tag": "b", "sdp": callee.sdp()});
    caller.shown(&ask(ng, &answer));

    let picture = [&[0x80, 96, 0, 1, 0, 0, 0, 90, 0, 0, 0, 11][..], PICTURE].concat();
    for (from, to) in [(&caller, &callee), (&callee, &caller)] {
        from.says(2, FAX);
        assert_eq!(to.hears(2), FAX, "a fax passes as it is");
        from.says(1, &picture);
        let heard = to.hears(1);
        assert_eq!((&heard[..2], &heard[12..]), (&picture[..2], PICTURE));
        assert_ne!(heard[8..12], picture[8..12], "its SSRC is the relay's");
        // A fax is no voice, and a voice no picture.
        from.says(0, FAX);
        from.says(1, &from.lines[0].packet(1));
    }
    for n in 0..100 {
        caller.lines[0].say(n);
        callee.lines[0].say(n);
    }
    let all: Vec<u16> = (0..100).collect();
    assert_eq!((caller.lines[0].heard(), callee.lines[0].heard()), (all.clone(), all));
    let metrics = pop.client("operator").get("/metrics").expect(200).body;
    for reason in ["not_rtp", "payload_type"] {
        let line = format!("bauta_relay_dropped_packets_total{{worker=\"0\",reason=\"{reason}\"}} 2");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    let query = ask(ng, &json!({"command": "query", "call-id": "kinds"}));
    assert_eq!(query["tags"]["a"]["medias"].as_array().map(Vec::len), Some(3), "{query}");
    ask(ng, &json!({"command": "delete", "call-id": "kinds", "from-tag": "a"}));

    let archive = &Archive::of_trip(&pop, &trip.name, 1)[0];
    archive.holds_and_tells_changes();
    assert_eq!((archive.number("/left/packets"), archive.number("/right/packets")), (100, 100));
    pop.wait_until_idle();
    for file in files(&pop.state()) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        for other in [FAX, PICTURE] {
            let held = bytes.windows(other.len()).any(|window| window == other);
            assert!(!held, "{} holds what is no voice", file.display());
        }
    }
}
