//! A trunk's spellings, both ways: one handset gives one key, and no two give one. With libphonenumber as a second
//! opinion, over every country of the table.

use phonenumber::metadata::DATABASE;
use proptest::prelude::*;

use super::super::countries;
use super::*;

fn profile(country: &str) -> TrunkProfile {
    TrunkProfile::of_country(country).unwrap()
}

fn written(text: &str) -> Result<TrunkProfile, serde_json::Error> {
    serde_json::from_str(text)
}

fn number(text: &str) -> E164 {
    E164::parse(text).unwrap()
}

/// What the number that `text` spells on this trunk is looked up under.
fn key(profile: &TrunkProfile, text: &str) -> Option<E164> {
    profile.read(text).map(|number| number.handset())
}

#[test]
fn the_spellings_of_one_handset_give_one_key() {
    for (country, handset, spellings) in [
        (
            "44",
            "+447700900001",
            &[
                "+447700900001",
                "00447700900001",
                "07700900001",
                "447700900001",
                "+44 (0)7700-900.001",
                "0044 (0) 7700 900001",
            ][..],
        ),
        (
            "1",
            "+12025550123",
            &["+12025550123", "01112025550123", "12025550123", "2025550123", "(202) 555-0123"],
        ),
        ("39", "+390612345678", &["+390612345678", "00390612345678", "0612345678"]),
        ("39", "+393912345678", &["3912345678", "393912345678"]),
        ("7", "+78121234567", &["+78121234567", "81078121234567", "88121234567", "78121234567"]),
        ("7", "+74951234567", &["84951234567", "4951234567", "74951234567"]),
        (
            "52",
            "+525512345678",
            &[
                "+525512345678",
                "+5215512345678",
                "5512345678",
                "015512345678",
                "0445512345678",
                "0455512345678",
                "525512345678",
                "5215512345678",
                "00525512345678",
                "005215512345678",
            ],
        ),
        (
            "54",
            "+541123456789",
            &[
                "+5491123456789",
                "01123456789",
                "0111523456789",
                "011 15 2345-6789",
                "091123456789",
                "5491123456789",
                "541123456789",
                "005491123456789",
            ],
        ),
        ("54", "+542231234567", &["0223151234567", "02231234567", "+5492231234567"]),
        ("55", "+5511987654321", &["011987654321", "01511987654321", "5511987654321", "005511987654321"]),
        ("91", "+919876543210", &["09876543210", "919876543210", "+91 98765 43210"]),
        ("62", "+6281234567890", &["081234567890", "6281234567890", "0016281234567890"]),
        ("234", "+2348031234567", &["08031234567", "2348031234567", "0092348031234567", "002348031234567"]),
        ("254", "+254712345678", &["0712345678", "254712345678", "000254712345678", "00254712345678"]),
        ("36", "+36201234567", &["06201234567", "36201234567", "0036201234567"]),
        ("81", "+819012345678", &["09012345678", "819012345678", "010819012345678"]),
        ("82", "+821012345678", &["01012345678", "821012345678", "001821012345678", "00700821012345678"]),
        ("65", "+6581234567", &["81234567", "6581234567", "0016581234567"]),
        ("852", "+85251234567", &["51234567", "85251234567", "00185251234567"]),
        ("971", "+971501234567", &["0501234567", "971501234567"]),
        ("966", "+966501234567", &["0501234567", "966501234567"]),
        ("48", "+48512345678", &["512345678", "48512345678", "0048512345678"]),
        ("420", "+420601123456", &["601123456", "420601123456"]),
        ("351", "+351912345678", &["912345678", "351912345678"]),
        ("370", "+37061234567", &["861234567", "061234567", "37061234567"]),
        ("375", "+375291234567", &["80291234567", "810375291234567"]),
        ("225", "+2250707123456", &["0707123456", "2250707123456", "+225 0707123456"]),
        ("229", "+2290197123456", &["0197123456", "97123456", "22997123456", "2290197123456"]),
        ("972", "+970599123456", &["0599123456", "972599123456", "+970599123456"]),
    ] {
        for spelling in spellings {
            assert_eq!(key(&profile(country), spelling), Some(number(handset)), "{spelling} in {country}");
        }
    }
}

#[test]
fn what_is_no_number_is_none() {
    for text in [
        "",
        "+",
        "alice",
        "07700900001x",
        "++447700900001",
        "0",
        "00",
        "123",
        "4477+00900001",
        "000447700900001",
        "+440077009000",
        "7700900001",    // Without its 0: neither British here, nor long enough for +7.
        "077009000011",  // Too long.
        "9991234567890", // No such country.
        &"9".repeat(60),
    ] {
        assert_eq!(profile("44").read(text), None, "{text}");
    }
    // A mobile of Argentina without its area code, and 12 digits without 15.
    for text in ["01523456789", "1523456789", "0111623456789"] {
        assert_eq!(profile("54").read(text), None, "{text}");
    }
}

#[test]
fn what_could_be_two_numbers_is_none() {
    // 009 and a number of +1, or 00 and one of +91.
    assert_eq!(profile("234").read("00919876543210"), None);
    // A Moscow number after 8, or a Vietnamese one in full.
    let full = written(r#"{"country":"7","bare":"international"}"#).unwrap();
    assert_eq!(full.read("84951234567"), None);
    assert_eq!(full.read("+84951234567"), Some(number("+84951234567")));
}

#[test]
fn a_profile_is_completed_from_its_country_and_refused_when_ambiguous() {
    assert_eq!(written(r#"{"country":"44"}"#).unwrap(), profile("44"));
    let bare = written(r#"{"country":"44","bare":"national"}"#).unwrap();
    assert_eq!(bare.read("7700900001"), Some(number("+447700900001")));
    for refused in [
        r#"{"country":"044"}"#,
        r#"{"country":"999"}"#,
        r#"{"country":"44","national_prefix":"00"}"#,
        r#"{"country":"44","national_prefix":["0","001"]}"#,
        r#"{"country":"44","international_prefix":["00","0"]}"#,
        r#"{"country":"44","national_prefix":"+"}"#,
        r#"{"country":"44","national_prefix":"0 1"}"#,
        r#"{"country":"44","national_prefix":"0123456"}"#,
        r#"{"country":"44","verstat":"trust"}"#,
        r#"{"country":"44","prefix":"0"}"#,
    ] {
        assert!(written(refused).is_err(), "{refused}");
    }
}

#[test]
fn prefixes_may_be_several_and_a_stored_profile_still_reads() {
    let two = written(r#"{"country":"44","national_prefix":["0","8"],"international_prefix":["00","+99"]}"#);
    assert!(two.is_err());
    let two = written(r#"{"country":"44","national_prefix":["0","8"],"international_prefix":["00","99"]}"#)
        .unwrap();
    for text in ["07700900001", "87700900001", "00447700900001", "99447700900001"] {
        assert_eq!(two.read(text), Some(number("+447700900001")), "{text}");
    }
    let stored =
        r#"{"country":"44","national_prefix":"0","international_prefix":"00","bare":"international"}"#;
    assert_eq!(written(stored).unwrap(), profile("44"));
    assert_eq!(serde_json::to_string(&profile("44")).unwrap(), stored);
    let none = r#"{"country":"34","national_prefix":"","international_prefix":"00","bare":"national"}"#;
    assert_eq!(written(none).unwrap(), profile("34"));
    let strict = written(r#"{"country":"52","verstat":"refuse_failed"}"#).unwrap();
    assert_eq!(
        (strict.verstat(), profile("52").verstat()),
        (VerstatPolicy::RefuseFailed, VerstatPolicy::Ignore)
    );
    for profile in [two, strict, profile("55")] {
        assert_eq!(written(&serde_json::to_string(&profile).unwrap()).unwrap(), profile);
    }
}

#[test]
fn a_profile_is_small_and_a_usual_one_owns_nothing() {
    assert!(size_of::<TrunkProfile>() <= 64);
    let usual = profile("55");
    assert!(matches!((&usual.national.0, &usual.international.0), (Cow::Borrowed(_), Cow::Borrowed(_))));
}

/// Every way in which `profile` may spell country code + `national`, a number of its own country.
fn spellings(profile: &TrunkProfile, national: &str) -> Vec<String> {
    let country = profile.country();
    let mut all = abroad(profile, country, national);
    // What begins like an international number is one.
    let at_home = |text: &String| profile.international.after(text).next().is_none();
    if profile.bare != Bare::Nothing {
        all.extend(profile.national.each().map(|prefix| format!("{prefix}{national}")).filter(at_home));
    }
    if profile.bare == Bare::National {
        let own = format!("{country}{national}");
        all.extend(Some(national.to_owned()).filter(at_home));
        all.extend((!profile.country.0.has_length(own.len())).then_some(own));
    }
    all
}

/// Every way in which `profile` may spell a number of any country.
fn abroad(profile: &TrunkProfile, country: &str, national: &str) -> Vec<String> {
    let full = format!("{country}{national}");
    let mut all = vec![format!("+{full}")];
    all.extend(profile.international.each().map(|prefix| format!("{prefix}{full}")));
    if countries::Country::by_code(country).unwrap().writes_zero_in_full() {
        all.push(format!("+{country}(0){national}"));
    }
    if profile.bare == Bare::International {
        all.push(full);
    }
    all
}

/// The older and other forms of a handset's national number, itself included.
fn forms(country: &str, national: &str) -> Vec<String> {
    let mut all = vec![national.to_owned()];
    match country {
        "52" => all.push(format!("1{national}")),
        "54" => {
            all.push(format!("9{national}"));
            let area = if national.starts_with("11") { 2 } else { 3 };
            all.push(format!("{}15{}", &national[..area], &national[area..]));
        }
        "229" if national.starts_with("019") => all.push(national[2..].to_owned()),
        _ => {}
    }
    all
}

/// A valid number of a country, by libphonenumber: one of its examples with other last digits.
fn valid(country: &'static str, kind: usize, digits: &str) -> Option<(&'static str, E164)> {
    let region = DATABASE.by_code(&country.parse().unwrap()).unwrap()[0];
    let kinds = region.descriptors();
    let example = [kinds.mobile(), kinds.fixed_line()][kind % 2]?.example()?;
    let kept = example.len().checked_sub(digits.len())?;
    let text = format!("+{country}{}{digits}", &example[..kept]);
    let parsed = phonenumber::parse(None, &text).ok()?;
    let known =
        phonenumber::is_valid(&parsed) && region.descriptors().general().is_match(&text[1 + country.len()..]);
    let number = E164::parse(&text).ok()?;
    (known && number.handset() == number).then_some((country, number))
}

fn country() -> impl Strategy<Value = &'static str> {
    (0..countries::all().len()).prop_map(|at| countries::all()[at].code)
}

fn valid_number() -> impl Strategy<Value = (&'static str, E164)> {
    (country(), 0_usize..2, "[0-9]{1,3}")
        .prop_filter_map("no valid number", |(country, kind, digits)| valid(country, kind, &digits))
}

/// As libphonenumber reads `text` in the main region of `country`.
fn second_opinion(country: &str, text: &str) -> Option<E164> {
    let region = DATABASE.by_code(&country.parse().unwrap()).unwrap()[0].id().parse().unwrap();
    let parsed = phonenumber::parse(Some(region), text).ok()?;
    E164::parse(&format!("+{}{}", parsed.code().value(), parsed.national())).ok()
}

fn national(country: &str, number: &E164) -> String {
    number.reveal()[1 + country.len()..].to_owned()
}

/// Where the second opinion is another one: forms that are gone, international prefixes that are not the first of their
/// country, in Brazil 00 without a carrier's code, and in Colombia 03, which it takes for a carrier's.
fn is_disputed(profile: &TrunkProfile, text: &str) -> bool {
    let others = usize::from(profile.country() != "55");
    matches!(profile.country(), "52" | "54" | "57" | "229")
        || profile.international.each().skip(others).any(|prefix| text.starts_with(prefix))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// One handset, one key: in every country, every form of a number in every spelling, and wherever separators
    /// stand; and libphonenumber reads the same.
    #[test]
    fn every_spelling_gives_the_number_it_came_from(
        (country, number) in valid_number(), at in 0_usize..8, separator in "[-. ()]",
    ) {
        let usual = profile(country);
        for form in forms(country, &national(country, &number)) {
            for text in spellings(&usual, &form) {
                prop_assert_eq!(key(&usual, &text), Some(number.clone()), "{} in {}", text, country);
                let mut dotted = text.clone();
                dotted.insert_str(at.max(1).min(dotted.len()), &separator);
                prop_assert_eq!(key(&usual, &dotted), Some(number.clone()), "{} in {}", dotted, country);
                if !is_disputed(&usual, &text) {
                    prop_assert_eq!(second_opinion(country, &text), Some(number.clone()), "{} in {}", text, country);
                }
            }
        }
    }

    /// A number from abroad is the same on every trunk.
    #[test]
    fn a_number_is_the_same_on_every_trunk(
        trunk in country(), bare in 0_usize..3, (country, number) in valid_number(),
    ) {
        let bare = [Bare::International, Bare::National, Bare::Nothing][bare];
        let trunk = TrunkProfile { bare, ..profile(trunk) };
        for form in forms(country, &national(country, &number)) {
            for text in abroad(&trunk, country, &form) {
                let read = key(&trunk, &text);
                // What could be two numbers is none; in full it is always the one.
                let none = read.is_none() && !text.starts_with('+');
                prop_assert!(none || read.as_ref() == Some(&number), "{} on {:?}: {:?}", text, trunk, read);
            }
        }
    }

    /// No two handsets share a key: whatever digits a plan allows, a spelling gives the number it came from or none.
    /// Two that shared one would have a spelling that reads as the other.
    #[test]
    fn spellings_of_two_numbers_never_meet(
        country in country(), bare in 0_usize..3, digits in "[0-9]{12}", other in "[0-9]{12}", same in 0_usize..12,
    ) {
        let bare = [Bare::International, Bare::National, Bare::Nothing][bare];
        let trunk = TrunkProfile { bare, ..profile(country) };
        let length = (4..=12).rev().filter(|n| trunk.country.0.has_length(*n)).nth(same % 2);
        let length = length.unwrap_or_else(|| (4..=12).find(|n| trunk.country.0.has_length(*n)).unwrap());
        let near = format!("{}{}", &digits[..same], &other[same..]);
        let mut read = Vec::new();
        for national in [&digits[..length], &near[..length], &other[..length]] {
            let Ok(number) = E164::parse(&format!("+{country}{national}")) else { continue };
            if trunk.country.0.has_stray_zero(national) || !quirks::is_possible(&number.reveal()[1..]) {
                continue;
            }
            for text in spellings(&trunk, national) {
                let Some(found) = key(&trunk, &text) else { continue };
                prop_assert_eq!(&found, &number.handset(), "{} on {:?}", text, trunk);
                read.push((number.handset(), found));
            }
        }
        for (a, found) in &read {
            for (b, other) in &read {
                prop_assert_eq!(a == b, found == other);
            }
        }
    }

    /// Whatever comes in: no panic, and what reads as a number reads as the same one when written in full.
    #[test]
    fn any_text_is_safe_and_stable(country in country(), text in "\\PC{0,30}", digits in "\\+?[0-9 ]{0,20}") {
        for text in [text, digits] {
            if let Some(number) = profile(country).read(&text) {
                prop_assert_eq!(profile(country).read(&number.reveal()), Some(number.clone()));
                prop_assert_eq!(number.handset().handset(), number.handset());
            }
        }
    }
}
