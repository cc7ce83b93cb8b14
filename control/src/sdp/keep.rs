//! The allow-list: which lines of one party's SDP the other party may see, and in which form.
//!
//! Pure. Values are checked, and rebuilt where their shape is known, so that a number written into a harmless
//! attribute does not pass either.

use recorder::label::Codec;

use super::Direction;

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

/// What may pass of an attribute of an m-line with these payload types.
pub(super) fn media_attribute(attribute: &str, payload_types: &[u8]) -> Option<String> {
    let (name, value) = attribute.split_once(':').map_or((attribute, None), |(n, v)| (n, Some(v.trim())));
    let listed = |text: &str| text.parse().is_ok_and(|pt: u8| payload_types.contains(&pt));
    let kept = match (name, value) {
        (_, None) if Direction::read(name).is_some() || name == "rtcp-rsize" => name.to_owned(),
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
        // Preconditions (RFC 3312), content (RFC 4796): words from closed lists.
        ("curr" | "des" | "conf" | "content", Some(value)) if words(value) => format!("{name}:{value}"),
        _ => return None,
    };
    let printable = kept.bytes().all(|b| (b' '..=b'~').contains(&b));
    (printable && kept.len() <= MAX_LINE).then(|| format!("a={kept}"))
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

fn words(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphabetic() || b" -,".contains(&b))
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
            "curr:qos local none",
            "des:qos mandatory local sendrecv",
        ] {
            assert_eq!(media_attribute(line, &[8, 101, 111]), Some(format!("a={line}")));
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
            "curr:447700900001",
            "label:447700900001",
            "fmtp:101 0-15\r\na=x",
        ] {
            assert_eq!(media_attribute(line, &[8, 101]), None, "{line}");
        }
        assert_eq!(bandwidth("AS:447700900001"), None);
        assert_eq!(bandwidth("X-YZ:128"), None);
        assert_eq!(session_attribute("tool:x"), None);
    }
}
