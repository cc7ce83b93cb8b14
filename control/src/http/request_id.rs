//! Request ids: they tie an answer, a problem document and a log line together.
//!
//! A client's own id is taken when it is safe to keep in all of these, so when it cannot hold a telephone number. With
//! any other, or none, the request gets a new UUID v7. Either way the answer names the id.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::{Uuid, Variant};

/// Carries the id, in requests and answers.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The id of the request with these headers.
pub(super) fn of(headers: &HeaderMap) -> HeaderValue {
    let own = headers.get(HEADER).filter(|value| value.to_str().is_ok_and(fits));
    own.cloned().unwrap_or_else(|| {
        let mut text = [0; 36];
        let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("none"))
    })
}

/// 8 to 64 of `A-Z a-z 0-9 . _ -` that hold no telephone number.
///
/// Five digits are the beginning of one, however they are spaced. UUIDs and trace ids (W3C Trace Context section
/// 3.2.2.3) have such runs by chance: those are taken up to nine digits in one group, since whoever puts a number into
/// one fills the rest with digits too, or writes it with its country code. That leaves 98 of 100 UUIDs and 92 of 100
/// trace ids.
fn fits(text: &str) -> bool {
    let alphabet = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    if !(8..=64).contains(&text.len()) || !text.bytes().all(alphabet) {
        return false;
    }
    if is_uuid(text) || is_trace_id(text) {
        longest_run(text, b"") < 10
    } else {
        longest_run(text, b"._-") < 5
    }
}

fn is_uuid(text: &str) -> bool {
    let uuid = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
    uuid.is_some_and(|id| id.get_variant() == Variant::RFC4122 && (1..=8).contains(&id.get_version_num()))
}

fn is_trace_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|c| c.is_ascii_hexdigit())
}

/// The most digits that follow each other, with nothing but `between` in between.
fn longest_run(text: &str, between: &[u8]) -> usize {
    let (mut longest, mut run) = (0, 0);
    for c in text.bytes().filter(|c| !between.contains(c)) {
        run = if c.is_ascii_digit() { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_unless_it_could_hold_a_number() {
        for good in [
            "checkout-7f3a",
            "a.b_c-1234",
            "0af7651916cd43dd8448eb211c80319c",
            "f47ac10b-58cc-4372-a567-0e02b2c3d479",
            "01932c07-209b-7d18-b8e3-5f1b6c2d4e9a",
            &"x".repeat(64),
        ] {
            assert!(fits(good), "{good}");
        }
        for bad in [
            "",
            "short-1",
            &"x".repeat(65),
            "has space in it",
            "quote\"quote",
            "+447700900001",
            "call-447700900001",
            "call-07700.900-001",
            "c.4_4_7_7_0_0_9",
            "trip12345",
            // Dressed up as a UUID or a trace id.
            "00000000-0000-4000-8000-447700900001",
            "deadbeef-dead-4ead-8ead-447700900001",
            "deadbeef-dead-4ead-8ead-ab2025550123",
            "0000000000000000000447700900001f",
            "abcdefabcdefabcdefab447700900001",
            // No UUID at all: wrong version, wrong variant.
            "7700900a-0000-0000-8000-abcdefabcdef",
            "7700900a-0000-4000-0000-abcdefabcdef",
        ] {
            assert!(!fits(bad), "{bad}");
        }
    }

    #[test]
    fn most_uuids_and_trace_ids_are_taken() {
        let ids = || (0..2_000).map(|_| Uuid::new_v4());
        let uuids = ids().filter(|id| fits(&id.to_string())).count();
        let traces = ids().filter(|id| fits(&id.simple().to_string())).count();
        assert!(uuids > 1_900 && traces > 1_700, "{uuids} {traces}");
    }

    #[test]
    fn without_an_id_there_is_a_new_one() {
        let mut headers = HeaderMap::new();
        let (one, two) = (of(&headers), of(&headers));
        assert_ne!(one, two);
        assert_eq!(Uuid::try_parse(one.to_str().unwrap()).unwrap().get_version_num(), 7);
        headers.insert(HEADER, HeaderValue::from_static("checkout-7f3a"));
        assert_eq!(of(&headers), "checkout-7f3a");
    }
}
