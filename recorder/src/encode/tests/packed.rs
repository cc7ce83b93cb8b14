//! A party's own Opus packets between ours, and packets that are none.

use opus::{Application, Bitrate, Channels, Signal};

use super::*;
use crate::encode::packet::Packet;

/// A party's phone: `signal` says which of Opus's coders.
fn phone(channels: Channels, signal: Signal, bits: i32) -> opus::Encoder {
    let mut encoder = opus::Encoder::new(48_000, channels, Application::Audio).unwrap();
    encoder.set_signal(signal).unwrap();
    encoder.set_bitrate(Bitrate::Bits(bits)).unwrap();
    encoder
}

const PHONES: [(&str, Channels, Signal, i32); 4] = [
    ("SILK", Channels::Mono, Signal::Voice, 16_000),
    ("hybrid", Channels::Mono, Signal::Voice, 36_000),
    ("CELT", Channels::Mono, Signal::Music, 96_000),
    ("stereo", Channels::Stereo, Signal::Voice, 48_000),
];

fn speech(n: usize) -> i16 {
    voice(n, Rate::Full, 150.0)
}

/// A second of the phone's packets.
fn second(encoder: &mut opus::Encoder, channels: Channels, from: usize) -> Vec<Vec<u8>> {
    let packet = |frame: usize| {
        let samples =
            (from + frame * 960..from + (frame + 1) * 960).flat_map(|n| vec![speech(n); channels as usize]);
        encoder.encode_vec(&samples.collect::<Vec<_>>(), 4000).unwrap()
    };
    (0..50).map(packet).collect()
}

#[test]
fn packed_packets_sound_as_they_were_sent() {
    for (name, channels, signal, bits) in PHONES {
        let theirs = second(&mut phone(channels, signal, bits), channels, 0);
        let mut voices = Voices::new([Rate::Full, Rate::Narrow], QUALITY).unwrap();
        let (mut all, mut packet) = (Vec::new(), Vec::new());
        for own in &theirs {
            voices.frame([Sound::Packed(own), Sound::Packed(own)], &mut packet).unwrap();
            all.push(packet.clone());
        }
        assert_eq!(voices.tally().map(|t| (t.packed, t.encoded, t.silent)), [(50, 0, 0); 2]);
        let mut alone = opus::Decoder::new(48_000, Channels::Mono).unwrap();
        let mut expected = Vec::new();
        for own in &theirs {
            let mut samples = [0; 960];
            alone.decode(own, &mut samples, false).unwrap();
            expected.extend(samples);
        }
        for program in DECODERS {
            let Some([left, right]) = decoded(program, &ogg(&all, 312, 47_000)) else { continue };
            let differs = difference(&left, &expected[312..47_312]);
            // ffmpeg's own decoder brings SILK to 48 kHz in a way of its own.
            let limit = if program == "ffmpeg" { -36.0 } else { -80.0 };
            assert!(differs < limit, "{program}, {name}: {differs}");
            assert!(difference(&left, &right) < limit, "{program}, {name}");
        }
    }
}

#[test]
fn a_change_between_packed_and_encoded_is_heard_as_a_short_fade() {
    for (name, channels, signal, bits) in PHONES {
        let rates = [Rate::Full, Rate::Narrow];
        let mut encoder = phone(channels, signal, bits);
        let mut voices = Voices::new(rates, QUALITY).unwrap();
        let (mut all, mut packet) = (Vec::new(), Vec::new());
        for part in 0..4_usize {
            let theirs = second(&mut encoder, channels, part * 48_000);
            for (frame, own) in theirs.iter().enumerate() {
                let from = part * 48_000 + frame * 960;
                let samples: Vec<i16> = (from..from + 960).map(speech).collect();
                let left = if part % 2 == 0 { Sound::Packed(own) } else { Sound::Samples(&samples) };
                voices.frame([left, Sound::Samples(&[0; 160])], &mut packet).unwrap();
                all.push(packet.clone());
            }
        }
        let original: Vec<i16> = (0..190_000).map(speech).collect();
        for program in DECODERS {
            let Some([left, right]) = decoded(program, &ogg(&all, 312, 190_000)) else { continue };
            assert!(right.iter().all(|s| *s == 0), "{program}, {name}: the other side hears nothing of it");
            for change in [48_000, 96_000, 144_000] {
                let heard = &left[change - 2_000..change + 2_000];
                let loudest = |s: &[i16]| s.iter().map(|s| i32::from(*s).abs()).max().unwrap();
                let limit = loudest(&original[change - 9_600..change + 9_600]) * 13 / 10;
                // A party's CELT packets build on ones that the decoder did not hear: they are off for a few.
                let around = change - 2_400..change + 2_400;
                let (error, loud) = (
                    difference(&left[around.clone()], &original[around.clone()]),
                    level(original[around].iter().map(|s| f64::from(*s))),
                );
                assert!(error < loud - 10.0, "{program}, {name}: {error} of {loud}");
                assert!(loudest(heard) <= limit, "{program}, {name}: {} of {limit}", loudest(heard));
            }
            // Both are in their place: a packed second, an encoded one.
            for part in 0..3 {
                let span = part * 48_000 + 4_800..(part + 1) * 48_000 - 4_800;
                let fits = correlation(&left[span.clone()], &original[span], Rate::Full);
                assert!(fits > 0.9, "{program}, {name}, second {part}: {fits}");
            }
        }
    }
}

#[test]
fn what_is_no_packet_of_20_ms_becomes_silence_in_a_file_that_decodes() {
    let loud: Vec<i16> = (0..960).map(speech).collect();
    let mut voices = Voices::new([Rate::Full; 2], QUALITY).unwrap();
    let (mut all, mut packet) = (Vec::new(), Vec::new());
    let hostile =
        [&[][..], &[0x92, 253], &[0x83, 63, 1], &[0x18, 1, 2], &[0xFF; 2000], &[0x93, 0x42, 255, 255]];
    for n in 0..60 {
        voices
            .frame([Sound::Packed(hostile[n % hostile.len()]), Sound::Samples(&loud)], &mut packet)
            .unwrap();
        all.push(packet.clone());
    }
    assert_eq!(voices.tally().map(|t| (t.packed, t.refused)), [(0, 60), (0, 0)]);
    for program in DECODERS {
        let Some([left, right]) = decoded(program, &ogg(&all, 312, 57_000)) else { continue };
        assert!(left.iter().all(|s| *s == 0) && right.iter().any(|s| s.abs() > 1000), "{program}");
    }
}

#[test]
fn libopus_takes_the_joined_packets_apart() {
    let mut both = opus::MSDecoder::new(48_000, 2, 0, &[0, 1]).unwrap();
    let mut alone = [(); 2].map(|()| opus::Decoder::new(48_000, Channels::Mono).unwrap());
    let mut phones =
        PHONES.map(|(_, channels, signal, bits)| second(&mut phone(channels, signal, bits), channels, 0));
    // Two, four and eight frames in a packet, of equal length and not.
    let parts = |milliseconds: f64| {
        let mut encoder = phone(Channels::Mono, Signal::Music, 64_000);
        encoder.set_bandwidth(opus::Bandwidth::Fullband).unwrap();
        let length = (milliseconds * 48.0) as usize;
        let mut part = |n: usize| {
            let samples: Vec<i16> = (n * length..(n + 1) * length).map(speech).collect();
            encoder.encode_vec(&samples, 1276).unwrap()
        };
        let each = 960 / length;
        let join = |frame: usize| {
            let parts: Vec<_> = (0..each).map(|n| part(frame * each + n)).collect();
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let mut out = vec![0; 2000];
            let length = opus::Repacketizer::new().unwrap().combine(&parts, &mut out).unwrap();
            out.truncate(length);
            out
        };
        (0..50).map(join).collect::<Vec<_>>()
    };
    phones[1] = parts(2.5);
    phones[2] = parts(10.0);
    for left in &phones {
        for right in &phones {
            for (left, right) in left.iter().zip(right) {
                let mut joined = Vec::new();
                Packet::parse(left).unwrap().write(true, &mut joined);
                Packet::parse(right).unwrap().write(false, &mut joined);
                let mut stereo = [0; 1920];
                assert_eq!(both.decode(&joined, &mut stereo, false).unwrap(), 960);
                for (side, packet) in [left, right].into_iter().enumerate() {
                    let mut mono = [0; 960];
                    alone[side].decode(packet, &mut mono, false).unwrap();
                    assert!(stereo.iter().skip(side).step_by(2).eq(&mono));
                }
            }
        }
    }
}
