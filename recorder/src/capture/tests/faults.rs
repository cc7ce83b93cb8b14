//! Files that go bad, disks that lose power, and what waited in the ring meanwhile.

use super::*;
use crate::spool;

/// Items of one file, damage included: packets by position, and the bytes that are damaged.
fn salvaged(bytes: &[u8]) -> (Vec<u64>, u64) {
    let mut reader = Reader::new(bytes);
    let (mut found, mut damaged) = (Vec::new(), 0);
    while let Ok(Some(item)) = reader.item() {
        match item {
            Item::Packet(packet, _) => found.push(packet.position),
            Item::Event(_) => {}
            Item::Damaged { bytes } => damaged += bytes,
        }
    }
    (found, damaged)
}

/// A spool of so many packets, and where in the file each of them lies.
fn a_spool(seed: u64, packets: u64) -> (Vec<u8>, Vec<(u64, std::ops::Range<usize>)>) {
    let mut random = Random(seed);
    let mut bytes = BytesMut::new();
    let origin = spool::Origin { epoch: 0x1122_3344_5566_7788, ring: 0, call: 9 };
    let event = |position, kind| Event {
        origin,
        position,
        at_ns: 1_000_000 + position,
        kind,
        label: None,
        note: None,
        continues: None,
    };
    spool::header(&mut bytes);
    spool::write_event(&mut bytes, &event(0, EventKind::Open));
    let mut places = Vec::new();
    for position in 1..=packets {
        let from = bytes.len();
        // What a party may send: a packet that looks like a block of a spool, and noise.
        let mut rtp = BytesMut::new();
        if random.below(3) == 0 {
            let forged =
                Event { origin: spool::Origin { epoch: 1, ..origin }, ..event(1000, EventKind::Close) };
            spool::write_event(&mut rtp, &forged);
        }
        rtp.extend((0..random.below(200)).map(|n| (n * seed) as u8));
        let at_ns = 1_000_000 + position;
        let side = Side::BOTH[random.below(2) as usize];
        spool::write_packet(
            &mut bytes,
            &spool::Packet { side, stream: 0, at_ns, position, dropped: 0 },
            &rtp,
        );
        places.push((position, from..bytes.len()));
    }
    spool::write_event(&mut bytes, &event(packets + 1, EventKind::Close));
    (bytes.to_vec(), places)
}

#[test]
fn damage_costs_what_it_touched_and_nothing_else() {
    for seed in 1..=600 {
        let mut random = Random(seed * 31);
        let (whole, places) = a_spool(seed, 40);
        let first = places[0].1.start;
        let from = first + random.below((whole.len() - first - 1) as u64) as usize;
        let to = (from + 1 + random.below(700) as usize).min(whole.len());
        let mut bytes = whole.clone();
        let garbage = random.below(2);
        bytes[from..to].iter_mut().for_each(|b| *b = (garbage * random.below(256)) as u8);
        let touched = |r: &std::ops::Range<usize>| whole[r.clone()] != bytes[r.clone()];
        let sound: Vec<u64> = places.iter().filter(|(_, r)| !touched(r)).map(|(p, _)| *p).collect();
        let (found, damaged) = salvaged(&bytes);
        // A packet whose voice alone was changed reads as sound: the hash chain is for that.
        assert!(sound.iter().all(|p| found.contains(p)), "seed {seed}: {from}..{to}: {sound:?} {found:?}");
        assert!(damaged <= (to - from) as u64 + 2 * 400, "seed {seed}: {damaged} of {}", to - from);
        assert!(found.len() == places.len() || damaged > 0 || to >= places[39].1.start, "seed {seed}");
    }
}

#[test]
fn after_a_power_cut_everything_before_it_is_there_whatever_lies_behind_it() {
    let (whole, places) = a_spool(7, 7);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("{}.pcapng", Uuid::now_v7()));
    for cut in 1..whole.len() {
        for tail in [0_u8, 1, 2] {
            let mut random = Random(cut as u64 + 1);
            let mut bytes = whole[..cut].to_vec();
            match tail {
                0 => {}
                1 => bytes.resize((cut + 4096).next_multiple_of(4096), 0),
                _ => bytes.extend((0..500).map(|_| random.below(256) as u8)),
            }
            // The tail may be just what was cut off.
            let same = |r: &std::ops::Range<usize>| bytes.get(r.clone()) == Some(&whole[r.clone()]);
            let before: Vec<u64> = places.iter().filter(|(_, r)| same(r)).map(|(p, _)| *p).collect();
            assert_eq!(salvaged(&bytes).0, before, "cut at {cut}, tail {tail}");
            if cut % 7 == 0 {
                std::fs::write(&path, &bytes).unwrap();
                let found = recover(folder.path()).unwrap();
                if let [found] = &found[..] {
                    assert_eq!(found.length + found.cut, bytes.len() as u64);
                    assert_eq!(std::fs::metadata(&path).unwrap().len(), found.length);
                    assert_eq!(salvaged(&std::fs::read(&path).unwrap()), (before, 0));
                } else {
                    assert!(before.is_empty() && path.with_extension("damaged").exists());
                }
            }
        }
    }
}

#[test]
fn a_spool_with_a_hole_is_gone_on_with_and_none_is_set_aside() {
    for seed in 1..=40 {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random(seed);
        let mut relay = Relay::new(3, 1);
        let truth = script(&mut random, &mut relay, 1, false);
        let relay = Rc::new(RefCell::new(relay));
        assert!(recorder(folder.path(), &relay, Mood::Willing, 1, &Arc::default()));
        let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let from = random.below(bytes.len() as u64 / 2) as usize;
        bytes[from..from + 600].fill(0);
        std::fs::write(&path, &bytes).unwrap();
        // Its successor goes on: the relay says more.
        let (id, packets) = truth.into_iter().next().unwrap();
        let packet = Kind::Packet { leg: Leg::Caller, stream: 1 };
        let at_ns = packets.last().unwrap().1 + 1;
        relay.borrow_mut().say(0, 0, at_ns, packet, b"more than that");
        relay.borrow_mut().say(0, 0, at_ns, Kind::Close, &[]);
        assert!(recorder(folder.path(), &relay, Mood::Willing, 1, &Arc::default()));
        let [found] = &recover(folder.path()).unwrap()[..] else { panic!("one spool") };
        assert!(found.closed && found.name == id);
        let after = std::fs::read(&path).unwrap();
        assert!((1..2000).contains(&salvaged(&after).1));
        assert_eq!(after[..bytes.len()], bytes, "what was there is there");
        assert!(salvaged(&after).0.len() + 20 > packets.len());
    }
}

/// A file: its name, what it goes on from, the id in its first label, its packets.
type File = (Uuid, Option<Uuid>, Uuid, Packets);

fn files(folder: &Path) -> Vec<File> {
    let read = |path: std::path::PathBuf| {
        let bytes = std::fs::read(&path).unwrap();
        let name = Uuid::parse_str(path.file_stem().unwrap().to_str().unwrap()).unwrap();
        let mut reader = Reader::new(&bytes[..]);
        let (mut packets, mut from, mut label) = (Vec::new(), None, None);
        while let Some(item) = reader.item().unwrap() {
            match item {
                Item::Event(event) => {
                    from = from.or(event.continues);
                    label = label.or(event.label.map(|l| l.recording));
                }
                Item::Packet(packet, rtp) => packets.push((packet.side, packet.at_ns, rtp.to_vec())),
                Item::Damaged { bytes } => panic!("{bytes} bytes are damaged"),
            }
        }
        (name, from, label.unwrap(), packets)
    };
    let spools = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    // A first write that was torn leaves nothing but a header, which is set aside.
    spools.filter(|path| path.extension().is_some_and(|e| e == spool::EXTENSION)).map(read).collect()
}

/// The packets of a call over all its spools, in order, and how many spools those are.
fn chain(files: &[File], id: Uuid) -> (Packets, usize) {
    let (mut all, mut spools) = (Vec::new(), 0);
    let mut next = files.iter().find(|(_, from, label, _)| from.is_none() && *label == id);
    while let Some((name, _, label, packets)) = next {
        assert_eq!(*label, id, "every spool of a call carries its label");
        all.extend(packets.iter().cloned());
        spools += 1;
        next = files.iter().find(|(_, from, ..)| *from == Some(*name));
    }
    (all, spools)
}

/// A disk with files that can be written up to so many bytes; the rest as its mood is.
struct BadFiles {
    moody: MoodyDisk,
    bad: HashMap<Uuid, u64>,
}

impl Disk for BadFiles {
    async fn append(&mut self, batch: &mut Vec<Append>, done: &mut Vec<BytesMut>) -> io::Result<()> {
        let bad = |a: &mut Append| {
            self.bad.get(&a.name).is_some_and(|good| a.offset + a.bytes.len() as u64 > *good)
        };
        let mut refused: Vec<Append> = batch.extract_if(.., bad).collect();
        for append in &refused {
            // Some of it is written all the same.
            let length = self.moody.random.below(append.bytes.len() as u64) as usize;
            let mut part = vec![Append { bytes: BytesMut::from(&append.bytes[..length]), ..*append }];
            self.moody.files.append(&mut part, &mut Vec::new()).await?;
        }
        self.moody.append(batch, done).await?;
        let good = refused.is_empty();
        batch.append(&mut refused);
        if good { Ok(()) } else { Err(io::Error::from_raw_os_error(5)) }
    }

    fn probe(&mut self) -> io::Result<()> {
        self.moody.probe()
    }

    fn path(&self, spool: SpoolId) -> Option<std::path::PathBuf> {
        self.moody.path(spool)
    }

    fn close(&mut self, spool: SpoolId) -> Option<std::path::PathBuf> {
        self.moody.close(spool)
    }

    fn leave(&mut self, spool: SpoolId, length: u64) -> Option<std::path::PathBuf> {
        self.moody.leave(spool, length)
    }
}

/// Runs a recorder whose disk has bad files until it stops (true) or is killed (false).
fn recorder_with_bad_files(
    folder: &Path,
    relay: &Shared,
    mood: Mood,
    seed: u64,
    counters: &Arc<Metrics>,
    bad: &HashMap<Uuid, u64>,
    work: &Sender<Work>,
) -> bool {
    let stop = Arc::new(AtomicBool::new(false));
    let spools = recover(folder).unwrap();
    let mut files = SpoolFiles::new(folder, false);
    files.adopt(&spools).unwrap();
    let moody = MoodyDisk { files, mood, random: Random(seed), relay: relay.clone() };
    let disk = BadFiles { moody, bad: bad.clone() };
    let tap = ScriptedTap { relay: relay.clone(), stop: stop.clone() };
    let context =
        Context { stop, counters: counters.clone(), work: work.clone(), syncer: None, pace: pace() };
    let run = pin!(run(tap, disk, Calls::recovered(&spools), context));
    run.poll(&mut std::task::Context::from_waker(Waker::noop())) == Poll::Ready(())
}

#[test]
fn one_bad_file_is_left_its_call_goes_on_and_the_others_notice_nothing() {
    for seed in 1..=40 {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random(seed * 97);
        let mut relay = Relay::new(seed, 2);
        let truth = script(&mut random, &mut relay, 4, true);
        let good: Vec<Uuid> = truth.keys().copied().skip(2).collect();
        let bad: HashMap<Uuid, u64> =
            truth.keys().take(2).map(|id| (*id, random.below(2) * random.below(6000))).collect();
        let relay = Rc::new(RefCell::new(relay));
        let counters = Arc::<Metrics>::default();
        let (work, queue) = unbounded();
        // Every other time it is killed again and again as well.
        let mood = if seed % 2 == 0 { Mood::Willing } else { Mood::Killing(5) };
        let mut run = 0;
        while !recorder_with_bad_files(folder.path(), &relay, mood, seed * 100 + run, &counters, &bad, &work)
        {
            run += 1;
        }
        let files = files(folder.path());
        for (id, packets) in &truth {
            let (found, spools) = chain(&files, *id);
            assert!(found == *packets, "seed {seed}: {} packets became {}", packets.len(), found.len());
            assert!(spools == 1 || !good.contains(id), "seed {seed}: a good file was left");
        }
        assert!(counters.moved.load(Relaxed) >= 2);
        assert_eq!(counters.alarm.load(Relaxed), 0, "nothing stood");
        // All that was left is the archiver's at once, or at the next start.
        assert!(recover(folder.path()).unwrap().iter().all(|s| s.closed));
        if mood == Mood::Willing {
            let closed = queue.try_iter().filter(|w| matches!(w, Work::Closed(_)));
            let mut told: Vec<String> = closed.map(|w| format!("{w:?}")).collect();
            told.sort();
            told.dedup();
            assert_eq!(told.len(), files.len());
        }
    }
}

#[test]
fn a_spool_that_goes_bad_in_a_pause_goes_on_paused() {
    let folder = tempfile::tempdir().unwrap();
    let id = Uuid::now_v7();
    let mut relay = Relay::new(1, 1);
    let packet = Kind::Packet { leg: Leg::Caller, stream: 0 };
    relay.say(0, 1, 10, Kind::Open, &Label::new(id).to_bytes());
    (0..6).for_each(|n| relay.say(0, 1, 20 + n, packet, b"before"));
    relay.say(0, 1, 30, Kind::Pause, &[]);
    (0..9).for_each(|_| relay.say(0, 1, 40, Kind::Label, &Label::new(id).to_bytes()));
    relay.say(0, 1, 50, Kind::Resume, &[]);
    relay.say(0, 1, 60, Kind::Close, &[]);
    let bad = HashMap::from([(id, 2600)]);
    let relay = Rc::new(RefCell::new(relay));
    let (work, _queue) = unbounded();
    assert!(recorder_with_bad_files(folder.path(), &relay, Mood::Willing, 1, &Arc::default(), &bad, &work));
    let fresh = recover(folder.path()).unwrap().into_iter().find(|s| s.continues == Some(id)).unwrap();
    let bytes = std::fs::read(&fresh.path).unwrap();
    let mut reader = Reader::new(&bytes[..]);
    let mut kinds = Vec::new();
    while let Some(Item::Event(event)) = reader.item().unwrap() {
        kinds.push(event.kind);
    }
    assert_eq!(kinds[..2], [EventKind::Open, EventKind::Pause]);
    assert_eq!(kinds[kinds.len() - 2..], [EventKind::Resume, EventKind::Close]);
}

/// What two or more batches of `calls` bring, by spool.
fn write(calls: &mut Calls, written: &mut HashMap<u64, BytesMut>) {
    let mut batch = Vec::new();
    calls.batch(&mut batch);
    for append in batch {
        written.entry(append.spool.0).or_default().extend_from_slice(&append.bytes);
    }
    calls.written();
}

fn label(n: u128) -> Vec<u8> {
    Label::new(Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0000 + n)).to_bytes()
}

const fn record(position: u64, call: u64, at_ns: u64, kind: Kind) -> Record {
    Record { position, call: CallKey(call), at_ns, kind }
}

const PACKET: Kind = Kind::Packet { leg: Leg::Callee, stream: 0 };

#[test]
fn a_refusal_is_told_to_the_calls_that_lived_through_it_and_behind_what_waited_in_the_ring() {
    let (counters, mut calls, mut written) = (Metrics::default(), Calls::default(), HashMap::new());
    // 0 ends before; 1, 2 and 5 live; 3 begins while the disk refuses; 4 begins later.
    for n in [0, 1, 2, 5] {
        calls.take(1, 0, &record(n, n, 100, Kind::Open), &label(n.into()), &counters);
    }
    calls.take(1, 0, &record(6, 0, 150, Kind::Close), &[], &counters);
    calls.take(1, 0, &record(7, 1, 190, PACKET), b"x", &counters);
    write(&mut calls, &mut written);
    calls.stalled(200, 300, "No space left on device");
    calls.take(1, 0, &record(10, 3, 250, Kind::Open), &label(3), &counters);
    (0..5).for_each(|n| calls.take(1, 0, &record(11 + n, 1, 240 + 10 * n, PACKET), b"waited", &counters));
    let gap = Kind::Gap { leg: Leg::Callee, stream: 0, packets: 3, since_ns: 285 };
    calls.take(1, 0, &record(17, 1, 299, gap), &[], &counters);
    calls.take(1, 0, &record(18, 1, 310, PACKET), b"x", &counters);
    calls.take(1, 0, &record(19, 3, 320, PACKET), b"x", &counters);
    calls.take(1, 0, &record(20, 4, 400, Kind::Open), &label(4), &counters);
    calls.take(1, 0, &record(21, 5, 260, Kind::Close), &[], &counters);
    calls.take(1, 0, &record(22, 2, 500, Kind::Close), &[], &counters);
    calls.relay_lost(None, 600, &counters);
    write(&mut calls, &mut written);
    // Spools are numbered as they were opened: the call 5 is the fourth.
    let expected = [None, Some((200, 300)), Some((200, 300)), Some((200, 260)), Some((250, 300)), None];
    for (spool, told) in (0..).zip(expected) {
        let mut reader = Reader::new(&written[&spool][..]);
        let (mut found, mut last) = (None, 0);
        while let Some(item) = reader.item().unwrap() {
            let at_ns = match item {
                Item::Packet(packet, _) => packet.at_ns,
                Item::Event(event) => {
                    if let EventKind::Stalled { since_ns } = event.kind {
                        assert_eq!(event.note.as_deref(), Some("No space left on device"));
                        assert_eq!(found.replace((since_ns, event.at_ns)), None, "told once");
                    }
                    event.at_ns
                }
                Item::Damaged { .. } => panic!("damaged"),
            };
            assert!(at_ns >= last, "spool {spool}: time goes back from {last} to {at_ns}");
            last = at_ns;
        }
        assert_eq!(found, told, "spool {spool}");
    }
}

#[test]
fn the_end_of_a_call_that_is_told_twice_makes_no_second_spool() {
    let (counters, mut calls, mut written) = (Metrics::default(), Calls::default(), HashMap::new());
    calls.take(1, 0, &record(0, 7, 100, Kind::Open), &label(7), &counters);
    calls.take(1, 0, &record(1, 7, 200, Kind::Close), &label(7), &counters);
    write(&mut calls, &mut written);
    calls.committed(1, 0);
    calls.take(1, 0, &record(900, 7, 200, Kind::Close), &label(7), &counters);
    write(&mut calls, &mut written);
    assert_eq!((written.len(), calls.count()), (1, 0));
}

#[test]
fn a_spool_of_which_only_packets_are_left_is_archived_and_one_that_cannot_be_read_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, places) = a_spool(3, 40);
    let path = folder.path().join(format!("{}.pcapng", Uuid::now_v7()));
    let mut bytes = whole;
    bytes[..places[0].1.start].fill(0);
    bytes.truncate(places[39].1.end);
    std::fs::write(&path, &bytes).unwrap();
    // A folder in a spool's place fails to be read as the file of a failing disk does.
    std::fs::create_dir(folder.path().join(format!("{}.pcapng", Uuid::now_v7()))).unwrap();
    let [found] = &recover(folder.path()).unwrap()[..] else { panic!("one spool") };
    assert!(found.closed && found.path == path && found.length == bytes.len() as u64);
}
