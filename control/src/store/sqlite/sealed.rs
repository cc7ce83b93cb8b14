//! What of a trip is sealed: its parties' own numbers and PINs, in one value that belongs to that trip alone.
//!
//! Plain text, per party: count of phones (one byte), each phone, the PIN (8 bytes each, big endian).

use zeroize::Zeroizing;

use crate::name::TripId;
use crate::number::E164;
use crate::secret::{Keys, SecretError};
use crate::trip::{Party, Phones, Pin};

/// Phones and PIN of both parties.
pub(super) type Secrets = [(Phones, Pin); 2];

/// Seals what is secret of `parties`.
pub(super) fn seal(keys: &Keys, trip: &TripId, parties: &[Party; 2]) -> Result<Vec<u8>, SecretError> {
    keys.seal(&purpose(trip), &plain(parties))
}

/// The plain text, in room that it fills: growing would leave a copy of it in memory that is given back.
fn plain(parties: &[Party; 2]) -> Zeroizing<Vec<u8>> {
    let phones: usize = parties.iter().map(|party| party.phones.all().len()).sum();
    let mut plain = Zeroizing::new(Vec::with_capacity(2 * (1 + 8) + phones * 8));
    for party in parties {
        let phones = party.phones.all();
        plain.push(u8::try_from(phones.len()).unwrap_or(u8::MAX));
        for phone in phones {
            plain.extend_from_slice(&phone.reveal_integer().to_be_bytes());
        }
        plain.extend_from_slice(&party.pin.to_integer().to_be_bytes());
    }
    plain
}

/// Opens it again; none when what it holds makes no sense.
pub(super) fn open(keys: &Keys, trip: &TripId, sealed: &[u8]) -> Result<Option<Secrets>, SecretError> {
    let plain = keys.open(&purpose(trip), sealed)?;
    let mut rest = plain.as_slice();
    let both = party(&mut rest).zip(party(&mut rest));
    Ok(both.filter(|_| rest.is_empty()).map(|(first, second)| [first, second]))
}

fn party(rest: &mut &[u8]) -> Option<(Phones, Pin)> {
    let (count, after) = rest.split_first()?;
    *rest = after;
    let phones: Option<Vec<E164>> = (0..*count).map(|_| E164::try_from(integer(rest)?).ok()).collect();
    Some((Phones::new(phones?), Pin::from_integer(integer(rest)?)?))
}

fn integer(rest: &mut &[u8]) -> Option<u64> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_be_bytes(*bytes))
}

fn purpose(trip: &TripId) -> String {
    format!("trip/{trip}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Role;
    use crate::number::PoolNumber;

    #[test]
    fn what_is_sealed_never_moves_in_memory() {
        for phones in [[0, 1], [1, 1], [8, 8]] {
            let parties = phones.map(|phones: u64| Party {
                role: Role::new("driver").unwrap(),
                phones: Phones::new(
                    (0..phones).map(|n| E164::try_from(447_700_900_000 + n).unwrap()).collect(),
                ),
                dial: PoolNumber::try_from(442_079_460_001).unwrap(),
                pin: Pin::from_digits("12345").unwrap(),
            });
            let plain = plain(&parties);
            assert_eq!(plain.len(), plain.capacity(), "{phones:?}");
            let mut rest = plain.as_slice();
            for whose in &parties {
                let (phones, pin) = party(&mut rest).unwrap();
                assert!(phones == whose.phones && pin == whose.pin);
            }
        }
    }
}
