//! What was on the wire: tcpdump where the phones are, filtered to the test's own ports.
//!
//! On a machine with other work tcpdump may come late. So its ring is large, and without immediate mode, in which
//! every packet takes a slot for the largest (64 KiB) and wakes it. It hands packets on within a second. What it lost
//! all the same it says, and [`Wire::lost`] tells.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use crate::deadline::{seconds, until};
use crate::ports::Ports;
use crate::process::Process;
use crate::rtp;

/// What is sent to [`Ports::mark`] to see that everything before it has been written.
const MARK: &[u8] = b"end of the capture";
/// Bytes at the end of the file in which the mark is looked for.
const END: u64 = 16_384;
/// The capture's ring in KiB: every packet of twenty calls, several times.
const RING: &str = "65536";

/// A UDP datagram.
#[derive(Debug, Clone)]
pub struct Datagram {
    /// Microseconds since 1970.
    pub at: i64,
    /// Port it was sent from.
    pub source: u16,
    /// Port it was sent to.
    pub target: u16,
    /// Its content.
    pub payload: Vec<u8>,
}

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
    mark: SocketAddr,
}

impl Capture {
    /// Captures UDP on the ports of `ports` until [`Self::finish`].
    pub fn start(ports: &Ports, folder: &Path) -> Self {
        let file = folder.join("wire.pcap");
        let (first, last) = ports.all();
        let mut command = ports.command("tcpdump");
        command.args(["-U", "-n", "-i", ports.device(), "-s", "0", "-B", RING, "-Z", "root", "-w"]);
        command.arg(&file).arg(format!("udp portrange {first}-{last}"));
        let mut process = Process::start("tcpdump", command, folder.join("tcpdump.log"));
        process.ready("captures", seconds(10), |p| p.output().contains("listening on").then_some(()));
        Self { process, file, mark: ports.mark() }
    }

    /// What has been captured so far, up to a second ago.
    pub fn so_far(&self) -> Wire {
        Wire { datagrams: read(&std::fs::read(&self.file).unwrap_or_default()), lost: 0 }
    }

    /// Ends the capture; everything sent before is in it.
    pub fn finish(mut self) -> Wire {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("socket");
        until("the capture is written", seconds(30), || {
            // Again and again: a mark can be lost as anything else can.
            socket.send_to(MARK, self.mark).expect("mark");
            self.ends_with_the_mark().then_some(())
        });
        self.process.stop();
        let said = self.process.output();
        let lost = said.lines().find_map(|l| l.strip_suffix(" packets dropped by kernel")?.parse().ok());
        let lost = lost.unwrap_or_else(|| panic!("tcpdump does not say what it lost: {said}"));
        Wire { lost, ..self.so_far() }
    }

    fn ends_with_the_mark(&self) -> bool {
        let mut end = Vec::new();
        let read = File::open(&self.file).and_then(|mut file| {
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(END)))?;
            file.read_to_end(&mut end)
        });
        read.is_ok() && end.windows(MARK.len()).any(|w| w == MARK)
    }
}

/// Captured datagrams, in order of time.
#[derive(Debug, Clone, Default)]
pub struct Wire {
    /// All of them.
    pub datagrams: Vec<Datagram>,
    /// How many more there were: the capture, not the wire, lost them.
    pub lost: u64,
}

impl Wire {
    /// Contents of everything that was sent to `port` or to a port of `media`.
    pub fn received_at(&self, port: u16, media: (u16, u16)) -> Vec<&[u8]> {
        let media = media.0..=media.1;
        let to = |d: &&Datagram| d.target == port || media.contains(&d.target);
        self.datagrams.iter().filter(to).map(|d| d.payload.as_slice()).collect()
    }

    /// RTP streams that left ports of `from` for ports of `to`, by the pair of ports.
    pub fn streams(&self, from: (u16, u16), to: (u16, u16)) -> BTreeMap<(u16, u16), Vec<rtp::Packet<'_>>> {
        let mut streams = BTreeMap::<_, Vec<_>>::new();
        for d in &self.datagrams {
            let ours = (from.0..=from.1).contains(&d.source) && (to.0..=to.1).contains(&d.target);
            if let Some(packet) = rtp::Packet::of(d).filter(|_| ours) {
                streams.entry((d.source, d.target)).or_default().push(packet);
            }
        }
        streams
    }

    /// SIP messages sent to `port`, as text.
    pub fn sip(&self, port: u16) -> Vec<String> {
        let sip = |d: &&Datagram| d.target == port;
        self.datagrams.iter().filter(sip).map(|d| String::from_utf8_lossy(&d.payload).into_owned()).collect()
    }
}

/// Reads a classic pcap file of Ethernet frames (loopback's link type, too) as UDP over IPv4. A record that is not
/// complete yet ends the reading.
fn read(file: &[u8]) -> Vec<Datagram> {
    let mut datagrams = Vec::new();
    let mut rest = file.get(24..).unwrap_or_default();
    while let Some((head, after)) = rest.split_first_chunk::<16>() {
        let word = |n: usize| u32::from_le_bytes([head[n], head[n + 1], head[n + 2], head[n + 3]]);
        let Some((frame, next)) = after.split_at_checked(word(8) as usize) else { break };
        let at = i64::from(word(0)) * 1_000_000 + i64::from(word(4));
        datagrams.extend(udp(frame).map(|(source, target, payload)| Datagram {
            at,
            source,
            target,
            payload: payload.to_vec(),
        }));
        rest = next;
    }
    datagrams
}

/// Source port, destination port and payload of a UDP datagram in an Ethernet frame.
fn udp(frame: &[u8]) -> Option<(u16, u16, &[u8])> {
    let ip = frame.get(14..)?;
    let header = usize::from(ip.first()? & 0x0f) * 4;
    if ip[0] >> 4 != 4 || *ip.get(9)? != 17 {
        return None;
    }
    let udp = ip.get(header..)?;
    let head: &[u8; 8] = udp.first_chunk()?;
    let word = |n: usize| u16::from_be_bytes([head[n], head[n + 1]]);
    Some((word(0), word(2), udp.get(8..usize::from(word(4)))?))
}
