//! The one form under which a handset is looked up, whatever form a carrier or a business wrote.
//!
//! Owns the country quirks, as data. Called by [`super::E164::handset`] and by the trunk profiles; pure.
//!
//! Why no two handsets meet: a form on the left of [`ALIASES`] is nobody else's number in its country's plan. It is
//! either no subscriber number at all, or (Argentina, Palestine) the same line under another access code. So each left
//! form stands for the one number on its right, whose digits it keeps. A right form is never on the left, so that
//! asking twice changes nothing. What is in no row stays as it is.

use zeroize::Zeroizing;

use super::countries::Country;

/// Another form of a number, and the number: country code first, a dot for any digit, dots kept in order.
const ALIASES: [(&str, &str); 16] = [
    // Mexico: the 1 before mobiles, gone since August 2019. National numbers have 10 digits and none begins with 1.
    ("521..........", "52.........."),
    // Argentina: 9 (from abroad) and 15 (at home, after an area code of 2, 3 or 4 digits) say that the caller pays
    // for a mobile. Neither is part of the national number, which has 10 digits and is assigned once, to a fixed line
    // or to a mobile. Area codes begin with 11, 2 or 3, so that 12 digits can have their 15 at one place only.
    ("54911........", "5411........"),
    ("5492.........", "542........."),
    ("5493.........", "543........."),
    ("541115........", "5411........"),
    ("542..15.......", "542........."),
    ("542...15......", "542........."),
    ("543..15.......", "543........."),
    ("543...15......", "543........."),
    // Benin: since 30 November 2024 numbers of 8 digits have 01 before them. 8xxxxxxx are services, not handsets.
    ("2292.......", "229012......."),
    ("2294.......", "229014......."),
    ("2295.......", "229015......."),
    ("2296.......", "229016......."),
    ("2299.......", "229019......."),
    // Palestinian mobiles are reached through Israel's country code too, whose own plan has neither 56 nor 59.
    ("97256.......", "97056......."),
    ("97259.......", "97059......."),
];

/// Of a length that the country has, and yet no number.
const NOBODY: [&str; 3] = [
    // A mobile of Argentina without its area code.
    "5415........",
    // In Italy only numbers with a leading 0 are that long: these begin with the country code once more.
    "3939.........",
    "3939..........",
];

/// The digits, country code first, under which the handset with these `digits` is looked up. None: under `digits`.
pub(super) fn handset(digits: &str) -> Option<Zeroizing<String>> {
    let plain = without_stray_zero(digits);
    let digits = plain.as_deref().map_or(digits, String::as_str);
    let known = ALIASES.iter().find_map(|(alias, form)| {
        let kept = fill(alias, digits)?;
        let mut kept = kept.chars();
        form.chars().map(|c| if c == '.' { kept.next() } else { Some(c) }).collect::<Option<String>>()
    });
    known.map(Zeroizing::new).or(plain)
}

/// Whether a subscriber could have this number: its country's plan has numbers of this length. Takes every form.
pub(super) fn is_possible(digits: &str) -> bool {
    let form = handset(digits);
    let digits = form.as_deref().map_or(digits, String::as_str);
    Country::of(digits).is_some_and(|(country, national)| {
        country.has_length(national.len())
            && !country.has_stray_zero(national)
            && !NOBODY.iter().any(|form| fill(form, digits).is_some())
    })
}

/// `+44 (0)7700 900001` without the 0; none when there is none, or when what remains would be no number.
fn without_stray_zero(digits: &str) -> Option<Zeroizing<String>> {
    let (country, national) = Country::of(digits)?;
    let rest = national.strip_prefix('0').filter(|_| country.writes_zero_in_full())?;
    let number = Zeroizing::new(format!("{}{rest}", country.code));
    (!rest.starts_with('0') && number.len() >= 7).then_some(number)
}

/// The digits of `digits` that stand where `form` has dots; none when it is not of that form.
fn fill(form: &str, digits: &str) -> Option<Zeroizing<String>> {
    let alike =
        form.len() == digits.len() && form.chars().zip(digits.chars()).all(|(f, d)| f == '.' || f == d);
    alike.then(|| {
        Zeroizing::new(form.chars().zip(digits.chars()).filter(|(f, _)| *f == '.').map(|(_, d)| d).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::super::E164;
    use super::*;

    fn key(number: &str) -> String {
        E164::parse(number).unwrap().handset().reveal().to_string()
    }

    #[test]
    fn every_form_of_a_handset_has_one_key() {
        for (handset, forms) in [
            ("+525512345678", &["+5215512345678"][..]),
            ("+541123456789", &["+5491123456789", "+54111523456789", "+5401123456789", "+540111523456789"]),
            ("+542231234567", &["+5492231234567", "+54223151234567"]),
            ("+543541234567", &["+5493541234567", "+54354115234567"]),
            ("+2290197123456", &["+22997123456"]),
            ("+970599123456", &["+972599123456", "+9720599123456", "+9700599123456"]),
            ("+447700900001", &["+4407700900001"]),
        ] {
            assert_eq!(key(handset), handset);
            for form in forms {
                assert_eq!(key(form), handset, "{form}");
            }
        }
    }

    #[test]
    fn what_could_be_somebody_elses_stays_as_it_is() {
        for number in [
            "+390612345678",   // Italy's 0 is the number's own,
            "+2250707123456",  // and so is the Ivory Coast's,
            "+22890123456",    // and 8 digits are all of a number in Togo.
            "+52551234567",    // Too short for Mexico,
            "+52155123456789", // too long.
            "+549112345678",   // Too short for Argentina.
            "+54223161234567", // 16 is no access code.
            "+22981123456",    // A service in Benin.
            "+972501234567",   // An Israeli mobile.
            "+44007700900001", // Nobody's.
            "+12025550123",
        ] {
            assert_eq!(key(number), number);
        }
    }

    /// No row can send one number where another row, or the same one, sends a second one, unless both are forms of
    /// the same digits; and what a row gives is in no row.
    #[test]
    fn rows_keep_every_digit_and_lead_nowhere_further() {
        let may_meet = |a: &str, b: &str| {
            a.len() == b.len() && a.chars().zip(b.chars()).all(|(x, y)| x == y || x == '.' || y == '.')
        };
        for (alias, form) in ALIASES {
            let dots = |text: &str| text.matches('.').count();
            assert_eq!(dots(alias), dots(form), "{alias} loses or invents a digit");
            assert!(!ALIASES.iter().any(|(other, _)| may_meet(form, other)), "{form} is changed again");
            assert!(ALIASES.iter().filter(|(other, _)| may_meet(alias, other)).count() == 1, "{alias}");
            let number = form.replace('.', "3");
            assert!(is_possible(&number), "{form}");
        }
    }

    /// What is on the left is nobody else's, says libphonenumber. Argentina's 9 is how it writes the same mobile, and
    /// of Palestine's it says that they are numbers of Israel's plan too.
    #[test]
    fn no_alias_is_a_valid_number_of_another_line() {
        let plans = &*phonenumber::metadata::DATABASE;
        for (alias, _) in ALIASES {
            if alias.starts_with("549") || alias.starts_with("972") {
                continue;
            }
            let (country, _) = Country::of(alias).unwrap();
            let region = plans.by_code(&country.code.parse().unwrap()).unwrap()[0];
            let kinds = region.descriptors();
            for seed in 0..500_u64 {
                let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 4;
                let digit = |c| {
                    if c != '.' {
                        return c;
                    }
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    char::from(b'0' + u8::try_from((random >> 33) % 10).unwrap())
                };
                let number: String = alias.chars().map(digit).collect();
                for kind in [kinds.fixed_line(), kinds.mobile(), kinds.voip()].into_iter().flatten() {
                    let national = &number[country.code.len()..];
                    let whole =
                        kind.national_number().find(national).is_some_and(|m| m.len() == national.len());
                    assert!(!whole, "{alias}: {number} is a number of its own");
                }
            }
        }
    }
}
