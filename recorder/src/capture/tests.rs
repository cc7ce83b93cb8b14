//! Capture against a scripted tap: kills at random points, refusing disks, lost relays.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::pin::pin;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use crossbeam::channel::{Sender, unbounded};
use relay::call::{CallKey, Leg};
use relay::tap::{Kind, Record, TapError};
use uuid::Uuid;

use super::*;
use crate::label::Label;
use crate::metrics::Metrics;
use crate::random::Random;
use crate::spool::{Event, EventKind, Item, Reader, Side};

mod faults;

/// What the relay holds: its rings, whole, and how far they were committed.
#[derive(Default)]
struct Relay {
    epoch: u64,
    alive: bool,
    rings: Vec<Vec<(Record, Vec<u8>)>>,
    published: Vec<usize>,
    committed: Vec<usize>,
    live: BTreeMap<u64, (usize, Vec<u8>)>,
}

impl Relay {
    fn new(epoch: u64, rings: usize) -> Self {
        let (rings_, zeros) = (vec![Vec::new(); rings], vec![0; rings]);
        Self {
            epoch,
            alive: true,
            rings: rings_,
            published: zeros.clone(),
            committed: zeros,
            live: BTreeMap::new(),
        }
    }

    fn say(&mut self, ring: usize, call: u64, at_ns: u64, kind: Kind, payload: &[u8]) {
        let position = self.rings[ring].last().map_or(0, |(r, p)| r.position + 40 + p.len() as u64);
        match kind {
            Kind::Open => _ = self.live.insert(call, (ring, payload.to_vec())),
            Kind::Close => _ = self.live.remove(&call),
            _ => {}
        }
        self.rings[ring].push((Record { position, call: CallKey(call), at_ns, kind }, payload.to_vec()));
    }
}

type Shared = Rc<RefCell<Relay>>;

struct ScriptedTap {
    relay: Shared,
    stop: Arc<AtomicBool>,
}

struct ScriptedLink {
    relay: Shared,
    stop: Arc<AtomicBool>,
    rings: Vec<ScriptedRing>,
}

struct ScriptedRing {
    relay: Shared,
    index: usize,
    next: usize,
}

impl Tap for ScriptedTap {
    type Link = ScriptedLink;
    fn attach(&mut self) -> Result<ScriptedLink, TapError> {
        let mut relay = self.relay.borrow_mut();
        if !relay.alive {
            self.stop.store(true, Relaxed);
            return Err(TapError::NoRelay {
                path: "x".into(),
                source: io::ErrorKind::ConnectionRefused.into(),
            });
        }
        // A new recorder is told the live calls again.
        for (call, (ring, label)) in relay.live.clone() {
            let published = relay.published[ring];
            if relay.rings[ring][..published].iter().any(|(r, _)| r.call.0 == call && r.kind == Kind::Open) {
                let at = relay.rings[ring].last().map_or(0, |(r, _)| r.at_ns);
                relay.say(ring, call, at, Kind::Open, &label);
            }
        }
        let ring = |index| ScriptedRing { relay: self.relay.clone(), index, next: relay.committed[index] };
        let rings = (0..relay.rings.len()).map(ring).collect();
        Ok(ScriptedLink { relay: self.relay.clone(), stop: self.stop.clone(), rings })
    }
}

impl Link for ScriptedLink {
    type Ring = ScriptedRing;
    fn epoch(&self) -> u64 {
        self.relay.borrow().epoch
    }
    fn rings(&mut self) -> &mut [ScriptedRing] {
        &mut self.rings
    }
    fn alive(&self) -> bool {
        self.relay.borrow().alive
    }
    /// Publishes a little more; at the script's end stops the recorder.
    fn wait(&mut self, _: Duration) -> io::Result<()> {
        let mut relay = self.relay.borrow_mut();
        let mut all = true;
        for ring in 0..relay.rings.len() {
            let to = (relay.published[ring] + 7).min(relay.rings[ring].len());
            all &= relay.published[ring] == to;
            relay.published[ring] = to;
        }
        if all {
            self.stop.store(true, Relaxed);
        }
        Ok(())
    }
}

impl Ring for ScriptedRing {
    fn next(&mut self, payload: &mut Vec<u8>) -> Result<Option<Record>, Broken> {
        let relay = self.relay.borrow();
        payload.clear();
        if self.next == relay.published[self.index] {
            return Ok(None);
        }
        let (record, bytes) = &relay.rings[self.index][self.next];
        payload.extend_from_slice(bytes);
        self.next += 1;
        Ok(Some(*record))
    }
    fn commit(&mut self) {
        self.relay.borrow_mut().committed[self.index] = self.next;
    }
}

/// What the disk does beside writing.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Willing,
    /// Every so often the process is killed in a write: some of it is on the disk, nothing comes back.
    Killing(u64),
    /// Every so often the disk is full in a write.
    Refusing(u64),
}

struct MoodyDisk {
    files: SpoolFiles,
    mood: Mood,
    random: Random,
    relay: Shared,
}

impl Disk for MoodyDisk {
    async fn append(&mut self, batch: &mut Vec<Append>, done: &mut Vec<BytesMut>) -> io::Result<()> {
        let (Mood::Killing(odds) | Mood::Refusing(odds)) = self.mood else {
            return self.files.append(batch, done).await;
        };
        if self.random.below(odds) > 0 {
            return self.files.append(batch, done).await;
        }
        let committed = self.relay.borrow().committed.clone();
        let whole = self.random.below(batch.len() as u64 + 1) as usize;
        let mut first: Vec<Append> = batch.drain(..whole).collect();
        self.files.append(&mut first, done).await?;
        if let Some(torn) = batch.first() {
            let length = self.random.below(torn.bytes.len() as u64) as usize;
            let mut part = vec![Append { bytes: BytesMut::from(&torn.bytes[..length]), ..*torn }];
            self.files.append(&mut part, &mut Vec::new()).await?;
        }
        if matches!(self.mood, Mood::Killing(_)) {
            std::future::pending::<()>().await;
        }
        assert_eq!(committed, self.relay.borrow().committed, "the ring advanced before the write");
        if batch.is_empty() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn probe(&mut self) -> io::Result<()> {
        self.files.probe()
    }

    fn path(&self, spool: SpoolId) -> Option<std::path::PathBuf> {
        self.files.path(spool)
    }

    fn close(&mut self, spool: SpoolId) -> Option<std::path::PathBuf> {
        self.files.close(spool)
    }

    fn leave(&mut self, spool: SpoolId, length: u64) -> Option<std::path::PathBuf> {
        self.files.leave(spool, length)
    }
}

fn pace() -> Pace {
    let zero = Duration::ZERO;
    Pace { batch: zero, retry: zero, sync: zero, give_up: zero, stretch: zero }
}

/// Runs a recorder until it stops (true) or is killed (false).
fn recorder(folder: &Path, relay: &Shared, mood: Mood, seed: u64, counters: &Arc<Metrics>) -> bool {
    let stop = Arc::new(AtomicBool::new(false));
    let spools = recover(folder).unwrap();
    let mut files = SpoolFiles::new(folder, false);
    files.adopt(&spools).unwrap();
    let disk = MoodyDisk { files, mood, random: Random(seed), relay: relay.clone() };
    let tap = ScriptedTap { relay: relay.clone(), stop: stop.clone() };
    let (work, _queue) = unbounded();
    let context = Context { stop, counters: counters.clone(), work, syncer: None, pace: pace() };
    let run = pin!(run(tap, disk, Calls::recovered(&spools), context));
    run.poll(&mut std::task::Context::from_waker(Waker::noop())) == Poll::Ready(())
}

/// Packets of a call: side, time, payload.
type Packets = Vec<(Side, u64, Vec<u8>)>;

/// Every spool's events and packets, by the id in its label.
fn spooled(folder: &Path) -> HashMap<Uuid, (Vec<Event>, Packets)> {
    let mut all = HashMap::new();
    for path in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if path.extension().is_none_or(|e| e != "pcapng") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let mut reader = Reader::new(&bytes[..]);
        let (mut events, mut packets, mut last) = (Vec::new(), Vec::new(), None);
        while let Some(item) = reader.item().unwrap() {
            match item {
                Item::Damaged { .. } => panic!("damaged"),
                Item::Event(event) => events.push(*event),
                Item::Packet(packet, rtp) => {
                    assert!(last < Some(packet.position), "positions rise");
                    last = Some(packet.position);
                    packets.push((packet.side, packet.at_ns, rtp.to_vec()));
                }
            }
        }
        let id = events.iter().find_map(|e| e.label.as_ref().map(|l| l.recording));
        let id = id.unwrap_or_else(|| Uuid::parse_str(path.file_stem().unwrap().to_str().unwrap()).unwrap());
        assert!(all.insert(id, (events, packets)).is_none(), "one spool per call");
    }
    all
}

/// A script of `calls` calls over `rings` rings, and the truth of every one of them.
fn script(random: &mut Random, relay: &mut Relay, calls: u64, close: bool) -> HashMap<Uuid, Packets> {
    let ids: Vec<Uuid> = (0..calls).map(|_| Uuid::now_v7()).collect();
    let mut truth: HashMap<Uuid, Packets> = HashMap::new();
    let ring = |call: u64| (call % relay.rings.len() as u64) as usize;
    let rings: Vec<usize> = (0..calls).map(ring).collect();
    let mut now = 1_795_363_200_000_000_000;
    for (call, id) in (0..).zip(&ids) {
        relay.say(rings[call as usize], call, now, Kind::Open, &Label::new(*id).to_bytes());
        truth.insert(*id, Vec::new());
    }
    for n in 0..calls * 60 {
        now += 1 + random.below(20_000_000);
        let call = random.below(calls);
        let (ring, id) = (rings[call as usize], ids[call as usize]);
        let leg = Leg::BOTH[random.below(2) as usize];
        match random.below(20) {
            0 => relay.say(ring, call, now, Kind::Gap { leg, stream: 0, packets: 3, since_ns: now - 5 }, &[]),
            1 => relay.say(ring, call, now, Kind::Label, &Label::new(id).to_bytes()),
            _ => {
                let mut rtp: Vec<u8> = (0..12 + random.below(180)).map(|b| (b + n) as u8).collect();
                rtp[1] = 8;
                relay.say(ring, call, now, Kind::Packet { leg, stream: 1 }, &rtp);
                let side = Side::BOTH[leg as usize];
                truth.get_mut(&id).unwrap().push((side, now, rtp));
            }
        }
    }
    for call in 0..if close { calls } else { 0 } {
        relay.say(rings[call as usize], call, now, Kind::Close, &[]);
    }
    truth
}

#[test]
fn killed_at_any_point_nothing_is_lost_and_nothing_is_there_twice() {
    let mut kills = 0;
    for seed in 1..=60 {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random(seed * 7919);
        let mut relay = Relay::new(seed, 2);
        let truth = script(&mut random, &mut relay, 5, true);
        let (relay, counters) = (Rc::new(RefCell::new(relay)), Arc::default());
        let mut run = 0;
        while !recorder(folder.path(), &relay, Mood::Killing(4), seed * 1000 + run, &counters) {
            run += 1;
        }
        kills += run;
        let spooled = spooled(folder.path());
        assert_eq!(spooled.len(), truth.len());
        for (id, packets) in &truth {
            let (events, found) = &spooled[id];
            assert!(packets == found, "seed {seed}: {} packets became {}", packets.len(), found.len());
            assert_eq!(events.first().map(|e| e.kind), Some(EventKind::Open));
            assert_eq!(events.last().map(|e| e.kind), Some(EventKind::Close));
            assert_eq!(events.iter().filter(|e| e.kind == EventKind::Close).count(), 1);
        }
        assert!(recover(folder.path()).unwrap().iter().all(|s| s.closed && s.cut == 0));
    }
    assert!(kills > 200, "{kills} kills");
}

#[test]
fn a_refusing_disk_raises_the_alarm_and_loses_nothing() {
    for seed in 1..=20 {
        let folder = tempfile::tempdir().unwrap();
        let mut relay = Relay::new(seed, 2);
        let truth = script(&mut Random(seed), &mut relay, 4, true);
        let (relay, counters) = (Rc::new(RefCell::new(relay)), Arc::<Metrics>::default());
        assert!(recorder(folder.path(), &relay, Mood::Refusing(2), seed, &counters));
        assert!(counters.alarms.load(Relaxed) > 0);
        assert_eq!(counters.alarm.load(Relaxed), 0);
        let spooled = spooled(folder.path());
        for (id, packets) in &truth {
            assert_eq!(&spooled[id].1, packets);
        }
    }
}

#[test]
fn a_spool_cut_at_any_byte_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let mut relay = Relay::new(9, 1);
    let truth = script(&mut Random(5), &mut relay, 1, true);
    let relay = Rc::new(RefCell::new(relay));
    assert!(recorder(folder.path(), &relay, Mood::Willing, 1, &Arc::default()));
    let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&path).unwrap();
    let (id, packets) = truth.into_iter().next().unwrap();
    let step = if cfg!(debug_assertions) { 13 } else { 1 };
    for length in (1..bytes.len()).step_by(step) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(path.file_name().unwrap());
        std::fs::write(&path, &bytes[..length]).unwrap();
        // Nothing was committed: the ring shows it all once more.
        relay.borrow_mut().committed = vec![0];
        assert!(recorder(folder.path(), &relay, Mood::Willing, 1, &Arc::default()));
        assert!(spooled(folder.path())[&id].1 == packets, "cut at {length}");
        assert!(recover(folder.path()).unwrap()[0].closed);
    }
}

#[test]
fn when_the_relay_is_lost_its_calls_are_closed_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut relay = Relay::new(1, 1);
    let truth = script(&mut Random(3), &mut relay, 3, false);
    let relay = Rc::new(RefCell::new(relay));
    assert!(recorder(folder.path(), &relay, Mood::Willing, 1, &Arc::default()));
    assert!(recover(folder.path()).unwrap().iter().all(|s| !s.closed));
    // A successor finds another relay in its place.
    let counters = Arc::<Metrics>::default();
    assert!(recorder(folder.path(), &Rc::new(RefCell::new(Relay::new(2, 1))), Mood::Willing, 1, &counters));
    assert_eq!(counters.relay_lost.load(Relaxed), 3);
    for (id, (events, packets)) in spooled(folder.path()) {
        let last = events.last().unwrap();
        assert_eq!((last.kind, last.note.as_deref()), (EventKind::Close, Some(RELAY_LOST)));
        assert_eq!(packets, truth[&id]);
    }
    // The relay dies while a recorder is attached: what it published is drained first.
    let folder = tempfile::tempdir().unwrap();
    let mut relay = Relay::new(1, 1);
    let truth = script(&mut Random(4), &mut relay, 3, false);
    (relay.alive, relay.published) = (true, vec![relay.rings[0].len()]);
    let relay = Rc::new(RefCell::new(relay));
    let dying = DyingTap(ScriptedTap { relay: relay.clone(), stop: Arc::default() });
    let stop = dying.0.stop.clone();
    let (work, queue) = unbounded();
    let context = Context { stop, counters: Arc::default(), work, syncer: None, pace: pace() };
    let run = pin!(run(dying, SpoolFiles::new(folder.path(), false), Calls::default(), context));
    assert!(run.poll(&mut std::task::Context::from_waker(Waker::noop())).is_ready());
    assert_eq!(queue.len(), 3);
    for (id, (events, packets)) in spooled(folder.path()) {
        assert_eq!(events.last().unwrap().note.as_deref(), Some(RELAY_LOST));
        assert_eq!(packets, truth[&id]);
    }
}

/// A disk that is full until it has refused for the third time.
struct FullDisk {
    files: SpoolFiles,
    filler: std::path::PathBuf,
    refused: usize,
}

impl Disk for FullDisk {
    async fn append(&mut self, batch: &mut Vec<Append>, done: &mut Vec<BytesMut>) -> io::Result<()> {
        let result = self.files.append(batch, done).await;
        if let Err(error) = &result {
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            self.refused += 1;
            assert!(self.refused < 100, "the disk stays full");
            if self.refused == 3 {
                std::fs::remove_file(&self.filler).unwrap();
            }
        }
        result
    }

    fn probe(&mut self) -> io::Result<()> {
        self.files.probe()
    }

    fn path(&self, spool: SpoolId) -> Option<std::path::PathBuf> {
        self.files.path(spool)
    }

    fn close(&mut self, spool: SpoolId) -> Option<std::path::PathBuf> {
        self.files.close(spool)
    }

    fn leave(&mut self, spool: SpoolId, length: u64) -> Option<std::path::PathBuf> {
        self.files.leave(spool, length)
    }
}

/// A disk on which the spool that was made first cannot be written any more.
struct BadSector {
    files: SpoolFiles,
    writes: usize,
    bad: Option<SpoolId>,
}

impl Disk for BadSector {
    async fn append(&mut self, batch: &mut Vec<Append>, done: &mut Vec<BytesMut>) -> io::Result<()> {
        self.writes += 1;
        if self.writes == 3 {
            self.bad = batch.first().map(|a| a.spool);
        }
        let mut refused: Vec<Append> = batch.extract_if(.., |a| Some(a.spool) == self.bad).collect();
        let written = self.files.append(batch, done).await;
        let error = if refused.is_empty() { written } else { Err(io::Error::from_raw_os_error(5)) };
        batch.append(&mut refused);
        error
    }

    fn probe(&mut self) -> io::Result<()> {
        self.files.probe()
    }

    fn path(&self, spool: SpoolId) -> Option<std::path::PathBuf> {
        self.files.path(spool)
    }

    fn close(&mut self, spool: SpoolId) -> Option<std::path::PathBuf> {
        self.files.close(spool)
    }

    fn leave(&mut self, spool: SpoolId, length: u64) -> Option<std::path::PathBuf> {
        self.files.leave(spool, length)
    }
}

#[test]
fn a_spool_that_cannot_be_written_holds_up_no_other_and_its_call_goes_on_in_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Shared::default();
    *relay.borrow_mut() = Relay::new(5, 1);
    let truth = script(&mut Random(41), &mut relay.borrow_mut(), 6, true);
    let stop = Arc::new(AtomicBool::new(false));
    let tap = ScriptedTap { relay, stop: stop.clone() };
    let (counters, (work, queue)) = (Arc::new(Metrics::default()), unbounded());
    let context = Context { stop, counters: counters.clone(), work, syncer: None, pace: pace() };
    let disk = BadSector { files: SpoolFiles::new(folder.path(), false), writes: 0, bad: None };
    let run = pin!(run(tap, disk, Calls::default(), context));
    assert!(run.poll(&mut std::task::Context::from_waker(Waker::noop())).is_ready());
    assert_eq!(counters.moved.load(Relaxed), 1);
    assert_eq!((counters.alarm.load(Relaxed), queue.len()), (0, 7), "no stall; every spool is archived");
    let mut spools = recover(folder.path()).unwrap();
    assert_eq!(spools.len(), 7);
    assert!(spools.iter().all(|s| s.closed), "the one that is gone on with is complete");
    let second = spools.extract_if(.., |s| s.continues.is_some()).next().unwrap();
    let first = spools.iter().find(|s| Some(s.name) == second.continues).unwrap();
    let packets = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        let (mut reader, mut packets) = (Reader::new(&bytes[..]), Vec::new());
        while let Some(item) = reader.item().unwrap() {
            if let Item::Packet(packet, rtp) = item {
                packets.push((packet.side, packet.at_ns, rtp.to_vec()));
            }
        }
        packets
    };
    let label = second.label.as_ref().unwrap().recording;
    assert_eq!([packets(&first.path), packets(&second.path)].concat(), truth[&label]);
}

#[test]
fn a_damaged_spool_is_read_around_its_damage() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Shared::default();
    *relay.borrow_mut() = Relay::new(5, 1);
    let truth = script(&mut Random(43), &mut relay.borrow_mut(), 1, true);
    assert!(recorder(folder.path(), &relay, Mood::Willing, 1, &Arc::default()));
    let path = recover(folder.path()).unwrap().remove(0).path;
    let whole = std::fs::read(&path).unwrap();
    let count = |bytes: &[u8]| {
        let (mut reader, mut packets, mut damaged) = (Reader::new(bytes), 0, 0);
        while let Some(item) = reader.item().unwrap() {
            match item {
                Item::Packet(..) => packets += 1,
                Item::Damaged { bytes } => damaged += bytes,
                Item::Event(_) => {}
            }
        }
        (packets, damaged)
    };
    let all = truth.values().next().unwrap().len();
    assert_eq!(count(&whole), (all, 0));
    let mut random = Random(47);
    for filler in [0_u8, 0xFF, 0x5A] {
        for _ in 0..20 {
            // A hole somewhere behind the headers, as of a page that never reached the disk.
            let mut hurt = whole.clone();
            let from = 300 + random.below(whole.len() as u64 - 900) as usize;
            hurt[from..from + 500].fill(filler);
            let (packets, damaged) = count(&hurt);
            assert!(packets <= all && packets + 8 > all, "{packets} of {all}");
            assert!((300..2000).contains(&damaged), "{damaged}");
            // A tail that was never written.
            hurt.truncate(from + 200);
            std::fs::write(&path, &hurt).unwrap();
            let found = recover(folder.path()).unwrap().remove(0);
            assert_eq!(std::fs::metadata(&path).unwrap().len(), found.length);
            assert!(
                found.length <= from as u64 + 200 && found.length + 600 > from as u64,
                "{} {from}",
                found.length
            );
        }
    }
}

#[test]
fn a_full_disk_stops_nothing_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=512k", "none"])
        .arg(folder.path())
        .status()
        .is_ok_and(|s| s.success());
    if !mounted {
        return println!("skipped: mounting a small file system needs root");
    }
    let _mounted = Mounted(folder.path());
    for uring in [false, true] {
        let Ok(runtime) = tokio_uring::Runtime::new(&tokio_uring::builder()) else {
            println!("skipped: io_uring is refused here");
            continue;
        };
        let filler = folder.path().join("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        while io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
        // A little room, so that some writes are short.
        file.set_len(file.metadata().unwrap().len() - 3 * 4096).unwrap();
        drop(file);
        let mut relay = Relay::new(1, 2);
        let truth = script(&mut Random(5), &mut relay, 4, true);
        let stop = Arc::new(AtomicBool::new(false));
        let tap = ScriptedTap { relay: Rc::new(RefCell::new(relay)), stop: stop.clone() };
        let (work, _queue) = unbounded();
        let counters = Arc::<Metrics>::default();
        let context = Context { stop, counters: counters.clone(), work, syncer: None, pace: pace() };
        let disk = FullDisk { files: SpoolFiles::new(folder.path(), uring), filler, refused: 0 };
        runtime.block_on(run(tap, disk, Calls::default(), context));
        assert_eq!((counters.alarms.load(Relaxed), counters.alarm.load(Relaxed)), (1, 0));
        let spooled = spooled(folder.path());
        for (id, packets) in &truth {
            assert_eq!(&spooled[id].1, packets);
        }
        for path in std::fs::read_dir(folder.path()).unwrap() {
            std::fs::remove_file(path.unwrap().path()).unwrap();
        }
    }
}

/// Unmounts, however the test ends.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(self.0).status();
        assert!(done.is_ok_and(|s| s.success()), "{} is still mounted", self.0.display());
    }
}

/// A relay that dies as soon as it was attached to.
struct DyingTap(ScriptedTap);

impl Tap for DyingTap {
    type Link = ScriptedLink;
    fn attach(&mut self) -> Result<ScriptedLink, TapError> {
        let link = self.0.attach();
        self.0.relay.borrow_mut().alive = false;
        link
    }
}

#[test]
fn an_unreadable_label_or_none_loses_no_audio() {
    let folder = tempfile::tempdir().unwrap();
    let mut relay = Relay::new(1, 1);
    let packet = Kind::Packet { leg: Leg::Caller, stream: 0 };
    relay.say(0, 1, 10, Kind::Open, b"+447700900001 is no label");
    relay.say(0, 1, 20, packet, b"one");
    relay.say(0, 1, 30, Kind::Close, &[]);
    relay.say(0, 2, 40, packet, b"two");
    relay.say(0, 2, 50, Kind::Close, &[]);
    let counters = Arc::<Metrics>::default();
    assert!(recorder(folder.path(), &Rc::new(RefCell::new(relay)), Mood::Willing, 1, &counters));
    let mut found: Vec<_> = spooled(folder.path()).into_values().collect();
    found.sort_by_key(|(events, _)| events[0].at_ns);
    assert_eq!(found[0].1, [(Side::Caller, 20, b"one".to_vec())]);
    assert_eq!(found[1].1, [(Side::Caller, 40, b"two".to_vec())]);
    assert!(found[0].0[0].note.as_deref().unwrap().starts_with("label is not readable"));
    assert!(found[1].0[0].note.as_deref().unwrap().contains("mid-call"));
    assert_eq!(counters.unreadable_labels.load(Relaxed), 1);
    for path in std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()) {
        let bytes = std::fs::read(path).unwrap();
        assert!(!bytes.windows(10).any(|w| w == b"7700900001"), "what could not be read is not kept");
    }
}

#[test]
fn io_uring_writes_the_same_spools() {
    let runtime = match tokio_uring::Runtime::new(&tokio_uring::builder()) {
        Ok(runtime) => runtime,
        Err(error) => return println!("skipped: io_uring is refused here: {error}"),
    };
    let folder = tempfile::tempdir().unwrap();
    let mut relay = Relay::new(1, 3);
    // More calls than are written at once.
    let truth = script(&mut Random(8), &mut relay, 300, true);
    let relay = Rc::new(RefCell::new(relay));
    let stop = Arc::new(AtomicBool::new(false));
    let tap = ScriptedTap { relay, stop: stop.clone() };
    let (work, queue) = unbounded();
    let context = Context { stop, counters: Arc::default(), work, syncer: None, pace: pace() };
    runtime.block_on(run(tap, SpoolFiles::new(folder.path(), true), Calls::default(), context));
    assert_eq!(queue.len(), 300);
    let spooled = spooled(folder.path());
    for (id, packets) in &truth {
        assert_eq!(&spooled[id].1, packets);
    }
}
