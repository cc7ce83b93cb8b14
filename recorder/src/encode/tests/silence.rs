//! Silence that is not encoded: what is left out, and what is heard at its edges.

use super::*;

/// One second of speech that ends in mid-word, three of an idle line, one of speech that begins at once.
fn pause(rate: Rate) -> Vec<i16> {
    let hz = rate.hz() as usize;
    sound(5.0, rate, |n| {
        let speech = |n| voice(n, rate, 150.0) / 2 + voice(n, rate, 1333.0) / 3;
        if (hz..4 * hz).contains(&n) { idle(n) } else { speech(n + hz / 12) }
    })
}

/// The largest step from one sample to the next.
fn step(samples: &[i16]) -> i32 {
    samples.windows(2).map(|w| (i32::from(w[0]) - i32::from(w[1])).abs()).max().unwrap_or(0)
}

#[test]
fn a_pause_decodes_to_nothing_at_all_without_a_click_at_its_edges() {
    for rate in [Rate::Narrow, Rate::Wide, Rate::Full] {
        let side = pause(rate);
        let whole = file([rate; 2], Quality { silence_dbfs: None, ..QUALITY }, [&side, &side]);
        let quiet = file([rate; 2], QUALITY, [&side, &side]);
        for program in DECODERS {
            let (Some([whole, _]), Some([quiet, right])) =
                (decoded(program, &whole), decoded(program, &quiet))
            else {
                continue;
            };
            assert_eq!(quiet, right, "{program}");
            assert_eq!((whole.len(), quiet.len()), (240_000, 240_000), "{program}: exact timing");
            let ms = |from: usize, to: usize| from * 48..to * 48;
            // 200 ms are kept, then the encoder's filters come to rest. What comes next begins with the look-ahead.
            assert!(quiet[ms(1400, 3993)].iter().all(|s| *s == 0), "{program} {rate:?}");
            // All speech, and the 200 ms after it, are as true as without, give or take what the encoder chooses otherwise.
            for span in [0..1200, 4000..4100, 4000..4990] {
                let errors = [&whole, &quiet].map(|heard| error(heard, &side, rate, span.clone()));
                assert!(errors[1] < errors[0] + 3.0, "{program} {rate:?} {span:?}: {errors:?}");
            }
            // The edges: no more energy than the idle line had, no step that is not in the speech itself.
            for (span, steps) in [(ms(1195, 1225), 8), (ms(3980, 4000), 400)] {
                let (before, after) = (&whole[span.clone()], &quiet[span]);
                let [before_level, after_level] =
                    [before, after].map(|s| level(s.iter().map(|s| f64::from(*s))));
                let levels = (before_level, after_level);
                assert!(after_level <= before_level.max(-72.0) + 2.5, "{program} {rate:?}: {levels:?}");
                let steps = (step(before) + steps, step(after));
                assert!(steps.1 <= steps.0, "{program} {rate:?}: {steps:?}");
            }
            let (onset, speech) = (step(&quiet[ms(3990, 4020)]), step(&whole[ms(4020, 5000)]));
            assert!(onset <= speech * 5 / 4, "{program} {rate:?}: {onset} {speech}");
        }
    }
}

#[test]
fn a_pause_costs_seven_bytes_a_packet_and_no_encoding() {
    let rates = [Rate::Narrow; 2];
    let mut voices = Voices::new(rates, QUALITY).unwrap();
    let all = packets(&mut voices, rates, [&pause(Rate::Narrow), &[]]);
    // Self-delimited; RFC 6716, section 4.3: CELT's first flag.
    assert_eq!(all[100], [0x98, 2, 0xFF, 0xFE, 0x98, 0xFF, 0xFE]);
    let [caller, callee] = voices.tally();
    assert_eq!((caller.encoded + caller.silent, callee.encoded + callee.silent), (251, 251));
    assert!((130..=140).contains(&caller.silent), "{caller:?}");
    assert_eq!((callee.encoded, callee.packed, callee.refused), (0, 0, 0));
}

#[test]
fn faint_speech_is_never_silence() {
    // -54 dBFS in its loud moments: a thousandth and a half of a shout.
    let side = sound(4.0, Rate::Narrow, |n| voice(n, Rate::Narrow, 150.0) / 60);
    let mut voices = Voices::new([Rate::Narrow; 2], QUALITY).unwrap();
    packets(&mut voices, [Rate::Narrow; 2], [&side, &[]]);
    assert!(voices.tally()[0].silent <= 1, "{:?}", voices.tally());
}
