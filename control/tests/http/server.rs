//! A server on a real socket, over a state directory of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use control::http::{Access, Api, Archives, serve};
use control::live::{
    Asker, CallDetail, CallSummary, Later, LiveCalls, Pause, PauseError, Recorded, RelayAway, RelayFacts,
    SoundFacts, StreamFacts,
};
use control::masking::{CityFiles, Masking};
use control::moment::Moment;
use control::name::TripId;
use control::route::RouteBook;
use control::secret::Keys;
use control::store::Store;
use control::store::sqlite::Sqlite;
use control::token::Tokens;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::contract::{Contract, Sent};

pub const DRIVER: &str = "+447700900001";
pub const PASSENGER: &str = "+447700900002";

/// A calls half that says what the test wants.
#[derive(Default)]
pub struct Calls {
    pub live: Mutex<Vec<CallSummary>>,
    pub connected: bool,
    /// Whether a recorder reads the tap.
    pub attached: bool,
    /// The relay does not do what it is asked.
    pub deaf: bool,
    /// No new calls are taken.
    pub draining: AtomicBool,
    /// How often all calls were gone through.
    pub looks: Arc<AtomicU32>,
}

/// A stream that is measured, and its RTCP.
fn streams() -> Vec<StreamFacts> {
    let facts = |kind, sound, events| StreamFacts {
        from: "caller",
        kind,
        lane: "uring".into(),
        packets: 10,
        bytes: 1_720,
        drops: [("payload_type".into(), 1)].into(),
        last_packet_seconds_ago: Some(0.02),
        sound,
        events,
    };
    let sound = SoundFacts {
        loss: Some(0.1667),
        jitter_ms: Some(2.5),
        duplicates: Some(3),
        reordered: Some(4),
        round_trip_ms: Some(40.0),
        mos: Some(3.16),
        mos_lowest: Some(1.0),
        mos_last: Some(4.5),
        mos_heard: None,
    };
    vec![facts("rtp", sound, 2), facts("rtcp", SoundFacts::default(), 0)]
}

impl LiveCalls for Calls {
    fn list(&self) -> Vec<CallSummary> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.live.lock().unwrap().clone()
    }
    fn get(&self, id: Uuid) -> Later<'_, Option<CallDetail>> {
        let call = self.list().into_iter().find(|c| c.id == id);
        let detail = call.map(|summary| CallDetail { summary, lane: "uring".into(), streams: streams() });
        Box::pin(std::future::ready(detail))
    }
    fn in_progress(&self, trip: &TripId) -> usize {
        self.list().iter().filter(|c| c.trip.as_ref() == Some(trip)).count()
    }
    fn pause_trip<'a>(
        &'a self,
        trip: &'a TripId,
        paused: bool,
        by: Asker,
    ) -> Later<'a, Result<Vec<Recorded>, PauseError>> {
        let done = self.tap(|call| call.recording && call.trip.as_ref() == Some(trip), paused, by);
        Box::pin(std::future::ready(done))
    }
    fn pause_call(&self, id: Uuid, paused: bool, by: Asker) -> Later<'_, Result<Recorded, PauseError>> {
        let recording = self.list().into_iter().find(|call| call.id == id).map(|call| call.recording);
        let done = match recording {
            None => Err(PauseError::NoCall),
            Some(false) => Err(PauseError::NotRecorded),
            Some(true) => self.tap(|call| call.id == id, paused, by).map(|mut calls| calls.remove(0)),
        };
        Box::pin(std::future::ready(done))
    }
    fn drain(&self, draining: bool) -> Later<'_, Result<(), RelayAway>> {
        if !self.deaf {
            self.draining.store(draining, Ordering::Relaxed);
        }
        Box::pin(std::future::ready(if self.deaf { Err(RelayAway) } else { Ok(()) }))
    }
    fn relay(&self) -> RelayFacts {
        RelayFacts {
            draining: self.draining.load(Ordering::Relaxed),
            connected: self.connected,
            recorder_attached: self.attached,
            lane: Some("uring".into()),
            lane_reason: Some("all its operations are there".into()),
            ..RelayFacts::default()
        }
    }
    fn metrics(&self) -> Later<'_, String> {
        Box::pin(std::future::ready("bauta_calls 0\n".into()))
    }
}

impl Calls {
    fn tap(
        &self,
        which: impl Fn(&CallSummary) -> bool,
        paused: bool,
        by: Asker,
    ) -> Result<Vec<Recorded>, PauseError> {
        if self.deaf {
            return Err(PauseError::Relay);
        }
        let mut live = self.live.lock().unwrap();
        let done = live.iter_mut().filter(|call| which(call)).map(|call| {
            let pause = Pause { by, since: Moment::now() };
            call.paused = paused.then(|| call.paused.unwrap_or(pause));
            Recorded { id: call.id, call: "f3".repeat(16), paused }
        });
        Ok(done.collect())
    }
}

/// An answered call.
pub fn answered(id: Uuid, trip: &str, recording: bool) -> CallSummary {
    CallSummary {
        id,
        state: "answered",
        since: Moment::from_unix(0),
        trip: Some(TripId::new(trip).unwrap()),
        city: None,
        caller: None,
        callee: None,
        recording,
        paused: None,
    }
}

/// A server on a thread of its own, and what the test needs of it.
pub struct Server {
    pub address: SocketAddr,
    pub folder: Arc<tempfile::TempDir>,
    pub store: Arc<dyn Store>,
    pub masking: Arc<Masking>,
    runtime: tokio::runtime::Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Status, body and headers.
pub struct Reply(pub u16, pub String, ureq::http::HeaderMap);

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.1).unwrap_or_else(|e| panic!("{e}: {}", self.1))
    }

    /// A header's text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.2.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.0, status, "{}", self.1);
        self.json()
    }

    #[track_caller]
    pub fn problem(&self, status: u16, part: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["status"], status);
        assert!(body["type"].as_str().unwrap().starts_with("urn:bauta:problem:"));
        assert!(body["detail"].as_str().unwrap().contains(part), "{body}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(body["instance"], format!("urn:bauta:request:{}", self.header("x-request-id")));
        for number in [DRIVER, PASSENGER] {
            assert!(!self.1.contains(&number[6..]), "{body}");
        }
        body
    }
}

impl Server {
    pub fn start(calls: Calls) -> Self {
        Self::over(Arc::new(tempfile::tempdir().unwrap()), calls)
    }

    pub fn over(folder: Arc<tempfile::TempDir>, calls: Calls) -> Self {
        let state = folder.path().to_owned();
        let keys = Arc::new(Keys::open_or_make(&state).unwrap());
        let store: Arc<dyn Store> =
            Arc::new(Sqlite::open(&state.join("bauta.db"), Arc::clone(&keys)).unwrap());
        let kept = Arc::clone(&store);
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let now = Moment::now();
                let book = Arc::new(RouteBook::open(&state, Arc::clone(&keys), now).unwrap());
                let files = CityFiles::new(&state.join("cities"));
                let masking = Masking::load(store, keys, book, "sbc.example", files, now).await.unwrap();
                let tokens = Arc::new(Tokens::open(&state, Arc::clone(masking.store()), now).await.unwrap());
                let access = Arc::new(Access::new(tokens, 1_000));
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send((listener.local_addr().unwrap(), Arc::clone(&masking))).unwrap();
                let archives = Arc::new(Archives::new(&state));
                let api = Api { masking, live: Arc::new(calls), access, state, archives, body_limit: 4096 };
                serve(listener, api, async { drop(stopped.await) }).await;
            });
        });
        let (address, masking) = told.recv().unwrap();
        let (stop, thread) = (Some(stop), Some(thread));
        Self { address, folder, store: kept, masking, runtime: handle, stop, thread }
    }

    /// Runs `work` on the server's runtime, to its end.
    pub fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (tell, told) = std::sync::mpsc::channel();
        self.runtime.spawn(async move { tell.send(work.await) });
        told.recv().unwrap()
    }

    pub fn state(&self) -> &Path {
        self.folder.path()
    }

    pub fn token(&self, scope: &str) -> String {
        std::fs::read_to_string(self.state().join("tokens").join(scope)).unwrap().trim().to_owned()
    }

    pub fn send(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> Reply {
        let token = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = token.iter().map(|token| ("Authorization", token.as_str())).collect();
        self.send_with(method, path, &headers, body)
    }

    pub fn send_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let reply = self.unchecked(method, path, headers, body);
        Contract::of(self).exchange(&Sent { method, path, body }, &reply);
        reply
    }

    /// Sends without comparing with the description.
    pub fn unchecked(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .build()
            .into();
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = agent.run(request.body(body.to_owned()).unwrap()).unwrap();
        let headers = response.headers().clone();
        Reply(response.status().as_u16(), response.body_mut().read_to_string().unwrap(), headers)
    }

    pub fn ask(&self, method: &str, path: &str, scope: &str, body: &Value) -> Reply {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, path, Some(&self.token(scope)), &body)
    }

    pub fn city(&self, numbers: u32) {
        let numbers: Vec<_> = (1..=numbers).map(|n| format!("+44207946{n:04}")).collect();
        let plan = json!({"country": "44", "numbers": numbers, "max_seconds": 1800});
        assert!(self.ask("PUT", "/v1/cities/london", "operator", &plan).0 < 300);
    }

    pub fn trip(&self, id: &str) -> Value {
        self.ask("POST", "/v1/trips", "business", &wish(id)).expect(201)
    }

    pub fn business(&self, method: &str, path: &str, body: Value) -> Reply {
        self.ask(method, path, "business", &body)
    }

    pub fn operator(&self, method: &str, path: &str, body: Value) -> Reply {
        self.ask(method, path, "operator", &body)
    }

    /// What becomes of a call from one address to another, with a Call-ID of its own.
    pub fn route(&self, from: &str, to: &str) -> Value {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let call_id = format!("c{}", CALLS.fetch_add(1, Ordering::Relaxed));
        self.decide(json!({"call_id": call_id, "from": from, "to": to, "trunk": "carrier-a"}))
    }

    pub fn decide(&self, question: Value) -> Value {
        self.ask("POST", "/v1/route", "proxy", &question).expect(200)
    }

    /// What is said of a call from a phone to a party's pool number: `decision`, `reason` and so on.
    pub fn call(&self, phone: &str, party: &Value) -> Value {
        self.route(&format!("sip:{phone}@caller.example"), &dialling(party))["bauta"].clone()
    }

    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn wish(id: &str) -> Value {
    json!({"trip": id, "city": "london", "record": true, "expires_in": 7200, "grace": 86400, "parties": [
        {"role": "driver", "phone": DRIVER}, {"role": "passenger", "phone": PASSENGER}]})
}

/// A party with this role and phone.
pub fn party(role: &str, phone: &str) -> Value {
    json!({"role": role, "phone": phone})
}

/// A trip in london between these two phones.
pub fn between(id: &str, driver: &str, passenger: &str) -> Value {
    json!({"trip": id, "city": "london", "parties": [party("driver", driver), party("passenger", passenger)]})
}

/// Somebody else's phone.
pub fn phone(n: u32) -> String {
    format!("+447700900{:03}", 100 + n)
}

/// The address that this party of a trip dials.
pub fn dialling(party: &Value) -> String {
    format!("sip:{}@pop", party["dial"].as_str().unwrap())
}

/// Looks again and again until there is something; ten seconds at most.
#[track_caller]
pub fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "it did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}
