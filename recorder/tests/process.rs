//! The whole process against a real tap: its own ring, a scripted relay, SIGKILL in mid-call.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use recorder::label::Label;
use recorder::manifest::Manifest;
use recorder::verify::verify;
use relay::call::{CallKey, Leg};
use relay::tap::{Host, Kind, Record, Writer, create};
use uuid::Uuid;

const START: u64 = 1_795_363_200_000_000_000;
const MS: u64 = 1_000_000;

struct Recorder(Child);

impl Recorder {
    fn start(state: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bauta-recorder"));
        command.arg("--state").arg(state).arg("--config").arg(state.join("pop.toml"));
        Self(command.stderr(Stdio::inherit()).spawn().unwrap())
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM; gives the time it took to end well.
    fn stop(mut self) -> Duration {
        let begun = Instant::now();
        let id = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        assert!(self.0.wait().unwrap().success());
        begun.elapsed()
    }
}

/// The relay's side: one ring, served.
struct Relay {
    writer: Writer,
}

impl Relay {
    fn start(state: &Path) -> Self {
        std::fs::create_dir_all(state.join("run")).unwrap();
        std::fs::write(state.join("pop.toml"), "[recorder]\n").unwrap();
        let (writer, handles) = create(1 << 20, 77).unwrap();
        let host = Host::bind(&state.join("run/tap.sock"), vec![handles], 77).unwrap();
        std::thread::spawn(move || host.serve(|_| {}));
        Self { writer }
    }

    fn event(&mut self, call: u64, ms: u64, kind: Kind, payload: &[u8]) {
        let record = Record { position: 0, call: CallKey(call), at_ns: START + ms * MS, kind };
        self.writer.event(&record, payload).unwrap();
        self.writer.flush();
    }

    /// 20 ms of both sides: a tone per side, in µ-law.
    fn speak(&mut self, call: u64, n: u16) {
        for leg in Leg::BOTH {
            let mut rtp = vec![0x80, 0];
            rtp.extend(n.to_be_bytes());
            rtp.extend((u32::from(n) * 160).to_be_bytes());
            rtp.extend([0, 0, 0, leg as u8 + 1]);
            let pitch = [0.05, 0.09][leg as usize];
            rtp.extend((0..160_u32).map(|i| {
                let t = f64::from(u32::from(n) * 160 + i);
                if (t * pitch * std::f64::consts::TAU).sin() > 0.0 { 0x90 } else { 0x10 }
            }));
            let kind = Kind::Packet { leg, stream: 0 };
            let at_ns = START + u64::from(n) * 20 * MS;
            let record = Record { position: 0, call: CallKey(call), at_ns, kind };
            self.writer.packet(&record, &rtp).unwrap();
        }
        self.writer.flush();
    }
}

fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn archived(state: &Path, id: Uuid) -> (PathBuf, Manifest) {
    let folder = recorder::archive::folder(state, id).unwrap();
    until("the archive is made", || folder.join("manifest.json").exists().then_some(()));
    let report = verify(&folder);
    assert!(report.holds(), "{:?}", report.failures);
    (folder, report.manifest.unwrap())
}

fn spool_bytes(state: &Path) -> u64 {
    let files = std::fs::read_dir(state.join("spool")).into_iter().flatten();
    files.map(|f| f.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn killed_again_and_again_in_mid_call_the_archive_has_no_gap() {
    let state = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(state.path());
    let ids = [Uuid::now_v7(), Uuid::now_v7()];
    let mut recorder = Recorder::start(state.path());
    for (call, id) in (1..).zip(ids) {
        relay.event(call, 0, Kind::Open, &Label::new(id).to_bytes());
    }
    for n in 0..300 {
        relay.speak(1, n);
        relay.speak(2, n);
        if n % 60 == 59 {
            let before = spool_bytes(state.path());
            relay.speak(1, n);
            until("something of it is spooled", || (spool_bytes(state.path()) > before).then_some(()));
            recorder.kill();
            recorder = Recorder::start(state.path());
        }
    }
    for call in 1..=2 {
        relay.event(call, 6000, Kind::Close, &[]);
    }
    for (id, doubled) in ids.into_iter().zip([5, 0]) {
        let (folder, manifest) = archived(state.path(), id);
        assert_eq!(manifest.gaps, []);
        for side in [&manifest.left, &manifest.right] {
            assert_eq!((side.counts.packets, side.counts.lost), (300 + doubled, 0));
            // What the test itself sent twice.
            assert_eq!(side.counts.duplicates, doubled);
        }
        assert_eq!((manifest.duration_ms, manifest.ended.as_str()), (6000, "closed"));
        assert!(folder.join("packets.pcapng").exists());
    }
    let metrics = state.path().join("run/recorder.metrics");
    until("the metrics tell it", || {
        let text = std::fs::read_to_string(&metrics).ok()?;
        (text.contains("\nbauta_recorder_calls 0\n") && text.contains("\nbauta_recorder_spool_bytes 0\n"))
            .then_some(())
    });
    assert!(recorder.stop() < Duration::from_secs(3));
    assert_eq!(
        std::fs::read_dir(state.path().join("spool")).unwrap().count(),
        1,
        "nothing but the lock is left"
    );
}

#[test]
fn stopped_in_mid_call_it_leaves_the_spool_to_its_successor() {
    let state = tempfile::tempdir().unwrap();
    // The recorder first, the relay later.
    let id = Uuid::now_v7();
    std::fs::write(state.path().join("pop.toml"), "[recorder]\nkeep_packets = false\n").unwrap();
    let recorder = Recorder::start(state.path());
    until("it runs", || state.path().join("run/recorder.metrics").exists().then_some(()));
    let mut relay = Relay::start(state.path());
    relay.event(5, 0, Kind::Open, &Label::new(id).to_bytes());
    (0..50).for_each(|n| relay.speak(5, n));
    until("it is spooled", || (spool_bytes(state.path()) > 20_000).then_some(()));
    assert!(recorder.stop() < Duration::from_secs(3));
    (50..100).for_each(|n| relay.speak(5, n));
    let recorder = Recorder::start(state.path());
    relay.event(5, 2000, Kind::Close, &[]);
    let (_, manifest) = archived(state.path(), id);
    assert_eq!(
        (manifest.left.counts.packets, manifest.left.counts.lost, manifest.duration_ms),
        (100, 0, 2000)
    );
    assert!(manifest.notes.iter().any(|n| n.contains("restarted")));
    recorder.stop();
}
