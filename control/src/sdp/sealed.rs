//! What SRTP between the parties needs of the SDP: keys (RFC 4568), fingerprints (RFC 8122), who begins (RFC 4145).
//!
//! Pure. Part of the allow-list: each value has a known shape and is written anew. Keys are random by nature, so of
//! them only alphabet and length are checked.

/// Suites with the length of key and salt together, in bytes (RFC 4568 section 6.2, RFC 6188, RFC 7714).
const SUITES: [(&str, usize); 9] = [
    ("AES_CM_128_HMAC_SHA1_80", 30),
    ("AES_CM_128_HMAC_SHA1_32", 30),
    ("F8_128_HMAC_SHA1_80", 30),
    ("AES_192_CM_HMAC_SHA1_80", 38),
    ("AES_192_CM_HMAC_SHA1_32", 38),
    ("AES_256_CM_HMAC_SHA1_80", 46),
    ("AES_256_CM_HMAC_SHA1_32", 46),
    ("AEAD_AES_128_GCM", 28),
    ("AEAD_AES_256_GCM", 44),
];
/// Most keys of one line.
const MAX_KEYS: usize = 4;
/// Hash functions with the length of their value, in bytes (RFC 8122 section 5).
const HASHES: [(&str, usize); 5] =
    [("sha-1", 20), ("sha-224", 28), ("sha-256", 32), ("sha-384", 48), ("sha-512", 64)];
/// Roles of `a=setup` (RFC 4145 section 4).
const ROLES: [&str; 4] = ["active", "passive", "actpass", "holdconn"];

/// `1 AES_CM_128_HMAC_SHA1_80 inline:KEY|2^20|1:4`
pub(super) fn crypto(value: &str) -> Option<String> {
    let mut words = value.split_whitespace();
    let tag = number(words.next()?, 9999)?;
    let suite = words.next()?;
    let (suite, bytes) = SUITES.into_iter().find(|(name, _)| *name == suite)?;
    let keys = words.next()?.split(';').map(|key| inline(key, bytes)).collect::<Option<Vec<_>>>()?;
    if keys.len() > MAX_KEYS {
        return None;
    }
    let head = [format!("crypto:{tag}"), suite.to_owned(), keys.join(";")];
    let parts = head.into_iter().map(Some).chain(words.map(parameter)).collect::<Option<Vec<_>>>()?;
    Some(parts.join(" "))
}

/// `inline:KEY|LIFETIME|MKI:LENGTH`, the last two optional.
fn inline(key: &str, bytes: usize) -> Option<String> {
    let mut parts = key.strip_prefix("inline:")?.split('|');
    let key = parts.next()?;
    let body = key.trim_end_matches('=');
    let base64 = body.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
    if !base64 || body.len() != (bytes * 4).div_ceil(3) || key.len() > body.len().next_multiple_of(4) {
        return None;
    }
    let mut out = format!("inline:{key}");
    for part in parts {
        let part = if let Some(exponent) = part.strip_prefix("2^") {
            format!("2^{}", number(exponent, 48)?)
        } else {
            let (mki, length) = part.split_once(':')?;
            format!("{}:{}", number(mki, 99_999)?, number(length, 128)?)
        };
        out = format!("{out}|{part}");
    }
    Some(out)
}

/// A session parameter (RFC 4568 section 6.3). Who does not know one must refuse the line, so none is left out of it.
fn parameter(word: &str) -> Option<String> {
    const FLAGS: [&str; 3] = ["UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "UNAUTHENTICATED_SRTP"];
    if FLAGS.contains(&word) {
        return Some(word.to_owned());
    }
    match word.split_once('=')? {
        ("KDR", rate) => Some(format!("KDR={}", number(rate, 24)?)),
        ("WSH", size) => Some(format!("WSH={}", number(size, 99_999)?)),
        ("FEC_ORDER", order @ ("FEC_SRTP" | "SRTP_FEC")) => Some(format!("FEC_ORDER={order}")),
        _ => None,
    }
}

/// `sha-256 4A:AD:…`
pub(super) fn fingerprint(value: &str) -> Option<String> {
    let (hash, digest) = value.trim().split_once(' ')?;
    let (hash, bytes) = HASHES.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(hash))?;
    let digest = digest.trim().to_ascii_uppercase();
    let pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
    let whole = digest.split(':').count() == bytes && digest.split(':').all(pair);
    whole.then(|| format!("fingerprint:{hash} {digest}"))
}

/// `actpass`
pub(super) fn setup(value: &str) -> Option<String> {
    ROLES.into_iter().find(|role| *role == value).map(|role| format!("setup:{role}"))
}

fn number(text: &str, most: u32) -> Option<u32> {
    text.parse().ok().filter(|n| *n <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    #[test]
    fn what_srtp_needs_passes_as_it_is() {
        for line in [
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_32 inline:{KEY}|2^20|1:4"),
            format!("2 F8_128_HMAC_SHA1_80 inline:{KEY}|1:4;inline:{KEY}|2:4 FEC_ORDER=FEC_SRTP WSH=64"),
            format!(
                "3 AES_256_CM_HMAC_SHA1_80 inline:{}== UNENCRYPTED_SRTCP KDR=1",
                "Ab+/".repeat(15) + "xy"
            ),
            format!("4 AES_256_CM_HMAC_SHA1_80 inline:{}", "Ab+/".repeat(15) + "xy"),
            format!("9 AEAD_AES_256_GCM inline:{}=", "Ab+/".repeat(14) + "xyz"),
        ] {
            assert_eq!(crypto(&line), Some(format!("crypto:{line}")));
        }
        let digest = ["4A"; 32].join(":");
        assert_eq!(
            fingerprint(&format!("SHA-256 {}", digest.to_lowercase())),
            Some(format!("fingerprint:sha-256 {digest}"))
        );
        assert_eq!(setup("actpass").as_deref(), Some("setup:actpass"));
    }

    #[test]
    fn what_has_another_shape_does_not() {
        for line in [
            format!("447700900001 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 447700900001 inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 {KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}A"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}===="),
            "1 AES_CM_128_HMAC_SHA1_80 inline:447700900001".into(),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|447700900001"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|447700900001:4"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4 WSH=447700900001"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4 447700900001"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} FEC_KEY=447700900001"),
            format!("1 AES_CM_128_HMAC_SHA1_80 {}", [format!("inline:{KEY}").as_str(); 5].join(";")),
        ] {
            assert_eq!(crypto(&line), None, "{line}");
        }
        let digest = ["4A"; 32].join(":");
        for line in
            ["sha-256 447700900001", "md5 44:77", &format!("sha-1 {digest}"), &format!("sha-256 {digest}:4A")]
        {
            assert_eq!(fingerprint(line), None, "{line}");
        }
        assert_eq!(setup("447700900001"), None);
    }
}
