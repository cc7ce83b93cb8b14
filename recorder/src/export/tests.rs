//! Archives made packet by packet, exported, and compared with what independent decoders make of them.

mod schema;

use std::f64::consts::TAU;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use opus::{Application, Bitrate, Channels};
use time::macros::datetime;

use super::manifest::{Manifest, Mix};
use super::*;
use crate::archive::{AUDIO, MANIFEST};
use crate::audio::tests::{SILENCE, file};
use crate::manifest as archive;
use crate::manifest::{Cause, EncodedChannel, Gap, SilenceCause, Silenced, Span};
use crate::spool::Side;
use crate::verify::{hash, verify, verify_export};

const NOW: time::OffsetDateTime = datetime!(2026-11-23 09:00:00 UTC);

/// A folder with an archive in `archive` and room beside it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// Archives `audio`, an Ogg Opus file of `duration_ms`.
    fn new(audio: &[u8], duration_ms: u64, rates: Option<[u32; 2]>) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(place.archive()).unwrap();
        fs::write(place.archive().join(AUDIO), audio).unwrap();
        let (sha256, bytes) = hash(audio).unwrap();
        let mut manifest = schema::archived();
        (manifest.audio.sha256, manifest.audio.bytes) = (sha256, bytes);
        (manifest.duration_ms, manifest.packets.file) = (duration_ms, None);
        manifest.encoder.channels = rates.iter().flatten().map(|rate| encoded(*rate)).collect();
        place.save(&manifest);
        place
    }

    fn save(&self, manifest: &archive::Manifest) {
        fs::write(self.archive().join(MANIFEST), manifest.to_bytes().unwrap()).unwrap();
    }

    fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    fn wav(&self) -> PathBuf {
        self.folder.path().join("call.wav")
    }

    fn export(&self, change: impl FnOnce(&mut Request)) -> Result<Manifest, ExportError> {
        let mut request = Request {
            folder: self.archive(),
            wav: self.wav(),
            mono: false,
            from: None,
            to: None,
            overwrite: false,
            even_damaged: false,
        };
        change(&mut request);
        let exported = export(&request, NOW)?;
        assert_eq!(exported.path, manifest_of(&request.wav));
        assert_eq!(Manifest::from_bytes(&fs::read(&exported.path).unwrap()).unwrap(), exported.manifest);
        schema::fits(manifest::SCHEMA, &fs::read(&exported.path).unwrap());
        let report = verify_export(&exported.path, Some(&request.folder));
        assert!(report.holds(), "{:?}", report.failures);
        Ok(exported.manifest)
    }

    /// Exports between two places; gives the manifest and the samples, and removes the files.
    fn exported(&self, mono: bool, from: &str, to: &str) -> (Manifest, Vec<i16>) {
        let read = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        let done = self.export(|r| (r.mono, r.from, r.to) = (mono, read(from), read(to))).unwrap();
        let (spec, samples) = samples(&self.wav());
        assert_eq!((spec.sample_rate, spec.channels), (done.wav.sample_rate, done.wav.channels));
        assert_eq!(samples.len() as u64, done.wav.samples * u64::from(spec.channels));
        fs::remove_file(self.wav()).unwrap();
        fs::remove_file(manifest_of(&self.wav())).unwrap();
        (done, samples)
    }

    /// Everything in the folder but the archive.
    fn left(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "archive").collect()
    }
}

fn encoded(sample_rate: u32) -> EncodedChannel {
    EncodedChannel { sample_rate, packed: 0, encoded: 1, silent: 0 }
}

fn samples(path: &Path) -> (hound::WavSpec, Vec<i16>) {
    let mut wav = hound::WavReader::open(path).unwrap();
    (wav.spec(), wav.samples().map(Result::unwrap).collect())
}

/// A voice of one pitch, louder and softer; `n` counts samples of `rate`.
fn voice(n: usize, rate: u32, pitch: f64) -> i16 {
    let t = n as f64 / f64::from(rate);
    let tone = (TAU * pitch * t).sin() + 0.4 * (TAU * 3.0 * pitch * t).sin();
    (tone * (TAU * 1.5 * t).sin().abs() * 9000.0) as i16
}

/// Packets of `count` times 20 ms, each side at its own rate, and the pre-skip in ticks.
fn packets(count: usize, rates: [u32; 2], make: impl Fn(usize, usize) -> i16) -> (Vec<Vec<u8>>, u16) {
    let mut encoders = rates.map(|rate| {
        let mut encoder = opus::Encoder::new(rate, Channels::Mono, Application::Audio).unwrap();
        encoder.set_bitrate(Bitrate::Bits(24_000)).unwrap();
        encoder
    });
    let skip = encoders[0].get_lookahead().unwrap() as u32 * (48_000 / rates[0]);
    let packet = |number: usize| {
        let [left, right] = [0, 1].map(|side| {
            let frame = rates[side] as usize / 50;
            let pcm: Vec<i16> = (0..frame).map(|n| make(side, number * frame + n)).collect();
            encoders[side].encode_vec(&pcm, 1276).unwrap()
        });
        // The first with its length (RFC 6716, appendix B).
        let (length, rest) = (left.len() - 1, &right);
        let length = if length < 252 {
            vec![length as u8]
        } else {
            vec![252 + length as u8 % 4, ((length - 252) / 4) as u8]
        };
        [&left[..1], &length, &left[1..], rest].concat()
    };
    ((0..count).map(packet).collect(), skip as u16)
}

/// A conversation of `ticks`; the sides' pitches are 150 and 410 Hz.
fn talk(ticks: u64, rates: [u32; 2]) -> Vec<u8> {
    let pitch = [150.0, 410.0];
    let count = (ticks + 400).div_ceil(960) as usize;
    let (packets, skip) = packets(count, rates, |side, n| voice(n, rates[side], pitch[side]));
    file(skip, &packets, 50, u64::from(skip) + ticks)
}

/// What `program` makes of the archive's audio at 48 kHz; none (and it says so) when it is not installed.
fn independent(program: &str, place: &Place) -> Option<Vec<i16>> {
    let out = place.archive().join("independent.wav");
    let mut command = Command::new(program);
    let audio = place.archive().join(AUDIO);
    if program == "opusdec" {
        command.args(["--quiet", "--no-dither", "--rate", "48000"]).arg(audio);
    } else {
        command.args(["-v", "error", "-xerror", "-c:a", "libopus", "-i"]).arg(audio);
        command.args(["-c:a", "pcm_s16le"]);
    }
    let Ok(output) = command.arg(&out).output() else {
        println!("skipped: {program} is not installed");
        return None;
    };
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    let read = samples(&out).1;
    fs::remove_file(out).unwrap();
    Some(read)
}

#[test]
fn independent_decoders_hear_the_same_to_the_sample() {
    for (rates, recorded) in
        [([48_000, 48_000], [48_000; 2]), ([8_000, 48_000], [8_000, 48_000]), ([16_000, 8_000], [48_000; 2])]
    {
        let ticks = 3 * 48_000 + 1_234;
        let place = Place::new(&talk(ticks, rates), 3_025, Some(recorded));
        let (done, ours) = place.exported(false, "", "");
        assert_eq!((done.wav.sample_rate, done.wav.samples), (48_000, ticks));
        for program in ["ffmpeg", "opusdec"] {
            let Some(theirs) = independent(program, &place) else { continue };
            assert_eq!(ours.len(), theirs.len(), "{program}: {rates:?}");
            let apart = ours.iter().zip(&theirs).map(|(a, b)| (i32::from(*a) - i32::from(*b)).abs()).max();
            assert!(apart <= Some(2), "{program}: {rates:?}: {apart:?} apart");
        }
        assert!(ours.iter().any(|s| s.abs() > 5_000));
    }
}

#[test]
fn the_caller_is_left_and_the_callee_right_at_the_rate_of_the_recording() {
    let place = Place::new(&talk(96_006, [8_000, 8_000]), 2_000, None);
    let (done, both) = place.exported(false, "", "");
    assert_eq!((done.wav.sample_rate, done.wav.samples), (8_000, 16_001));
    assert_eq!((done.wav.mix, &done.wav.roles[0]), (Mix::CallerLeftCalleeRight, &Some("driver".into())));
    let likeness = |side: usize, pitch: f64| {
        let heard = both.iter().skip(side).step_by(2).map(|s| f64::from(*s));
        let pairs = heard.enumerate().map(|(n, s)| (s, f64::from(voice(n, 8_000, pitch))));
        let (dot, a, b) = pairs.fold((0.0, 1.0, 1.0), |(x, y, z), (s, v)| (x + s * v, y + s * s, z + v * v));
        dot / (a * b).sqrt()
    };
    assert!(likeness(0, 150.0) > 0.95 && likeness(1, 410.0) > 0.95);
    assert!(likeness(0, 410.0).abs() < 0.1 && likeness(1, 150.0).abs() < 0.1);
}

#[test]
fn a_part_has_the_very_samples_of_the_whole() {
    for (rates, recorded) in [([8_000; 2], 8_000), ([48_000; 2], 48_000)] {
        let place = Place::new(&talk(5 * 48_000, rates), 5_000, Some([recorded; 2]));
        let whole = place.exported(false, "", "").1;
        let per_ms = recorded as usize / 1000 * 2;
        for (from, to, span) in [
            ("", "0.001", 0..1),
            ("1.999", "00:00:02.021", 1_999..2_021),
            ("2026-11-22T16:00:04.5Z", "", 4_500..5_000),
            ("3s", "2026-11-22T16:00:03.25Z", 3_000..3_250),
        ] {
            let (done, part) = place.exported(false, from, to);
            assert!(part == whole[span.start * per_ms..span.end * per_ms], "{from} to {to}");
            assert_eq!((done.range.from_ms, done.range.to_ms), (span.start as u64, span.end as u64));
        }
        let (done, part) = place.exported(false, "4.9", "6");
        assert_eq!((part.len(), done.notes.len(), done.range.to_ms), (100 * per_ms, 1, 5_000));
        assert!(done.notes[0].contains("to the recording's end, 00:00:05.000"), "{:?}", done.notes);
    }
}

#[test]
fn any_length_is_kept_to_the_sample() {
    for ticks in [1, 6, 100, 959, 960, 961, 48_000 - 312, 48_000, 50_001] {
        let place = Place::new(&talk(ticks, [8_000; 2]), ticks / 48, Some([8_000; 2]));
        assert_eq!(place.exported(false, "", "").0.wav.samples, ticks.div_ceil(6), "{ticks} ticks");
        let place = Place::new(&talk(ticks, [8_000; 2]), ticks / 48, Some([48_000; 2]));
        assert_eq!(place.exported(false, "", "").0.wav.samples, ticks, "{ticks} ticks");
    }
    // A pre-skip that 8 kHz cannot express: exact at 48 kHz.
    let place = Place::new(&file(313, &vec![SILENCE.to_vec(); 5], 50, 413), 2, Some([8_000; 2]));
    let wav = place.exported(false, "", "").0.wav;
    assert_eq!((wav.sample_rate, wav.samples), (48_000, 100));
}

#[test]
fn mono_is_half_of_each_and_never_clips() {
    let loud = |_, n: usize| if (n / 40).is_multiple_of(2) { i16::MAX } else { i16::MIN };
    let (packets, skip) = packets(60, [8_000; 2], loud);
    let place = Place::new(&file(skip, &packets, 50, u64::from(skip) + 48_000), 1_000, None);
    let (_, both) = place.exported(false, "", "");
    let (done, mono) = place.exported(true, "", "");
    assert_eq!((done.wav.mix, done.wav.channels, mono.len()), (Mix::HalfOfEach, 1, 8_000));
    for (pair, one) in both.chunks(2).zip(mono) {
        let (sum, twice) = (i32::from(pair[0]) + i32::from(pair[1]), 2 * i32::from(one));
        assert!((sum - twice).abs() <= 1 && twice.abs() <= sum.abs(), "{pair:?} became {one}");
    }
    assert!(both.iter().any(|s| *s > 30_000));
}

#[test]
fn the_manifest_points_to_the_original_and_knows_what_is_missing() {
    let place = Place::new(&talk(5 * 48_000, [8_000; 2]), 5_000, None);
    let mut original =
        archive::Manifest::from_bytes(&fs::read(place.archive().join(MANIFEST)).unwrap()).unwrap();
    let span = |from_ms, to_ms| Span { from_ms, to_ms };
    let (side, cause) = (Side::Callee, Cause::TapOverflow);
    original.gaps = vec![Gap { side, cause, from_ms: 900, to_ms: 1_100, packets: 10 }];
    original.pauses = vec![span(0, 900), span(1_500, 2_500)];
    original.silenced = vec![Silenced { side, cause: SilenceCause::Dtmf, from_ms: 1_200, to_ms: 1_300 }];
    place.save(&original);
    let (done, _) = place.exported(false, "1", "2");
    assert_eq!(done.gaps, [Gap { side, cause, from_ms: 0, to_ms: 100, packets: 10 }]);
    assert_eq!(done.pauses, [span(500, 1_000)]);
    assert_eq!((done.silenced[0].from_ms, done.silenced[0].to_ms), (200, 300));
    assert_eq!(
        (done.range.from_at, done.range.to_at),
        (Some(datetime!(2026-11-22 16:00:01 UTC)), Some(datetime!(2026-11-22 16:00:02 UTC)))
    );
    let bytes = fs::read(place.archive().join(MANIFEST)).unwrap();
    assert_eq!(
        (done.original.recording, done.original.manifest_sha256),
        (original.recording, hash(&*bytes).unwrap().0)
    );
    assert_eq!((done.original.audio_sha256, done.created_at), (original.audio.sha256, NOW));
    assert!(done.original.failures.is_empty());
}

#[test]
fn files_are_private_and_never_replaced_unasked() {
    let place = Place::new(&talk(48_000, [8_000; 2]), 1_000, None);
    place.export(|_| ()).unwrap();
    for path in [place.wav(), manifest_of(&place.wav())] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let before = fs::read(&path).unwrap();
        let refused = place.export(|r| r.mono = true).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("{} exists already: it was left as it is", place.wav().display())
        );
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    fs::remove_file(place.wav()).unwrap();
    let refused = place.export(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("call.wav.json exists already"), "{refused}");
    assert_eq!(place.export(|r| (r.mono, r.overwrite) = (true, true)).unwrap().wav.channels, 1);
    assert_eq!(place.left().len(), 2, "{:?}", place.left());

    let within = place.archive().join("call.wav");
    let refused = place.export(|r| (r.wav, r.overwrite) = (within.clone(), true)).unwrap_err();
    assert!(matches!(refused, ExportError::Inside(_)) && !within.exists());
}

#[test]
fn what_is_not_as_it_was_made_is_exported_on_demand_only_and_says_so() {
    let whole = talk(5 * 48_000, [8_000; 2]);
    let place = Place::new(&whole, 5_000, None);
    let before = place.exported(false, "", "").1;
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(place.archive().join(AUDIO), &bytes).unwrap();
    let refused = place.export(|_| ()).unwrap_err().to_string();
    let broken = "audio.opus: damaged after 00:00:01.993: the checksum of a page does not match";
    assert!(refused.contains("audio.opus: SHA-256 is ") && refused.contains(broken), "{refused}");
    assert_eq!(place.left(), [""; 0]);

    let done = place.export(|r| r.even_damaged = true).unwrap();
    assert!(done.original.failures.iter().any(|f| f == broken), "{:?}", done.original.failures);
    assert!(done.notes[0].contains("what follows is not in this export"), "{:?}", done.notes);
    assert_eq!((done.range.to_ms, done.original.duration_ms), (1_993, 5_000));
    assert!(samples(&place.wav()).1 == before[..1_993 * 16 + 8], "what is whole is as it was");

    // A manifest without a seal that holds is believed on demand; what is none at all is not.
    let place = Place::new(&whole, 5_000, None);
    let path = place.archive().join(MANIFEST);
    let changed = fs::read_to_string(&path).unwrap().replace("\"T-1\"", "\"T-2\"");
    fs::write(&path, changed).unwrap();
    assert!(place.export(|_| ()).unwrap_err().to_string().contains("the seal does not match"));
    let done = place.export(|r| r.even_damaged = true).unwrap();
    assert_eq!((done.original.failures.len(), done.wav.samples), (1, 40_000));
    fs::write(&path, "{}").unwrap();
    let refused = place.export(|r| (r.even_damaged, r.overwrite) = (true, true)).unwrap_err();
    assert!(matches!(refused, ExportError::NoManifest(_)), "{refused}");
}

#[test]
fn what_cannot_be_exported_says_why_and_leaves_nothing() {
    let place = Place::new(&crate::audio::tests::silence(0), 0, None);
    let said = |error: ExportError| error.to_string();
    assert_eq!(said(place.export(|_| ()).unwrap_err()), "there is no audio in the recording");
    let nowhere = place.folder.path().join("nowhere");
    assert!(
        said(place.export(|r| r.folder = nowhere.clone()).unwrap_err())
            .ends_with("there is no manifest.json in it")
    );
    let place = Place::new(&talk(48_000, [8_000; 2]), 1_000, None);
    let beyond = place.export(|r| r.from = Some("2".parse().unwrap())).unwrap_err();
    assert_eq!(said(beyond), "the range starts at 00:00:02.000, and the recording ends at 00:00:01.000");
    let deep = nowhere.join("call.wav");
    assert!(said(place.export(|r| r.wav = deep).unwrap_err()).contains("No such file or directory"));
    fs::remove_file(place.archive().join(AUDIO)).unwrap();
    assert!(
        said(place.export(|r| r.even_damaged = true).unwrap_err())
            .contains("archive/audio.opus: No such file")
    );
    assert_eq!(place.left(), [""; 0]);
}

#[test]
fn more_than_a_wav_file_holds_is_refused_before_it_is_written() {
    // 60 ms of nothing a packet; 6 h 15 min.
    let packets = vec![vec![24, 0, 24]; 375_000];
    let place = Place::new(&file(0, &packets, 50, 375_000 * 2880), 22_500_000, Some([48_000; 2]));
    let refused = place.export(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("holds 4 GiB, and this would be 5 GiB"), "{refused}");
    let (done, late) = place.exported(false, "06:14:59", "");
    assert_eq!((done.wav.samples, late.iter().all(|s| *s == 0)), (48_000, true));
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left() {
    let place = Place::new(&talk(5 * 48_000, [48_000; 2]), 5_000, None);
    let small = place.folder.path().join("small");
    fs::create_dir(&small).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(&small).status();
    if !mount.is_ok_and(|status| status.success()) {
        return println!("skipped: mounting a small file system needs root");
    }
    let wav = small.join("call.wav");
    let refused = place.export(|r| r.wav = wav.clone());
    let left = fs::read_dir(&small).unwrap().count();
    assert!(Command::new("umount").arg("-l").arg(&small).status().unwrap().success());
    let refused = refused.unwrap_err().to_string();
    assert_eq!(refused, format!("writing {}: No space left on device (os error 28)", wav.display()));
    assert_eq!(left, 0);
}

#[test]
fn an_export_that_was_changed_or_is_of_another_recording_does_not_hold() {
    let place = Place::new(&talk(48_000, [8_000; 2]), 1_000, None);
    place.export(|_| ()).unwrap();
    let path = manifest_of(&place.wav());
    for (file, step) in [(&path, 1), (&place.wav(), 509)] {
        let whole = fs::read(file).unwrap();
        for at in (0..whole.len()).step_by(step) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(file, changed).unwrap();
            assert!(!verify_export(&path, None).holds(), "{}: byte {at}", file.display());
        }
        fs::write(file, whole).unwrap();
    }
    assert!(verify_export(&path, None).holds());
    let other = Place::new(&talk(48_001, [8_000; 2]), 1_000, None);
    let report = verify_export(&path, Some(&other.archive()));
    let said: Vec<_> = report.failures.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[1].starts_with("the original's audio.opus: SHA-256 is "), "{said:?}");
    assert!(verify(&other.archive()).holds());
}
