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
        let around = seam * 960 - 4_800..seam * 960 + 19_200;
        let (differs, loud) = (
            difference(&whole[around.clone()], &joined[around.clone()]),
            level(joined[around].iter().map(|s| f64::from(*s))),
        );
        println!("{seam}: {differs:.1} {loud:.1}");
        let elsewhere = difference(&whole[..seam * 960 - 4_800], &joined[..seam * 960 - 4_800]);
        assert!(elsewhere < -110.0);
        assert!(differs < -40.0, "seam at frame {seam}: {differs}");
    }
}
