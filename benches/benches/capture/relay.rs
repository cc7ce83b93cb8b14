//! The relay's part: a tap ring as a worker has it, calls, and the packets of both their sides on time.
//!
//! [`Relay::play`] has a thread of its own. What does not fit into the ring is lost and told as the relay's engine
//! tells it: by a gap record before the next packet of that side.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use recorder::label::{Codec, Label};
use relay::call::{CallKey, Leg};
use relay::options::Options;
use relay::row::Gap;
use relay::tap::{Host, Kind, Record, Writer, create};
use tests::speech::{PACKET, Speech};
use uuid::Uuid;

use super::cores;

/// Packets a second of one call: two sides, 20 ms each.
pub const PACKETS_PER_CALL: u64 = 100;
/// From batch to batch.
const BATCH: Duration = Duration::from_millis(1);
/// How long the last packets may take out of the ring.
const DRAIN: Duration = Duration::from_secs(10);
/// Of each side's time, this share is talk.
const TALK: f64 = 0.4;
/// A-law, PT 8 (RFC 3551).
const PCMA: u8 = 8;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Calls at a time.
    pub calls: u32,
    /// Packets a second, of all calls.
    pub rate: u64,
    /// For so long.
    pub seconds: u64,
}

impl Load {
    /// All packets.
    pub const fn packets(&self) -> u64 {
        self.rate * self.seconds
    }
}

/// What came of it, as the relay sees it.
#[derive(Debug, Clone, Copy)]
pub struct Played {
    /// Packets that came, whether or not there was room for them.
    pub offered: u64,
    /// Packets that the ring had no room for.
    pub lost: u64,
    /// Gap records.
    pub gaps: u64,
    /// Time from the first packet to the last.
    pub lasted: Duration,
    /// Time that was asked for.
    wanted: Duration,
    /// From the last packet until the ring was empty.
    pub drained: Option<Duration>,
    /// Most bytes in the ring.
    pub backlog: u64,
    /// Size of the ring in bytes.
    pub ring: u64,
    /// Most packets in one batch: above a millisecond's worth, this thread came late.
    pub largest_batch: u64,
    /// CPU time of the relay's part.
    pub cpu: Duration,
}

impl Played {
    /// Whether the packets came as fast as was asked.
    pub fn on_time(&self) -> bool {
        self.lasted < self.wanted.mul_f64(1.03)
    }
}

/// One side of a call.
struct Stream {
    call: CallKey,
    leg: Leg,
    sent: u64,
    gap: Option<Gap>,
}

/// A relay process with one worker, as the recorder sees it.
pub struct Relay {
    writer: Writer,
    attached: Receiver<bool>,
    load: Load,
    ring: u64,
    streams: Vec<Stream>,
    /// What the callers' and the callees' microphones give, by packets; each stream begins somewhere else in it.
    voices: [Vec<u8>; 2],
}

impl Relay {
    /// Serves the tap of the state directory `state`.
    pub fn start(state: &Path, load: Load) -> Result<Self> {
        std::fs::create_dir_all(state.join("run"))?;
        let ring = Options::default().tap_ring_mib as usize * 1024 * 1024;
        let epoch = Uuid::now_v7().as_u64_pair().1;
        let (writer, handles) = create(ring, epoch)?;
        let host = Host::bind(&state.join("run/tap.sock"), vec![handles], epoch)?;
        let (tell, attached) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            host.serve(|recorder| {
                // Nobody listens any more when the run is over.
                let _ = tell.send(recorder);
            })
        });
        let voices = [voice(&Speech::caller()), voice(&Speech::callee())];
        Ok(Self { writer, attached, load, ring: ring as u64, streams: Vec::new(), voices })
    }

    /// Waits for the recorder.
    pub fn attached(&mut self, patience: Duration) -> Result<()> {
        let attached = self.attached.recv_timeout(patience);
        if attached.context("the recorder did not attach")? {
            // Nothing is in the ring yet that a broken predecessor could have cost.
            self.writer.reader_attached(|_, _| {});
            return Ok(());
        }
        bail!("the recorder went away");
    }

    /// Opens all calls; gives their recordings' ids.
    pub fn open(&mut self) -> Vec<Uuid> {
        let ids: Vec<Uuid> = (0..self.load.calls).map(|_| Uuid::now_v7()).collect();
        for (call, id) in (1..).map(CallKey).zip(&ids) {
            let mut label = Label::new(*id);
            label.call = call.to_string();
            label.roles = ["driver", "passenger"].map(|role| Some(role.to_owned()));
            for leg in &mut label.legs {
                leg.codecs =
                    vec![Codec { payload_type: PCMA, name: "PCMA".into(), clock_rate: 8000, channels: 1 }];
            }
            self.event(call, Kind::Open, &label.to_bytes());
            self.streams.extend(Leg::BOTH.map(|leg| Stream { call, leg, sent: 0, gap: None }));
        }
        self.writer.flush();
        ids
    }

    /// Ends all calls. What their gaps still owe is told before.
    pub fn close(&mut self) {
        for index in 0..self.streams.len() {
            self.tell_gap(index);
        }
        for call in (1..=u64::from(self.load.calls)).map(CallKey) {
            self.event(call, Kind::Close, &[]);
        }
        self.writer.flush();
    }

    fn event(&mut self, call: CallKey, kind: Kind, payload: &[u8]) {
        let record = Record { position: 0, call, at_ns: now_ns(), kind };
        // The ring's reserve holds the events of more calls than are measured here.
        self.writer.event(&record, payload).expect("room for an event");
    }

    /// Everything that comes in [`Load::seconds`], in batches; then waits until the recorder has taken it.
    pub fn play(&mut self, interrupted: &AtomicBool) -> Result<Played> {
        let (all, mut played) = (self.load.packets(), Played::new(self.load, self.ring));
        let (cpu, began) = (cores::cpu_of_this_thread(), Instant::now());
        let mut packet = [0; 12 + PACKET];
        let mut batches: u32 = 0;
        while played.offered < all {
            if interrupted.load(Relaxed) {
                bail!("interrupted");
            }
            let due = (began.elapsed().as_secs_f64() * self.load.rate as f64) as u64;
            let (due, now) = (due.min(all) - played.offered, now_ns());
            for _ in 0..due {
                self.packet(now, &mut packet, &mut played);
            }
            self.writer.flush();
            played.largest_batch = played.largest_batch.max(due);
            played.backlog = played.backlog.max(self.writer.backlog());
            batches += 1;
            // Behind: the next batch is larger, at once.
            std::thread::sleep((BATCH * batches).saturating_sub(began.elapsed()));
        }
        played.lasted = began.elapsed();
        while self.writer.backlog() > 0 && began.elapsed() < played.lasted + DRAIN {
            std::thread::sleep(BATCH);
        }
        played.drained = (self.writer.backlog() == 0).then(|| began.elapsed().saturating_sub(played.lasted));
        played.cpu = cores::cpu_of_this_thread().saturating_sub(cpu);
        Ok(played)
    }

    /// The next packet of the stream whose turn it is.
    fn packet(&mut self, now: u64, packet: &mut [u8; 12 + PACKET], played: &mut Played) {
        let index = (played.offered % self.streams.len() as u64) as usize;
        played.offered += 1;
        let stream = &mut self.streams[index];
        packet[..2].copy_from_slice(&[0x80, PCMA]);
        packet[2..4].copy_from_slice(&(stream.sent as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&((stream.sent * PACKET as u64) as u32).to_be_bytes());
        packet[8..12].copy_from_slice(&(index as u32 + 1).to_be_bytes());
        let voice = &self.voices[stream.leg as usize];
        let at = (index * 7 + stream.sent as usize) * PACKET % voice.len();
        packet[12..].copy_from_slice(&voice[at..at + PACKET]);
        stream.sent += 1;
        let (call, leg) = (stream.call, stream.leg);
        let open = stream.gap.is_none() || self.writer.fits_after_gap(packet.len());
        if open && self.tell_gap(index) {
            played.gaps += 1;
        }
        let record = Record { position: 0, call, at_ns: now, kind: Kind::Packet { leg, stream: 0 } };
        if !open || self.writer.packet(&record, packet).is_err() {
            played.lost += 1;
            let gap = self.streams[index].gap.get_or_insert(Gap { packets: 0, since_ns: now, until_ns: now });
            gap.packets += 1;
            gap.until_ns = now;
        }
    }

    /// Whether there was one to tell.
    fn tell_gap(&mut self, index: usize) -> bool {
        let stream = &mut self.streams[index];
        let Some(Gap { packets, since_ns, .. }) = stream.gap.take() else { return false };
        let (call, kind) = (stream.call, Kind::Gap { leg: stream.leg, stream: 0, packets, since_ns });
        self.event(call, kind, &[]);
        true
    }
}

impl Played {
    fn new(load: Load, ring: u64) -> Self {
        let none = Duration::ZERO;
        let wanted = Duration::from_secs(load.seconds);
        Self {
            offered: 0,
            lost: 0,
            gaps: 0,
            lasted: none,
            wanted,
            drained: None,
            backlog: 0,
            ring,
            largest_batch: 0,
            cpu: none,
        }
    }
}

/// Speech, and then the faint noise of a line until it was talk for [`TALK`] of the time. Whole packets.
fn voice(speech: &Speech) -> Vec<u8> {
    let mut alaw = speech.payloads().collect::<Vec<_>>().concat();
    let packets = (alaw.len() as f64 / TALK) as usize / PACKET;
    let mut dice: u32 = 1;
    alaw.resize_with(packets * PACKET, || {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // The two smallest steps around zero.
        [0xd5, 0x55, 0xd4, 0x54][dice as usize >> 30]
    });
    alaw
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
