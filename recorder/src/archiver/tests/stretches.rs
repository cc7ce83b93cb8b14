//! Long calls are encoded in stretches while they go on, and the archive is the same.

use super::*;
use crate::archiver::make;
use crate::encode::Quality;

/// A minute and a half of both sides, each a tone of its own that swells; `until` (packets) is how far the spool has come.
fn spool(label: &Label, until: u16) -> Spool {
    let mut spool = Spool::new(Some(label));
    for n in 0..until {
        let ms = u64::from(n) * 20;
        let tone = |hz: f64| -> Vec<u8> {
            let at = |i: u16| (f64::from(n) * 160.0 + f64::from(i)) / 8000.0;
            let level = 0.3 + 0.2 * (f64::from(n) / 40.0).sin();
            (0..160).map(|i| mu_law(level * (at(i) * hz * std::f64::consts::TAU).sin())).collect()
        };
        if n % 50 != 17 {
            spool.packet(Side::Caller, ms + u64::from(n) % 7, n, 0, &tone(440.0));
        }
        spool.packet(Side::Callee, ms + 5, n, 0, &tone(700.0));
    }
    spool
}

/// A rough µ-law encoder: the nearest of all codes.
fn mu_law(value: f64) -> u8 {
    static CODES: std::sync::LazyLock<Vec<(i16, u8)>> = std::sync::LazyLock::new(|| {
        let mut codes: Vec<(i16, u8)> = (0..=255)
            .map(|code| {
                let mut out = Vec::new();
                crate::codec::Format::MuLaw.decoder().unwrap().decode(&[code], &mut out).unwrap();
                (out[0], code)
            })
            .collect();
        codes.sort_unstable();
        codes
    });
    let sample = (value * 32_000.0) as i16;
    let at = CODES.partition_point(|(s, _)| *s < sample).min(255);
    CODES[at].1
}

const FRAMES: u16 = 4500;

fn label_of(id: Uuid) -> Label {
    Label { recording: id, ..label() }
}

/// Writes the spool as it stands after so many packets, and encodes stretches as far as it goes.
fn goes_on(state: &Path, label: &Label, until: u16) -> PathBuf {
    let path = spool(label, until).save(state, label.recording);
    while make::stretch(&path, &Settings::default(), 700, &AtomicBool::new(false)).unwrap() {}
    path
}

fn ended(state: &Path, label: &Label) -> PathBuf {
    let mut whole = spool(label, FRAMES);
    whole.event(90_000, EventKind::Close, Some(label), None);
    whole.save(state, label.recording)
}

#[test]
fn the_archive_of_a_call_encoded_in_stretches_is_that_of_one_encoded_at_once() {
    let (state, at_once) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let label = label_of(Uuid::now_v7());
    for until in [300, 1600, 1650, 3700] {
        goes_on(state.path(), &label, until);
    }
    let path = ended(state.path(), &label);
    assert!(stretch::path(&path).exists());
    let done = stretch::read(&path, Quality::from(&Settings::default()), &mut stretch::Nowhere).unwrap();
    assert!(done.frames > 2500 && done.stretches >= 4, "{done:?}");
    let (folder, manifest) = archived(&path, state.path(), &Settings::default());
    assert!(!stretch::path(&path).exists() && !path.exists());
    let (other, plain) = archived(&ended(at_once.path(), &label), at_once.path(), &Settings::default());
    assert!(verify(&folder).holds() && verify(&other).holds());
    assert_eq!((manifest.duration_ms, &manifest.gaps), (plain.duration_ms, &plain.gaps));
    assert_eq!((manifest.duration_ms, manifest.encoder.channels.clone()), (90_020, plain.encoder.channels));
    for (one, two) in heard(&folder).iter().zip(&heard(&other)) {
        assert_eq!((one.len(), two.len()), (90_020 * 48, 90_020 * 48));
        // At a seam the encoders' states differ a little: never by more than a faint noise.
        let worst = one.iter().zip(two).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst < 1500, "{worst} of 16000");
    }
}

#[test]
fn a_stretch_that_was_cut_anywhere_is_encoded_again() {
    let label = label_of(Uuid::now_v7());
    let reference = tempfile::tempdir().unwrap();
    let path = goes_on(reference.path(), &label, 2600);
    let whole = std::fs::read(stretch::path(&path)).unwrap();
    let frames = |spool: &Path| {
        stretch::read(spool, Quality::from(&Settings::default()), &mut stretch::Nowhere).unwrap().frames
    };
    let all = frames(&path);
    let mut random = crate::random::Random(77);
    for _ in 0..8 {
        let mut cut = whole.clone();
        cut.truncate(random.below(whole.len() as u64) as usize);
        cut.extend([0; 64]);
        std::fs::write(stretch::path(&path), &cut).unwrap();
        assert!(frames(&path) < all);
        while make::stretch(&path, &Settings::default(), 700, &AtomicBool::new(false)).unwrap() {}
        assert_eq!(frames(&path), all);
    }
    // Other settings: nothing of it is used.
    let other = Settings { bitrate: 24_000, ..Settings::default() };
    assert_eq!(stretch::read(&path, Quality::from(&other), &mut stretch::Nowhere).unwrap().frames, 0);
}
