//! Telephone numbers: a party's own ([`E164`], which does not print) and ours ([`PoolNumber`], which does).

pub mod address;
mod countries;
mod quirks;
pub mod tariff;
pub mod trunk;
pub mod verstat;

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A text that is no E.164 number. Does not repeat what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a number must be + and 7 to 15 digits, the first not 0")]
pub struct NotE164;

/// A party's own number in E.164 form (ITU-T E.164: up to 15 digits, country code first).
///
/// Debug and Display print country code and last two digits only; there is no `Serialize`.
/// [`E164::reveal`] is the one way to the whole number. Its memory is cleared when it goes.
#[derive(Clone, PartialEq, Eq, Hash, Zeroize, ZeroizeOnDrop)]
pub struct E164(u64);

impl E164 {
    /// Strict: `+` and 7 to 15 ASCII digits of which the first is not 0.
    pub fn parse(text: &str) -> Result<Self, NotE164> {
        digits(text).map(Self)
    }

    /// The number under which this handset is looked up, whatever form a carrier or a business wrote: without the
    /// access codes that Mexico, Argentina and others have or had, and without a national 0 after the country code.
    /// For keys alone: what is dialled, shown and compared is the number as it is written.
    #[must_use]
    pub fn handset(&self) -> Self {
        let digits = Zeroizing::new(self.0.to_string());
        quirks::handset(&digits).and_then(|form| form.parse().ok()).map_or_else(|| self.clone(), Self)
    }

    /// The whole number, `+` and digits. Every caller of this method is a place where a number may leak.
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("+{}", self.0))
    }

    /// The whole number as an integer (fits in 50 bits), for sealing.
    pub const fn reveal_integer(&self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for E164 {
    type Error = NotE164;
    fn try_from(value: u64) -> Result<Self, NotE164> {
        PoolNumber::try_from(value).map(|number| Self(number.0))
    }
}

impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Zeroizing::new(self.0.to_string());
        write!(f, "+{}…{:02}", country_code(&text), self.0 % 100)
    }
}

impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A number of ours, assigned to a party of a trip. Public by nature: it prints.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PoolNumber(u64);

impl PoolNumber {
    /// Strict: `+` and 7 to 15 ASCII digits of which the first is not 0.
    pub fn parse(text: &str) -> Result<Self, NotE164> {
        digits(text).map(Self)
    }

    /// The pool number that is written like `number`, if it is one of ours: to be looked up, not believed.
    pub fn dialled(number: &E164) -> Self {
        Self(number.0)
    }

    /// Its digits as one integer (fits in 50 bits), as the store keeps it.
    pub const fn to_integer(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for PoolNumber {
    type Error = NotE164;
    fn try_from(value: u64) -> Result<Self, NotE164> {
        if (1_000_000..1_000_000_000_000_000).contains(&value) { Ok(Self(value)) } else { Err(NotE164) }
    }
}

impl TryFrom<String> for PoolNumber {
    type Error = NotE164;
    fn try_from(text: String) -> Result<Self, NotE164> {
        Self::parse(&text)
    }
}

impl From<PoolNumber> for String {
    fn from(number: PoolNumber) -> Self {
        number.to_string()
    }
}

impl fmt::Display for PoolNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0)
    }
}

impl fmt::Debug for PoolNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// No country code begins with 0, so the integer keeps every digit.
fn digits(text: &str) -> Result<u64, NotE164> {
    let digits = text.strip_prefix('+').ok_or(NotE164)?;
    if !(7..=15).contains(&digits.len())
        || !digits.bytes().all(|b| b.is_ascii_digit())
        || digits.starts_with('0')
    {
        return Err(NotE164);
    }
    digits.parse().map_err(|_| NotE164)
}

/// The country code that `digits` begin with: 1 to 3 digits (ITU-T E.164 annex D; zones 1 and 7 have one).
fn country_code(digits: &str) -> &str {
    const TWO: [&str; 44] = [
        "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47", "48",
        "49", "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65", "66", "81",
        "82", "84", "86", "90", "91", "92", "93", "94", "95", "98",
    ];
    let length = match digits.get(..2) {
        _ if digits.starts_with(['1', '7']) => 1,
        Some(two) if TWO.contains(&two) => 2,
        _ => 3,
    };
    digits.get(..length).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_number_prints_country_and_last_two_digits_only() {
        for (number, shown) in [
            ("+447700900001", "+44…01"),
            ("+12025550123", "+1…23"),
            ("+79161234500", "+7…00"),
            ("+3581234567", "+358…67"),
        ] {
            let number = E164::parse(number).unwrap();
            assert_eq!(number.to_string(), shown);
            assert_eq!(format!("{number:?}"), shown);
        }
    }

    #[test]
    fn only_strict_e164_is_taken() {
        assert_eq!(*E164::parse("+447700900001").unwrap().reveal(), "+447700900001");
        for bad in [
            "",
            "+",
            "447700900001",
            "+0447700900001",
            "+123456",
            "+1234567890123456",
            "+4477 00900001",
            "+44٧700900001",
        ] {
            assert_eq!(E164::parse(bad), Err(NotE164), "{bad}");
        }
    }
}
