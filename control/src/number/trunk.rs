//! How a trunk spells numbers, and one key out of every spelling.
//!
//! [`TrunkProfile`] is data: country, prefixes, what bare digits mean. Pure; used by the route decision.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::E164;

/// How one carrier writes numbers towards us.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct TrunkProfile {
    country: String,
    national_prefix: String,
    international_prefix: String,
    bare: Bare,
}

/// What digits without any prefix mean on a trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bare {
    /// Country code first: `447700900001`.
    International,
    /// A number of the trunk's country: `612345678` in Spain.
    National,
    /// Nothing, and with the national prefix nothing either: numbers come in full.
    Nothing,
}

/// A profile as it is written: what is left out follows from the country.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    country: String,
    national_prefix: Option<String>,
    international_prefix: Option<String>,
    bare: Option<Bare>,
}

/// Why a profile is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadProfile {
    /// Not a country code.
    #[error("country must be a country code of 1 to 3 digits without +, like \"44\"")]
    Country,
    /// Not a prefix.
    #[error("a prefix must be 0 to 4 digits")]
    Prefix,
    /// Every spelling must have one meaning.
    #[error(
        "national and international prefix must differ, and the national one must not begin with the international one"
    )]
    Ambiguous,
}

impl TryFrom<Written> for TrunkProfile {
    type Error = BadProfile;

    fn try_from(written: Written) -> Result<Self, BadProfile> {
        let mut profile = Self::of_country(&written.country)?;
        let digits = |text: &str| text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
        if let Some(prefix) = written.national_prefix {
            profile.national_prefix = prefix;
        }
        if let Some(prefix) = written.international_prefix {
            profile.international_prefix = prefix;
        }
        if let Some(bare) = written.bare {
            profile.bare = bare;
        }
        let (national, international) = (&profile.national_prefix, &profile.international_prefix);
        if !digits(national) || !digits(international) {
            return Err(BadProfile::Prefix);
        }
        if !international.is_empty() && national.starts_with(international.as_str()) {
            return Err(BadProfile::Ambiguous);
        }
        Ok(profile)
    }
}

impl From<TrunkProfile> for Written {
    fn from(profile: TrunkProfile) -> Self {
        Self {
            country: profile.country,
            national_prefix: Some(profile.national_prefix),
            international_prefix: Some(profile.international_prefix),
            bare: Some(profile.bare),
        }
    }
}

impl TrunkProfile {
    /// The usual spellings of a country, by its code (`"44"`).
    pub fn of_country(country: &str) -> Result<Self, BadProfile> {
        let valid = (1..=3).contains(&country.len())
            && country.bytes().all(|b| b.is_ascii_digit())
            && !country.starts_with('0');
        if !valid {
            return Err(BadProfile::Country);
        }
        let (national, international, bare) = match country {
            "1" => ("1", "011", Bare::National),
            "7" => ("8", "810", Bare::International),
            "81" => ("0", "010", Bare::International),
            "82" => ("0", "001", Bare::International),
            "61" => ("0", "0011", Bare::International),
            "36" => ("06", "00", Bare::International),
            // No national prefix: what is dialled at home is the number, Italy's leading 0 included.
            "30" | "34" | "39" | "45" | "47" | "48" | "351" | "352" | "356" | "357" | "371" | "372"
            | "377" | "378" | "420" => ("", "00", Bare::National),
            _ => ("0", "00", Bare::International),
        };
        Ok(Self {
            country: country.into(),
            national_prefix: national.into(),
            international_prefix: international.into(),
            bare,
        })
    }

    /// For a number that says which country it is local to (RFC 3966 `phone-context`).
    pub fn local_to(country: &str) -> Result<Self, BadProfile> {
        Ok(Self { bare: Bare::National, ..Self::of_country(country)? })
    }

    /// Numbers in full alone, after `+` or the country's international prefix: for a trunk that is not known.
    pub fn international_only(country: &str) -> Result<Self, BadProfile> {
        Ok(Self { bare: Bare::Nothing, ..Self::of_country(country)? })
    }

    /// The country code.
    pub fn country(&self) -> &str {
        &self.country
    }

    /// The number that `text` spells on this trunk: `+…`, international or national prefix, or bare digits,
    /// with visual separators (RFC 3966 section 3) anywhere. None when it spells no number.
    pub fn read(&self, text: &str) -> Option<E164> {
        let plain = without_separators(text)?;
        let after = |prefix: &str| plain.strip_prefix(prefix).filter(|_| !prefix.is_empty());
        if let Some(rest) = plain.strip_prefix('+').or_else(|| after(&self.international_prefix)) {
            return self.international(rest);
        }
        match (after(&self.national_prefix), self.bare) {
            (_, Bare::Nothing) => None,
            (Some(rest), _) => self.national(rest),
            (None, Bare::National) => self.national(&plain),
            (None, Bare::International) => self.international(&plain),
        }
    }

    /// Country code and number; takes the `(0)` out of `+44 (0)7700 900001`.
    fn international(&self, digits: &str) -> Option<E164> {
        match digits.strip_prefix(self.country.as_str()) {
            Some(rest) if self.drops_zero() => self.national(rest.strip_prefix('0').unwrap_or(rest)),
            _ => E164::parse(&Zeroizing::new(format!("+{digits}"))).ok(),
        }
    }

    /// A number of the trunk's own country, without its national prefix.
    fn national(&self, digits: &str) -> Option<E164> {
        if self.drops_zero() && digits.starts_with('0') {
            return None;
        }
        E164::parse(&Zeroizing::new(format!("+{}{digits}", self.country))).ok()
    }

    /// In a country whose national prefix is 0, no number begins with 0.
    fn drops_zero(&self) -> bool {
        self.national_prefix == "0"
    }
}

/// `text` without `- . ( )` and spaces; none when anything else but digits and a leading + is in it.
fn without_separators(text: &str) -> Option<Zeroizing<String>> {
    let mut plain = Zeroizing::new(String::with_capacity(text.len().min(40)));
    for c in text.chars() {
        match c {
            '0'..='9' => plain.push(c),
            '+' if plain.is_empty() => plain.push(c),
            '-' | '.' | '(' | ')' | ' ' => {}
            _ => return None,
        }
        if plain.len() > 24 {
            return None;
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn profile(country: &str) -> TrunkProfile {
        TrunkProfile::of_country(country).unwrap()
    }

    #[test]
    fn the_spellings_of_one_handset_give_one_key() {
        for (country, number, spellings) in [
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
            ("7", "+78121234567", &["+78121234567", "81078121234567", "88121234567", "78121234567"]),
        ] {
            for spelling in spellings {
                let read = profile(country).read(spelling).map(|n| n.reveal().to_string());
                assert_eq!(read.as_deref(), Some(number), "{spelling} in {country}");
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
            &"9".repeat(60),
        ] {
            assert_eq!(profile("44").read(text), None, "{text}");
        }
    }

    #[test]
    fn a_profile_is_completed_from_its_country_and_refused_when_ambiguous() {
        let read = |text: &str| serde_json::from_str::<TrunkProfile>(text);
        assert_eq!(read(r#"{"country":"44"}"#).unwrap(), profile("44"));
        let bare = read(r#"{"country":"44","bare":"national"}"#).unwrap();
        assert_eq!(bare.read("7700900001"), E164::parse("+447700900001").ok());
        assert!(read(r#"{"country":"044"}"#).is_err());
        assert!(read(r#"{"country":"44","national_prefix":"00"}"#).is_err());
        assert!(read(r#"{"country":"44","national_prefix":"+"}"#).is_err());
        let again = serde_json::to_string(&bare).unwrap();
        assert_eq!(read(&again).unwrap(), bare);
    }

    /// Every way in which `profile` may spell country code + `national`.
    fn spellings(profile: &TrunkProfile, national: &str) -> Vec<String> {
        let country = &profile.country;
        let mut all = vec![format!("+{country}{national}")];
        if !profile.international_prefix.is_empty() {
            all.push(format!("{}{country}{national}", profile.international_prefix));
        }
        if !profile.national_prefix.is_empty() {
            all.push(format!("{}{national}", profile.national_prefix));
        }
        all.extend(match profile.bare {
            Bare::International => Some(format!("{country}{national}")),
            Bare::National => Some(national.to_owned()),
            Bare::Nothing => None,
        });
        all
    }

    proptest! {
        /// One handset, one key: whatever the spelling, and wherever separators stand.
        #[test]
        fn every_spelling_gives_the_number_it_came_from(
            country in proptest::sample::select(vec!["44", "49", "1", "7", "33", "34", "972"]),
            national in "[2-7][0-9]{7,10}", at in 0usize..8, separator in "[-. ()]",
        ) {
            let profile = profile(country);
            let number = E164::parse(&format!("+{country}{national}")).unwrap();
            for spelling in spellings(&profile, &national) {
                prop_assert_eq!(profile.read(&spelling), Some(number.clone()), "{}", spelling);
                let mut dotted = spelling.clone();
                dotted.insert_str(at.max(1).min(dotted.len()), &separator);
                prop_assert_eq!(profile.read(&dotted), Some(number.clone()), "{}", dotted);
            }
        }

        /// No two numbers give one key: since each spelling reads back as its own number, a shared spelling
        /// would have to read as both.
        #[test]
        fn spellings_of_two_numbers_never_meet(
            country in proptest::sample::select(vec!["44", "1", "39", "7"]),
            one in "[2-7][0-9]{7,10}", two in "[2-7][0-9]{7,10}",
        ) {
            prop_assume!(one != two);
            let profile = profile(country);
            for a in spellings(&profile, &one) {
                for b in spellings(&profile, &two) {
                    prop_assert_ne!(profile.read(&a), profile.read(&b));
                }
            }
        }

        /// Whatever comes in: no panic, and what reads as a number reads as the same one when written in full.
        #[test]
        fn any_text_is_safe_and_stable(text in "\\PC{0,30}", digits in "\\+?[0-9 ]{0,20}") {
            for text in [text, digits] {
                if let Some(number) = profile("44").read(&text) {
                    prop_assert_eq!(profile("44").read(&number.reveal()), Some(number));
                }
            }
        }
    }
}
