//! One side of a trip: its role, its own phones, the number of ours that it dials, and its PIN.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::name::Role;
use crate::number::{E164, PoolNumber};

/// Most phones of one party.
pub const MOST_PHONES: usize = 8;

/// One side of a trip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// What the party is in this trip.
    pub role: Role,
    /// The party's own numbers.
    pub phones: Phones,
    /// The number of ours that this party dials, and sees when it is called.
    pub dial: PoolNumber,
    /// Opens the trip to this party from an unknown number.
    pub pin: Pin,
}

/// A party's own numbers, the one that is called first. None when the person was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phones {
    /// As nearly always.
    One(E164),
    /// Two or more, or none.
    Several(Box<[E164]>),
}

impl Phones {
    /// `numbers` in their order, the one that is called first.
    pub fn new(numbers: Vec<E164>) -> Self {
        match <[E164; 1]>::try_from(numbers) {
            Ok([one]) => Self::One(one),
            Err(numbers) => Self::Several(numbers.into()),
        }
    }

    /// None: the person was erased.
    pub fn none() -> Self {
        Self::Several(Box::default())
    }

    /// Every number.
    pub fn all(&self) -> &[E164] {
        match self {
            Self::One(number) => std::slice::from_ref(number),
            Self::Several(numbers) => numbers,
        }
    }

    /// The number that is called.
    pub fn called(&self) -> Option<&E164> {
        self.all().first()
    }

    /// Whether a call from `handset` (see [`E164::handset`]) comes from one of these.
    pub fn have(&self, handset: &E164) -> bool {
        self.all().iter().any(|number| number.handset() == *handset)
    }

    /// Whether these are the same handsets, in whatever order.
    pub fn same(&self, other: &Self) -> bool {
        self.all().len() == other.all().len() && self.all().iter().all(|n| other.have(&n.handset()))
    }
}

/// Digits that a caller types, 5 to 12 of them. Not printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Pin(
    /// A 1, then the digits: leading zeros count.
    u64,
);

impl Pin {
    /// Takes digits, 5 to 12.
    pub fn from_digits(digits: &str) -> Option<Self> {
        let fits = (5..=12).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        Zeroizing::new(format!("1{digits}")).parse().ok().filter(|_| fits).map(Self)
    }

    /// The number that [`Self::to_integer`] gave.
    pub fn from_integer(value: u64) -> Option<Self> {
        Self::from_digits(Zeroizing::new(value.to_string()).strip_prefix('1')?)
    }

    /// The PIN as one number.
    pub const fn to_integer(&self) -> u64 {
        self.0
    }

    /// A random PIN of `length` digits (5 to 9), every value equally likely.
    pub fn random(length: u32) -> Result<Self, getrandom::Error> {
        let length = length.clamp(5, 9);
        let span = 10_u32.pow(length);
        // Values past the last whole multiple of `span` would favour small PINs.
        let fair = u32::MAX - u32::MAX % span;
        loop {
            let value = getrandom::u32()?;
            if value < fair {
                return Ok(Self(u64::from(span) + u64::from(value % span)));
            }
        }
    }

    /// The digits.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut digits = Zeroizing::new(self.0.to_string());
        digits.remove(0);
        digits
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_keep_their_zeros_and_their_length() {
        for digits in ["00000", "01234", "99999", "123456789012"] {
            let pin = Pin::from_digits(digits).unwrap();
            assert_eq!(*pin.reveal(), digits);
            assert_eq!(Pin::from_integer(pin.to_integer()), Some(pin));
        }
        for bad in ["", "1234", "1234567890123", "12a45", "+1234"] {
            assert_eq!(Pin::from_digits(bad), None, "{bad}");
        }
        assert_eq!(Pin::from_integer(20_000), None);
        for length in 5..=9 {
            assert_eq!(Pin::random(length).unwrap().reveal().len(), length as usize);
        }
    }

    #[test]
    fn a_party_takes_little_room() {
        assert!(size_of::<Phones>() <= 16 && size_of::<Party>() <= 40);
        assert!(size_of::<crate::trip::Trip>() <= 176, "{}", size_of::<crate::trip::Trip>());
    }
}
