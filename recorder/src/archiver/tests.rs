//! Spools made by hand, archived, and checked.

mod changes;
mod dtmf;
mod packed;
mod stretches;

use bytes::{BufMut, BytesMut};
use uuid::Uuid;

use super::*;
use crate::archive::{AUDIO, MANIFEST, PACKETS};
use crate::label::{Codec, Label};
use crate::manifest::{Cause, Span};
use crate::spool::{self, Event, EventKind, Origin, Packet, Side};
use crate::verify::{hash, verify};

const MS: u64 = 1_000_000;
const START: u64 = 1_795_363_200_000 * MS;

/// Writes a spool record by record.
struct Spool {
    bytes: BytesMut,
    position: u64,
}

impl Spool {
    fn new(label: Option<&Label>) -> Self {
        let mut spool = Self { bytes: BytesMut::new(), position: 0 };
        spool::header(&mut spool.bytes);
        spool.event(0, EventKind::Open, label, None);
        spool
    }

    fn event(&mut self, ms: u64, kind: EventKind, label: Option<&Label>, note: Option<&str>) {
        self.position += 1;
        let origin = Origin { epoch: 1, ring: 0, call: 2 };
        let (at_ns, position) = (START + ms * MS, self.position);
        let event = Event {
            origin,
            position,
            at_ns,
            kind,
            label: label.cloned(),
            continues: None,
            note: note.map(Into::into),
        };
        spool::write_event(&mut self.bytes, &event);
    }

    /// A packet of 20 ms; `n` is its sequence number.
    fn packet(&mut self, side: Side, ms: u64, n: u16, payload_type: u8, payload: &[u8]) {
        self.position += 1;
        let mut rtp = BytesMut::new();
        rtp.put_slice(&[0x80, payload_type]);
        rtp.put_u16(n);
        rtp.put_u32(u32::from(n) * 160);
        rtp.put_u32(side as u32 + 10);
        rtp.put_slice(payload);
        let packet = Packet { side, stream: 0, at_ns: START + ms * MS, position: self.position, dropped: 0 };
        spool::write_packet(&mut self.bytes, &packet, &rtp);
    }

    /// Writes the file; gives its path.
    fn save(&self, state: &Path, name: Uuid) -> PathBuf {
        let folder = state.join("spool");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.pcapng"));
        std::fs::write(&path, &self.bytes).unwrap();
        path
    }
}

/// Two seconds of both sides, with something of everything.
fn sample(label: &Label) -> Spool {
    let mut spool = Spool::new(Some(label));
    for n in 0..100_u16 {
        let ms = u64::from(n) * 20;
        match n {
            30 => spool.event(ms, EventKind::Pause, None, None),
            40 => spool.event(ms, EventKind::Resume, None, None),
            50 => {
                let gap =
                    EventKind::Gap { side: Side::Callee, stream: 0, packets: 2, since_ns: START + 1000 * MS };
                spool.event(1025, gap, None, None);
            }
            _ => {}
        }
        if (30..40).contains(&n) {
            continue;
        }
        // The caller's packets 60 and 61 are lost on their way.
        if !(60..62).contains(&n) {
            spool.packet(Side::Caller, ms, n, 8, &[n as u8 | 1; 160]);
        }
        if !(50..52).contains(&n) {
            spool.packet(Side::Callee, ms + 5, n, if n == 90 { 77 } else { 0 }, &[n as u8; 160]);
        }
    }
    let mut last = label.clone();
    last.ended = Some("bye".into());
    spool.event(2010, EventKind::Close, Some(&last), None);
    spool
}

fn label() -> Label {
    let mut label = Label::new(Uuid::now_v7());
    label.trip = Some("T-1".into());
    label.roles = [Some("driver".into()), Some("passenger".into())];
    label.legs[0].codecs.push(Codec { payload_type: 8, name: "PCMA".into(), clock_rate: 8000, channels: 1 });
    label
}

fn archived(path: &Path, state: &Path, settings: &Settings) -> (PathBuf, crate::manifest::Manifest) {
    archive(path, state, settings, &AtomicBool::new(false)).unwrap().unwrap()
}

/// The samples of both channels at 48 kHz, as a decoder gives them.
fn heard(folder: &Path) -> [Vec<i16>; 2] {
    let mut ogg = ogg::PacketReader::new(std::fs::File::open(folder.join(AUDIO)).unwrap());
    let head = ogg.read_packet().unwrap().unwrap().data;
    let skip = usize::from(u16::from_le_bytes([head[10], head[11]]));
    ogg.read_packet().unwrap();
    let mut decoder = opus::MSDecoder::new(48_000, 2, 0, &[0, 1]).unwrap();
    let (mut sides, mut end) = ([Vec::new(), Vec::new()], 0);
    while let Some(packet) = ogg.read_packet().unwrap() {
        let mut out = [0; 2 * 960];
        assert_eq!(decoder.decode(&packet.data, &mut out, false).unwrap(), 960);
        out.chunks(2).for_each(|s| sides.iter_mut().zip(s).for_each(|(side, s)| side.push(*s)));
        end = packet.absgp_page() as usize;
    }
    sides.map(|side| side[skip..end].to_vec())
}

#[test]
fn a_call_that_nobody_answered_leaves_nothing_and_an_answered_one_without_a_word_is_kept() {
    let state = tempfile::tempdir().unwrap();
    let silent = |answered_at| {
        let label = Label { answered_at, ..label() };
        let mut spool = Spool::new(Some(&label));
        spool.event(2010, EventKind::Close, Some(&label), None);
        spool.save(state.path(), label.recording)
    };
    let path = silent(None);
    assert!(archive(&path, state.path(), &Settings::default(), &AtomicBool::new(false)).unwrap().is_none());
    assert!(!path.exists());
    assert_eq!(std::fs::read_dir(state.path().join(crate::archive::ARCHIVES)).unwrap().count(), 0);
    let (folder, manifest) =
        archived(&silent(Some(time::OffsetDateTime::now_utc())), state.path(), &Settings::default());
    assert!(verify(&folder).holds());
    assert_eq!(manifest.duration_ms, 0);
}

#[test]
fn the_manifest_tells_what_happened() {
    let state = tempfile::tempdir().unwrap();
    let label = label();
    let path = sample(&label).save(state.path(), label.recording);
    let (folder, manifest) = archived(&path, state.path(), &Settings::default());
    assert_eq!(Some(&folder), crate::archive::folder(state.path(), label.recording).as_ref());
    assert!(!path.exists(), "the spool is gone");
    assert!(verify(&folder).holds(), "{:?}", verify(&folder));
    assert_eq!((manifest.ended.as_str(), manifest.trip.as_deref()), ("bye", Some("T-1")));
    assert_eq!(manifest.right.role.as_deref(), Some("passenger"));
    assert_eq!((manifest.left.counts.packets, manifest.left.counts.lost), (88, 2));
    assert_eq!((manifest.right.counts.packets, manifest.right.counts.lost), (88, 2));
    assert_eq!((manifest.left.counts.undecoded, manifest.right.counts.undecoded), (0, 1));
    assert_eq!((manifest.packets.count, manifest.duration_ms), (176, 2030));
    assert_eq!(manifest.pauses, [Span { from_ms: 620, to_ms: 820 }]);
    let gaps: Vec<_> =
        manifest.gaps.iter().map(|g| (g.side, g.cause, g.from_ms, g.to_ms, g.packets)).collect();
    assert_eq!(
        gaps,
        [
            (Side::Callee, Cause::TapOverflow, 1005, 1045, 2),
            (Side::Caller, Cause::NetworkLoss, 1200, 1240, 2),
        ]
    );
    let text = std::fs::read_to_string(folder.join(MANIFEST)).unwrap();
    assert!(text.contains("\"started_at\": \"2026-11-22T15:59:59.98Z\""), "{text}");
}

#[test]
fn any_changed_byte_is_found() {
    let state = tempfile::tempdir().unwrap();
    let label = label();
    let path = sample(&label).save(state.path(), label.recording);
    let (folder, _) = archived(&path, state.path(), &Settings::default());
    for (file, step) in [(MANIFEST, 1), (AUDIO, 97), (PACKETS, 499)] {
        let path = folder.join(file);
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(step).chain([whole.len() - 1]) {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            std::fs::write(&path, &changed).unwrap();
            assert!(!verify(&folder).holds(), "{file}: byte {at}");
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(!verify(&folder).holds(), "{file}: cut");
        std::fs::write(&path, [&whole[..], b"\n"].concat()).unwrap();
        assert!(!verify(&folder).holds(), "{file}: longer");
        std::fs::remove_file(&path).unwrap();
        assert!(!verify(&folder).holds(), "{file}: gone");
        std::fs::write(&path, &whole).unwrap();
    }
    assert!(verify(&folder).holds());
}

#[test]
fn packets_are_kept_only_where_the_settings_say_so() {
    let state = tempfile::tempdir().unwrap();
    let label = label();
    let path = sample(&label).save(state.path(), label.recording);
    let settings = Settings { keep_packets: false, ..Settings::default() };
    let (folder, manifest) = archived(&path, state.path(), &settings);
    assert!(!folder.join(PACKETS).exists());
    assert_eq!(manifest.packets.file, None);
    assert!(verify(&folder).holds());
}

#[test]
fn killed_before_the_spool_was_removed_it_is_not_archived_twice() {
    let state = tempfile::tempdir().unwrap();
    let label = label();
    let spool = sample(&label);
    let first = archived(&spool.save(state.path(), label.recording), state.path(), &Settings::default());
    // A folder left by a process that was killed while writing.
    let aside = state.path().join(format!("archive/.{}.new", label.recording));
    std::fs::create_dir(&aside).unwrap();
    std::fs::write(aside.join(AUDIO), b"torn").unwrap();
    let path = spool.save(state.path(), label.recording);
    assert_eq!(archived(&path, state.path(), &Settings::default()), first);
    assert!(!path.exists() && !aside.exists());
}

#[test]
fn two_recordings_of_one_id_are_both_kept() {
    let state = tempfile::tempdir().unwrap();
    let label = label();
    let (folder, _) =
        archived(&sample(&label).save(state.path(), label.recording), state.path(), &Settings::default());
    let mut other = sample(&label);
    other.packet(Side::Caller, 3000, 200, 8, &[1; 160]);
    for _ in 0..2 {
        let path = other.save(state.path(), label.recording);
        let (second, manifest) = archived(&path, state.path(), &Settings::default());
        assert_ne!(second, folder);
        assert!(manifest.notes.iter().any(|n| n.contains(&label.recording.to_string())));
        assert_eq!(std::fs::read_dir(folder.parent().unwrap()).unwrap().count(), 2);
        assert!(verify(&second).holds());
    }
    assert!(verify(&folder).holds());
}

#[test]
fn a_call_without_a_packet_or_a_label_is_archived_too() {
    let state = tempfile::tempdir().unwrap();
    let mut spool = Spool::new(None);
    spool.event(500, EventKind::Close, None, Some("relay_lost"));
    let name = Uuid::now_v7();
    let (folder, manifest) = archived(&spool.save(state.path(), name), state.path(), &Settings::default());
    assert_eq!((manifest.recording, manifest.duration_ms, manifest.ended.as_str()), (name, 0, "relay_lost"));
    assert_eq!(manifest.started_at, None);
    assert!(verify(&folder).holds());
}

#[test]
fn a_damaged_spool_is_archived_around_its_damage_and_says_so() {
    let state = tempfile::tempdir().unwrap();
    let label = label();
    let path = sample(&label).save(state.path(), label.recording);
    let mut bytes = std::fs::read(&path).unwrap();
    let from = 3 * bytes.len() / 4;
    bytes[from..from + 1200].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    let (folder, manifest) = archived(&path, state.path(), &Settings::default());
    assert_eq!((manifest.duration_ms, manifest.ended.as_str()), (2030, "bye"));
    let lost: Vec<_> = manifest.gaps.iter().filter(|g| g.cause == Cause::Damage).collect();
    assert!(!lost.is_empty() && lost.iter().map(|g| g.packets).sum::<u64>() >= 3, "{lost:?}");
    assert!(lost.iter().all(|g| g.to_ms - g.from_ms == 20 * g.packets), "{lost:?}");
    assert!(manifest.notes.iter().any(|n| n.contains("damaged")), "{:?}", manifest.notes);
    // What is kept as the master is whole.
    assert!(verify(&folder).holds(), "{:?}", verify(&folder).failures);
}

#[test]
fn what_holds_no_call_at_all_is_set_aside_and_never_deleted() {
    let state = tempfile::tempdir().unwrap();
    let path = sample(&label()).save(state.path(), Uuid::now_v7());
    std::fs::write(&path, [0xAA; 5000]).unwrap();
    let context = Context {
        state: state.path().to_owned(),
        settings: Settings::default(),
        stop: Arc::default(),
        counters: Arc::default(),
    };
    closed(&path, &context).unwrap();
    assert_eq!(context.counters.archive_failures.load(Relaxed), 1);
    assert_eq!(std::fs::read(path.with_extension("damaged")).unwrap(), [0xAA; 5000]);
}

#[test]
fn tshark_reads_a_spool() {
    let state = tempfile::tempdir().unwrap();
    let label = label();
    let path = sample(&label).save(state.path(), label.recording);
    let mut command = std::process::Command::new("tshark");
    command.args(["-d", "udp.port==5004,rtp", "-T", "fields", "-E", "separator=,"]);
    for field in ["frame.interface_name", "ip.src", "rtp.seq", "rtp.p_type", "frame.packet_id"] {
        command.args(["-e", field]);
    }
    let Ok(output) = command.arg("-r").arg(&path).output() else {
        return println!("skipped: tshark is not installed");
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().filter(|l| l.contains("192.0.2.")).collect();
    assert_eq!(lines.len(), 176);
    assert!(lines[0].starts_with("caller,192.0.2.1,0,"), "{}", lines[0]);
    assert!(lines[1].starts_with("callee,192.0.2.2,0,"), "{}", lines[1]);
    let whole = std::process::Command::new("tshark").arg("-V").arg("-r").arg(&path).output().unwrap();
    let whole = String::from_utf8_lossy(&whole.stdout).into_owned();
    assert!(whole.contains("BAUTA_EVENT") && whole.contains("Field value: pause"), "events are shown");
    assert!(!whole.contains("Malformed"));
}

#[test]
fn the_hash_of_nothing_is_the_known_one() {
    let (empty, bytes) = hash(std::io::empty()).unwrap();
    assert_eq!((&empty[..16], bytes), ("e3b0c44298fc1c14", 0));
}
