//! How a trunk spells numbers, and one key out of every spelling.
//!
//! [`TrunkProfile`] is data: country, prefixes, what bare digits mean, what a STIR verdict is good for. Pure; used by
//! the route decision.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::countries::Country;
use super::verstat::VerstatPolicy;
use super::{E164, quirks};

/// How one carrier writes numbers towards us. What its country has is not copied: some 60 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct TrunkProfile {
    country: Code,
    national: Prefixes,
    international: Prefixes,
    bare: Bare,
    verstat: VerstatPolicy,
}

/// What digits without any prefix mean on a trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bare {
    /// Country code first: `447700900001`.
    International,
    /// A number of the trunk's country: `612345678` in Spain. Where that would be too long, its country code may
    /// stand first: `34612345678`.
    National,
    /// Nothing, and with the national prefix nothing either: numbers come in full.
    Nothing,
}

/// A profile as it is written: what is left out follows from the country.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    country: String,
    national_prefix: Option<OneOrMore>,
    international_prefix: Option<OneOrMore>,
    bare: Option<Bare>,
    #[serde(default, skip_serializing_if = "is_ignored")]
    verstat: VerstatPolicy,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_ignored(policy: &VerstatPolicy) -> bool {
    *policy == VerstatPolicy::Ignore
}

/// `"0"`, or `["01", "044", "045"]`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// Why a profile is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadProfile {
    /// Not a country code.
    #[error("country must be the code of a country, 1 to 3 digits without +, like \"44\"")]
    Country,
    /// Not a prefix.
    #[error("a prefix must be 0 to 6 digits, and a list of prefixes have 20 at most")]
    Prefix,
    /// Every spelling must have one meaning.
    #[error(
        "national and international prefix must differ, and the national one must not begin with the international one"
    )]
    Ambiguous,
}

/// A country of the table.
#[derive(Debug, Clone, Copy)]
struct Code(&'static Country);

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.0.code == other.0.code
    }
}

impl Eq for Code {}

impl std::hash::Hash for Code {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.code.hash(state);
    }
}

/// Prefixes with a space between them, none of them empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Prefixes(Cow<'static, str>);

impl Prefixes {
    fn each(&self) -> impl Iterator<Item = &str> {
        self.0.split_whitespace()
    }

    /// What follows each of the prefixes that `digits` begin with.
    fn after<'a>(&self, digits: &'a str) -> impl Iterator<Item = &'a str> {
        self.each().filter_map(move |prefix| digits.strip_prefix(prefix))
    }
}

impl TryFrom<OneOrMore> for Prefixes {
    type Error = BadProfile;

    fn try_from(written: OneOrMore) -> Result<Self, BadProfile> {
        let all = match written {
            OneOrMore::One(prefix) => vec![prefix],
            OneOrMore::More(all) => all,
        };
        let fits = |prefix: &String| prefix.len() <= 6 && prefix.bytes().all(|b| b.is_ascii_digit());
        if all.len() > 20 || !all.iter().all(fits) {
            return Err(BadProfile::Prefix);
        }
        let all: Vec<String> = all.into_iter().filter(|prefix| !prefix.is_empty()).collect();
        Ok(Self(all.join(" ").into()))
    }
}

impl From<Prefixes> for OneOrMore {
    fn from(prefixes: Prefixes) -> Self {
        let mut all: Vec<String> = prefixes.each().map(str::to_owned).collect();
        if all.len() > 1 { Self::More(all) } else { Self::One(all.pop().unwrap_or_default()) }
    }
}

impl TryFrom<Written> for TrunkProfile {
    type Error = BadProfile;

    fn try_from(written: Written) -> Result<Self, BadProfile> {
        let usual = Self::of_country(&written.country)?;
        let profile = Self {
            national: written.national_prefix.map_or(Ok(usual.national), Prefixes::try_from)?,
            international: written
                .international_prefix
                .map_or(Ok(usual.international), Prefixes::try_from)?,
            bare: written.bare.unwrap_or(usual.bare),
            verstat: written.verstat,
            ..usual
        };
        let mut clashes = profile.national.each().flat_map(|national| profile.international.after(national));
        if clashes.next().is_some() { Err(BadProfile::Ambiguous) } else { Ok(profile.clone()) }
    }
}

impl From<TrunkProfile> for Written {
    fn from(profile: TrunkProfile) -> Self {
        Self {
            country: profile.country().into(),
            national_prefix: Some(profile.national.into()),
            international_prefix: Some(profile.international.into()),
            bare: Some(profile.bare),
            verstat: profile.verstat,
        }
    }
}

impl TrunkProfile {
    /// The usual spellings of a country, by its code (`"44"`).
    pub fn of_country(country: &str) -> Result<Self, BadProfile> {
        let country = Country::by_code(country).ok_or(BadProfile::Country)?;
        let bare = if country.is_dialled_bare() { Bare::National } else { Bare::International };
        Ok(Self {
            country: Code(country),
            national: Prefixes(country.national.into()),
            international: Prefixes(country.international.into()),
            bare,
            verstat: VerstatPolicy::Ignore,
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
        self.country.0.code
    }

    /// What the carrier's verdict on a caller's number is good for.
    pub fn verstat(&self) -> VerstatPolicy {
        self.verstat
    }

    /// The number that `text` spells on this trunk: `+…`, international or national prefix, or bare digits,
    /// with visual separators (RFC 3966 section 3) anywhere. None when it spells no number, or could spell two: what
    /// does not begin with `+` must have a length that its country has.
    pub fn read(&self, text: &str) -> Option<E164> {
        let plain = without_separators(text)?;
        if let Some(rest) = plain.strip_prefix('+') {
            return in_full(rest);
        }
        if self.international.after(&plain).next().is_some() {
            return the_only(self.international.after(&plain).filter_map(possible));
        }
        let bare = match self.bare {
            Bare::Nothing => return None,
            Bare::National => self.at_home(&plain).or_else(|| self.with_own_code(&plain)),
            Bare::International => possible(&plain),
        };
        the_only(self.national.after(&plain).filter_map(|rest| self.at_home(rest)).chain(bare))
    }

    /// A number of the trunk's own country, without its national prefix.
    fn at_home(&self, digits: &str) -> Option<E164> {
        if self.country.0.has_stray_zero(digits) {
            return None;
        }
        possible(&Zeroizing::new(format!("{}{digits}", self.country())))
    }

    fn with_own_code(&self, digits: &str) -> Option<E164> {
        possible(digits).filter(|_| digits.starts_with(self.country()))
    }
}

/// Country code and number; takes the `(0)` out of `+44 (0)7700 900001`.
fn in_full(digits: &str) -> Option<E164> {
    if let Some((country, rest)) = Country::of(digits)
        && country.writes_zero_in_full()
        && let Some(rest) = rest.strip_prefix('0')
    {
        let number = Zeroizing::new(format!("+{}{rest}", country.code));
        return E164::parse(&number).ok().filter(|_| !rest.starts_with('0'));
    }
    E164::parse(&Zeroizing::new(format!("+{digits}"))).ok()
}

/// As [`in_full`], where its country has numbers of this length.
fn possible(digits: &str) -> Option<E164> {
    in_full(digits).filter(|_| quirks::is_possible(digits))
}

/// The number that all readings mean.
fn the_only(mut readings: impl Iterator<Item = E164>) -> Option<E164> {
    let first = readings.next()?;
    let key = first.handset();
    readings.all(|other| other.handset() == key).then_some(first)
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
mod tests;
