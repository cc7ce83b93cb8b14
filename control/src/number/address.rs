//! The number in a SIP or tel URI, or in a From, To or P-Asserted-Identity value.
//!
//! RFC 3261 sections 19.1 and 20.10, RFC 3966. Pure; used by the route decision.

use zeroize::Zeroizing;

use super::E164;
use super::trunk::TrunkProfile;

/// Users that say that there is no number, in lower case and without spaces, `-`, `_`, `.`, `/`. RFC 3323 section 4.1.1.3,
/// 3GPP TS 29.163 (the causes for which ISUP has no number), and what trunks send.
const WITHHELD: [&str; 37] = [
    "",
    "anonymous",
    "anonymouscaller",
    "anonym",
    "anonyme",
    "anonimo",
    "blocked",
    "blockedcallerid",
    "calleridblocked",
    "calleridrestricted",
    "calleridunavailable",
    "coinlinepayphone",
    "hidden",
    "interactionwithotherservice",
    "invalid",
    "nobody",
    "nocallerid",
    "none",
    "nonumber",
    "notavailable",
    "null",
    "numberwithheld",
    "outofarea",
    "payphone",
    "private",
    "privatecaller",
    "privatenumber",
    "privado",
    "restricted",
    "restrictedbynetwork",
    "unavailable",
    "undefined",
    "unknown",
    "unknowncaller",
    "unknownnumber",
    "withheld",
    "withheldnumber",
];

/// The same words keyed in on a telephone, as North American carriers send them: none is a number of the
/// country that its first digits name.
const KEYED: [&str; 4] = [
    "+266696687",   // anonymous
    "+7378742833",  // restricted
    "+86282452253", // unavailable
    "+2562533",     // blocked
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
    /// What stands between host and headers.
    parameters: &'a str,
}

/// Reads the number of `address`: `sip:+44…@host;user=phone`, `"x" <sip:…>;tag=…`, `tel:…`, or digits alone.
pub fn read(address: &str, profile: &TrunkProfile) -> Spelled {
    let Some(parts) = parts(address) else { return Spelled::Absent };
    if is_nowhere(parts.host) { Spelled::Absent } else { user(parts.user, profile) }
}

/// Reads the number that was dialled: at whichever host, since that is the proxy's own.
pub fn dialled(address: &str, profile: &TrunkProfile) -> Option<E164> {
    match user(parts(address)?.user, profile) {
        Spelled::Number(number) => Some(number),
        Spelled::Absent | Spelled::Other => None,
    }
}

fn user(user: &str, profile: &TrunkProfile) -> Spelled {
    let Some(user) = percent_decoded(user) else { return Spelled::Other };
    let mut pieces = user.split(';');
    let number = pieces.next().unwrap_or_default().trim();
    if is_withheld(number) {
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

/// The parameters of `address`, `name=value` or `name`: those of its user part (RFC 3966 section 3) and those of the URI. None
/// of what stands outside the URI.
pub(super) fn parameters(address: &str) -> Vec<String> {
    let Some(parts) = parts(address) else { return Vec::new() };
    let of_user = parts.user.split(';').skip(1);
    let of_uri = parts.parameters.split(';');
    of_user
        .chain(of_uri)
        .filter_map(|text| percent_decoded(text).map(|text| text.to_string()))
        .filter(|text| !text.is_empty())
        .collect()
}

/// Whether a user says that there is no number: in words, with a lone `+`, with noughts, or with words keyed in.
fn is_withheld(user: &str) -> bool {
    let word: String = user
        .chars()
        .filter(|c| !matches!(c, ' ' | '-' | '_' | '.' | '/'))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    WITHHELD.contains(&word.as_str())
        || KEYED.contains(&word.as_str())
        || word.strip_prefix('+').unwrap_or(&word).bytes().all(|b| b == b'0')
}

/// A host under the name that never exists (RFC 6761 section 6.4): RFC 3323's `anonymous.invalid`, TS 29.163's
/// `unknown.invalid`.
fn is_nowhere(host: &str) -> bool {
    let name = host.split(':').next().unwrap_or_default();
    let name = name.strip_suffix('.').unwrap_or(name);
    name.rsplit('.').next().is_some_and(|top| top.eq_ignore_ascii_case("invalid"))
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
        return Some(Parts { user: rest, host: "", parameters: "" });
    }
    match rest.split_once('@') {
        Some((user, host)) => {
            // A password (RFC 3261 section 19.1.1) is no part of the number.
            let user = user.split(':').next().unwrap_or_default();
            let host = host.split(['?', '>']).next().unwrap_or_default();
            let (host, parameters) = host.split_once(';').unwrap_or((host, ""));
            Some(Parts { user, host, parameters })
        }
        // `sip:host` names no user; digits without a scheme are a user alone.
        None if scheme.is_some() => None,
        None => Some(Parts { user: rest, host: "", parameters: "" }),
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
            "sip:unavailable@unknown.invalid",
            "sip:+447700900001@Anonymous.Invalid.:5060",
            "sip:%61nonymous@host",
            "sip:Not-Available@host",
            "\"Private\" <sip:private%20number@host>",
            "Coin line/payphone",
            "tel:OUT_OF_AREA",
            // A name is no number, even when it looks like one.
            "\"+447700900001\"",
            "\"+447700900001\" <sip:anonymous@anonymous.invalid>",
            "+447700900001 <sip:Restricted@host>",
            "sip:+@host",
            "sip:0000000000@host",
            "tel:+000-0000",
            "sip:+266696687@host",
        ] {
            assert_eq!(read(address, &british()), Spelled::Absent, "{address}");
        }
        for address in [
            "sip:alice@host",
            "mailto:a@b",
            "sip:%zz@host",
            "tel:911",
            "tel:7700;phone-context=+0",
            "sip:Al Private@host",
        ] {
            assert_eq!(read(address, &british()), Spelled::Other, "{address}");
        }
    }

    #[test]
    fn a_number_is_dialled_at_any_host() {
        for host in ["pop.invalid", "192.0.2.1", "anonymous.invalid"] {
            let number = dialled(&format!("sip:02079460001@{host}"), &british());
            assert_eq!(number, E164::parse("+442079460001").ok(), "{host}");
        }
        for none in ["sip:anonymous@pop.example", "sip:pop.example", "sip:alice@pop.example"] {
            assert_eq!(dialled(none, &british()), None, "{none}");
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
