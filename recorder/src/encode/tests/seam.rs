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
