//! A phone that sends whatever SIP a test writes, byte for byte: for what SIPp's scenarios cannot say.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::deadline::seconds;

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
}
