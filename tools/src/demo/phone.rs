//! A phone: an SDP, and a socket that sends and receives speech in real time.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use rtp::header::Header;
use rtp::packet::Packet;
use webrtc_util::marshal::{Marshal, Unmarshal};

/// Samples and bytes of a packet of 20 ms.
const PACKET: usize = 160;
/// One packet's time.
const PTIME: Duration = Duration::from_millis(20);
/// PCMA (RFC 3551, section 6).
const PCMA: u8 = 8;
/// How long a phone goes on listening when the last packet should have come.
const PATIENCE: Duration = Duration::from_secs(1);

/// One party's phone.
#[derive(Debug)]
pub struct Phone {
    socket: UdpSocket,
    number: String,
}

/// What came to a phone.
#[derive(Debug)]
pub struct Heard {
    /// Packets that the other phone sent.
    pub sent: usize,
    /// Everything that came, RTP headers included.
    pub datagrams: Vec<Vec<u8>>,
    /// How many packets held, in order, what was sent.
    pub identical: usize,
}

impl Phone {
    /// A phone on this host.
    pub fn new(address: IpAddr, number: &str) -> anyhow::Result<Self> {
        Ok(Self { socket: UdpSocket::bind((address, 0))?, number: number.to_owned() })
    }

    /// Its session description. Like careless phones do, it puts its number into `o=` and `s=`.
    pub fn sdp(&self) -> anyhow::Result<String> {
        let (own, number) = (self.socket.local_addr()?, &self.number);
        let (ip, port) = (own.ip(), own.port());
        let kind = if ip.is_ipv4() { "IP4" } else { "IP6" };
        Ok(format!(
            "v=0\r\no={number} 1 1 IN {kind} {ip}\r\ns=Call of {number}\r\nc=IN {kind} {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP {PCMA}\r\na=rtpmap:{PCMA} PCMA/8000\r\na=ptime:20\r\na=sendrecv\r\n"
        ))
    }

    /// Sends `says` to `to`, a packet every 20 ms, and hears what should be `hears` meanwhile.
    pub fn talk(&self, to: SocketAddr, says: &[u8], hears: &[u8]) -> anyhow::Result<Heard> {
        std::thread::scope(|scope| {
            let speaking = scope.spawn(|| self.say(to, says));
            let heard = self.hear(hears);
            speaking.join().map_err(|_| anyhow::anyhow!("a phone stopped by a fault"))??;
            heard
        })
    }

    fn say(&self, to: SocketAddr, speech: &[u8]) -> anyhow::Result<()> {
        let (ssrc, first) = (getrandom::u32()?, getrandom::u32()?);
        let start = Instant::now();
        for (n, payload) in (0_u32..).zip(speech.chunks_exact(PACKET)) {
            std::thread::sleep((start + PTIME * n).saturating_duration_since(Instant::now()));
            let header = Header {
                version: 2,
                marker: n == 0,
                payload_type: PCMA,
                sequence_number: (first.wrapping_add(n) & 0xffff) as u16,
                timestamp: first.wrapping_add(n * 160),
                ssrc,
                ..Header::default()
            };
            let packet = Packet { header, payload: Bytes::copy_from_slice(payload) };
            self.socket.send_to(&packet.marshal()?, to)?;
        }
        Ok(())
    }

    fn hear(&self, expected: &[u8]) -> anyhow::Result<Heard> {
        let sent = expected.len() / PACKET;
        let deadline = Instant::now() + PTIME * u32::try_from(sent)? + PATIENCE;
        self.socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (mut datagrams, mut buffer) = (Vec::new(), [0; 2048]);
        while datagrams.len() < sent && Instant::now() < deadline {
            if let Ok(length) = self.socket.recv(&mut buffer) {
                datagrams.push(buffer.get(..length).unwrap_or_default().to_vec());
            }
        }
        let identical = identical(&datagrams, expected);
        Ok(Heard { sent, datagrams, identical })
    }
}

/// How many packets hold what stands at their place of `speech`; the place is told by the sequence number, from the
/// first packet's on (RFC 3550, section 5.1).
fn identical(datagrams: &[Vec<u8>], speech: &[u8]) -> usize {
    let packets = datagrams.iter().filter_map(|datagram| Packet::unmarshal(&mut datagram.as_slice()).ok());
    let packets: Vec<_> = packets.filter(|packet| packet.header.payload_type == PCMA).collect();
    let Some(first) = packets.first().map(|packet| packet.header.sequence_number) else { return 0 };
    let same = |packet: &&Packet| {
        let place = usize::from(packet.header.sequence_number.wrapping_sub(first));
        speech.chunks_exact(PACKET).nth(place).is_some_and(|payload| packet.payload == payload)
    };
    packets.iter().filter(same).count()
}

/// Where an SDP wants its audio; `instead` takes the place of its address.
pub fn media(sdp: &str, instead: Option<IpAddr>) -> anyhow::Result<SocketAddr> {
    let line = |start: &str| sdp.lines().find_map(|line| line.strip_prefix(start));
    let port = line("m=audio ").and_then(|rest| rest.split(' ').next()).and_then(|port| port.parse().ok());
    let address = line("c=IN IP4 ").or_else(|| line("c=IN IP6 ")).and_then(|a| a.trim().parse().ok());
    let address = instead.or(address);
    let (address, port) = address.zip(port).context("control's SDP has no address for audio")?;
    Ok(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_phones_hear_each_other_whole() {
        let phones =
            [0, 1].map(|_| Phone::new(std::net::Ipv4Addr::LOCALHOST.into(), "+447700900001").unwrap());
        let [a, b] = [0, 1].map(|n: usize| media(&phones[n].sdp().unwrap(), None).unwrap());
        let (one, other) =
            (vec![0x55; PACKET * 5], (0..=u8::MAX).cycle().take(PACKET * 4).collect::<Vec<_>>());
        let (x, y) = std::thread::scope(|scope| {
            let x = scope.spawn(|| phones[0].talk(b, &one, &other).unwrap());
            let y = scope.spawn(|| phones[1].talk(a, &other, &one).unwrap());
            (x.join().unwrap(), y.join().unwrap())
        });
        assert_eq!((x.sent, x.datagrams.len(), x.identical), (4, 4, 4));
        assert_eq!((y.sent, y.datagrams.len(), y.identical), (5, 5, 5));
        assert_eq!(identical(&x.datagrams, &vec![0; PACKET * 4]), 0);
    }
}
