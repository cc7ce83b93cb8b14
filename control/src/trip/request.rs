//! What a business asks for: `POST /v1/trips`, checked and completed by the city's policy.

use std::fmt::Write as _;
use std::num::{NonZeroU16, NonZeroU32};

use serde::Deserialize;
use zeroize::Zeroizing;

use super::party::MOST_PHONES;
use super::{Life, Phones, Rules};
use crate::city::{BadCity, CityPlan, LONGEST_SECONDS, within};
use crate::moment::Moment;
use crate::name::{City, Role, TripId};
use crate::number::tariff::{Costly, costly};
use crate::number::{E164, PoolNumber};

/// `POST /v1/trips`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TripRequest {
    /// The business's key. The same request again gives the same trip.
    pub trip: TripId,
    /// The city.
    pub city: City,
    /// Whether calls are recorded; the city's policy when absent.
    pub record: Option<bool>,
    /// Seconds from now until it runs out; the city's when absent.
    pub expires_in: Option<u32>,
    /// Whether each call lets it live for `expires_in` from then on. Not when absent.
    pub sliding: Option<bool>,
    /// Seconds from now to its absolute end; the city's when absent.
    pub ends_in: Option<u32>,
    /// Seconds of grace; the city's when absent.
    pub grace: Option<u32>,
    /// Roles that may call the other; both when absent.
    pub callers: Option<Vec<Role>>,
    /// Longest call in seconds; the city's when absent.
    pub max_seconds: Option<u32>,
    /// Longest ringing in seconds; the city's when absent.
    pub ring_seconds: Option<u32>,
    /// Most calls in all; the city's when absent.
    pub max_calls: Option<u32>,
    /// Two parties.
    pub parties: Vec<PartyRequest>,
}

/// A party in `POST /v1/trips`: with `phone`, or with `phones`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartyRequest {
    /// What the party is in this trip.
    pub role: Role,
    /// Its own number, `+` and digits.
    pub phone: Option<Zeroizing<String>>,
    /// Its own numbers, 1 to 8, when it may call from several. The first is the one that is called.
    pub phones: Option<Vec<Zeroizing<String>>>,
}

/// Why a trip is refused before anything is stored. Holds no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTrip {
    /// Not two parties.
    #[error("a trip has two parties; {0} are given")]
    Parties(usize),
    /// Both parties have one role.
    #[error("both parties have the role {0}; give each its own")]
    SameRole(Role),
    /// Both parties have one number, or one has it twice.
    #[error("the same phone is given twice")]
    SamePhone,
    /// No phone, or `phone` and `phones`, or too many.
    #[error("give the {0} either a phone or a list of 1 to {MOST_PHONES} phones")]
    Phones(Role),
    /// A phone that is no number.
    #[error(
        "the phone of the {0} is not + and 7 to 15 digits with the country code first (and no 0 after it where the country has none)"
    )]
    Phone(Role),
    /// A phone that is a pool number: the call would come back to us.
    #[error("the phone of the {0} is one of the pool's own numbers")]
    PoolPhone(Role),
    /// A number that whoever calls it pays dearly for.
    #[error("the phone of the {role} is a {} number: calls to it cost more than a call", .kind.as_str())]
    Costly {
        /// The party.
        role: Role,
        /// What makes it costly.
        kind: Costly,
    },
    /// The trip id would carry a number into logs and file names.
    #[error(
        "the trip id holds the last seven digits of the {0}'s phone; it is written to logs, so choose another"
    )]
    TellingId(Role),
    /// Nobody may call, or somebody who is not in the trip.
    #[error("callers lists one or both of the trip's roles")]
    Callers,
    /// A duration or count out of range.
    #[error(transparent)]
    Range(#[from] BadCity),
}

/// A trip that may be stored: numbers checked, city's policy filled in. Pool numbers are still to be chosen.
#[derive(Debug, Clone)]
pub struct TripOrder {
    /// The business's key.
    pub id: TripId,
    /// The city.
    pub city: City,
    /// What its calls may be.
    pub rules: Rules,
    /// Its times.
    pub life: Life,
    /// Role and own numbers of each party.
    pub parties: [(Role, Phones); 2],
    /// What was asked for, word by word (see [`TripRequest::content`]): to be kept as a keyed pseudonym only.
    pub content: Zeroizing<String>,
}

impl TripRequest {
    /// Checks the request and fills in the city's policy. `is_pool` says whether a number is one of ours.
    pub fn order(
        &self,
        plan: &CityPlan,
        is_pool: impl Fn(PoolNumber) -> bool,
        now: Moment,
    ) -> Result<TripOrder, BadTrip> {
        let [first, second] = self.parties.as_slice() else {
            return Err(BadTrip::Parties(self.parties.len()));
        };
        if first.role == second.role {
            return Err(BadTrip::SameRole(first.role.clone()));
        }
        let phones = |party: &PartyRequest| -> Result<Phones, BadTrip> {
            let read = |text| self.phone(&party.role, text, plan, &is_pool);
            Ok(Phones::new(party.texts()?.into_iter().map(read).collect::<Result<_, _>>()?))
        };
        let parties = [(first.role.clone(), phones(first)?), (second.role.clone(), phones(second)?)];
        let mut handsets: Vec<E164> =
            parties.iter().flat_map(|(_, phones)| phones.all()).map(E164::handset).collect();
        while let Some(one) = handsets.pop() {
            if handsets.contains(&one) {
                return Err(BadTrip::SamePhone);
            }
        }
        Ok(TripOrder {
            id: self.trip.clone(),
            city: self.city.clone(),
            rules: self.rules(plan)?,
            life: self.life(plan, now)?,
            parties,
            content: self.content(),
        })
    }

    /// One phone of the party `role`, if it may be called and can be recognised when it calls.
    fn phone(
        &self,
        role: &Role,
        text: &str,
        plan: &CityPlan,
        is_pool: impl Fn(PoolNumber) -> bool,
    ) -> Result<E164, BadTrip> {
        let refused = || BadTrip::Phone(role.clone());
        let phone = E164::parse(text).map_err(|_| refused())?;
        // What a trunk would turn into another number could never be recognised when it calls.
        let profile = plan.profile(None).map_err(BadCity::from)?;
        if profile.read(text).as_ref() != Some(&phone) {
            return Err(refused());
        }
        if is_pool(PoolNumber::dialled(&phone)) {
            return Err(BadTrip::PoolPhone(role.clone()));
        }
        if tells(self.trip.as_str(), &phone) {
            return Err(BadTrip::TellingId(role.clone()));
        }
        match costly(&phone) {
            Some(kind) => Err(BadTrip::Costly { role: role.clone(), kind }),
            None => Ok(phone),
        }
    }

    fn rules(&self, plan: &CityPlan) -> Result<Rules, BadTrip> {
        let roles = self.parties.iter().map(|party| &party.role);
        let mut callers = [true; 2];
        if let Some(listed) = &self.callers {
            if listed.is_empty() || !listed.iter().all(|role| roles.clone().any(|r| r == role)) {
                return Err(BadTrip::Callers);
            }
            roles.zip(&mut callers).for_each(|(role, may)| *may = listed.contains(role));
        }
        let max_seconds = self.max_seconds.unwrap_or(plan.max_seconds);
        within("max_seconds", max_seconds, 1, 86_400)?;
        let ring_seconds = self.ring_seconds.or(plan.ring_seconds);
        ring_seconds.map_or(Ok(()), |s| within("ring_seconds", s, 5, 180))?;
        let max_calls = self.max_calls.or(plan.max_calls);
        max_calls.map_or(Ok(()), |n| within("max_calls", n, 1, 10_000))?;
        Ok(Rules {
            record: self.record.unwrap_or(plan.record),
            callers,
            max_seconds,
            ring_seconds: ring_seconds.and_then(|s| NonZeroU16::new(u16::try_from(s).ok()?)),
            max_calls: max_calls.and_then(NonZeroU32::new),
        })
    }

    fn life(&self, plan: &CityPlan, now: Moment) -> Result<Life, BadTrip> {
        let lives = self.expires_in.unwrap_or(plan.expires_in);
        let grace = self.grace.unwrap_or(plan.grace);
        // A city's end is a bound on extensions, not a reason to refuse what a trip asks for by itself.
        let ends_in = self.ends_in.unwrap_or_else(|| plan.ends_in.max(lives));
        within("expires_in", lives, 1, LONGEST_SECONDS)?;
        within("grace", grace, 0, LONGEST_SECONDS)?;
        within("ends_in", ends_in, lives, LONGEST_SECONDS)?;
        Ok(Life {
            created_at: now,
            expires_at: now.plus(lives.into()),
            ends_by: now.plus(ends_in.into()),
            closed_at: None,
            lives,
            grace,
            cooling: plan.cooling,
            sliding: self.sliding.unwrap_or(false),
        })
    }

    /// What was asked for, in one fixed spelling, so that a repeated request is known as the same.
    fn content(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(format!(
            "{}|{:?}|{:?}|{:?}|{:?}",
            self.city, self.record, self.expires_in, self.grace, self.max_seconds
        ));
        for party in &self.parties {
            text.push('|');
            text.push_str(party.role.as_str());
            for phone in party.phone.iter().chain(party.phones.iter().flatten()) {
                text.push('=');
                text.push_str(phone);
            }
        }
        let later = (self.sliding, self.ends_in, &self.callers, self.ring_seconds, self.max_calls);
        if later != (None, None, &None, None, None) {
            // Writing to a String cannot fail.
            let _ = write!(text, "|{later:?}");
        }
        text
    }
}

impl PartyRequest {
    fn texts(&self) -> Result<Vec<&str>, BadTrip> {
        let texts: Vec<&str> =
            self.phone.iter().chain(self.phones.iter().flatten()).map(|text| text.as_str()).collect();
        let one_way = self.phone.is_none() || self.phones.is_none();
        if one_way && (1..=MOST_PHONES).contains(&texts.len()) {
            Ok(texts)
        } else {
            Err(BadTrip::Phones(self.role.clone()))
        }
    }
}

/// Whether `id` holds the last seven digits of `phone`, with or without separators between them.
fn tells(id: &str, phone: &E164) -> bool {
    let phone = phone.reveal();
    let Some(tail) = phone.len().checked_sub(7).and_then(|from| phone.get(from..)) else { return false };
    let digits: Zeroizing<String> = Zeroizing::new(id.chars().filter(char::is_ascii_digit).collect());
    digits.contains(tail)
}
