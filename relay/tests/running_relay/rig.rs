//! A relay process with settings of its own, phones on loopback and what is asked of it: what the tests of the whole
//! process share.

#![allow(dead_code, reason = "each test file uses its part of it")]

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use relay::lane::{self, Choice, LaneKind};
use relay::program::Client;
use relay::program::client::ClientError;
use relay::program::message::{
    Event, Learning, LegMedia, LocalPorts, PayloadTypes, Refusal, Remote, Reply, Request, Stats,
};

/// A running relay; killed and reaped when dropped.
pub struct Relay {
    pub child: Child,
    pub folder: tempfile::TempDir,
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Relay {
    pub fn start(lane: &str, first_port: u16, ports: u16) -> Self {
        Self::start_with(&format!("lane = \"{lane}\"\nworkers = 1"), first_port, ports)
    }

    pub fn start_with(settings: &str, first_port: u16, ports: u16) -> Self {
        let last = first_port + ports - 1;
        Self::configured(&format!("{settings}\nports = \"{first_port}-{last}\""), None)
    }

    /// With `settings` in its section; it may have `files` open files, where they are limited.
    pub fn configured(settings: &str, files: Option<u16>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("pop.toml");
        let text = format!("[relay]\n{settings}\nsilence_seconds = 1\ntap_ring_mib = 1\n");
        std::fs::write(&config, text).unwrap();
        let limit = files.map_or_else(String::new, |files| format!("ulimit -n {files}; "));
        let child = Command::new("sh")
            .args(["-c", &format!("{limit}exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_bauta-relay")])
            .args(["--state".as_ref(), folder.path().as_os_str(), "--config".as_ref(), config.as_os_str()])
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let relay = Self { child, folder };
        let deadline = Instant::now() + Duration::from_secs(20);
        let ready = || UnixStream::connect(relay.socket("tap.sock")).is_ok();
        // What this very question opened inside the relay is closed a moment later.
        let alone = || ends_of(&relay.socket("tap.sock")) == 1;
        for done in [&ready as &dyn Fn() -> bool, &alone] {
            while !done() {
                assert!(Instant::now() < deadline, "the relay does not start");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        relay
    }

    pub fn socket(&self, name: &str) -> PathBuf {
        self.folder.path().join("run").join(name)
    }

    pub async fn connect(&self) -> (Client, tokio::sync::mpsc::UnboundedReceiver<Event>) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match Client::connect(&self.socket("relay.sock")).await {
                Ok(connected) => return connected,
                // A client that just went away is still being noticed.
                Err(ClientError::Refused(Refusal::Busy)) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(e) => panic!("{e}"),
            }
        }
    }
}

/// How many sockets a process has at this path: one listens, the others are connections.
fn ends_of(path: &Path) -> usize {
    let list = std::fs::read_to_string("/proc/net/unix").unwrap();
    list.lines().filter(|line| line.ends_with(path.to_str().unwrap())).count()
}

/// Lanes that this machine has, each with a number to be added to its first port.
pub fn lanes() -> Vec<(&'static str, u16)> {
    match lane::choose(Choice::Auto) {
        Ok((LaneKind::Uring, _)) => vec![("uring", 0), ("mmsg", 100)],
        other => {
            println!("skipped: the uring lane: {other:?}");
            vec![("mmsg", 100)]
        }
    }
}

/// An address of this host that no other test process binds.
pub fn own_address() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 + high, middle, low)
}

pub fn phone() -> UdpSocket {
    phone_at("127.0.0.1".parse().unwrap())
}

pub fn phone_at(address: IpAddr) -> UdpSocket {
    let phone = UdpSocket::bind((address, 0)).unwrap();
    phone.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    phone
}

pub fn media(phone: &UdpSocket) -> LegMedia {
    let rtp = phone.local_addr().unwrap();
    LegMedia {
        remote: Some(Remote { rtp, rtcp: rtp }),
        accepts: PayloadTypes::NONE.with(8),
        tapped: PayloadTypes::NONE.with(8),
        rtcp_mux: false,
        learning: Learning::Strict,
        ..LegMedia::default()
    }
}

pub async fn opened(client: &Client, request: Request) -> Vec<[LocalPorts; 2]> {
    match client.ask(request).await.unwrap() {
        Reply::Opened(ports) => ports,
        other => panic!("{other:?}"),
    }
}

pub async fn stats(client: &Client) -> Stats {
    match client.ask(Request::Stats).await.unwrap() {
        Reply::Stats(stats) => stats,
        other => panic!("{other:?}"),
    }
}

pub fn say(phone: &UdpSocket, ports: LocalPorts, number: u8) {
    let packet = [0x80, 8, 0, number, 0, 0, 0, 80, 0, 0, 0, 5, b'h', b'i', number];
    phone.send_to(&packet, (ports.address, ports.rtp)).unwrap();
}

pub fn heard(phone: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let length = phone.recv(&mut buffer).unwrap();
    buffer[12..length].to_vec()
}
