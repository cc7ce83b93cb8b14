//! Two phones that talk through a relay, and notice every packet that is missing or not the other's.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use relay::program::message::{Learning, LegMedia, LocalPorts, Remote, Stream};

use crate::rig;

/// The parties' SSRCs.
pub const SSRC: [u8; 2] = [5, 6];
/// Packets per direction each time that they go on.
pub const TALK: u16 = 100;

/// A phone: its sockets for RTP and, one port higher, RTCP.
pub struct Phone {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
}

impl Phone {
    pub fn new(address: IpAddr) -> Self {
        loop {
            let rtp = rig::phone_at(address);
            // Somebody may have the next port.
            if let Ok(rtcp) = UdpSocket::bind((address, rtp.local_addr().unwrap().port().saturating_add(1))) {
                rtcp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                return Self { rtp, rtcp };
            }
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.rtp.local_addr().unwrap()
    }

    pub fn media(&self, learning: Learning) -> LegMedia {
        let remote = Remote { rtp: self.address(), rtcp: self.rtcp.local_addr().unwrap() };
        LegMedia { learning, remote: Some(remote), ..rig::media(&self.rtp) }
    }
}

/// The two phones of a call.
pub struct Talk {
    pub phones: [Phone; 2],
    pub ports: [LocalPorts; 2],
    /// RTCP comes and goes by its own ports.
    pub rtcp: bool,
    pub said: u16,
}

impl Talk {
    pub fn stream(phones: &[Phone; 2], learning: Learning) -> Stream {
        Stream { legs: phones.each_ref().map(|phone| phone.media(learning)), ..Stream::default() }
    }

    /// Each leg's index, what fills its packets, and its phone.
    fn legs(&self) -> impl Iterator<Item = (usize, u8, &Phone)> {
        (0..).zip(0..).zip(&self.phones).map(|((leg, mark), phone)| (leg, mark, phone))
    }

    /// Both say numbered packets, and then report; each hears all of the other's, in order, and nothing else.
    pub fn go_on(&mut self) {
        self.go_on_after(&[]);
    }

    /// Where others may have been heard before, who fill their packets with one of these, what is heard of them before
    /// the first number does not count.
    pub fn go_on_after(&mut self, others: &[u8]) {
        let numbers = self.said..self.said + TALK;
        for n in numbers.clone() {
            self.legs().for_each(|(leg, _, phone)| self.say(&phone.rtp, leg, n));
            std::thread::sleep(Duration::from_millis(2));
        }
        self.said += TALK;
        for (leg, mark, phone) in self.legs() {
            let (mut buffer, mut next) = ([0; 2048], numbers.start);
            while next < numbers.end {
                let (length, from) = phone.rtp.recv_from(&mut buffer).unwrap();
                assert_eq!(from.port(), self.ports[leg].rtp);
                let first = buffer[12..14] == next.to_be_bytes();
                if !first && next == numbers.start && others.contains(&buffer[14]) {
                    continue;
                }
                assert_eq!(buffer[14..length], [1 - mark; 158], "of the other phone");
                assert_eq!(buffer[12..14], next.to_be_bytes(), "all, in order");
                next += 1;
            }
            nothing_more(&phone.rtp);
        }
        if self.rtcp {
            self.report();
        }
    }

    /// One packet of a leg, from this socket.
    pub fn say(&self, from: &UdpSocket, leg: usize, n: u16) {
        let [high, low] = n.to_be_bytes();
        let header = [0x80, 8, high, low, 0, 0, high, low, 0, 0, 0, SSRC[leg]];
        let mark = u8::try_from(leg).unwrap();
        let packet = [&header[..], &[high, low], &[mark; 158]].concat();
        from.send_to(&packet, (self.ports[leg].address, self.ports[leg].rtp)).unwrap();
    }

    fn report(&self) {
        for (leg, mark, phone) in self.legs() {
            let packet = [&[0x80, 200, 0, 6, 0, 0, 0, SSRC[leg]][..], &[mark; 20]].concat();
            phone.rtcp.send_to(&packet, (self.ports[leg].address, self.ports[leg].rtcp)).unwrap();
        }
        for (_, mark, phone) in self.legs() {
            let mut buffer = [0; 2048];
            phone.rtcp.recv(&mut buffer).unwrap();
            assert_eq!(buffer[8..16], [1 - mark; 8], "the other phone's clock");
            nothing_more(&phone.rtcp);
        }
    }
}

/// All was heard that was sent.
pub fn nothing_more(phone: &UdpSocket) {
    phone.set_nonblocking(true).unwrap();
    let more = phone.recv(&mut [0; 2048]).map_err(|e| e.kind());
    assert_eq!(more, Err(ErrorKind::WouldBlock), "and nothing else");
    phone.set_nonblocking(false).unwrap();
}

/// Forgets what a phone has heard so far; true if that was anything.
pub fn drain(phone: &UdpSocket) -> bool {
    phone.set_nonblocking(true).unwrap();
    let mut any = false;
    while phone.recv(&mut [0; 2048]).is_ok() {
        any = true;
    }
    phone.set_nonblocking(false).unwrap();
    any
}
