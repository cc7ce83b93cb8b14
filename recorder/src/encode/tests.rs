//! What independent decoders make of the files.

mod packed;
mod seam;
mod silence;

use std::process::Command;

use super::*;
use crate::rate::FRAME;

const QUALITY: Quality = Quality { bitrate: 40_000, complexity: 0, silence_dbfs: Some(-60) };

/// Speech-like, `n` in samples at `rate`: a voiced sound whose pitch and loudness move.
fn voice(n: usize, rate: Rate, pitch: f64) -> i16 {
    let t = n as f64 / f64::from(rate.hz());
    let loud = (t * 3.0 * std::f64::consts::TAU).sin().abs();
    let phase = std::f64::consts::TAU * (pitch * t + (t * 2.0).sin() * 2.0);
    ((phase.sin() + 0.5 * (2.0 * phase).sin() + 0.3 * (5.0 * phase).sin()) * loud * 6000.0) as i16
}

/// What A-law makes of nothing: the two values nearest to zero, at random.
fn idle(n: usize) -> i16 {
    if (n as u32).wrapping_mul(0x9E37_79B9).rotate_left(7).wrapping_mul(0x85EB_CA6B) >> 31 == 0 {
        8
    } else {
        -8
    }
}

/// Samples of `seconds` at `rate`.
fn sound(seconds: f64, rate: Rate, make: impl Fn(usize) -> i16) -> Vec<i16> {
    (0..(seconds * f64::from(rate.hz())) as usize).map(make).collect()
}

/// One packet per frame of both sides, which are padded with zeros.
fn packets(voices: &mut Voices, rates: [Rate; 2], sides: [&[i16]; 2]) -> Vec<Vec<u8>> {
    let [left, right] =
        [0, 1].map(|s| sides[s].chunks(rates[s].frame()).map(<[i16]>::to_vec).collect::<Vec<_>>());
    let frame = |side: &[Vec<i16>], rate: Rate, n: usize| {
        let mut frame = side.get(n).cloned().unwrap_or_default();
        frame.resize(rate.frame(), 0);
        frame
    };
    let mut packet = Vec::new();
    let mut encode = |n| {
        let (left, right) = (frame(&left, rates[0], n), frame(&right, rates[1], n));
        voices.frame([Sound::Samples(&left), Sound::Samples(&right)], &mut packet).unwrap();
        packet.clone()
    };
    // One more for the look-ahead.
    (0..=left.len().max(right.len())).map(&mut encode).collect()
}

/// The file of these packets, as long as the sides were.
fn ogg(packets: &[Vec<u8>], pre_skip: u64, length: u64) -> Vec<u8> {
    let mut ogg = Ogg::new(Vec::new(), 7, Rate::Narrow, pre_skip).unwrap();
    for packet in packets {
        if ogg.missing(length) > 0 {
            ogg.packet(packet).unwrap();
        }
    }
    ogg.finish(length).unwrap()
}

/// Both sides at the rate of each, in a file.
fn file(rates: [Rate; 2], quality: Quality, sides: [&[i16]; 2]) -> Vec<u8> {
    let mut voices = Voices::new(rates, quality).unwrap();
    let packets = packets(&mut voices, rates, sides);
    let length = sides.iter().zip(rates).map(|(s, r)| s.len() as u64 * u64::from(r.ticks())).max().unwrap();
    ogg(&packets, voices.look_ahead(), length)
}

/// Decodes with `program`; None (and says so) when it is not installed. Left and right at 48 kHz.
fn decoded(program: &str, bytes: &[u8]) -> Option<[Vec<i16>; 2]> {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("a.opus"), folder.path().join("a.wav"));
    std::fs::write(&from, bytes).unwrap();
    let mut command = Command::new(program.split(' ').next().unwrap());
    match program {
        "opusdec" => command.args(["--quiet", "--no-dither", "--rate", "48000"]).arg(&from).arg(&to),
        // Its own decoder, and libopus through it.
        "ffmpeg" => command
            .args(["-v", "error", "-xerror", "-c:a", "opus", "-i"])
            .arg(&from)
            .args(["-c:a", "pcm_s16le"])
            .arg(&to),
        _ => command
            .args(["-v", "error", "-xerror", "-c:a", "libopus", "-i"])
            .arg(&from)
            .args(["-c:a", "pcm_s16le"])
            .arg(&to),
    };
    let Ok(output) = command.output() else {
        println!("skipped: {program} is not installed");
        return None;
    };
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    let mut wav = hound::WavReader::open(to).unwrap();
    assert_eq!((wav.spec().channels, wav.spec().sample_rate), (2, 48_000));
    let all: Vec<i16> = wav.samples::<i16>().map(Result::unwrap).collect();
    Some([0, 1].map(|c| all.iter().skip(c).step_by(2).copied().collect()))
}

const DECODERS: [&str; 3] = ["opusdec", "ffmpeg", "ffmpeg with libopus"];

/// Normalised correlation of decoded (48 kHz) with original samples.
fn correlation(decoded: &[i16], original: &[i16], rate: Rate) -> f64 {
    let pairs = decoded
        .iter()
        .step_by(rate.ticks() as usize)
        .zip(original)
        .map(|(d, o)| (f64::from(*d), f64::from(*o)));
    let (dot, dd, oo) = pairs.fold((0.0, 1.0, 1.0), |(x, y, z), (d, o)| (x + d * o, y + d * d, z + o * o));
    dot / (dd * oo).sqrt()
}

/// RMS level in dBFS.
fn level(samples: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = samples.into_iter().fold((0.0, 0.0), |(s, n), x| (s + x * x, n + 1.0));
    10.0 * (sum / count / f64::from(1 << 30) + 1e-12).log10()
}

/// Level of the difference of two sounds, dBFS.
fn difference(one: &[i16], other: &[i16]) -> f64 {
    assert_eq!(one.len(), other.len());
    level(one.iter().zip(other).map(|(a, b)| f64::from(*a) - f64::from(*b)))
}

/// Level of what was added to the sound between two milliseconds, by all that happened on the way to 48 kHz.
fn error(decoded: &[i16], original: &[i16], rate: Rate, ms: std::ops::Range<usize>) -> f64 {
    let at = |ms: usize| ms * rate.hz() as usize / 1000;
    let heard = decoded.iter().step_by(rate.ticks() as usize).skip(at(ms.start));
    level(heard.zip(&original[at(ms.start)..at(ms.end)]).map(|(d, o)| f64::from(*d) - f64::from(*o)))
}

#[test]
fn independent_decoders_hear_each_voice_in_its_own_channel_only() {
    for rates in [[Rate::Narrow; 2], [Rate::Narrow, Rate::Full], [Rate::SuperWide, Rate::Wide]] {
        let (caller, callee) = (
            sound(3.0, rates[0], |n| voice(n, rates[0], 140.0)),
            sound(3.0, rates[1], |n| voice(n, rates[1], 230.0)),
        );
        let bytes = file(rates, QUALITY, [&caller, &callee]);
        for program in DECODERS {
            let Some([left, right]) = decoded(program, &bytes) else { continue };
            assert_eq!((left.len(), right.len()), (144_000, 144_000), "{program}: length");
            let own = [correlation(&left, &caller, rates[0]), correlation(&right, &callee, rates[1])];
            assert!(own.iter().all(|c| *c > 0.95), "{program}: {own:?}");
            let other = [
                correlation(&left, &sound(3.0, rates[0], |n| voice(n, rates[0], 230.0)), rates[0]),
                correlation(&right, &sound(3.0, rates[1], |n| voice(n, rates[1], 140.0)), rates[1]),
            ];
            assert!(other.iter().all(|c| c.abs() < 0.2), "{program}: {other:?}");
        }
    }
}

#[test]
fn a_silent_channel_stays_silent_beside_a_loud_one() {
    for silence_dbfs in [None, Some(-60)] {
        let loud = sound(2.0, Rate::Narrow, |n| voice(n, Rate::Narrow, 180.0));
        let bytes = file([Rate::Narrow; 2], Quality { silence_dbfs, ..QUALITY }, [&loud, &[]]);
        for program in DECODERS {
            let Some([left, right]) = decoded(program, &bytes) else { continue };
            assert!(left.iter().any(|s| s.abs() > 1000));
            assert!(right.iter().all(|s| *s == 0), "{program}: {:?}", right.iter().max());
        }
    }
}

#[test]
fn any_length_is_kept_to_the_sample() {
    for length in [0, 1, 107, 108, 160, 161, 7_999, 8_000, 8_160] {
        let side: Vec<i16> = (0..length).map(|n| voice(n, Rate::Narrow, 200.0)).collect();
        let bytes = file([Rate::Narrow; 2], QUALITY, [&side, &[]]);
        // Not ffmpeg: it trims the end of a file of one page only by whole packets.
        if length > 0
            && let Some([left, _]) = decoded("opusdec", &bytes)
        {
            assert_eq!(left.len(), length * 6);
        }
        let mut reader = ::ogg::PacketReader::new(std::io::Cursor::new(&bytes));
        let mut last = None;
        while let Some(packet) = reader.read_packet().unwrap() {
            last = Some((packet.last_in_stream(), packet.absgp_page()));
        }
        let pre_skip = u64::from(u16::from_le_bytes([bytes[38], bytes[39]]));
        assert_eq!(last, Some((true, pre_skip + length as u64 * 6)), "length {length}");
    }
}

#[test]
fn sound_lags_by_the_same_time_at_every_rate() {
    for left in Rate::ALL {
        for right in Rate::ALL {
            assert_eq!(Voices::new([left, right], QUALITY).unwrap().look_ahead(), 312);
        }
    }
}

#[test]
fn every_quality_that_may_be_set_is_of_the_coder_whose_packets_stand_alone() {
    for (bitrate, complexity) in [(12_000, 0), (12_000, 10), (16_000, 5), (40_000, 0), (128_000, 10)] {
        for rate in Rate::ALL {
            let side = sound(0.5, rate, |n| voice(n, rate, 120.0));
            let mut voices = Voices::new([rate; 2], Quality { bitrate, complexity, ..QUALITY }).unwrap();
            let all = packets(&mut voices, [rate; 2], [&side, &[]]);
            assert!(all.iter().all(|p| p[0] >= 0x80), "{bitrate} {complexity} {rate:?}");
            let bits = all.iter().take(25).map(Vec::len).sum::<usize>() * 8 * 2;
            let asked = voices.tally()[0].encoded as usize / 25
                * bitrate as usize
                * if rate == Rate::Narrow { 1 } else { 2 };
            assert!(bits > asked * 3 / 4 && bits < asked * 5 / 4 + 12_000, "{bits} for {asked}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_and_no_file_is_made() {
    let mut voices = Voices::new([Rate::Narrow, Rate::Wide], QUALITY).unwrap();
    let mut packet = Vec::new();
    let frame = [0; 320];
    let result = voices.frame([Sound::Samples(&frame[..160]), Sound::Samples(&frame[..160])], &mut packet);
    assert!(matches!(result, Err(EncodeError::Frame { samples: 160, hz: 16_000 })), "{result:?}");
    voices.frame([Sound::Samples(&frame[..160]), Sound::Samples(&frame)], &mut packet).unwrap();
    for (count, length) in [(0, 0), (1, 649), (3, 960), (9, 0)] {
        let mut ogg = Ogg::new(Vec::new(), 7, Rate::Wide, 312).unwrap();
        (0..count).for_each(|_| ogg.packet(&packet).unwrap());
        assert!(
            matches!(ogg.finish(length), Err(EncodeError::Length { .. })),
            "{count} packets, {length} ticks"
        );
    }
    let mut ogg = Ogg::new(Vec::new(), 7, Rate::Wide, 312).unwrap();
    assert_eq!(
        (ogg.missing(0), ogg.missing(648), ogg.missing(649), ogg.missing(u64::from(FRAME))),
        (1, 1, 2, 2)
    );
    ogg.packet(&packet).unwrap();
    ogg.finish(648).unwrap();
}
