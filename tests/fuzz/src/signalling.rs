//! What a SIP proxy and a program on the host send: NG, SDP, the programming protocol.

use std::net::IpAddr;

use control::ng::{bencode, message};
use control::sdp::write::{Local, Mux, Origin, Section};
use control::sdp::{Media, Sdp};
use relay::program::wire;

/// What a line of written SDP may begin with (RFC 8866), each of which control writes itself or from its allow-list.
const LINES: [&str; 8] = ["v=0", "o=- ", "s=-", "c=IN IP", "b=", "t=0 0", "m=", "a="];

/// An NG datagram: split, read, and answered in its own encoding.
pub fn ng(datagram: &[u8]) {
    let (cookie, body) = message::split(datagram).unwrap_or((b"1", datagram));
    let (encoding, request) = message::read(body);
    let reply = match request {
        Ok(_) => message::ok(),
        Err(e) => message::error(&e),
    };
    let reply = message::write(cookie, encoding, &reply);
    assert!(reply.starts_with(cookie));
    if let Ok(value) = bencode::decode(body) {
        let again = bencode::decode(&bencode::encode(&value));
        assert!(again.is_ok_and(|again| again == value), "what was read is written as it was");
    }
}

/// A session description: what is shown of it to the other party can be read again, and has only known lines.
pub fn sdp(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(sdp) = Sdp::parse(text) else { return };
    let address = IpAddr::from([192, 0, 2, 1]);
    let local = Local { address, rtp: 30_000, rtcp: 30_001 };
    let section = |media| {
        let local = Media::relayable(media).then_some(local);
        Section { media, protocol: &media.protocol, local, mux: Mux::Offered }
    };
    let sections: Vec<_> = sdp.media.iter().map(section).collect();
    let written = sdp.write(Origin { session: 1, version: 1 }, address, &sections);
    for line in written.lines() {
        assert!(LINES.iter().any(|known| line.starts_with(known)), "{line}");
    }
    let again = Sdp::parse(&written).expect("what is written can be read");
    assert_eq!(again.media.len(), sdp.media.len());
}

/// Bytes on the relay's programming socket.
pub fn wire(mut bytes: &[u8]) {
    while let Ok(Some((frame, used))) = wire::decode(bytes) {
        let mut again = Vec::new();
        wire::encode(&frame, &mut again).expect("what was read is no longer than the longest frame");
        assert!(wire::decode(&again).is_ok_and(|read| read.is_some_and(|(same, _)| same == frame)));
        bytes = &bytes[used..];
    }
}
