//! One site for a test: a state directory, a relay, a control, and a proxy that talks to it. All logs of the test
//! process are kept, at the finest level, so that a test can search them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use control::call::Calls;
use control::live::LiveCalls;
use control::moment::Moment;
use control::name::{City, Role, TripId};
use control::ng::server::Server;
use control::ng::value::Value;
use control::ng::{bencode, message};
use control::quality::journal::{self, Records};
use control::route::{Outcome, RouteBook, Routed};
use control::secret::Keys;
use control::settings::ControlSettings;
use control::store::Store;
use control::store::sqlite::Sqlite;
use serde_json::{Value as Json, json};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::fake_relay::FakeRelay;

/// A party's number, which stands in every Call-ID and tag that these tests use.
pub const CANARY: &str = "447700900001";

pub struct Site {
    pub relay: FakeRelay,
    pub control: Control,
    pub proxy: Proxy,
    pub state: tempfile::TempDir,
    settings: ControlSettings,
}

/// A control process, as far as this half goes.
pub struct Control {
    pub calls: Arc<Calls>,
    pub book: Arc<RouteBook>,
    pub store: Arc<dyn Store>,
    pub keys: Arc<Keys>,
    pub address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl Site {
    pub async fn new() -> Self {
        Self::with(ControlSettings::default()).await
    }

    pub async fn with(mut settings: ControlSettings) -> Self {
        keep_logs();
        if settings.ng == ControlSettings::default().ng {
            settings.ng = SocketAddr::from(([127, 0, 0, 1], 0));
        }
        let state = tempfile::tempdir().unwrap();
        let relay = FakeRelay::start(&state.path().join("relay.sock"));
        let control = Control::start(state.path().to_owned(), &settings).await;
        control.connected(true).await;
        let proxy = Proxy::new(control.address).await;
        Self { relay, control, proxy, state, settings }
    }

    /// Settings for the next control.
    pub fn set(&mut self, settings: ControlSettings) {
        self.settings = ControlSettings { ng: self.settings.ng, ..settings };
    }

    /// Kills control and starts another on the same state.
    pub async fn restart_control(&mut self) {
        self.restart_control_alone().await;
        self.control.connected(true).await;
    }

    /// The same, without waiting for the relay.
    pub async fn restart_control_alone(&mut self) {
        self.control.kill().await;
        self.control = Control::start(self.state.path().to_owned(), &self.settings).await;
        self.proxy = Proxy::new(self.control.address).await;
    }

    /// A route decision for this Call-ID.
    pub fn route(&self, call_id: &str, record: bool, max_seconds: u32) {
        let routed = Routed {
            trip: TripId::new("T-1001").unwrap(),
            city: City::new("london").unwrap(),
            caller_role: Role::new("driver").unwrap(),
            callee_role: Role::new("passenger").unwrap(),
            record,
            max_seconds,
        };
        self.control.book.remember(call_id, Outcome::Connect(routed), Moment::now());
    }

    /// Offer and answer of a call.
    pub async fn call(&mut self, call_id: &str) {
        let offer = self.proxy.ask(offer(call_id, 4000)).await;
        assert_eq!(offer["result"], "ok", "{offer}");
        let answer = self.proxy.ask(answer(call_id, 5000)).await;
        assert_eq!(answer["result"], "ok", "{answer}");
    }
}

impl Control {
    async fn start(state: PathBuf, settings: &ControlSettings) -> Self {
        let keys = Arc::new(Keys::open_or_make(&state).unwrap());
        let book = Arc::new(RouteBook::open(&state, Arc::clone(&keys), Moment::now()).unwrap());
        let store: Arc<dyn Store> =
            Arc::new(Sqlite::open(&state.join("bauta.db"), Arc::clone(&keys)).unwrap());
        let records = Records::start(state.join(journal::FOLDER), settings.call_records_days).unwrap();
        let calls = Calls::new(settings, Arc::clone(&keys), Arc::clone(&book), Arc::clone(&store), records);
        let server = Server::bind(settings, Arc::clone(&calls)).await.unwrap();
        let address = server.address().unwrap();
        let tasks = vec![
            tokio::spawn(Arc::clone(&calls).attach(state.join("relay.sock"))),
            tokio::spawn(server.run()),
        ];
        Self { calls, book, store, keys, address, tasks }
    }

    pub async fn connected(&self, want: bool) {
        until(|| self.calls.relay().connected == want).await;
    }

    async fn kill(&mut self) {
        for task in &mut self.tasks {
            task.abort();
            let _ = task.await;
        }
    }
}

/// A proxy with one socket.
pub struct Proxy {
    pub socket: UdpSocket,
    cookie: u32,
}

impl Proxy {
    pub async fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((server.ip(), 0)).await.unwrap();
        socket.connect(server).await.unwrap();
        Self { socket, cookie: 0 }
    }

    /// Asks in JSON, with a new cookie.
    pub async fn ask(&mut self, request: Json) -> Json {
        serde_json::from_slice(&self.ask_bytes(request.to_string().as_bytes()).await).unwrap()
    }

    /// Asks in bencode, with a new cookie.
    pub async fn ask_bencode(&mut self, request: Json) -> Json {
        let body = self.ask_bytes(&bencode::encode(&Value::from_json(request))).await;
        bencode::decode(&body).map_err(|e| e.to_string()).unwrap().to_json()
    }

    pub async fn ask_bytes(&mut self, body: &[u8]) -> Vec<u8> {
        self.cookie += 1;
        let cookie = format!("{}_{}", std::process::id(), self.cookie);
        self.send(&cookie, body).await;
        let reply = self.receive().await;
        let (got, body) = message::split(&reply).unwrap();
        assert_eq!(got, cookie.as_bytes());
        body.to_vec()
    }

    pub async fn send(&self, cookie: &str, body: &[u8]) {
        self.socket.send(&[cookie.as_bytes(), b" ", body].concat()).await.unwrap();
    }

    pub async fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let wait = tokio::time::timeout(Duration::from_secs(5), self.socket.recv(&mut buffer));
        let length = wait.await.unwrap().unwrap();
        buffer.truncate(length);
        buffer
    }
}

pub fn sdp(port: u16) -> String {
    format!(
        "v=0\r\no={CANARY} 1 1 IN IP4 127.0.0.1\r\ns=call of {CANARY}\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
         a=fmtp:101 0-15\r\na=ptime:20\r\na=X-phone:{CANARY}\r\n"
    )
}

/// An offer as Kamailio sends it.
pub fn offer(call_id: &str, port: u16) -> Json {
    json!({
        "sdp": sdp(port), "ICE": "remove", "flags": ["trust-address"], "replace": ["origin", "session-connection"],
        "transport-protocol": "RTP/AVP", "call-id": call_id, "received-from": ["IP4", "127.0.0.1"],
        "from-tag": format!("from-{CANARY}"), "command": "offer", "supports": ["load limit"],
    })
}

pub fn answer(call_id: &str, port: u16) -> Json {
    let mut answer = offer(call_id, port);
    answer["command"] = "answer".into();
    answer["to-tag"] = format!("to-{CANARY}").into();
    answer
}

pub fn delete(call_id: &str) -> Json {
    json!({"command": "delete", "call-id": call_id, "from-tag": format!("from-{CANARY}")})
}

/// Waits for a condition.
pub async fn until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "waited for 10 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

static LOGS: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();

/// All that was logged.
pub fn logs() -> String {
    String::from_utf8_lossy(&LOGS.get().unwrap().lock().unwrap()).into_owned()
}

fn keep_logs() {
    struct Keep(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Keep {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    LOGS.get_or_init(|| {
        let logs = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&logs);
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || Keep(Arc::clone(&kept)))
            .init();
        logs
    });
}
