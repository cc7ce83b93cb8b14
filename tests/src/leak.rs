//! Whether something that one party received holds the other party's number, in any spelling.

use std::collections::BTreeMap;

/// A number, as all the byte strings that give it away.
#[derive(Debug)]
pub struct Canary {
    digits: String,
    spellings: BTreeMap<&'static str, Vec<Vec<u8>>>,
}

impl Canary {
    /// All spellings of `number` (E.164 with +, country code of two digits).
    pub fn new(number: &str) -> Self {
        let digits: String = number.chars().filter(char::is_ascii_digit).collect();
        let national = format!("0{}", &digits[2..]);
        let last = digits[digits.len() - 7..].to_owned();
        let reversed: String = digits.chars().rev().collect();
        let grouped = format!("{} {} {}", &national[..5], &national[5..8], &national[8..]);
        let dashed = grouped.replace(' ', "-");
        let coded = |text: &str, mark: &str| {
            text.bytes().fold(String::new(), |coded, byte| format!("{coded}{mark}{byte:02x}"))
        };
        let hex = |text: &str| coded(text, "");
        let mut spellings = BTreeMap::from([
            ("digits", vec![digits.clone()]),
            ("national", vec![national.clone(), grouped, dashed]),
            ("last seven digits", vec![last.clone()]),
            ("reversed", vec![reversed.clone(), last.chars().rev().collect()]),
            ("URL-encoded", vec![coded(&digits, "%")]),
            (
                "hexadecimal",
                vec![hex(&last), hex(&last).to_uppercase(), hex(&last.chars().rev().collect::<String>())],
            ),
            ("base64", [&digits, &national].iter().flat_map(|t| base64_inside(t.as_bytes())).collect()),
        ])
        .into_iter()
        .map(|(name, texts)| (name, texts.into_iter().map(String::into_bytes).collect()))
        .collect::<BTreeMap<_, Vec<Vec<u8>>>>();
        let integer: u64 = digits.parse().unwrap_or_default();
        let significant = |bytes: [u8; 8]| -> Vec<u8> {
            let from = bytes.iter().position(|byte| *byte != 0).unwrap_or(0);
            bytes[from..].to_vec()
        };
        let big_endian = significant(integer.to_be_bytes());
        let little_endian = big_endian.iter().rev().copied().collect();
        spellings.insert("integer", vec![big_endian, little_endian]);
        spellings.insert("BCD", [&digits, &national].iter().flat_map(|t| packed(t)).collect());
        Self { digits, spellings }
    }

    /// The spellings in which `content` holds the number.
    pub fn found_in(&self, content: &[u8]) -> Vec<&'static str> {
        let mut found: Vec<_> = self
            .spellings
            .iter()
            .filter(|(_, all)| all.iter().any(|s| contains(content, s)))
            .map(|(name, _)| *name)
            .collect();
        if self.hidden_in(content) {
            found.push("XOR of a visible URI, base64");
        }
        found
    }

    /// Fails when `content` holds the number; `what` names it.
    #[track_caller]
    pub fn absent_from(&self, what: &str, content: &[u8]) {
        let found = self.found_in(content);
        assert!(
            found.is_empty(),
            "{what} holds the number ({}):\n{}",
            found.join(", "),
            String::from_utf8_lossy(content)
        );
    }

    /// Kamailio's uac module writes `vsf=` and `vst=`: base64 of the old URI XOR the new one. Every word that
    /// could be base64 is decoded and combined with every SIP URI of the message.
    fn hidden_in(&self, content: &[u8]) -> bool {
        let text = String::from_utf8_lossy(content);
        let uris: Vec<&str> = text
            .split(|c: char| c.is_whitespace() || "<>\";,".contains(c))
            .filter(|word| word.starts_with("sip:") || word.starts_with("tel:"))
            .collect();
        let wanted = &self.digits.as_bytes()[self.digits.len() - 7..];
        text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/-_.".contains(c)))
            .filter(|word| (12..=256).contains(&word.len()))
            .filter_map(decode_base64)
            .any(|bytes| {
                uris.iter().any(|uri| {
                    let key = uri.bytes().cycle();
                    let plain: Vec<u8> = bytes.iter().zip(key).map(|(a, b)| a ^ b).collect();
                    contains(&plain, wanted)
                }) || contains(&bytes, wanted)
            })
    }
}

fn contains(content: &[u8], part: &[u8]) -> bool {
    content.windows(part.len()).any(|w| w.eq_ignore_ascii_case(part))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The characters that base64 has for `text` wherever it stands: for each of the three alignments, those that
/// depend on `text` alone.
fn base64_inside(text: &[u8]) -> Vec<String> {
    (0..3)
        .map(|shift| {
            let bits: Vec<u8> =
                text.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
            let skip = (6 - shift * 8 % 6) % 6;
            bits[skip..]
                .chunks_exact(6)
                .map(|six| char::from(ALPHABET[six.iter().fold(0, |n, bit| n << 1 | usize::from(*bit))]))
                .collect()
        })
        .collect()
}

/// Decodes base64 in its usual, its URL and SER's alphabet (`.`, `_` or `-` for `+`, `/`, `=`).
fn decode_base64(word: &str) -> Option<Vec<u8>> {
    let (mut out, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for byte in word.trim_end_matches(['-', '=', '.']).bytes() {
        let byte = match byte {
            b'-' | b'.' => b'+',
            b'_' => b'/',
            other => other,
        };
        let value = ALPHABET.iter().position(|a| *a == byte)?;
        bits = (bits << 6 | u32::try_from(value).ok()?) & 0xff_ffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    Some(out)
}

/// Two digits to the byte, either nibble first, from either parity: as ISUP and TCAP carry numbers.
fn packed(digits: &str) -> Vec<Vec<u8>> {
    let values: Vec<u8> = digits.bytes().map(|b| b - b'0').collect();
    let mut all = Vec::new();
    for from in 0..2 {
        let pairs = values[from..].chunks_exact(2);
        all.push(pairs.clone().map(|p| p[0] << 4 | p[1]).collect());
        all.push(pairs.map(|p| p[1] << 4 | p[0]).collect());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::Canary;

    #[test]
    fn finds_the_number_however_it_is_written() {
        let canary = Canary::new("+447700900123");
        for (content, spelling) in [
            (&b"From: <sip:+447700900123@x>"[..], "digits"),
            (b"tel:07700900123", "national"),
            (b"call 07700 900 123 now", "national"),
            (b"x=321009007744", "reversed"),
            (b"%34%34%37%37%30%30%39%30%30%31%32%33", "URL-encoded"),
            (b"u2u=30393030313233", "hexadecimal"),
            (b"eHg0NDc3MDA5MDAxMjN5eQ==", "base64"),
            (b"id=\x00\x00\x00\x68\x3d\x0d\x99\x1b;", "integer"),
            (b"id=\x1b\x99\x0d\x3d\x68\x00\x00\x00;", "integer"),
            (b"\x01\x70\x07\x90\x00\x21\xf3", "BCD"),
            (b"\x44\x77\x00\x90\x01\x23", "BCD"),
            (b"\x44\x77\x00\x09\x10\x32", "BCD"),
        ] {
            let found = canary.found_in(content);
            assert!(
                found.contains(&spelling) || spelling == "BCD" && !found.is_empty(),
                "{spelling}: {found:?}"
            );
        }
        assert!(canary.found_in(b"From: <sip:+442079460002@x>;tag=447700900124").is_empty());
    }

    #[test]
    fn finds_the_number_behind_an_xor() {
        // What uac_replace_from() writes in its default mode: old URI XOR new URI, base64.
        let (old, new) = (b"sip:+447700900123@127.0.0.1", b"sip:+442079460002@127.0.0.1");
        let mixed: Vec<u8> = old.iter().zip(new).map(|(a, b)| a ^ b).collect();
        let mut word = String::new();
        for three in mixed.chunks(3) {
            let n = three.iter().fold(0_usize, |n, b| n << 8 | usize::from(*b)) << (8 * (3 - three.len()));
            for shift in [18, 12, 6, 0] {
                word.push(char::from(super::ALPHABET[n >> shift & 63]));
            }
        }
        let message = format!(
            "Record-Route: <sip:127.0.0.1;lr;vsf={word}>\r\nFrom: <{}>;tag=1\r\n",
            String::from_utf8_lossy(new)
        );
        let canary = Canary::new("+447700900123");
        assert_eq!(canary.found_in(message.as_bytes()), ["XOR of a visible URI, base64"]);
    }
}
