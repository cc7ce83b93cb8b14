//! What T.38 over UDPTL says in SDP (ITU-T T.38 annex D, section D.2.3).
//!
//! Pure. Part of the allow-list: known names, numbers within bounds, words from closed lists; written anew.

/// Switches: there or not, or with 0 and 1 as many write them.
const SWITCHES: [&str; 3] = ["T38FaxFillBitRemoval", "T38FaxTranscodingMMR", "T38FaxTranscodingJBIG"];
/// Numbers, with the largest that passes.
const NUMBERS: [(&str, u32); 5] = [
    ("T38FaxVersion", 9),
    ("T38MaxBitRate", 64_000),
    ("T38FaxMaxBuffer", 65_535),
    ("T38FaxMaxDatagram", 65_535),
    ("T38FaxMaxIFP", 65_535),
];
/// Words.
const WORDS: [(&str, &[&str]); 2] = [
    ("T38FaxRateManagement", &["localTCF", "transferredTCF"]),
    ("T38FaxUdpEC", &["t38UDPNoEC", "t38UDPRedundancy", "t38UDPFEC"]),
];

/// What may pass of an attribute of a fax's m-line.
pub(super) fn attribute(name: &str, value: Option<&str>) -> Option<String> {
    let same = |known: &str| known.eq_ignore_ascii_case(name);
    if let Some(switch) = SWITCHES.into_iter().find(|known| same(known)) {
        return match value {
            None => Some(switch.to_owned()),
            Some(on @ ("0" | "1")) => Some(format!("{switch}:{on}")),
            Some(_) => None,
        };
    }
    let value = value?;
    if let Some((number, most)) = NUMBERS.into_iter().find(|(known, _)| same(known)) {
        let value: u32 = value.parse().ok().filter(|n| *n <= most)?;
        return Some(format!("{number}:{value}"));
    }
    let (name, words) = WORDS.into_iter().find(|(known, _)| same(known))?;
    let word = words.iter().find(|word| word.eq_ignore_ascii_case(value))?;
    Some(format!("{name}:{word}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fax_machines_say_passes_in_one_spelling() {
        for (line, written) in [
            ("T38FaxVersion:0", "T38FaxVersion:0"),
            ("T38MaxBitRate:14400", "T38MaxBitRate:14400"),
            ("t38maxbitrate:33600", "T38MaxBitRate:33600"),
            ("T38FaxRateManagement:transferredTCF", "T38FaxRateManagement:transferredTCF"),
            ("T38FaxMaxBuffer:2048", "T38FaxMaxBuffer:2048"),
            ("T38FaxMaxDatagram:400", "T38FaxMaxDatagram:400"),
            ("T38FaxUdpEC:t38UDPredundancy", "T38FaxUdpEC:t38UDPRedundancy"),
            ("T38FaxFillBitRemoval", "T38FaxFillBitRemoval"),
            ("T38FaxTranscodingMMR:0", "T38FaxTranscodingMMR:0"),
            ("T38FaxTranscodingJBIG:1", "T38FaxTranscodingJBIG:1"),
        ] {
            let (name, value) = line.split_once(':').map_or((line, None), |(n, v)| (n, Some(v)));
            assert_eq!(attribute(name, value).as_deref(), Some(written));
        }
    }

    #[test]
    fn a_number_in_any_of_them_does_not() {
        let names = NUMBERS.iter().map(|(name, _)| *name).chain(WORDS.iter().map(|(name, _)| *name));
        for name in names.chain(SWITCHES).chain(["T38VendorInfo", "X-phone"]) {
            for value in ["447700900001", "+447700900001", "0 447700900001"] {
                assert_eq!(attribute(name, Some(value)), None, "{name}:{value}");
            }
        }
        assert_eq!(attribute("T38MaxBitRate", None), None);
    }
}
