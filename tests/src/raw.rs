//! A phone that sends whatever SIP a test writes, byte for byte: for what SIPp's scenarios cannot say.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::deadline::seconds;
use crate::sipp::Dials;

/// An SDP of one stream that nobody sends.
pub const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 29999 RTP/AVP 8\r\n";

/// A UDP socket on a SIP port.
#[derive(Debug)]
pub struct Raw {
    socket: UdpSocket,
}

impl Raw {
    /// Takes the port.
    pub fn on(port: u16) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).expect("SIP port");
        Self { socket }
    }

    /// Sends `lines` as the head of a message, and `body`, with its length when no line says one.
    pub fn send(&self, to: SocketAddr, lines: &[String], body: &str) {
        let mut head = lines.join("\r\n");
        if !head.contains("\r\nContent-Length: ") {
            write!(head, "\r\nl: {}", body.len()).expect("a String takes it");
        }
        let message = format!("{head}\r\n\r\n{body}");
        self.socket.send_to(message.as_bytes(), to).expect("send");
    }

    /// The next message that is no 100, or none within `limit`.
    pub fn receive(&self, limit: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(limit)).expect("time-out");
        let mut buffer = vec![0; 65_536];
        loop {
            let length = self.socket.recv(&mut buffer).ok()?;
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if !text.starts_with("SIP/2.0 100") {
                return Some(text);
            }
        }
    }

    /// The next message; fails when there is none.
    #[track_caller]
    pub fn expect(&self, what: &str) -> String {
        self.receive(seconds(5)).unwrap_or_else(|| panic!("no {what}"))
    }

    /// Sends a plain INVITE with [`SDP`] and waits for its answer, which it acknowledges when that is a refusal. `id` makes
    /// the call another one than the ones before; `more` are further lines, or a `From:` in the place of the usual.
    #[track_caller]
    pub fn call(&self, proxy: SocketAddr, dials: &Dials, id: &str, more: &[&str]) -> String {
        let invite = self.invite(proxy, dials, id, more);
        self.send(proxy, &invite, SDP);
        let answer = self.expect("answer to an INVITE");
        if answer.starts_with("SIP/2.0 1") {
            return answer;
        }
        let to = line(&answer, "To:");
        let mut ack: Vec<String> = invite.iter().take(7).cloned().collect();
        ack[0] = ack[0].replace("INVITE", "ACK");
        ack[2] = "CSeq: 1 ACK".into();
        ack[3] = to;
        self.send(proxy, &ack, "");
        answer
    }

    fn invite(&self, proxy: SocketAddr, Dials { own, dial }: &Dials, id: &str, more: &[&str]) -> Vec<String> {
        let here = self.socket.local_addr().expect("address");
        let from = more.iter().find(|line| line.starts_with("From:"));
        let from = from.map_or_else(|| format!("From: <sip:{own}@{here}>;tag={id}"), |&from| from.into());
        let mut lines = vec![
            format!("INVITE sip:{dial}@{proxy} SIP/2.0"),
            format!("Via: SIP/2.0/UDP {here};branch=z9hG4bK{id}"),
            "CSeq: 1 INVITE".into(),
            format!("To: <sip:{dial}@{proxy}>"),
            from,
            format!("Call-ID: {id}"),
            "Max-Forwards: 70".into(),
            format!("Contact: <sip:{here}>"),
            "Content-Type: application/sdp".into(),
        ];
        lines.extend(more.iter().filter(|line| !line.starts_with("From:")).map(|&line| line.to_owned()));
        lines
    }
}

/// The first line of `message` that begins with `name`.
pub fn line(message: &str, name: &str) -> String {
    message.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
}

/// The head of a reply to `request` with `status`, like `486 Busy`.
pub fn reply(request: &str, status: &str) -> Vec<String> {
    let of = |name: &str| {
        request.split("\r\n").filter(|line| line.starts_with(name)).collect::<Vec<_>>().join("\r\n")
    };
    vec![
        format!("SIP/2.0 {status}"),
        of("Via:"),
        of("From:"),
        of("To:") + ";tag=d",
        of("Call-ID:"),
        of("CSeq:"),
    ]
}
