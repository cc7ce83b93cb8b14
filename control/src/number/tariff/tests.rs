//! What costs and what does not, with libphonenumber as a second opinion.

use std::collections::BTreeSet;

use phonenumber::Type;
use phonenumber::metadata::DATABASE;
use proptest::prelude::*;

use super::super::countries;
use super::ranges::RANGES;
use super::*;

fn of(number: &str) -> Option<&'static str> {
    costly(&E164::parse(number).unwrap()).map(Costly::as_str)
}

#[test]
fn numbers_that_cost_are_told_by_kind() {
    for (number, kind) in [
        ("+449012345678", Some("premium")),
        ("+4409012345678", Some("premium")), // With the 0 in it, and yet the same.
        ("+19002345678", Some("premium")),
        ("+4990012345678", None),           // No such length,
        ("+499001234567", Some("premium")), // but this.
        ("+529001234567", Some("premium")),
        ("+5219001234567", Some("premium")),
        ("+33811123456", Some("shared_cost")),
        ("+390612345678", None),
        ("+390878123456", None),
        ("+39848123456", Some("shared_cost")),
        ("+80812345678", Some("shared_cost")),
        ("+979123456789", Some("premium")),
        ("+870773123456", Some("satellite")),
        ("+881612345678", Some("satellite")),
        ("+8821612345678", Some("satellite")),
        ("+8821312345678", Some("satellite")),
        ("+8823412345678", Some("international_network")),
        ("+883510012345", Some("international_network")),
        ("+87810123456789", Some("international_network")),
        // Fiction, as the demonstration and the tests use it.
        ("+447700900001", None),
        ("+442079460001", None),
        ("+12025550123", None),
        // Usual numbers, freephone, and a country that is none.
        ("+447911123456", None),
        ("+5491123456789", None),
        ("+919876543210", None),
        ("+18005550123", None),
        ("+9991234567", None),
    ] {
        assert_eq!(of(number), kind, "{number}");
    }
}

/// The plans change. When this fails after an update of `phonenumber`, the rows to add and to take away are in its message.
#[test]
fn the_ranges_are_what_libphonenumber_knows() {
    let mut known = BTreeSet::new();
    for region in DATABASE.iter().filter(|region| region.id() != "001") {
        let kinds = region.descriptors();
        for (kind, costly) in
            [(kinds.premium_rate(), Costly::Premium), (kinds.shared_cost(), Costly::SharedCost)]
        {
            let pattern = kind.map(|kind| kind.national_number().as_str().replace(char::is_whitespace, ""));
            known
                .extend(pattern.map(|pattern| (region.country_code().to_string(), costly.as_str(), pattern)));
        }
    }
    let rows: BTreeSet<_> = RANGES
        .iter()
        .map(|(code, costly, text)| ((*code).to_owned(), costly.as_str(), (*text).to_owned()))
        .collect();
    let (missing, gone): (Vec<_>, Vec<_>) =
        (known.difference(&rows).collect(), rows.difference(&known).collect());
    assert!(missing.is_empty() && gone.is_empty(), "add {missing:?}, take away {gone:?}");
    assert!(RANGES.is_sorted_by_key(|(code, ..)| *code), "found by binary search");
    for plan in PLANS.iter() {
        assert!(Regex::new(plan.national).is_ok(), "{}", plan.national);
    }
}

/// Every kind of every region has an example number: only the costly kinds are refused.
#[test]
fn examples_of_every_region_are_told_apart() {
    let mut refused = 0;
    for region in DATABASE.iter().filter(|region| region.id() != "001") {
        let kinds = region.descriptors();
        let usual =
            [kinds.fixed_line(), kinds.mobile(), kinds.toll_free(), kinds.voip(), kinds.personal_number()];
        let examples = |kind: Option<&phonenumber::metadata::Descriptor>| {
            let example =
                kind.and_then(|kind| kind.example()).map(|e| format!("+{}{e}", region.country_code()));
            example.filter(|number| E164::parse(number).is_ok())
        };
        for number in usual.into_iter().filter_map(examples) {
            assert_eq!(of(&number), None, "{number} of {}", region.id());
        }
        for (kind, costly) in [(kinds.premium_rate(), "premium"), (kinds.shared_cost(), "shared_cost")] {
            if let Some(number) = examples(kind) {
                assert_eq!(of(&number), Some(costly), "{number} of {}", region.id());
                refused += 1;
            }
        }
    }
    assert!(refused > 100, "{refused} examples");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the digits: what the library calls premium or shared cost is, and nothing else of a country is.
    #[test]
    fn a_second_opinion_is_the_same(
        at in 0..countries::all().len(), row in 0..RANGES.len(), of_row in any::<bool>(), digits in "[0-9]{11}",
        length in 6_usize..12,
    ) {
        let (code, national) = if of_row {
            let (code, _, pattern) = RANGES[row];
            // The digits that a costly range begins with, as far as they are plain.
            let plain: String = pattern.chars().take_while(char::is_ascii_digit).collect();
            (code, format!("{plain}{digits}")[..length].to_owned())
        } else {
            (countries::all()[at].code, digits[..length].to_owned())
        };
        let Ok(number) = E164::parse(&format!("+{code}{national}")) else { return Ok(()) };
        // The library loses a leading 0 when it names the kind.
        if number.handset() != number || national.starts_with('0') {
            return Ok(());
        }
        let regions = DATABASE.by_code(&code.parse().unwrap()).unwrap();
        let Ok(parsed) = phonenumber::parse(None, &*number.reveal()) else { return Ok(()) };
        if parsed.national().to_string() != national {
            return Ok(());
        }
        let kind = match parsed.number_type(&DATABASE) {
            Type::PremiumRate => Some(Costly::Premium),
            Type::SharedCost => Some(Costly::SharedCost),
            _ => None,
        };
        // The library is content when a number begins as a kind's numbers do: only whole numbers are compared. With
        // several regions under one code it chooses one; here a number that costs in any of them costs.
        let kinds = regions.iter().map(|region| region.descriptors());
        let whole = kinds.flat_map(|kinds| [kinds.premium_rate(), kinds.shared_cost()]).flatten().any(|kind| {
            kind.national_number().find(&national).is_some_and(|found| found.len() == national.len())
        });
        if regions.len() == 1 && kind.is_none() || kind.is_some() && whole {
            prop_assert_eq!(costly(&number), kind, "{} {}", code, national);
        }
    }
}
