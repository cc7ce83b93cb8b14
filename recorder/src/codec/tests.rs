//! Decoders against independent encoders and decoders.

use std::io::Write as _;
use std::process::{Command, Stdio};

use oxideav_core::{AudioFrame, Encoder as _, Frame};
use proptest::prelude::*;

use super::*;

fn codec(payload_type: u8, name: &str, clock_rate: u32) -> Codec {
    Codec { payload_type, name: name.into(), clock_rate, channels: 1 }
}

#[test]
fn the_label_goes_before_the_static_table() {
    let mut types = PayloadTypes::default();
    assert_eq!(types.find(8).content, Content::Speech(Format::ALaw));
    assert_eq!((types.find(9).content, types.find(9).clock_rate), (Content::Speech(Format::G722), 8_000));
    assert_eq!(types.find(11).clock_rate, 44_100);
    assert_eq!((types.find(96).content, types.find(96).clock_rate), (Content::Undecodable, 8_000));
    types.learn(&[
        codec(96, "pcmu", 8_000),
        codec(97, "opus", 48_000),
        codec(98, "AMR", 8_000),
        codec(99, "PCMA", 16_000),
        codec(101, "telephone-event", 48_000),
    ]);
    assert_eq!(types.find(96).content, Content::Speech(Format::MuLaw));
    assert_eq!(
        types.find(97),
        Known { content: Content::Speech(Format::Opus), clock_rate: 48_000, name: "opus" }
    );
    assert_eq!((types.find(98).content, types.find(98).name), (Content::Undecodable, "AMR"));
    assert_eq!(types.find(99).content, Content::Undecodable, "A-law has 8 kHz");
    assert_eq!((types.find(101).content, types.find(101).clock_rate), (Content::Event, 48_000));
    types.learn(&[codec(96, "PCMA", 8_000)]);
    assert_eq!(types.find(96).content, Content::Speech(Format::ALaw));
    assert_eq!(types.find(97).clock_rate, 48_000);
}

#[test]
fn a_payload_tells_how_long_it_lasts() {
    for (format, bytes, ms) in [
        (Format::ALaw, 160, 20),
        (Format::G722, 160, 20),
        (Format::G729, 20, 20),
        (Format::G729, 12, 20),
        (Format::G729, 2, 10),
        (Format::L16 { rate: 16_000, channels: 1 }, 640, 20),
        (Format::L16 { rate: 8_000, channels: 2 }, 640, 20),
    ] {
        assert_eq!(format.ticks(&vec![0; bytes]), Some(ms * 48), "{format:?}");
    }
    // Hybrid, 20 ms, one frame; SILK, 60 ms; nothing.
    assert_eq!(Format::Opus.ticks(&[0x78, 1, 2]), Some(960));
    assert_eq!(Format::Opus.ticks(&[0x18, 1, 2]), Some(2880));
    assert_eq!((Format::Opus.ticks(&[]), Format::G729.ticks(&[0; 5])), (None, None));
}

/// Two seconds of three tones that swell, and a noise: nothing that repeats within a packet.
fn music(rate: u32) -> Vec<i16> {
    let mut random = crate::random::Random(9);
    (0..2 * rate)
        .map(|i| {
            let t = f64::from(i) / f64::from(rate);
            let tone = |hz: f64| (t * hz * std::f64::consts::TAU).sin();
            let level = 0.5 + 0.4 * (t * 7.0).sin();
            let noise = random.below(400) as f64 - 200.0;
            (level * 5000.0 * (tone(310.0) + tone(730.0) + 0.5 * tone(1900.0)) + noise) as i16
        })
        .collect()
}

fn bytes(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|s| s.to_le_bytes()).collect()
}

fn samples(bytes: &[u8]) -> Vec<i16> {
    bytes.as_chunks::<2>().0.iter().map(|b| i16::from_le_bytes(*b)).collect()
}

/// Pipes `input` through ffmpeg; None where there is none.
fn ffmpeg(input: &[u8], arguments: &[&str]) -> Option<Vec<u8>> {
    let mut child = Command::new("ffmpeg")
        .args(["-loglevel", "error"])
        .args(arguments)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .inspect_err(|e| println!("skipped: ffmpeg: {e}"))
        .ok()?;
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(output.status.success(), "ffmpeg {arguments:?}");
    Some(output.stdout)
}

fn decode(format: Format, coded: &[u8], packet: usize) -> Vec<i16> {
    let (mut decoder, mut out) = (format.decoder().unwrap(), Vec::new());
    for payload in coded.chunks(packet) {
        let before = out.len();
        decoder.decode(payload, &mut out).unwrap();
        let ticks = format.ticks(payload).unwrap();
        assert_eq!((out.len() - before) as u32 * TICKS / format.rate(), ticks, "as long as it said");
    }
    out
}

/// How alike two signals are: 1 is the same.
fn alike(a: &[i16], b: &[i16]) -> f64 {
    let dot = |a: &[i16], b: &[i16]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    assert_eq!(a.len(), b.len());
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn g722_is_decoded_as_ffmpeg_decodes_it() {
    let raw = ["-f", "s16le", "-ar", "16000", "-i", "-", "-f", "g722"];
    let Some(coded) = ffmpeg(&bytes(&music(16_000)), &raw) else { return };
    let theirs = ffmpeg(&coded, &["-f", "g722", "-i", "-", "-f", "s16le"]).unwrap();
    let ours = decode(Format::G722, &coded, 160);
    assert!(alike(&ours, &samples(&theirs)) > 0.9999, "{}", alike(&ours, &samples(&theirs)));
}

#[test]
fn g729_is_decoded_nearly_as_ffmpeg_decodes_it() {
    let mut encoder = oxideav_g729::codec::G729Encoder::new();
    let mut coded = Vec::new();
    for frame in music(8_000).chunks(80) {
        let frame = AudioFrame { samples: 80, pts: None, data: vec![bytes(frame)] };
        encoder.send_frame(&Frame::Audio(frame)).unwrap();
        while let Ok(packet) = encoder.receive_packet() {
            coded.extend_from_slice(&packet.data);
        }
    }
    let ours = decode(Format::G729, &coded, 20);
    let Some(theirs) = ffmpeg(&coded, &["-f", "g729", "-i", "-", "-f", "s16le"]) else { return };
    assert!(alike(&ours, &samples(&theirs)) > 0.98, "{}", alike(&ours, &samples(&theirs)));
}

#[test]
fn opus_and_l16_are_decoded() {
    let music = music(48_000);
    let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Audio).unwrap();
    encoder.set_bitrate(opus::Bitrate::Bits(96_000)).unwrap();
    let look_ahead = encoder.get_lookahead().unwrap() as usize;
    let (mut decoder, mut out) = (Format::Opus.decoder().unwrap(), Vec::new());
    for frame in music.chunks(960) {
        let packet = encoder.encode_vec(frame, 1276).unwrap();
        assert_eq!(Format::Opus.ticks(&packet), Some(960));
        decoder.decode(&packet, &mut out).unwrap();
    }
    assert_eq!(out.len(), music.len());
    assert!(alike(&out[look_ahead..], &music[..music.len() - look_ahead]) > 0.98);
    let big_endian: Vec<u8> = music.iter().flat_map(|s| s.to_be_bytes()).collect();
    assert_eq!(decode(Format::L16 { rate: 48_000, channels: 1 }, &big_endian, 1920), music);
    let stereo: Vec<u8> = music.iter().flat_map(|s| [s.to_be_bytes(), s.to_be_bytes()].concat()).collect();
    assert_eq!(decode(Format::L16 { rate: 48_000, channels: 2 }, &stereo, 3840), music);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// What a party sends is hostile until proven otherwise.
    #[test]
    fn no_payloads_make_a_decoder_panic(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 1..12),
    ) {
        for format in [
            Format::ALaw, Format::MuLaw, Format::G722, Format::G729, Format::Opus,
            Format::L16 { rate: 16_000, channels: 1 }, Format::L16 { rate: 44_100, channels: 2 },
        ] {
            let (mut decoder, mut out) = (format.decoder().unwrap(), Vec::new());
            for payload in &payloads {
                let before = out.len();
                let decoded = decoder.decode(payload, &mut out);
                let ticks = format.ticks(payload);
                if decoded.is_ok() {
                    // What is placed by its length and decoded to another would run over its neighbours.
                    let length = (out.len() - before) as u64 * u64::from(TICKS) / u64::from(format.rate());
                    prop_assert!(ticks.is_some_and(|t| u64::from(t).abs_diff(length) <= 1), "{:?} {:?} {}", format, ticks, length);
                } else {
                    prop_assert_eq!(out.len(), before, "{:?}", format);
                }
            }
        }
    }
}
