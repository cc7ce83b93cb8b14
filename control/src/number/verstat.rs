//! What the carrier says about the caller's number: the STIR verdict in an address, and what a trunk makes of it.
//!
//! 3GPP TS 24.229 section 7.2A.20: `verstat`, a parameter of the tel URI that the carrier's verification service sets.
//! It is worth what the trunk is worth: a carrier must take away a `verstat` that its own customer sent. Pure; used
//! by the route decision.

use serde::{Deserialize, Serialize};

use super::address;

/// A verdict on the caller's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verstat {
    /// The signature holds, and its signer vouches for the caller's right to the number (attestation A).
    Passed,
    /// No verdict on the number: nothing was verified, or the signer does not vouch for it (attestation B or C).
    NotChecked,
    /// A signature that does not hold.
    Failed,
}

impl Verstat {
    /// The value of a `verstat` parameter, in any case; none when it is not one of TS 24.229's, or of those that carriers
    /// make of them by adding the attestation (ATIS-1000074): `-A`, `-B`, `-C`. Carriers that do so send
    /// the plain `TN-Validation-Passed` for A alone, which is why B and C are no `Passed` here.
    pub fn parse(value: &str) -> Option<Self> {
        let value = value.trim().to_ascii_lowercase();
        let (verdict, attestation) =
            match value.strip_suffix(['a', 'b', 'c']).and_then(|v| v.strip_suffix('-')) {
                Some(verdict) => (verdict, value.chars().last()),
                None => (value.as_str(), None),
            };
        match (verdict, attestation) {
            ("tn-validation-passed", None | Some('a')) => Some(Self::Passed),
            ("tn-validation-passed", _) | ("no-tn-validation", None) => Some(Self::NotChecked),
            ("tn-validation-failed", _) => Some(Self::Failed),
            _ => None,
        }
    }
}

/// The verdict in a SIP or tel address: `sip:+44…;verstat=…@host`, `sip:+44…@host;verstat=…`, `tel:+44…;verstat=…`.
/// With several verdicts the worst one counts; a value that is not understood is [`Verstat::NotChecked`].
pub fn in_address(address: &str) -> Option<Verstat> {
    let verdicts = address::parameters(address).into_iter().filter_map(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((&parameter, ""));
        let named = name.trim().eq_ignore_ascii_case("verstat");
        named.then(|| Verstat::parse(value).unwrap_or(Verstat::NotChecked))
    });
    verdicts.max()
}

/// What a trunk's verdicts are good for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerstatPolicy {
    /// Nothing: caller IDs are taken as they come.
    #[default]
    Ignore,
    /// A number whose verification failed is not taken.
    RefuseFailed,
    /// Only a number whose verification passed is taken.
    RequirePassed,
}

impl VerstatPolicy {
    /// Whether a caller's number with this verdict (none: the address has none) is taken.
    pub fn accepts(self, verdict: Option<Verstat>) -> bool {
        match self {
            Self::Ignore => true,
            Self::RefuseFailed => verdict != Some(Verstat::Failed),
            Self::RequirePassed => verdict == Some(Verstat::Passed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verstat::{Failed, NotChecked, Passed};

    #[test]
    fn the_verdict_is_found_where_carriers_write_it() {
        for (address, verdict) in [
            ("sip:+12025550123;verstat=TN-Validation-Passed@host;user=phone", Some(Passed)),
            ("\"Bob\" <sip:+12025550123@host;user=phone;verstat=TN-Validation-Passed>;tag=1", Some(Passed)),
            ("<tel:+12025550123;npdi;verstat=No-TN-Validation>", Some(NotChecked)),
            ("tel:+12025550123;VERSTAT=tn-validation-failed", Some(Failed)),
            ("sip:+12025550123;verstat=TN-Validation-Passed-A@host", Some(Passed)),
            ("sip:+12025550123;verstat=TN-Validation-Passed-B@host", Some(NotChecked)),
            ("sip:+12025550123@host;verstat=TN-Validation-Passed-C", Some(NotChecked)),
            ("sip:+12025550123@host;verstat=TN-Validation-Failed-C", Some(Failed)),
            ("sip:+12025550123;verstat=TN%2DValidation-Passed:pw@host:5060;a?verstat=x", Some(Passed)),
            ("sip:anonymous@anonymous.invalid;verstat=TN-Validation-Passed", Some(Passed)),
            // Said twice: the worse one. Not understood: no verdict.
            ("sip:+12025550123;verstat=TN-Validation-Passed@host;verstat=TN-Validation-Failed", Some(Failed)),
            ("tel:+12025550123;verstat=TN-Validation-Passed;verstat=yes", Some(NotChecked)),
            ("tel:+12025550123;verstat", Some(NotChecked)),
            // None at all, or at a place where anybody may write.
            ("sip:+12025550123@host", None),
            ("\"x;verstat=TN-Validation-Passed\" <sip:+12025550123@host>", None),
            ("<sip:+12025550123@host>;verstat=TN-Validation-Passed", None),
            ("sip:+12025550123@host?verstat=TN-Validation-Passed", None),
            ("sip:+1:;verstat=TN-Validation-Passed@host", None),
            ("sip:host;verstat=TN-Validation-Passed", None),
            ("sip:verstat=TN-Validation-Passed@host", None),
            ("", None),
        ] {
            assert_eq!(in_address(address), verdict, "{address}");
        }
    }

    #[test]
    fn a_policy_takes_what_it_says() {
        let all = [None, Some(Passed), Some(NotChecked), Some(Failed)];
        assert_eq!(VerstatPolicy::default(), VerstatPolicy::Ignore);
        for (policy, taken) in [
            ("ignore", [true, true, true, true]),
            ("refuse_failed", [true, true, true, false]),
            ("require_passed", [false, true, false, false]),
        ] {
            let policy: VerstatPolicy = serde_json::from_str(&format!("\"{policy}\"")).unwrap();
            assert_eq!(all.map(|verdict| policy.accepts(verdict)), taken, "{policy:?}");
        }
    }
}
