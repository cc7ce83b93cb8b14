//! Frames: what a phone may send, and what else may come.

use std::net::{IpAddr, SocketAddr};

/// Numbers that are the same in every run.
pub struct Chance(u64);

impl Chance {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    /// Mostly what phones send.
    pub fn kind(&mut self) -> Kind {
        if self.below(3) > 0 { Kind::Plain } else { Kind::ALL[self.below(Kind::ALL.len())] }
    }
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Long,
    Marked,
    Event,
    PayloadType,
    OtherSource,
    Padded,
    Extended,
    Contributed,
    Rtcp,
    Alien,
    Short,
    Stranger,
    StrangePort,
    OtherPort,
    Options,
    Fragment,
    LastHop,
    BrokenHeader,
    LongerThanItself,
    NoChecksum,
    Tagged,
    Cut,
}

impl Kind {
    pub const ALL: [Self; 23] = [
        Self::Plain,
        Self::Long,
        Self::Marked,
        Self::Event,
        Self::PayloadType,
        Self::OtherSource,
        Self::Padded,
        Self::Extended,
        Self::Contributed,
        Self::Rtcp,
        Self::Alien,
        Self::Short,
        Self::Stranger,
        Self::StrangePort,
        Self::OtherPort,
        Self::Options,
        Self::Fragment,
        Self::LastHop,
        Self::BrokenHeader,
        Self::LongerThanItself,
        Self::NoChecksum,
        Self::Tagged,
        Self::Cut,
    ];
}

/// A frame, and what of it reaches a socket, if anything: from whom, and the payload.
#[derive(Debug, Clone)]
pub struct Frame {
    pub bytes: Vec<u8>,
    pub delivered: Option<(SocketAddr, Vec<u8>)>,
}

/// A stream of one phone.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

impl Stream {
    /// Its next packet.
    pub fn next(&mut self, kind: Kind, chance: &mut Chance) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(160);
        if kind == Kind::OtherSource {
            self.ssrc = self.ssrc.wrapping_add(0x0101_0101);
        }
        let (mut first, mut second) = (0x80, 8);
        let mut rest = Vec::new();
        let mut length = if kind == Kind::Long { 1_200 } else { 160 - chance.below(40) };
        let mut behind: &[u8] = &[];
        match kind {
            Kind::Marked => second |= 0x80,
            Kind::Event => (second, length) = (101, 4),
            Kind::PayloadType => second = 9,
            Kind::Padded => (first, behind) = (0xa0, &[0, 0, 0, 4]),
            Kind::Extended => {
                first = 0x90;
                rest.extend([0xbe, 0xde, 0, 1, 0x10, 7, 0, 0]);
            }
            Kind::Contributed => {
                first = 0x81;
                rest.extend([1, 2, 3, 4]);
            }
            Kind::Rtcp => return [&[0x80, 201, 0, 1][..], &self.ssrc.to_be_bytes()].concat(),
            Kind::Alien => first = 0x00,
            Kind::Short => return vec![0x80, 8, 0, 1, 0, 0, 0][..chance.below(8)].to_vec(),
            _ => {}
        }
        let mut packet = vec![first, second];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend(rest);
        packet.extend((0..length).map(|_| u8::try_from(chance.below(256)).unwrap()));
        packet.extend(behind);
        packet
    }
}

/// A frame of this kind with `payload`, from `from` to `to`; with a VLAN tag or without.
pub fn frame(
    kind: Kind,
    (from, to): (SocketAddr, SocketAddr),
    vlan: bool,
    payload: &[u8],
    chance: &mut Chance,
) -> Frame {
    let mut from = from;
    let mut to = to;
    match kind {
        Kind::Stranger => from.set_ip(elsewhere(from.ip())),
        Kind::StrangePort => from.set_port(from.port() ^ 1),
        Kind::OtherPort => to.set_port(to.port() ^ 0x4000),
        _ => {}
    }
    let mut udp = Vec::new();
    udp.extend(from.port().to_be_bytes());
    udp.extend(to.port().to_be_bytes());
    let length = u16::try_from(8 + payload.len()).unwrap();
    udp.extend(if kind == Kind::LongerThanItself { length + 40 } else { length }.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let sum = checksum(&[pseudo(from.ip(), to.ip(), udp.len()), udp.clone()].concat());
    // IPv6 must have one.
    if kind != Kind::NoChecksum || from.is_ipv6() {
        udp[6..8].copy_from_slice(&if sum == 0 { 0xffff } else { sum }.to_be_bytes());
    }
    let hops = if kind == Kind::LastHop { 1 } else { 64 };
    let mut packet = match (from.ip(), to.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let options: &[u8] = if kind == Kind::Options { &[1, 1, 1, 0] } else { &[] };
            let mut head = vec![if options.is_empty() { 0x45 } else { 0x46 }, 0];
            head.extend(u16::try_from(20 + options.len() + udp.len()).unwrap().to_be_bytes());
            head.extend([0x12, 0x34]);
            head.extend(if kind == Kind::Fragment { [0x20, 0] } else { [0, 0] });
            head.extend([hops, 17, 0, 0]);
            head.extend(a.octets());
            head.extend(b.octets());
            head.extend(options);
            let sum = checksum(&head) ^ u16::from(kind == Kind::BrokenHeader);
            head[10..12].copy_from_slice(&sum.to_be_bytes());
            head
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let extension: &[u8] = match kind {
                Kind::Options => &[17, 0, 1, 4, 0, 0, 0, 0],
                Kind::Fragment => &[17, 0, 0, 1, 0, 0, 0, 9],
                _ => &[],
            };
            let mut head = vec![if kind == Kind::BrokenHeader { 0x50 } else { 0x60 }, 0, 0x12, 0x34];
            head.extend(u16::try_from(extension.len() + udp.len()).unwrap().to_be_bytes());
            head.push(match kind {
                Kind::Options => 60,
                Kind::Fragment => 44,
                _ => 17,
            });
            head.push(hops);
            head.extend(a.octets());
            head.extend(b.octets());
            head.extend(extension);
            head
        }
        _ => unreachable!("one family"),
    };
    packet.extend(&udp);
    let family: [u8; 2] = if from.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, if from.port() & 1 == 0 { 2 } else { 3 }];
    if vlan != (kind == Kind::Tagged) {
        bytes.extend([0x81, 0, 0, 7]);
    }
    bytes.extend(family);
    bytes.extend(&packet);
    let mut whole = true;
    if kind == Kind::Cut {
        bytes.truncate(14 + chance.below(bytes.len() - 14));
        whole = false;
    }
    // Fragments wait for the rest of theirs; the others the kernel throws away, or they are for another socket.
    let arrives = whole
        && !matches!(kind, Kind::Fragment | Kind::BrokenHeader | Kind::LongerThanItself | Kind::OtherPort);
    Frame { bytes, delivered: arrives.then(|| (from, payload.to_vec())) }
}

/// What a frame that left says.
pub struct Left {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub hops: u8,
    pub class: u8,
    pub payload: Vec<u8>,
    pub tag: Option<[u8; 2]>,
    pub hardware: [u8; 12],
}

/// Reads a frame that left; panics where its lengths or checksums are wrong.
pub fn read(frame: &[u8]) -> Left {
    let hardware = *frame.first_chunk::<12>().unwrap();
    let (tag, at) = if frame[12..14] == [0x81, 0] { (Some([frame[14], frame[15]]), 16) } else { (None, 12) };
    let (kind, packet) = (&frame[at..at + 2], &frame[at + 2..]);
    let (from, to, hops, class, udp): (IpAddr, IpAddr, u8, u8, &[u8]) = if kind == [8, 0] {
        assert_eq!(checksum(&packet[..20]), 0, "the header's checksum");
        assert_eq!(packet[4..8], [0, 0, 0x40, 0], "no number, never fragmented");
        let address = |at: usize| IpAddr::from(*packet[at..].first_chunk::<4>().unwrap());
        let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        (address(12), address(16), packet[8], packet[1], &packet[20..length])
    } else {
        let address = |at: usize| IpAddr::from(*packet[at..].first_chunk::<16>().unwrap());
        let length = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
        assert_eq!([packet[1] & 0xf, packet[2], packet[3]], [0; 3], "no flow label");
        let class = packet[0] << 4 | packet[1] >> 4;
        (address(8), address(24), packet[7], class, &packet[40..40 + length])
    };
    assert_eq!(usize::from(u16::from_be_bytes([udp[4], udp[5]])), udp.len());
    if udp[6..8] != [0, 0] {
        assert_eq!(checksum(&[pseudo(from, to, udp.len()), udp.to_vec()].concat()), 0, "UDP's checksum");
    }
    let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
    let (from, to) = (SocketAddr::new(from, port(0)), SocketAddr::new(to, port(2)));
    Left { from, to, hops, class, payload: udp[8..].to_vec(), tag, hardware }
}

fn elsewhere(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) ^ 0x100).into()),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) ^ 0x100).into()),
    }
}

fn pseudo(from: IpAddr, to: IpAddr, length: usize) -> Vec<u8> {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let length = u32::try_from(length).unwrap().to_be_bytes();
    [octets(from), octets(to), length.to_vec(), vec![0, 0, 0, 17]].concat()
}

/// The Internet's checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
