//! The decoders against independent encoders and decoders, ffmpeg's and opusenc, and against any octets.

use std::f64::consts::TAU;
use std::process::Command;

use ogg::reading::PacketReader;
use proptest::prelude::*;

use super::*;
use crate::codec::PayloadTypes;

/// Something like a voice: a gliding pitch with harmonics, in syllables.
fn voice(seconds: u32, rate: u32) -> Vec<i16> {
    let mut phase = 0.0;
    let speak = |n: u32| {
        let t = f64::from(n) / f64::from(rate);
        phase += (130.0 + 30.0 * (TAU * 0.7 * t).sin()) / f64::from(rate);
        let harmonics: f64 = (1..20).map(|k| (TAU * phase * f64::from(k)).sin() / f64::from(k)).sum();
        (9_000.0 * harmonics * (TAU * 2.0 * t).sin().max(0.0)) as i16
    };
    (0..seconds * rate).map(speak).collect()
}

fn octets(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|s| s.to_le_bytes()).collect()
}

fn samples(octets: &[u8]) -> Vec<i16> {
    octets.as_chunks().0.iter().map(|s| i16::from_le_bytes(*s)).collect()
}

/// What `program` makes of a file with `input`; None (and says so) when it is not installed. `IN` and `OUT` among the
/// arguments stand for the files.
fn converted(program: &str, arguments: &str, input: &[u8]) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("in"), folder.path().join("out"));
    std::fs::write(&from, input).unwrap();
    let mut command = Command::new(program);
    for argument in arguments.split_whitespace() {
        match argument {
            "IN" => command.arg(&from),
            "OUT" => command.arg(&to),
            other => command.arg(other),
        };
    }
    let Ok(output) = command.output() else {
        println!("skipped: {program} is not installed");
        return None;
    };
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Some(std::fs::read(to).unwrap())
}

fn ffmpeg(arguments: &str, input: &[u8]) -> Option<Vec<u8>> {
    converted("ffmpeg", &format!("-v error {arguments} OUT"), input)
}

/// The best normalised correlation of `heard` with `said`, `heard` being up to `late` samples late; and how late.
fn correlation(heard: &[i16], said: &[i16], late: usize) -> (f64, usize) {
    let at = |delay: usize| {
        let pairs = heard.iter().skip(delay).zip(said).map(|(h, s)| (f64::from(*h), f64::from(*s)));
        let (dot, hh, ss) =
            pairs.fold((0.0, 1.0, 1.0), |(x, y, z), (h, s)| (x + h * s, y + h * h, z + s * s));
        (dot / f64::sqrt(hh * ss), delay)
    };
    (0..=late).map(at).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
}

/// Decodes payload by payload; every payload must last as long as [`Format::ticks`] says.
fn decoded<'a>(format: Format, payloads: impl IntoIterator<Item = &'a [u8]>) -> Vec<i16> {
    let (mut decoder, mut out) = (format.decoder().unwrap(), Vec::new());
    for payload in payloads {
        let before = out.len();
        decoder.decode(payload, &mut out).unwrap();
        let ticks = (out.len() - before) as u64 * u64::from(TICKS) / u64::from(format.rate());
        assert_eq!(format.ticks(payload).map(u64::from), Some(ticks), "{format:?}");
    }
    out
}

#[test]
fn g711_decodes_every_octet_as_ffmpeg_does() {
    let all: Vec<u8> = (0..=255).collect();
    for (format, name) in [(Format::ALaw, "alaw"), (Format::MuLaw, "mulaw")] {
        let Some(theirs) = ffmpeg(&format!("-f {name} -ar 8000 -i IN -f s16le"), &all) else { return };
        assert_eq!(decoded(format, [&all[..]]), samples(&theirs), "{name}");
    }
}

#[test]
fn g722_that_ffmpeg_encoded_sounds_as_it_was_said() {
    let said = voice(4, 16_000);
    let Some(encoded) = ffmpeg("-f s16le -ar 16000 -i IN -c:a g722 -f g722", &octets(&said)) else { return };
    let heard = decoded(Format::G722, encoded.chunks(160));
    assert_eq!(heard.len(), said.len());
    // The codec's two filter banks are 22 samples late.
    let (likeness, late) = correlation(&heard, &said, 40);
    assert!(likeness > 0.98, "{likeness} with what was said, {late} samples late");
    assert!((20..=24).contains(&late), "{late} samples late");
    let theirs = ffmpeg("-f g722 -i IN -f s16le", &encoded).map(|o| samples(&o)).unwrap();
    let (likeness, late) = correlation(&heard, &theirs, 4);
    assert!(likeness > 0.999 && late == 0, "{likeness} with ffmpeg's decoder, {late} samples late");
}

#[test]
fn l16_of_both_channels_is_their_mean() {
    let said = voice(1, 44_100);
    let silent_right: Vec<i16> = said.iter().flat_map(|s| [*s, 0]).collect();
    let stereo = "-f s16le -ar 44100 -ac 2 -i IN -c:a pcm_s16be -f s16be";
    let Some(encoded) = ffmpeg(stereo, &octets(&silent_right)) else { return };
    let heard = decoded(Format::L16 { rate: 44_100, channels: 2 }, encoded.chunks(882 * 4));
    assert!(heard.iter().zip(&said).all(|(h, s)| *h == s / 2) && heard.len() == said.len());
    let big_endian: Vec<u8> = said.iter().flat_map(|s| s.to_be_bytes()).collect();
    assert_eq!(decoded(Format::L16 { rate: 44_100, channels: 1 }, big_endian.chunks(882 * 2)), said);
}

/// The audio packets of an Ogg Opus file.
fn opus_packets(file: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = PacketReader::new(std::io::Cursor::new(file));
    let packets = std::iter::from_fn(|| reader.read_packet().unwrap()).map(|p| p.data);
    packets.skip(2).collect()
}

#[test]
fn opus_of_every_mode_sounds_as_it_was_said() {
    let said = voice(1, 48_000);
    let both: Vec<i16> = said.iter().flat_map(|s| [*s, *s]).collect();
    // Speech at a low rate is SILK, at a middle one hybrid; music and short frames are CELT.
    for (channels, options) in [
        (1, "--speech --bitrate 12"),
        (1, "--speech --bitrate 28"),
        (2, "--music --bitrate 96 --framesize 10"),
        (1, "--music --bitrate 64 --framesize 2.5"),
        (2, "--speech --bitrate 32 --framesize 60"),
    ] {
        let raw = octets(if channels == 1 { &said } else { &both });
        let arguments = format!("--quiet --raw --raw-rate 48000 --raw-chan {channels} {options} IN OUT");
        let Some(file) = converted("opusenc", &arguments, &raw) else { return };
        let packets = opus_packets(&file);
        let heard = decoded(Format::Opus { channels: 2 }, packets.iter().map(Vec::as_slice));
        let (likeness, late) = correlation(&heard, &said, 400);
        assert!(likeness > 0.9, "{options}: {likeness} with what was said, {late} samples late");
        let gain = f64::from(heard.iter().copied().max().unwrap()) / f64::from(*said.iter().max().unwrap());
        assert!((0.7..1.4).contains(&gain), "{options}: {gain} times as loud");
    }
}

/// The first two seconds of [`voice`] at 8 kHz, encoded with bcg729 1.1.1: neither ffmpeg nor most others can.
const G729_VOICE: &[u8] = include_bytes!("voice.g729");

/// The RMS of every 20 ms, as samples: a codec of 8 kbit/s keeps where a voice is loud, and not its waveform.
fn loudness(samples: &[i16]) -> Vec<i16> {
    let rms = |c: &[i16]| (c.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / c.len() as f64).sqrt();
    samples.chunks(160).map(|c| rms(c) as i16).collect()
}

#[test]
fn g729_sounds_as_ffmpeg_decodes_it() {
    let said = voice(2, 8_000);
    let heard = decoded(Format::G729, G729_VOICE.chunks(20));
    assert_eq!(heard.len(), said.len());
    let (likeness, _) = correlation(&loudness(&heard), &loudness(&said), 1);
    assert!(likeness > 0.97, "{likeness} with the loudness of what was said");
    let whole = |samples: &[i16]| loudness(samples).iter().map(|l| f64::from(*l)).sum::<f64>();
    let gain = whole(&heard) / whole(&said);
    assert!((0.8..1.2).contains(&gain), "{gain} times as loud");
    let Some(theirs) = ffmpeg("-f g729 -i IN -f s16le", G729_VOICE).map(|o| samples(&o)) else { return };
    let (likeness, late) = correlation(&heard, &theirs, 4);
    assert!(likeness > 0.98 && late == 0, "{likeness} with ffmpeg's decoder, {late} samples late");
}

#[test]
fn the_comfort_noise_of_g729_is_silence_of_its_length() {
    let (mut decoder, mut out) = (Format::G729.decoder().unwrap(), Vec::new());
    let with_noise = [&G729_VOICE[..10], &[0x5A, 0xA5]].concat();
    decoder.decode(&with_noise, &mut out).unwrap();
    assert_eq!((out.len(), &out[80..]), (160, &[0; 80][..]));
    assert!(matches!(decoder.decode(&G729_VOICE[..11], &mut out), Err(DecodeError::Malformed(Format::G729))));
    assert_eq!(out.len(), 160);
}

#[test]
fn a_decoder_goes_on_after_what_it_refused() {
    let mut types = PayloadTypes::default();
    types.learn(&[crate::label::Codec {
        payload_type: 111,
        name: "opus".into(),
        clock_rate: 48_000,
        channels: 2,
    }]);
    let crate::codec::Content::Speech(format) = types.find(111).content else { panic!("no decoder") };
    let (mut decoder, mut out) = (format.decoder().unwrap(), vec![7]);
    for broken in [&[][..], &[0xFF], &[0xFF, 0x00], &[0x0B, 0x3F, 0, 0]] {
        assert!(decoder.decode(broken, &mut out).is_err(), "{broken:?}");
        assert_eq!(out, [7]);
    }
    let mut encoder = opus::Encoder::new(48_000, Channels::Mono, opus::Application::Voip).unwrap();
    let packet = encoder.encode_vec(&voice(1, 48_000)[..960], 1000).unwrap();
    decoder.decode(&packet, &mut out).unwrap();
    assert_eq!(out.len(), 961);
}

fn any_format() -> impl Strategy<Value = Format> {
    let linear = (4_000..=192_000_u32, 1..=2_u8);
    prop_oneof![
        Just(Format::ALaw),
        Just(Format::MuLaw),
        Just(Format::G722),
        Just(Format::G729),
        Just(Format::Opus { channels: 2 }),
        linear.prop_map(|(rate, channels)| Format::L16 { rate, channels }),
    ]
}

/// Octets as a hostile or broken sender may choose them: any, or one again and again.
fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..400),
        (any::<u8>(), 0..400_usize).prop_map(|(octet, length)| vec![octet; length]),
        prop::collection::vec(any::<u8>(), 20),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_octets_are_decoded_or_refused(
        format in any_format(),
        payloads in prop::collection::vec(any_payload(), 1..20),
    ) {
        let (mut decoder, mut out) = (format.decoder().unwrap(), Vec::new());
        for payload in payloads {
            let before = out.len();
            let result = decoder.decode(&payload, &mut out);
            let ticks = format.ticks(&payload);
            let samples = (out.len() - before) as u64;
            if result.is_ok() {
                let exact = samples as f64 * f64::from(TICKS) / f64::from(format.rate());
                prop_assert!(ticks.is_some_and(|t| (f64::from(t) - exact).abs() <= 0.5), "{format:?} {ticks:?}");
            } else {
                prop_assert_eq!(samples, 0);
            }
        }
    }
}

/// The archiver hands decoders from thread to thread.
#[test]
fn a_decoder_may_move_between_threads() {
    fn moves<T: Send>() {}
    moves::<Decoder>();
    moves::<PayloadTypes>();
}
