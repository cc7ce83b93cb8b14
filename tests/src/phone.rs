//! A phone without SIP: its RTP and RTCP sockets, and what its SDP says. It says numbered packets and notes which it
//! hears.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use serde_json::Value;

/// Payload type of all that it says: PCMA.
const PCMA: u8 = 8;

/// A phone, and where it sends to.
#[derive(Debug)]
pub struct Phone {
    /// RTP.
    pub rtp: UdpSocket,
    /// RTCP, on the next port.
    pub rtcp: UdpSocket,
    /// The relay's RTP port, once an SDP has told it.
    pub towards: Option<SocketAddr>,
    ssrc: [u8; 4],
}

impl Phone {
    /// A phone at `address` that speaks under `ssrc`.
    pub fn at(address: IpAddr, ssrc: u32) -> Self {
        let pair = (0..100).find_map(|_| {
            let rtp = UdpSocket::bind((address, 0)).ok()?;
            let port = rtp.local_addr().ok()?.port();
            let rtcp = UdpSocket::bind((address, port.checked_add(1)?)).ok()?;
            (port % 2 == 0).then_some((rtp, rtcp))
        });
        let (rtp, rtcp) = pair.expect("an even port and the next");
        for socket in [&rtp, &rtcp] {
            socket.set_read_timeout(Some(Duration::from_millis(300))).expect("time-out");
        }
        Self { rtp, rtcp, towards: None, ssrc: ssrc.to_be_bytes() }
    }

    /// Its RTP address.
    pub fn address(&self) -> SocketAddr {
        self.rtp.local_addr().expect("address")
    }

    /// `IN IP4 192.0.2.1`, of its address.
    pub fn network(&self) -> String {
        let ip = self.address().ip();
        format!("IN {} {ip}", if ip.is_ipv4() { "IP4" } else { "IP6" })
    }

    /// Its SDP: A-law and telephone events.
    pub fn sdp(&self) -> String {
        self.sdp_of(&format!(
            "m=audio {} RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n",
            self.address().port()
        ))
    }

    /// An SDP of these m-lines.
    pub fn sdp_of(&self, lines: &str) -> String {
        let network = self.network();
        format!("v=0\r\no=- 1 1 {network}\r\ns=-\r\nc={network}\r\nt=0 0\r\n{lines}")
    }

    /// Takes the relay's address out of the SDP that it is shown.
    #[track_caller]
    pub fn shown(&mut self, reply: &Value) {
        let sdp = reply["sdp"].as_str().unwrap_or_else(|| panic!("no SDP: {reply}"));
        let word = |start: &str, n: usize| {
            let line = sdp.lines().find_map(|line| line.strip_prefix(start));
            line.and_then(|line| line.split(' ').nth(n)).unwrap_or_else(|| panic!("no {start} in {sdp}"))
        };
        let ip: IpAddr = word("c=", 2).parse().expect("address");
        self.towards = Some(SocketAddr::new(ip, word("m=", 1).parse().expect("port")));
    }

    /// The RTP packet number `n`: G.711, whose payload begins with the number.
    pub fn packet(&self, n: u16) -> Vec<u8> {
        let [high, low] = n.to_be_bytes();
        let timestamp = (u32::from(n) * 160).to_be_bytes();
        [&[0x80, PCMA, high, low][..], &timestamp, &self.ssrc, &[high, low], &[0xD5; 158]].concat()
    }

    /// Says packet number `n`.
    pub fn say(&self, n: u16) {
        self.rtp.send_to(&self.packet(n), self.towards.expect("an SDP was shown")).expect("send");
    }

    /// The numbers of all packets that have come, in their order.
    pub fn heard(&self) -> Vec<u16> {
        let mut numbers = Vec::new();
        let mut buffer = [0; 2048];
        loop {
            match self.rtp.recv(&mut buffer) {
                Ok(length) if length >= 14 && buffer[1] & 0x7F == PCMA => {
                    numbers.push(u16::from_be_bytes([buffer[12], buffer[13]]));
                }
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return numbers,
                Err(e) => panic!("{e}"),
            }
        }
    }
}
