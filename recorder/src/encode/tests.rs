//! What independent decoders make of the files.

use std::process::Command;

use super::*;

const QUALITY: Quality = Quality { bitrate: 16_000, complexity: 5 };

/// Speech-like: a voiced sound whose pitch and loudness move.
pub(crate) fn voice(n: usize, pitch: f64) -> i16 {
    let t = n as f64 / 8000.0;
    let loud = (t * 3.0 * std::f64::consts::TAU).sin().abs();
    let phase = std::f64::consts::TAU * (pitch * t + (t * 2.0).sin() * 2.0);
    ((phase.sin() + 0.5 * (2.0 * phase).sin() + 0.3 * (5.0 * phase).sin()) * loud * 6000.0) as i16
}

fn file(samples: usize, make: impl Fn(usize) -> [i16; 2]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), 7, QUALITY).unwrap();
    for start in (0..samples).step_by(FRAME) {
        let mut frame = Frame { sides: [[0; FRAME]; 2], length: FRAME.min(samples - start) };
        for n in 0..frame.length {
            let [left, right] = make(start + n);
            (frame.sides[0][n], frame.sides[1][n]) = (left, right);
        }
        encoder.frame(&frame).unwrap();
    }
    encoder.finish().unwrap()
}

/// Decodes with `program`; None (and says so) when it is not installed. Left and right at 48 kHz.
fn decoded(program: &str, bytes: &[u8]) -> Option<[Vec<i16>; 2]> {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("a.opus"), folder.path().join("a.wav"));
    std::fs::write(&from, bytes).unwrap();
    let mut command = Command::new(program);
    match program {
        "opusdec" => command.args(["--quiet", "--no-dither", "--rate", "48000"]).arg(&from).arg(&to),
        _ => command.args(["-v", "error", "-xerror", "-i"]).arg(&from).args(["-c:a", "pcm_s16le"]).arg(&to),
    };
    let Ok(output) = command.output() else {
        println!("skipped: {program} is not installed");
        return None;
    };
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    let mut wav = hound::WavReader::open(to).unwrap();
    assert_eq!((wav.spec().channels, wav.spec().sample_rate), (2, 48_000));
    let all: Vec<i16> = wav.samples::<i16>().map(Result::unwrap).collect();
    Some([0, 1].map(|c| all.iter().skip(c).step_by(2).copied().collect()))
}

/// Normalised correlation of decoded (48 kHz) with original (8 kHz) samples.
fn correlation(decoded: &[i16], original: impl Fn(usize) -> i16) -> f64 {
    let pairs = decoded.iter().step_by(6).enumerate().map(|(n, d)| (f64::from(*d), f64::from(original(n))));
    let (dot, dd, oo) = pairs.fold((0.0, 1.0, 1.0), |(x, y, z), (d, o)| (x + d * o, y + d * d, z + o * o));
    dot / (dd * oo).sqrt()
}

#[test]
fn independent_decoders_hear_each_voice_in_its_own_channel_only() {
    let (caller, callee) = (|n| voice(n, 140.0), |n| voice(n, 230.0));
    let bytes = file(24_123, |n| [caller(n), callee(n)]);
    for program in ["opusdec", "ffmpeg"] {
        let Some([left, right]) = decoded(program, &bytes) else { continue };
        assert_eq!((left.len(), right.len()), (24_123 * 6, 24_123 * 6), "{program}: length");
        assert!(correlation(&left, caller) > 0.9, "{program}: left {}", correlation(&left, caller));
        assert!(correlation(&right, callee) > 0.9, "{program}: right {}", correlation(&right, callee));
        assert!(
            correlation(&left, callee).abs() < 0.2 && correlation(&right, caller).abs() < 0.2,
            "{program}"
        );
    }
}

#[test]
fn a_silent_channel_stays_silent_beside_a_loud_one() {
    let bytes = file(16_000, |n| [voice(n, 180.0), 0]);
    for program in ["opusdec", "ffmpeg"] {
        let Some([left, right]) = decoded(program, &bytes) else { continue };
        assert!(left.iter().any(|s| s.abs() > 1000));
        assert!(right.iter().all(|s| s.abs() <= 2), "{program}: {:?}", right.iter().max());
    }
}

#[test]
fn any_length_is_kept_to_the_sample() {
    for length in [0, 1, 107, 108, 160, 161, 7_999, 8_000, 8_160] {
        let bytes = file(length, |n| [voice(n, 200.0), 0]);
        // Not ffmpeg: it trims the end of a file of one page only by whole packets.
        if length > 0
            && let Some([left, _]) = decoded("opusdec", &bytes)
        {
            assert_eq!(left.len(), length * 6);
        }
        let mut reader = ogg::PacketReader::new(std::io::Cursor::new(&bytes));
        let mut last = None;
        while let Some(packet) = reader.read_packet().unwrap() {
            last = Some((packet.last_in_stream(), packet.absgp_page()));
        }
        let pre_skip = u64::from(u16::from_le_bytes([bytes[38], bytes[39]]));
        assert_eq!(last, Some((true, pre_skip + length as u64 * 6)), "length {length}");
    }
}

#[test]
fn libopus_takes_the_joined_packets_apart() {
    let mut encoders = [encoder(QUALITY).unwrap(), encoder(QUALITY).unwrap()];
    let mut both = opus::MSDecoder::new(RATE, 2, 0, &[0, 1]).unwrap();
    let mut alone = [(); 2].map(|()| opus::Decoder::new(RATE, Channels::Mono).unwrap());
    for start in (0..8000).step_by(FRAME) {
        let packets = [0, 1].map(|side| {
            let pcm: Vec<i16> =
                (start..start + FRAME).map(|n| voice(n, 150.0 + 80.0 * side as f64)).collect();
            encoders[side].encode_vec(&pcm, MAX_PACKET).unwrap()
        });
        let joined = framing::join(&packets[0], &packets[1]).unwrap();
        let mut stereo = [0; 2 * FRAME];
        assert_eq!(both.decode(&joined, &mut stereo, false).unwrap(), FRAME);
        for side in 0..2 {
            let mut mono = [0; FRAME];
            alone[side].decode(&packets[side], &mut mono, false).unwrap();
            assert!(stereo.iter().skip(side).step_by(2).eq(&mono));
        }
    }
}
