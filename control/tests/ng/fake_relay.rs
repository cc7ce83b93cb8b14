//! A relay without media: a Unix socket that speaks the programming protocol and remembers what it was asked.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use relay::program::message::{
    CallCounters, CallKey, Count, Event, Frame, Interface, LegCounters, Limit, LiveCall, LocalPorts,
    MAX_LIST, Place, Quality, Refusal, Reply, Report, Request, Span, Stats, Stream, VERSION, WorkerStats,
};
use relay::program::wire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What the relay is and was asked.
#[derive(Default)]
pub struct State {
    pub epoch: u64,
    pub calls: BTreeMap<CallKey, Held>,
    pub opened: usize,
    pub updated: usize,
    /// Calls that were closed, with their last label.
    pub closed: Vec<(CallKey, Option<serde_json::Value>)>,
    /// Answer every open and update with this.
    pub refuse: Option<Refusal>,
    /// Let every open wait so long.
    pub slow: Duration,
    /// How many opens wait.
    pub waiting: usize,
    pub draining: bool,
    next_port: u16,
    events: Option<mpsc::UnboundedSender<Frame>>,
}

/// A call in the relay.
#[derive(Clone, Default)]
pub struct Held {
    pub blob: Vec<u8>,
    pub label: Option<serde_json::Value>,
    pub streams: Vec<Stream>,
    pub max_seconds: u32,
    pub paused: bool,
    pub ports: Vec<[LocalPorts; 2]>,
}

pub struct FakeRelay {
    path: PathBuf,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl FakeRelay {
    pub fn start(path: &Path) -> Self {
        let state = Arc::new(Mutex::new(State { epoch: 1, next_port: 30_000, ..State::default() }));
        let task = tokio::spawn(accept(UnixListener::bind(path).unwrap(), Arc::clone(&state)));
        Self { path: path.to_owned(), state, task }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// How many opens and updates were asked, and how many calls there are.
    pub fn counts(&self) -> (usize, usize, usize) {
        let state = self.state();
        (state.opened, state.updated, state.calls.len())
    }

    /// The only call.
    pub fn call(&self) -> (CallKey, Held) {
        let state = self.state();
        assert_eq!(state.calls.len(), 1);
        state.calls.first_key_value().map(|(key, call)| (*key, call.clone())).unwrap()
    }

    pub fn tell(&self, event: Event) {
        self.state().events.as_ref().unwrap().send(Frame::Event(event)).unwrap();
    }

    /// Goes away; calls stay.
    pub async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.state().events = None;
        std::fs::remove_file(&self.path).unwrap();
    }

    /// Comes back: the same process, or a new one without calls.
    pub fn come_back(&mut self, new: bool) {
        if new {
            let mut state = self.state();
            state.epoch += 1;
            state.calls.clear();
            state.draining = false;
        }
        self.task = tokio::spawn(accept(UnixListener::bind(&self.path).unwrap(), Arc::clone(&self.state)));
    }
}

impl Drop for FakeRelay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: UnixListener, state: Arc<Mutex<State>>) {
    // Connections live and die with this task.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&state)));
    }
}

async fn serve(stream: UnixStream, state: Arc<Mutex<State>>) {
    let (mut reader, mut writer) = stream.into_split();
    let (sender, mut frames) = mpsc::unbounded_channel::<Frame>();
    let mut buffer = Vec::new();
    loop {
        tokio::select! {
            Some(frame) = frames.recv() => {
                let mut bytes = Vec::new();
                wire::encode(&frame, &mut bytes).unwrap();
                if writer.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            read = reader.read_buf(&mut buffer) => {
                if read.unwrap_or(0) == 0 {
                    return;
                }
                while let Some((frame, used)) = wire::decode(&buffer).unwrap() {
                    buffer.drain(..used);
                    let Frame::Request { id, request } = frame else { return };
                    let slow = state.lock().unwrap().slow;
                    let wait = if matches!(request, Request::Open { .. }) { slow } else { Duration::ZERO };
                    let (state, sender) = (Arc::clone(&state), sender.clone());
                    let waits = usize::from(wait > Duration::ZERO);
                    state.lock().unwrap().waiting += waits;
                    tokio::spawn(async move {
                        tokio::time::sleep(wait).await;
                        state.lock().unwrap().waiting -= waits;
                        let answer = state.lock().unwrap().answer(request, &sender);
                        let _ = sender.send(Frame::Answer { id, answer });
                    });
                }
            }
        }
    }
}

impl State {
    fn answer(&mut self, request: Request, events: &mpsc::UnboundedSender<Frame>) -> Result<Reply, Refusal> {
        let json = |label: Option<Vec<u8>>| label.map(|l| serde_json::from_slice(&l).unwrap());
        match request {
            Request::Hello { .. } => {
                Ok(Reply::Hello { version: VERSION, epoch: self.epoch, interfaces: interfaces() })
            }
            Request::Subscribe => {
                self.events = Some(events.clone());
                Ok(Reply::Done)
            }
            Request::Open { call, blob, max_seconds, label, streams } => {
                self.opened += 1;
                if let Some(refusal) = self.refuse.clone() {
                    return Err(refusal);
                }
                if self.draining {
                    return Err(Refusal::Overloaded(Limit::Draining));
                }
                if self.calls.contains_key(&call) {
                    return Err(Refusal::CallExists);
                }
                let ports = streams.iter().map(|stream| self.ports(stream)).collect::<Result<Vec<_>, _>>()?;
                let label = json(label);
                let held = Held { blob, label, streams, max_seconds, paused: false, ports: ports.clone() };
                self.calls.insert(call, held);
                Ok(Reply::Opened(ports))
            }
            Request::Update { call, blob, label, streams } => {
                self.updated += 1;
                if let Some(refusal) = self.refuse.clone() {
                    return Err(refusal);
                }
                let mut held = self.calls.get(&call).cloned().ok_or(Refusal::UnknownCall)?;
                assert!(streams.len() >= held.streams.len(), "streams may not be taken away");
                for stream in &streams[held.ports.len()..] {
                    held.ports.push(self.ports(stream)?);
                }
                held.streams = streams;
                held.blob = blob.unwrap_or(held.blob);
                held.label = json(label).or(held.label);
                let ports = held.ports.clone();
                self.calls.insert(call, held);
                Ok(Reply::Opened(ports))
            }
            Request::Tap { call, paused } => {
                self.calls.get_mut(&call).ok_or(Refusal::UnknownCall)?.paused = paused;
                Ok(Reply::Done)
            }
            Request::Close { call, label } => {
                let held = self.calls.remove(&call).ok_or(Refusal::UnknownCall)?;
                self.closed.push((call, json(label)));
                Ok(Reply::Closed(counters(&held)))
            }
            Request::List { after } => {
                let after = |key: &&CallKey| after.is_none_or(|after| **key > after);
                let keys: Vec<_> = self.calls.keys().filter(after).take(MAX_LIST).copied().collect();
                Ok(Reply::Calls(keys.into_iter().map(|key| self.live(key)).collect()))
            }
            Request::Read { call } => {
                self.calls.get(&call).map(|held| Reply::Counters(counters(held))).ok_or(Refusal::UnknownCall)
            }
            Request::Drain { draining } => {
                self.draining = draining;
                Ok(Reply::Done)
            }
            Request::Stats => Ok(Reply::Stats(Stats {
                draining: self.draining,
                lane: "uring".into(),
                lane_reason: "it is there".into(),
                calls: self.calls.len() as u64,
                recorder_attached: true,
                workers: vec![WorkerStats {
                    drops: vec![("source_mismatch".into(), 3)],
                    ..WorkerStats::default()
                }],
                ..Stats::default()
            })),
        }
    }

    fn live(&self, call: CallKey) -> LiveCall {
        let held = &self.calls[&call];
        let (blob, ports) = (held.blob.clone(), held.ports.clone());
        LiveCall { call, blob, opened_ns: 0, recorded: held.label.is_some(), ports }
    }

    fn ports(&mut self, stream: &Stream) -> Result<[LocalPorts; 2], Refusal> {
        let [caller, callee] = stream.legs.map(|leg| self.local(leg.place));
        Ok([caller?, callee?])
    }

    fn local(&mut self, place: Place) -> Result<LocalPorts, Refusal> {
        let interfaces = interfaces();
        let interface = interfaces.get(usize::from(place.interface)).ok_or(Refusal::NoInterface)?;
        let address = interface.addresses.iter().find(|(bound, _)| place.family.fits(*bound));
        let (_, address) = *address.ok_or(Refusal::NoInterface)?;
        let rtp = self.next_port;
        self.next_port += 2;
        Ok(LocalPorts { address, rtp, rtcp: rtp + 1 })
    }
}

/// The address that the interface `carrier` shows in IPv6.
pub const CARRIER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100);

/// One in IPv4 alone, and one with both families that is seen under other addresses than its own.
fn interfaces() -> Vec<Interface> {
    let interface = |name: &str, addresses: &[(IpAddr, IpAddr)]| Interface {
        name: name.into(),
        addresses: addresses.to_vec(),
    };
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    vec![
        interface("default", &[(local, local)]),
        interface(
            "carrier",
            &[
                (Ipv6Addr::LOCALHOST.into(), CARRIER.into()),
                (Ipv4Addr::new(127, 0, 0, 2).into(), Ipv4Addr::new(192, 0, 2, 100).into()),
            ],
        ),
    ]
}

/// Ten packets of 172 bytes from the caller, who lost two more on the way; five from the callee, who lost one, and
/// says that it missed another one of the caller's; two keys of each.
fn counters(held: &Held) -> CallCounters {
    let leg = |packets: u64| LegCounters {
        rtp: Count { packets, bytes: packets * 172 },
        quality: Some(Quality {
            ssrc: u32::MAX - u32::try_from(packets).unwrap(),
            payload_type: 8,
            sequence: 4_321,
            timestamp: 1_234_567,
            total: Span {
                expected: packets / 5 * 6,
                received: packets,
                duplicates: 3,
                reordered: 4,
                jitter_us: 2_500,
            },
            round_trip_us: Some(40_000),
            ..Quality::default()
        }),
        report: (packets == 5).then_some(Report { fraction_lost: 0, lost: 1, jitter: 24 }),
        events: 2,
        tap_lost: 6,
        last_packet_ms: Some(20),
        drops: vec![("payload_type".into(), 1)],
        ..LegCounters::default()
    };
    CallCounters { opened_ns: 0, streams: held.streams.iter().map(|_| [leg(10), leg(5)]).collect() }
}
