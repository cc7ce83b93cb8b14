//! Numbers whose call costs the one who pays for it more than a call: refused when a trip is created.
//!
//! Pure; called for every party of a new trip, from any thread. A country's expressions are built when its first
//! number comes. A number that no plan knows, such as those kept for fiction, is not costly.

mod ranges;

use std::sync::{LazyLock, OnceLock};

use regex_lite::Regex;

use super::E164;
use super::countries::Country;

/// Why a number costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Costly {
    /// Its owner earns from every call.
    Premium,
    /// Caller and owner share a price above the usual one.
    SharedCost,
    /// A satellite telephone.
    Satellite,
    /// In a network of no country, which sets its own price (ITU-T E.164.1: 878, 882, 883).
    InternationalNetwork,
}

impl Costly {
    /// As errors and metrics name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Premium => "premium",
            Self::SharedCost => "shared_cost",
            Self::Satellite => "satellite",
            Self::InternationalNetwork => "international_network",
        }
    }
}

/// Codes of no country: List of ITU-T Recommendation E.164 assigned country codes (annex to ITU Operational Bulletin
/// 1114), and its table of networks under 882. The first that fits counts.
const WORLD: [(&str, Costly); 9] = [
    ("808", Costly::SharedCost),           // International shared cost service, E.169.3
    ("870", Costly::Satellite),            // Inmarsat SNAC
    ("878", Costly::InternationalNetwork), // Universal personal telecommunication
    ("881", Costly::Satellite),            // Global mobile satellite system: Iridium, Globalstar, …
    ("88213", Costly::Satellite),          // EMSAT
    ("88216", Costly::Satellite),          // Thuraya
    ("882", Costly::InternationalNetwork),
    ("883", Costly::InternationalNetwork),
    ("979", Costly::Premium), // International premium rate service, E.169.2
];

/// Rows of [`ranges::RANGES`], with their expressions once they are built.
static PLANS: LazyLock<Vec<Plan>> = LazyLock::new(|| {
    ranges::RANGES
        .iter()
        .map(|(code, costly, national)| Plan { code, costly: *costly, national, built: OnceLock::new() })
        .collect()
});

struct Plan {
    code: &'static str,
    costly: Costly,
    national: &'static str,
    built: OnceLock<Option<Regex>>,
}

impl Plan {
    fn has(&self, national: &str) -> bool {
        let built = self.built.get_or_init(|| Regex::new(&format!("^(?:{})$", self.national)).ok());
        built.as_ref().is_some_and(|built| built.is_match(national))
    }
}

/// Why a call to `number` would cost, if it would: in the form that it is written in, or as [`E164::handset`] has it.
pub fn costly(number: &E164) -> Option<Costly> {
    let handset = number.handset();
    costly_as_written(number).or_else(|| (handset != *number).then(|| costly_as_written(&handset)).flatten())
}

fn costly_as_written(number: &E164) -> Option<Costly> {
    let text = number.reveal();
    let digits = text.strip_prefix('+')?;
    if let Some((_, costly)) = WORLD.iter().find(|(code, _)| digits.starts_with(code)) {
        return Some(*costly);
    }
    let (country, national) = Country::of(digits)?;
    let first = PLANS.partition_point(|plan| plan.code < country.code);
    let of_country = PLANS.iter().skip(first).take_while(|plan| plan.code == country.code);
    of_country.filter(|plan| plan.has(national)).map(|plan| plan.costly).next()
}

#[cfg(test)]
mod tests;
