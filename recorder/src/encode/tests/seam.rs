//! Long calls are encoded in stretches, each by encoders of its own.

use super::*;

/// Speech with pauses: 600 ms of each in turn.
fn call(seconds: f64) -> Vec<i16> {
    sound(seconds, Rate::Narrow, |n| if n / 4800 % 2 == 0 { voice(n, Rate::Narrow, 170.0) } else { idle(n) })
}

#[test]
fn two_stretches_sound_like_one() {
    let side = call(8.0);
    let rates = [Rate::Narrow; 2];
    let whole = file(rates, QUALITY, [&side, &side]);
    let Some([whole, _]) = decoded("opusdec", &whole) else { return };
    // Every 20 ms through speech, the hangover after it, silence, and the next word.
    for seam in (100..170).step_by(3) {
        let mut first = Voices::new(rates, QUALITY).unwrap();
        let at = |frame: usize| frame * Rate::Narrow.frame();
        let mut all = packets(&mut first, rates, [&side[..at(seam)], &side[..at(seam)]]);
        all.truncate(seam);
        let mut second = Voices::new(rates, QUALITY).unwrap();
        let rest = &side[at(seam - PRE_ROLL)..];
        all.extend(packets(&mut second, rates, [rest, rest]).split_off(PRE_ROLL));
        let Some([joined, _]) = decoded("opusdec", &ogg(&all, 312, side.len() as u64 * 6)) else { return };
        assert_eq!(joined.len(), whole.len());
        // Before the seam nothing is another. After it the encoder chooses otherwise, and as well; in silence it has no choice.
        let before = seam * 960 - 312;
        assert_eq!(whole[..before - 120], joined[..before - 120]);
        let at = seam * 20;
        let errors = [&whole, &joined].map(|heard| error(heard, &side, Rate::Narrow, at - 20..at + 180));
        let loud = level(side[(at - 20) * 8..(at + 180) * 8].iter().map(|s| f64::from(*s)));
        let differs = difference(&whole[before..before + 4_800], &joined[before..before + 4_800]);
        assert!(errors[1] < errors[0] + 2.0, "seam at frame {seam}: {errors:?}");
        assert!(differs < (loud - 20.0).max(-60.0), "seam at frame {seam}: {differs} of {loud}");
    }
}

#[test]
fn a_decoder_may_begin_at_any_packet() {
    let side = sound(2.0, Rate::Narrow, |n| voice(n, Rate::Narrow, 170.0));
    let rates = [Rate::Narrow; 2];
    let mut voices = Voices::new(rates, QUALITY).unwrap();
    // A party's packet in between begins the encoder anew.
    let mut all = packets(&mut voices, rates, [&side, &side]);
    voices.frame([Sound::Packed(&[0x98, 0xFF, 0xFE]); 2], &mut Vec::new()).unwrap();
    all.extend(packets(&mut voices, rates, [&side, &side]));
    let heard = |packets: &[Vec<u8>]| -> Vec<i16> {
        let mut decoder = opus::MSDecoder::new(8000, 2, 0, &[0, 1]).unwrap();
        let mut decode = |packet: &Vec<u8>| {
            let mut samples = [0; 320];
            decoder.decode(packet, &mut samples, false).unwrap();
            samples.into_iter().step_by(2).collect::<Vec<i16>>()
        };
        packets.iter().flat_map(&mut decode).collect()
    };
    let whole = heard(&all);
    for begin in (5..180).step_by(7) {
        // After the first packet, whose beginning overlaps with one that is missing.
        let (from, to) = ((begin + 1) * 160, (begin + 6) * 160);
        assert!(heard(&all[begin..])[160..6 * 160] == whole[from..to], "packet {begin}");
    }
}
