//! The allow-list: which lines of one party's SDP the other party may see, and in which form.
//!
//! Pure. Values are checked, and rebuilt where their shape is known, so that a number written into a harmless
//! attribute does not pass either.

use recorder::label::Codec;

use super::{Carriage, Direction, Media, extension, fax, sealed};

/// Longest line that passes.
const MAX_LINE: usize = 512;

/// What may pass of a `b=` line: a known modifier and a number (RFC 8866 section 5.8, RFC 3556, RFC 3890).
pub(super) fn bandwidth(value: &str) -> Option<String> {
    let (modifier, amount) = value.split_once(':')?;
    let known = matches!(modifier, "CT" | "AS" | "TIAS" | "RS" | "RR");
    let amount: u32 = amount.parse().ok()?;
    (known && amount < 1_000_000).then(|| format!("b={modifier}:{amount}"))
}

/// What may pass of an attribute at session level: the direction.
pub(super) fn session_attribute(attribute: &str) -> Option<String> {
    Direction::read(attribute).map(|_| format!("a={attribute}"))
}

/// What may pass of an attribute of an m-line.
pub(super) fn media_attribute(attribute: &str, media: &Media) -> Option<String> {
    let (name, value) = split(attribute);
    let kept = match (name, media.carriage()?) {
        _ if value.is_none() && Direction::read(name).is_some() => name.to_owned(),
        (_, Carriage::Fax) => fax::attribute(name, value)?,
        ("crypto", Carriage::Sdes) => sealed::crypto(value?)?,
        ("fingerprint" | "setup", Carriage::Dtls) => dtls_attribute(attribute)?,
        _ => rtp_attribute(name, value, &media.payload_types)?,
    };
    let printable = kept.bytes().all(|b| (b' '..=b'~').contains(&b));
    (printable && kept.len() <= MAX_LINE).then(|| format!("a={kept}"))
}

/// What may pass of an attribute that DTLS needs, in an m-line or, for all of them, in the session (RFC 8122 section 5).
pub(super) fn dtls_attribute(attribute: &str) -> Option<String> {
    match split(attribute) {
        ("fingerprint", Some(value)) => sealed::fingerprint(value),
        ("setup", Some(value)) => sealed::setup(value),
        _ => None,
    }
}

fn split(attribute: &str) -> (&str, Option<&str>) {
    attribute.split_once(':').map_or((attribute, None), |(name, value)| (name, Some(value.trim())))
}

/// What may pass of an attribute of an m-line with these payload types.
fn rtp_attribute(name: &str, value: Option<&str>, payload_types: &[u8]) -> Option<String> {
    let listed = |text: &str| text.parse().is_ok_and(|pt: u8| payload_types.contains(&pt));
    Some(match (name, value) {
        ("rtcp-rsize", None) => name.to_owned(),
        ("rtpmap", Some(value)) => {
            let codec = rtpmap(value).filter(|c| payload_types.contains(&c.payload_type))?;
            // Written as it was: `/1` may stand or not.
            let channels =
                value.trim().split('/').nth(2).map_or(String::new(), |_| format!("/{}", codec.channels));
            format!("rtpmap:{} {}/{}{channels}", codec.payload_type, codec.name, codec.clock_rate)
        }
        ("fmtp", Some(value)) => {
            let (payload_type, parameters) = value.split_once(' ')?;
            if !listed(payload_type) || holds_number(parameters) {
                return None;
            }
            format!("fmtp:{payload_type} {}", parameters.trim())
        }
        ("ptime" | "maxptime", Some(value)) => {
            let milliseconds: u16 = value.parse().ok()?;
            format!("{name}:{milliseconds}")
        }
        ("silenceSupp", Some(value)) => match value.split(' ').next()? {
            on @ ("on" | "off") => format!("silenceSupp:{on} - - - -"),
            _ => return None,
        },
        ("rtcp-fb", Some(value)) => {
            let (payload_type, wish) = value.split_once(' ')?;
            if (payload_type != "*" && !listed(payload_type)) || !words(wish) {
                return None;
            }
            format!("rtcp-fb:{payload_type} {wish}")
        }
        ("extmap", Some(value)) => extension::extmap(value)?.2,
        // Preconditions (RFC 3312), content (RFC 4796): words from closed lists.
        ("curr" | "des" | "conf" | "content", Some(value)) if words(value) => format!("{name}:{value}"),
        _ => return None,
    })
}

/// Reads the value of `a=rtpmap`: `8 PCMA/8000`.
pub(super) fn rtpmap(value: &str) -> Option<Codec> {
    let (payload_type, encoding) = value.trim().split_once(' ')?;
    let mut parts = encoding.trim().split('/');
    let name = parts.next().filter(|n| !n.is_empty() && n.len() <= 32 && !holds_number(n))?;
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+".contains(&b)) {
        return None;
    }
    Some(Codec {
        payload_type: payload_type.parse().ok().filter(|pt| *pt < 128)?,
        name: name.to_owned(),
        clock_rate: parts.next()?.parse().ok().filter(|hz| (1..=1_000_000).contains(hz))?,
        channels: parts.next().map_or(Some(1), |c| c.parse().ok())?,
    })
}

/// The words of preconditions (RFC 3312), content (RFC 4796) and feedback (RFC 4585, RFC 5104, and what WebRTC adds).
const WORDS: [&str; 31] = [
    "qos",
    "sec",
    "local",
    "remote",
    "e2e",
    "none",
    "optional",
    "mandatory",
    "failure",
    "unknown",
    "send",
    "recv",
    "sendrecv",
    "slides",
    "speaker",
    "sl",
    "main",
    "alt",
    "nack",
    "pli",
    "sli",
    "rpsi",
    "ack",
    "ccm",
    "fir",
    "tmmbr",
    "tstn",
    "vbcm",
    "app",
    "goog-remb",
    "transport-cc",
];

fn words(text: &str) -> bool {
    text.split([' ', ',']).all(|word| WORDS.contains(&word))
}

/// Seven digits, whatever separates them but letters and commas: no codec's parameter needs them, a telephone
/// number does.
fn holds_number(text: &str) -> bool {
    let mut digits = 0;
    text.bytes().any(|b| {
        match b {
            b'0'..=b'9' => digits += 1,
            b' ' | b'-' | b'.' | b'(' | b')' | b'+' => {}
            _ => digits = 0,
        }
        digits >= 7
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(line: &str, kind: &str, protocol: &str) -> Option<String> {
        let payload_types = if protocol == "udptl" { Vec::new() } else { vec![8, 101, 111] };
        media_attribute(line, &Media { payload_types, ..Media::refusing(kind, protocol, "t38") })
    }

    #[test]
    fn each_kind_of_line_has_its_own() {
        let fingerprint = format!("fingerprint:sha-256 {}", ["4A"; 32].join(":"));
        let crypto = "crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
        let lines = ["sendonly", "rtpmap:8 PCMA/8000", crypto, &fingerprint, "T38FaxVersion:0"];
        for (kind, protocol, pass) in [
            ("video", "RTP/AVPF", [true, true, false, false, false]),
            ("audio", "RTP/SAVP", [true, true, true, false, false]),
            ("audio", "UDP/TLS/RTP/SAVPF", [true, true, false, true, false]),
            ("image", "udptl", [true, false, false, false, true]),
            ("application", "UDP/BFCP", [false; 5]),
        ] {
            assert_eq!(lines.map(|line| passes(line, kind, protocol).is_some()), pass, "{kind} {protocol}");
        }
    }

    #[test]
    fn what_codecs_need_passes() {
        for line in [
            "rtpmap:8 PCMA/8000",
            "rtpmap:111 opus/48000/2",
            "rtpmap:101 telephone-event/8000",
            "fmtp:101 0-15,66,70",
            "fmtp:111 maxplaybackrate=16000;sprop-maxcapturerate=16000;maxaveragebitrate=510000;useinbandfec=1",
            "fmtp:8 mode-set=0,2,4,7; octet-align=1",
            "ptime:20",
            "maxptime:40",
            "sendonly",
            "silenceSupp:off - - - -",
            "rtcp-fb:* ccm tmmbr",
            "rtcp-fb:111 nack pli",
            "extmap:1 urn:3gpp:video-orientation",
            "curr:qos local none",
            "des:qos mandatory local sendrecv",
        ] {
            assert_eq!(passes(line, "audio", "RTP/AVP"), Some(format!("a={line}")));
        }
        assert_eq!(bandwidth("AS:64"), Some("b=AS:64".into()));
    }

    #[test]
    fn what_tells_of_the_party_does_not() {
        for line in [
            "tool:phone 1.2 of +447700900001",
            "candidate:1 1 UDP 2130706431 10.0.0.7 5000 typ host",
            "ssrc:1 cname:alice@example.org",
            "crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x",
            "X-Phone:+447700900001",
            "rtpmap:8 447700900001/8000",
            "rtpmap:96 PCMA/8000",
            "fmtp:101 +44 7700-900001",
            "fmtp:7 0-15",
            "ptime:447700900001",
            "silenceSupp:447700900001",
            "rtcp-fb:* 447700900001",
            "rtcp-fb:* alice",
            "content:alice",
            "extmap:447700900001 urn:3gpp:video-orientation",
            "T38FaxVersion:0",
            "curr:447700900001",
            "label:447700900001",
            "fmtp:101 0-15\r\na=x",
        ] {
            assert_eq!(passes(line, "audio", "RTP/AVP"), None, "{line}");
        }
        assert_eq!(bandwidth("AS:447700900001"), None);
        assert_eq!(bandwidth("X-YZ:128"), None);
        assert_eq!(session_attribute("tool:x"), None);
    }
}
