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
    let mut plain = Zeroizing::new(Vec::with_capacity(64));
    for party in parties {
        let phones = party.phones.all();
        plain.push(u8::try_from(phones.len()).unwrap_or(u8::MAX));
        for phone in phones {
            plain.extend_from_slice(&phone.reveal_integer().to_be_bytes());
        }
        plain.extend_from_slice(&party.pin.to_integer().to_be_bytes());
    }
    keys.seal(&purpose(trip), &plain)
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
