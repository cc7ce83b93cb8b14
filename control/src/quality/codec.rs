//! What is known of codecs: names that may be told, and what they do to speech.
//!
//! Pure. A codec's name comes from a party's SDP, where anything may stand: what is told of it is the name in this
//! table, and nothing for one that is not in it.

use super::emodel::Impairment;

/// A codec.
#[derive(Debug, PartialEq)]
pub struct Codec {
    /// Its encoding name, as registered for SDP.
    pub name: &'static str,
    /// What it does to speech; none where ITU-T gives no figure that holds for it, and for pictures: no score is made up.
    pub impairment: Option<Impairment>,
    /// What it adds to the delay, in milliseconds: a packet of 20 ms (G.723.1: 30 ms) and its look-ahead.
    pub delay_ms: f64,
}

const fn rated(name: &'static str, ie: f64, bpl: f64, delay_ms: f64) -> Codec {
    Codec { name, impairment: Some(Impairment { ie, bpl }), delay_ms }
}

const fn named(name: &'static str) -> Codec {
    Codec { name, impairment: None, delay_ms: 20.0 }
}

/// Ie and Bpl of ITU-T G.113 (11/2007) appendix I, tables I.1 and I.4.
///
/// - G.711 is taken to hide lost packets (its appendix I; Bpl 25.1), as phones and gateways do; without it would be 4.3.
/// - G.729 is rated as G.729A with voice activity detection, G.723.1 as at 6.3 kbit/s: packets do not say.
/// - AMR is rated as GSM-EFR, which is its 12.2 kbit/s mode (3GPP TS 26.071).
/// - For G.726 and GSM the tables have Ie alone. Bpl is that of G.711 without hiding, and that of GSM-EFR: the lowest of
///   their kind.
/// - Wide-band codecs stay on the narrow-band scale, with no impairment and GSM-EFR's robustness: G.107.1 rates them on a
///   scale of its own, up to 129, on which an HD call and a plain one could no longer be compared, with values that
///   exist for some bit rates only. So HD is never scored above a plain call, though it sounds better.
const CODECS: [Codec; 27] = [
    rated("PCMU", 0.0, 25.1, 20.0),
    rated("PCMA", 0.0, 25.1, 20.0),
    rated("G729", 11.0, 19.0, 25.0),
    rated("G723", 15.0, 16.1, 37.5),
    rated("GSM", 20.0, 10.0, 20.0),
    rated("GSM-EFR", 5.0, 10.0, 20.0),
    rated("AMR", 5.0, 10.0, 25.0),
    rated("G726-16", 50.0, 4.3, 20.0),
    rated("G726-24", 25.0, 4.3, 20.0),
    rated("G726-32", 7.0, 4.3, 20.0),
    rated("G726-40", 2.0, 4.3, 20.0),
    rated("G722", 0.0, 10.0, 22.0),
    rated("AMR-WB", 0.0, 10.0, 25.0),
    rated("EVS", 0.0, 10.0, 32.0),
    rated("opus", 0.0, 10.0, 26.5),
    named("iLBC"),
    named("speex"),
    named("SILK"),
    named("G728"),
    named("L16"),
    named("H261"),
    named("H263"),
    named("H264"),
    named("H265"),
    named("VP8"),
    named("VP9"),
    named("AV1"),
];

/// The codec of this encoding name; its case does not matter (RFC 4855 section 3).
pub fn known(name: &str) -> Option<&'static Codec> {
    CODECS.iter().find(|codec| codec.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_as_registered_or_not_at_all() {
        assert_eq!(known("pcma").map(|codec| codec.name), Some("PCMA"));
        assert_eq!(known("OPUS").and_then(|codec| codec.impairment).map(|i| i.ie), Some(0.0));
        assert!(known("iLBC").is_some_and(|codec| codec.impairment.is_none()));
        assert_eq!((known("447700900001"), known("")), (None, None));
    }
}
