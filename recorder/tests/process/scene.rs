//! What every test here needs: the recorder's process, patience, dice, and what an archive holds.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use recorder::manifest::Manifest;
use recorder::spool::{Item, Reader, Side};
use recorder::verify::verify;
use uuid::Uuid;

/// How long anything may take before a test fails: encoders run at idle priority on a busy host.
const PATIENCE: Duration = Duration::from_secs(40);

/// The process under test. Killed when dropped.
pub struct Recorder(Child);

impl Recorder {
    pub fn start(state: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bauta-recorder"));
        command.arg("--state").arg(state).arg("--config").arg(state.join("pop.toml"));
        Self(command.stderr(Stdio::inherit()).spawn().unwrap())
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM; gives the time it took to end well.
    pub fn stop(mut self) -> Duration {
        let begun = Instant::now();
        let id = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        assert!(self.0.wait().unwrap().success());
        begun.elapsed()
    }

    pub fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Random numbers (`SplitMix64`).
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Self {
        let given = std::env::var("BAUTA_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(now_ns);
        eprintln!("BAUTA_SEED={seed}");
        Self(seed)
    }

    /// From `from` to `to`, without `to`.
    pub fn within(&mut self, from: u64, to: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        from + (z ^ (z >> 31)) % (to - from)
    }

    pub fn sleep(&mut self, below_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.within(0, below_ms)));
    }
}

pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

pub fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A state directory with settings.
pub fn state(settings: &str) -> tempfile::TempDir {
    let state = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(state.path().join("run")).unwrap();
    std::fs::write(state.path().join("pop.toml"), format!("[recorder]\n{settings}\n")).unwrap();
    state
}

/// One of the recorder's metrics; none before it has written any.
pub fn metric(state: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(state.join("run/recorder.metrics")).ok()?;
    let line = format!("bauta_recorder_{name} ");
    text.lines().find_map(|l| l.strip_prefix(&line))?.parse().ok()
}

pub fn spool_path(state: &Path, id: Uuid) -> PathBuf {
    state.join("spool").join(id.to_string()).with_extension("pcapng")
}

pub fn spool_bytes(state: &Path) -> u64 {
    let files = std::fs::read_dir(state.join("spool")).into_iter().flatten();
    files.map(|f| f.unwrap().metadata().map_or(0, |m| m.len())).sum()
}

/// Waits for a recording's archive, verifies it, and gives it.
pub fn archived(state: &Path, id: Uuid) -> (PathBuf, Manifest) {
    let folder = recorder::archive::folder(state, id).unwrap();
    until("the archive is made", || folder.join("manifest.json").exists().then_some(()));
    (folder.clone(), sound(&folder))
}

/// The manifest of an archive that verifies.
fn sound(folder: &Path) -> Manifest {
    let report = verify(folder);
    assert!(report.holds(), "{:?}", report.failures);
    report.manifest.unwrap()
}

/// Every archive that is there.
pub fn archives(state: &Path) -> Vec<(PathBuf, Manifest)> {
    let mut folders = vec![state.join("archive")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        if folder.join("manifest.json").exists() {
            found.push((folder.clone(), sound(&folder)));
        }
        let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
        folders.extend(entries.filter(|p| p.is_dir()));
    }
    found
}

/// Side and sequence number of every packet of an archive, in order; asserts that none is there twice.
pub fn held(folder: &Path) -> Vec<(Side, u16)> {
    let mut reader = Reader::new(File::open(folder.join("packets.pcapng")).unwrap());
    let (mut packets, mut last) = (Vec::new(), None);
    while let Some(item) = reader.item().unwrap() {
        if let Item::Packet(packet, rtp) = item {
            assert!(last < Some(packet.position), "positions rise");
            last = Some(packet.position);
            packets.push((packet.side, u16::from_be_bytes([rtp[2], rtp[3]])));
        }
    }
    packets
}

/// Nothing is left over: no spool, nothing set aside, nothing half made, and as many archives as recordings.
pub fn tidy(state: &Path, recordings: usize) {
    let names = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(state.join(folder)).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    };
    until("nothing but the lock is left among the spools", || {
        names("spool").iter().all(|n| n == ".lock" || n == "lost+found").then_some(())
    });
    assert!(names("archive").iter().all(|n| !n.starts_with('.')), "{:?}", names("archive"));
    assert_eq!(archives(state).len(), recordings);
}
