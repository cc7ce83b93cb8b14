//! The number in a SIP or tel URI, or in a From, To or P-Asserted-Identity value.
//!
//! RFC 3261 sections 19.1 and 20.10, RFC 3966. Pure; used by the route decision.

use zeroize::Zeroizing;

use super::E164;
use super::trunk::TrunkProfile;

/// Users that say that there is no number, in lower case. RFC 3323 section 4.1.1.3 and what trunks send.
const WITHHELD: [&str; 10] = [
    "",
    "anonymous",
    "restricted",
    "unavailable",
    "unknown",
    "private",
    "withheld",
    "blocked",
    "invalid",
    "nobody",
];

/// What an address says about its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spelled {
    /// A number.
    Number(E164),
    /// The number is withheld or absent.
    Absent,
    /// Something that is no number (`sip:alice@…`).
    Other,
}

/// User and host of an address, still as they were written.
struct Parts<'a> {
    user: &'a str,
    host: &'a str,
}

/// Reads the number of `address`: `sip:+44…@host;user=phone`, `"x" <sip:…>;tag=…`, `tel:…`, or digits alone.
pub fn read(address: &str, profile: &TrunkProfile) -> Spelled {
    let Some(parts) = parts(address) else { return Spelled::Absent };
    let Some(user) = percent_decoded(parts.user) else { return Spelled::Other };
    let mut pieces = user.split(';');
    let number = pieces.next().unwrap_or_default().trim();
    let withheld = WITHHELD.iter().any(|word| number.eq_ignore_ascii_case(word));
    if withheld || parts.host.eq_ignore_ascii_case("anonymous.invalid") {
        return Spelled::Absent;
    }
    // RFC 3966 section 5.1.5: a local number says what it is local to.
    let context = pieces.find_map(|p| p.strip_prefix("phone-context=+")).filter(|_| !number.starts_with('+'));
    let read = match context.map(TrunkProfile::local_to) {
        Some(Ok(local)) => local.read(number),
        Some(Err(_)) => None,
        None => profile.read(number),
    };
    read.map_or(Spelled::Other, Spelled::Number)
}

/// The host and port of a SIP address, when it is one that may be repeated towards others:
/// a host name, an IPv4 address or an IPv6 reference (RFC 3261 section 25.1), a port.
pub fn host(address: &str) -> Option<&str> {
    let host = parts(address)?.host;
    let (name, port) = match host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        Some((v6, port)) => {
            v6.parse::<std::net::Ipv6Addr>().ok()?;
            (v6, port.strip_prefix(':').or(port.is_empty().then_some("0")))
        }
        None => host.split_once(':').map_or((host, Some("0")), |(name, port)| (name, Some(port))),
    };
    let name_fits = (1..=253).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b));
    (name_fits && port?.parse::<u16>().is_ok()).then_some(host)
}

fn parts(address: &str) -> Option<Parts<'_>> {
    let uri = addr_spec(address.trim())?;
    let (scheme, rest) = match uri.split_once(':') {
        Some((scheme, rest)) if ["sip", "sips", "tel"].iter().any(|s| scheme.eq_ignore_ascii_case(s)) => {
            (Some(scheme), rest)
        }
        _ => (None, uri),
    };
    if scheme.is_some_and(|s| s.eq_ignore_ascii_case("tel")) {
        return Some(Parts { user: rest, host: "" });
    }
    match rest.split_once('@') {
        Some((user, host)) => {
            // A password (RFC 3261 section 19.1.1) is no part of the number.
            let user = user.split(':').next().unwrap_or_default();
            Some(Parts { user, host: host.split([';', '?', '>']).next().unwrap_or_default() })
        }
        // `sip:host` names no user; digits without a scheme are a user alone.
        None if scheme.is_some() => None,
        None => Some(Parts { user: rest, host: "" }),
    }
}

/// The URI inside a name-addr, or the whole text when there are no angle brackets.
fn addr_spec(text: &str) -> Option<&str> {
    let after_name = match text.strip_prefix('"') {
        Some(quoted) => after_quoted(quoted)?,
        None => text,
    };
    match after_name.split_once('<') {
        Some((_, rest)) => rest.split_once('>').map(|(uri, _)| uri.trim()),
        None => Some(after_name),
    }
}

/// What follows a quoted string whose opening quote is gone already.
fn after_quoted(text: &str) -> Option<&str> {
    let mut escaped = false;
    let end = text.find(|c: char| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    })?;
    text.get(end + 1..)
}

fn percent_decoded(text: &str) -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            u8::try_from(high << 4 | low).ok()?
        } else {
            byte
        });
    }
    std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn british() -> TrunkProfile {
        TrunkProfile::of_country("44").unwrap()
    }

    #[test]
    fn a_number_is_found_in_every_form_of_address() {
        let number = Spelled::Number(E164::parse("+447700900001").unwrap());
        for address in [
            "sip:+447700900001@carrier.example;user=phone",
            "sips:+447700900001@[2001:db8::1]:5061",
            "SIP:07700900001@192.0.2.1",
            "sip:%2B447700900001@host",
            "sip:+447700900001:secret@host",
            "sip:+447700900001;cpc=ordinary@host?Subject=x",
            "sip:07700900001;phone-context=+44@host",
            "sip:7700900001;phone-context=+44@host",
            "\"A \\\" <sip:1@x>\" <sip:+447700900001@host>;tag=1",
            "Alice <sip:00447700900001@host>",
            "<tel:+44-7700-900-001>",
            "tel:07700900001;phone-context=+44",
            "+447700900001",
            " 07700 900001 ",
        ] {
            assert_eq!(read(address, &british()), number, "{address}");
        }
    }

    #[test]
    fn withheld_spellings_are_absent_and_names_are_no_numbers() {
        for address in [
            "",
            "sip:anonymous@anonymous.invalid",
            "\"Anonymous\" <sip:Anonymous@host>",
            "sip:host",
            "sip:restricted@host",
            "tel:unavailable",
            "Unknown",
            "sip:+447700900001@anonymous.invalid",
            "sip:@host",
            "\"unclosed",
            "<sip:+447700900001@host",
        ] {
            assert_eq!(read(address, &british()), Spelled::Absent, "{address}");
        }
        for address in
            ["sip:alice@host", "mailto:a@b", "sip:%zz@host", "tel:911", "tel:7700;phone-context=+0"]
        {
            assert_eq!(read(address, &british()), Spelled::Other, "{address}");
        }
    }

    #[test]
    fn only_hosts_that_are_hosts_are_repeated() {
        for (address, found) in [
            ("sip:+1@pbx.example:5060;transport=udp", Some("pbx.example:5060")),
            ("<sip:1@[2001:db8::1]:5060>;tag=2", Some("[2001:db8::1]:5060")),
            ("sip:1@[2001:db8::1]", Some("[2001:db8::1]")),
            ("sip:1@192.0.2.1", Some("192.0.2.1")),
            ("sip:1@a b", None),
            ("sip:1@host:port", None),
            ("sip:1@[::1", None),
            ("sip:1@a\"b", None),
            ("tel:+447700900001", None),
        ] {
            assert_eq!(host(address), found, "{address}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}", sip in "(sip:|\"|<|%|@|;|:|\\[|\\]|[0-9]){0,20}") {
            for text in [text, sip] {
                let _ = (read(&text, &british()), host(&text));
            }
        }
    }
}
