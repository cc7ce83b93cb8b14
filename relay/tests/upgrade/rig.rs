//! Relay processes that follow each other, calls with paced traffic through them, and a recorder that counts.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use relay::call::{CallKey, Leg};
use relay::program::Client;
use relay::program::message::{LegMedia, LocalPorts, PayloadTypes, Remote, Request, Stream};
use relay::tap::{self, Kind};

use crate::running::{self, Relay, opened, own_address, stats};

/// How long anything may take that must happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two packets of a phone.
const PACE: Duration = Duration::from_millis(20);
const HEADER: usize = 12;

/// A relay of two workers with 400 ports from this one on.
pub fn start(lane: &str, first_port: u16) -> Relay {
    let relay = Relay::configured(&settings(lane, first_port), None);
    relay.write("other.toml", &settings(lane, first_port));
    relay
}

fn settings(lane: &str, first_port: u16) -> String {
    let last = first_port + 399;
    let address = own_address();
    format!(
        "lane = \"{lane}\"\nworkers = 2\naddress = \"{address}\"\nport_rest_seconds = 0\nports = \"{first_port}-{last}\""
    )
}

/// A relay that others take over from.
pub trait Succession {
    /// Writes another settings file with this section.
    fn write(&self, name: &str, settings: &str);

    /// Starts a process that is to take over, with the settings file of this name.
    fn successor(&self, settings: &str) -> Child;

    /// Has another process take over, and says what that one said.
    fn upgrade(&mut self) -> String;

    /// Has another process take over, stops it after `delay` and kills it, unless it has taken over by then. True: it
    /// was killed.
    fn upgrade_and_kill(&mut self, delay: Duration) -> bool;

    /// Whether the process that was last seen to run runs.
    fn runs(&mut self) -> bool;
}

impl Succession for Relay {
    fn write(&self, name: &str, settings: &str) {
        std::fs::write(self.folder.path().join(name), format!("[relay]\n{settings}\n")).unwrap();
    }

    fn successor(&self, settings: &str) -> Child {
        let folder = self.folder.path();
        Command::new(env!("CARGO_BIN_EXE_bauta-relay"))
            .arg("--take-over")
            .arg("--state")
            .arg(folder)
            .arg("--config")
            .arg(folder.join(settings))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn upgrade(&mut self) -> String {
        let mut successor = self.successor("other.toml");
        let mut line = String::new();
        BufReader::new(successor.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("took over"), "{line}");
        let status = ended(&mut self.child);
        assert!(status.success(), "the old relay ended with {status}");
        self.child = successor;
        line
    }

    fn upgrade_and_kill(&mut self, delay: Duration) -> bool {
        let mut successor = self.successor("other.toml");
        std::thread::sleep(delay);
        let signal = |child: &Child, signal| {
            rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
        };
        signal(&successor, rustix::process::Signal::STOP);
        // If it was ready before, the old one ends now. If not, it never will be.
        let decided = Instant::now() + Duration::from_millis(300);
        while self.runs() && Instant::now() < decided {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.runs() {
            successor.kill().unwrap();
            successor.wait().unwrap();
            return true;
        }
        signal(&successor, rustix::process::Signal::CONT);
        self.child = successor;
        false
    }

    fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

/// Waits for a process's end.
pub fn ended(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "a relay does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Lanes that this machine has, with 400 ports for each, `first` being free.
pub fn lanes(first: u16) -> Vec<(&'static str, u16)> {
    running::lanes().into_iter().map(|(lane, offset)| (lane, first + 4 * offset)).collect()
}

/// Waits for what must come.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not seen: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A call between two phones.
pub struct Call {
    pub key: CallKey,
    pub phones: [Phone; 2],
    pub ports: [LocalPorts; 2],
}

pub struct Phone {
    pub socket: UdpSocket,
    sent: u32,
    heard: u32,
    /// SSRC and sequence number of what was heard last: what the relay shows instead of the other party's.
    shown: Option<([u8; 4], u16)>,
}

impl Phone {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, sent: 0, heard: 0, shown: None }
    }

    fn media(&self) -> LegMedia {
        let rtp = self.socket.local_addr().unwrap();
        let types = PayloadTypes::NONE.with(8);
        LegMedia {
            remote: Some(Remote { rtp, rtcp: rtp }),
            accepts: types,
            tapped: types,
            ..LegMedia::default()
        }
    }

    fn say(&mut self, to: LocalPorts) {
        let sequence = self.sent.to_be_bytes();
        let mut packet = [0; HEADER + 160];
        packet[..4].copy_from_slice(&[0x80, 8, sequence[2], sequence[3]]);
        packet[8..12].copy_from_slice(&self.socket.local_addr().unwrap().port().to_be_bytes().repeat(2));
        packet[HEADER..HEADER + 4].copy_from_slice(&sequence);
        self.socket.send_to(&packet, (to.address, to.rtp)).unwrap();
        self.sent += 1;
    }

    /// Takes what came; each packet must be the next one, and from where the call's port is.
    fn hear(&mut self, from: LocalPorts) -> Result<(), String> {
        let mut buffer = [0; 2048];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, source)) => {
                    let number = number(&buffer[..length]);
                    if number != self.heard || source != SocketAddr::new(from.address, from.rtp) {
                        return Err(format!(
                            "packet {number} from {source} instead of packet {}",
                            self.heard
                        ));
                    }
                    let (ssrc, sequence) = shown(&buffer);
                    if self
                        .shown
                        .is_some_and(|(last, number)| (last, number.wrapping_add(1)) != (ssrc, sequence))
                    {
                        return Err(format!("shown as {ssrc:x?} {sequence} after {:x?}", self.shown));
                    }
                    self.shown = Some((ssrc, sequence));
                    self.heard += 1;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e.to_string()),
            }
        }
    }
}

/// SSRC and sequence number.
fn shown(packet: &[u8]) -> ([u8; 4], u16) {
    (*packet[8..].first_chunk().unwrap(), u16::from_be_bytes([packet[2], packet[3]]))
}

fn number(packet: &[u8]) -> u32 {
    u32::from_be_bytes(*packet[HEADER..].first_chunk().unwrap())
}

impl Call {
    pub async fn open(client: &Client, key: u64) -> Self {
        let key = CallKey(key);
        let phones = [Phone::new(), Phone::new()];
        let request = Request::Open {
            call: key,
            blob: key.0.to_be_bytes().to_vec(),
            max_seconds: 0,
            label: Some(b"label".to_vec()),
            streams: vec![Self::stream(&phones)],
        };
        let ports = opened(client, request).await;
        Self { key, phones, ports: ports[0] }
    }

    fn stream(phones: &[Phone; 2]) -> Stream {
        Stream { legs: phones.each_ref().map(Phone::media), ..Stream::default() }
    }

    /// The callee moves to another address, by a re-offer.
    pub async fn move_callee(&mut self, client: &Client) {
        let [caller, callee] = &mut self.phones;
        *callee = Phone { sent: callee.sent, heard: caller.sent, ..Phone::new() };
        let streams = vec![Self::stream(&self.phones)];
        let update = Request::Update { call: self.key, blob: None, label: None, streams };
        let ports = opened(client, update).await;
        assert_eq!(ports, [self.ports]);
    }

    /// Packets that caller and callee sent.
    pub fn sent(&self) -> [u32; 2] {
        self.phones.each_ref().map(|p| p.sent)
    }

    fn complete(&self) -> bool {
        let [caller, callee] = &self.phones;
        (caller.sent, callee.sent) == (callee.heard, caller.heard)
    }
}

/// Calls in which both parties speak all the time, on a thread of its own.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Call>, String>>,
}

impl Traffic {
    pub fn start(mut calls: Vec<Call>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut next = Instant::now();
            let mut deadline = None;
            loop {
                for Call { phones, ports, .. } in &mut calls {
                    for (phone, port) in phones.iter_mut().zip(ports) {
                        phone.hear(*port)?;
                        if deadline.is_none() {
                            phone.say(*port);
                        }
                    }
                }
                if stopping.load(Ordering::Relaxed) {
                    let until = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
                    if calls.iter().all(Call::complete) {
                        return Ok(calls);
                    }
                    if Instant::now() > until {
                        let state: Vec<_> =
                            calls.iter().map(|c| c.phones.each_ref().map(|p| (p.sent, p.heard))).collect();
                        return Err(format!("packets are missing (sent, heard): {state:?}"));
                    }
                }
                next += PACE;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        Self { stop, thread }
    }

    /// Stops speaking, waits until every packet was heard, and gives the calls back. Panics when one was lost, came
    /// twice or out of order.
    pub fn stop(self) -> Vec<Call> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join().unwrap() {
            Ok(calls) => calls,
            Err(e) => panic!("{e}"),
        }
    }
}

/// A recorder: packets by call and leg, each the next one; or what was wrong.
type Tapped = HashMap<(CallKey, Leg), u32>;

pub struct Recorder {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Tapped>>,
    thread: JoinHandle<Result<(), String>>,
}

impl Recorder {
    pub fn attach(relay: &Relay) -> Self {
        let mut tap = tap::attach(&relay.socket("tap.sock")).unwrap();
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Tapped::new())));
        let (stopping, counting) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let mut payload = Vec::new();
            while !stopping.load(Ordering::Relaxed) {
                tap.wait(Duration::from_millis(50)).unwrap();
                for ring in &mut tap.rings {
                    while let Some(record) = ring.next(&mut payload).map_err(|e| e.to_string())? {
                        match record.kind {
                            Kind::Packet { leg, .. } => {
                                let mut seen = counting.lock().unwrap();
                                let next = seen.entry((record.call, leg)).or_default();
                                if number(&payload) != *next {
                                    return Err(format!("tapped {} instead of {next}", number(&payload)));
                                }
                                *next += 1;
                            }
                            Kind::Gap { .. } => return Err(format!("{record:?}")),
                            _ => {}
                        }
                    }
                    ring.commit();
                }
                if !tap.relay_alive() {
                    return Err("the tap's connection closed".into());
                }
            }
            Ok(())
        });
        Self { stop, seen, thread }
    }

    /// Waits until every packet that these calls sent was tapped. Panics when one was lost, came twice or out of order.
    pub fn stop(self, calls: &[Call]) {
        let deadline = Instant::now() + PATIENCE;
        let complete = |seen: &Tapped| {
            calls.iter().all(|call| {
                Leg::BOTH
                    .iter()
                    .zip(call.sent())
                    .all(|(leg, sent)| seen.get(&(call.key, *leg)) == Some(&sent))
            })
        };
        while !self.thread.is_finished() && !complete(&self.seen.lock().unwrap()) {
            assert!(Instant::now() < deadline, "packets were not tapped: {:?}", self.seen.lock().unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap();
    }
}

/// A control that opens, changes and closes calls without a pause; every request must be answered as it should.
pub struct Busy {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Busy {
    pub fn start(relay: &Relay) -> Self {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopping, counting) = (Arc::clone(&stop), Arc::clone(&answers));
        let path = relay.socket("relay.sock");
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (client, _events) = Client::connect(&path).await.unwrap();
                let mut key = 0;
                while !stopping.load(Ordering::Relaxed) {
                    let mut call = Call::open(&client, key).await;
                    call.move_callee(&client).await;
                    assert_eq!(stats(&client).await.calls, 1);
                    client.ask(Request::Close { call: call.key, label: None }).await.unwrap();
                    key += 1;
                    counting.fetch_add(4, Ordering::Relaxed);
                }
                assert_eq!(stats(&client).await.calls, 0);
            });
        });
        Self { stop, answers, thread }
    }

    /// Requests answered so far.
    pub fn answers(&self) -> u64 {
        assert!(!self.thread.is_finished(), "a request was not answered");
        self.answers.load(Ordering::Relaxed)
    }

    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}
