//! Names that outsiders choose and that end up in paths, logs, labels and manifests:
//! trip ids, roles and city names. Each has an alphabet that is safe in all of these places.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};
use triomphe::ThinArc;

/// A name that does not fit its alphabet or length. Does not repeat what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct BadName {
    what: &'static str,
    rule: &'static str,
}

/// Shared text, its length beside it: 8 bytes where it is named. A million trips name four million.
type Name = ThinArc<(), u8>;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Name);

        impl $name {
            /// Checks alphabet and length.
            pub fn new(text: &str) -> Result<Self, BadName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(Name::from_header_and_slice((), text.as_bytes()))) } else { Err(BadName { what: $what, rule: $rule }) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                // ASCII, by its alphabet.
                std::str::from_utf8(&self.0.slice).unwrap_or_default()
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.0.slice.cmp(&other.0.slice)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}

names! {
    /// The business's key of a trip: 1 to 64 of `A-Z a-z 0-9 . _ ~ -`, beginning with a letter or digit.
    TripId, "a trip id", "1 to 64 characters of A-Z a-z 0-9 . _ ~ -, beginning with a letter or digit",
        |t| fits(t, 64, |c| c.is_ascii_alphanumeric(), |c| c.is_ascii_alphanumeric() || "._~-".contains(c));
    /// What a party is in its trip (`driver`, `passenger`): 1 to 32 of `a-z _ -`, so that no number fits in.
    Role, "a role", "1 to 32 characters of a-z _ -, beginning with a letter",
        |t| fits(t, 32, |c| c.is_ascii_lowercase(), |c| c.is_ascii_lowercase() || "_-".contains(c));
    /// A city: 1 to 32 of `a-z 0-9 _ -`, beginning with a letter.
    City, "a city name", "1 to 32 characters of a-z 0-9 _ -, beginning with a letter",
        |t| fits(t, 32, |c| c.is_ascii_lowercase(),
                 |c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c));
    /// Whose token it is (`backend-2`): 1 to 64 of `A-Z a-z 0-9 . _ -`, never five digits in a row.
    TokenName, "a token's name",
        "1 to 64 characters of A-Z a-z 0-9 . _ -, beginning with a letter or digit, without five digits in a row",
        |t| fits(t, 64, |c| c.is_ascii_alphanumeric(), |c| c.is_ascii_alphanumeric() || "._-".contains(c))
            && !t.as_bytes().windows(5).any(|five| five.iter().all(u8::is_ascii_digit));
}

fn fits(text: &str, longest: usize, first: fn(char) -> bool, rest: fn(char) -> bool) -> bool {
    text.len() <= longest && text.chars().next().is_some_and(first) && text.chars().all(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alphabets_keep_paths_and_labels_safe() {
        assert!(TripId::new("T-1001").is_ok());
        for bad in ["", "../x", ".hidden", "a b", "a/b", "a\"b", &"x".repeat(65), "é"] {
            assert!(TripId::new(bad).is_err(), "{bad}");
        }
        assert!(Role::new("driver").is_ok());
        assert!(Role::new("driver447700900001").is_err());
        assert!(City::new("london").is_ok());
        assert!(City::new("London").is_err());
        assert!(TokenName::new("backend-2.london_2026-11").is_ok());
        for bad in ["447700900001", "b12345", "a b", "-a", ""] {
            assert!(TokenName::new(bad).is_err(), "{bad}");
        }
    }
}
