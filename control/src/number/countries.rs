//! The countries' numbering plans, as far as reading a number needs them.
//!
//! Owns the table: country code, prefixes, lengths. Read by the trunk profiles and the handset form; pure.
//!
//! Lengths and prefixes follow libphonenumber's metadata (<https://github.com/google/libphonenumber>, Apache-2.0),
//! and a test compares them with the version that this crate is tested with. Where a plan lets callers choose among
//! carriers, the international prefixes are those that a calling line's number is seen with.

/// A country code and how its numbers are written at home.
#[derive(Debug)]
pub struct Country {
    /// 1 to 3 digits. No code begins with another one.
    pub code: &'static str,
    /// Prefixes before a number of this country, with a space between them; empty when there is none.
    pub national: &'static str,
    /// Prefixes before a country code, with a space between them.
    pub international: &'static str,
    /// Bit n: a subscriber's number may have n digits after the country code.
    lengths: u16,
    /// A subscriber's number may begin with 0, as in Italy: that 0 is no prefix.
    zero: bool,
}

impl Country {
    /// The country with this code.
    pub fn by_code(code: &str) -> Option<&'static Self> {
        COUNTRIES.binary_search_by(|row| row.code.cmp(code)).ok().and_then(|at| COUNTRIES.get(at))
    }

    /// The country that `digits`, with its code first, belong to, and what follows the code.
    pub fn of(digits: &str) -> Option<(&'static Self, &str)> {
        (1..=3).find_map(|n| {
            let (code, national) = digits.split_at_checked(n)?;
            Some((Self::by_code(code)?, national))
        })
    }

    /// Whether a subscriber's number may have this many digits after the country code.
    pub fn has_length(&self, digits: usize) -> bool {
        digits < 16 && self.lengths & (1 << digits) != 0
    }

    /// Whether `national`, what follows the country code, begins with a 0 that no number of this country has.
    pub fn has_stray_zero(&self, national: &str) -> bool {
        !self.zero && national.starts_with('0')
    }

    /// Whether digits without a prefix are best taken for a number of this country, and not for a country code and a
    /// number. No country code begins with 0: only beside such a prefix do the two stay apart. Mexico dials no
    /// prefix any more; hers are the past's.
    pub fn is_dialled_bare(&self) -> bool {
        self.code == "52" || self.national.split(' ').any(|prefix| !prefix.starts_with('0'))
    }

    /// Whether people write the national prefix into the full number: `+44 (0)7700 900001`.
    pub fn writes_zero_in_full(&self) -> bool {
        !self.zero && self.national.split(' ').any(|prefix| prefix == "0")
    }
}

const fn row(
    code: &'static str,
    national: &'static str,
    international: &'static str,
    digits: &[u8],
) -> Country {
    let (mut lengths, mut at) = (0, 0);
    while let Some((length, _)) = digits.split_at(at).1.split_first() {
        lengths |= 1 << *length;
        at += 1;
    }
    Country { code, national, international, lengths, zero: false }
}

const fn zero(
    code: &'static str,
    national: &'static str,
    international: &'static str,
    digits: &[u8],
) -> Country {
    let Country { lengths, .. } = row(code, national, international, digits);
    Country { code, national, international, lengths, zero: true }
}

/// Sorted by code. `zero`: a number may begin with 0.
static COUNTRIES: &[Country] = &[
    row("1", "1", "011", &[10]),                       // US CA and the Caribbean
    row("20", "0", "00", &[8, 9, 10]),                 // EG
    row("211", "0", "00", &[9]),                       // SS
    row("212", "0", "00", &[9]),                       // EH MA
    row("213", "0", "00", &[8, 9]),                    // DZ
    row("216", "", "00", &[8]),                        // TN
    row("218", "0", "00", &[9]),                       // LY
    row("220", "", "00", &[7]),                        // GM
    row("221", "", "00", &[9]),                        // SN
    row("222", "", "00", &[8]),                        // MR
    row("223", "", "00", &[8]),                        // ML
    row("224", "", "00", &[8, 9]),                     // GN
    zero("225", "", "00", &[10]),                      // CI
    zero("226", "", "00", &[8]),                       // BF
    row("227", "", "00", &[8]),                        // NE
    row("228", "", "00", &[8]),                        // TG
    zero("229", "", "00", &[8, 10]),                   // BJ
    row("230", "", "00", &[7, 8]),                     // MU
    row("231", "0", "00", &[7, 8, 9]),                 // LR
    row("232", "0", "00", &[8]),                       // SL
    row("233", "0", "00", &[9]),                       // GH
    row("234", "0", "009 00", &[10]),                  // NG
    row("235", "", "00", &[8]),                        // TD
    row("236", "", "00", &[8]),                        // CF
    row("237", "", "00", &[9]),                        // CM
    row("238", "", "0 00", &[7]),                      // CV
    row("239", "", "00", &[7]),                        // ST
    row("240", "", "00", &[9]),                        // GQ
    zero("241", "", "00", &[7, 8]),                    // GA
    zero("242", "", "00", &[9]),                       // CG
    row("243", "0", "00", &[7, 8, 9, 10]),             // CD
    row("244", "", "00", &[9]),                        // AO
    row("245", "", "00", &[7, 9]),                     // GW
    row("246", "", "00", &[7]),                        // IO
    row("247", "", "00", &[5]),                        // AC
    row("248", "", "00", &[7]),                        // SC
    row("249", "0", "00", &[9]),                       // SD
    row("250", "0", "00", &[8, 9]),                    // RW
    row("251", "0", "00", &[9]),                       // ET
    row("252", "0", "00", &[6, 7, 8, 9]),              // SO
    row("253", "", "00", &[8]),                        // DJ
    row("254", "0", "000 00", &[7, 8, 9]),             // KE
    row("255", "0", "000 00", &[9]),                   // TZ
    row("256", "0", "000 00", &[9]),                   // UG
    row("257", "", "00", &[8]),                        // BI
    row("258", "", "00", &[8, 9]),                     // MZ
    row("260", "0", "00", &[9]),                       // ZM
    row("261", "0", "00", &[9]),                       // MG
    row("262", "0", "00", &[9]),                       // RE YT
    row("263", "0", "00", &[5, 6, 7, 8, 9, 10]),       // ZW
    row("264", "0", "00", &[8, 9]),                    // NA
    row("265", "0", "00", &[7, 9]),                    // MW
    row("266", "", "00", &[8]),                        // LS
    row("267", "", "00", &[7, 8]),                     // BW
    row("268", "", "00", &[8]),                        // SZ
    row("269", "", "00", &[7]),                        // KM
    row("27", "0", "00", &[5, 6, 7, 8, 9]),            // ZA
    row("290", "", "00", &[4, 5]),                     // SH TA
    row("291", "0", "00", &[7]),                       // ER
    row("297", "", "00", &[7]),                        // AW
    row("298", "", "00", &[6]),                        // FO
    row("299", "", "00", &[6]),                        // GL
    row("30", "", "00", &[10]),                        // GR
    row("31", "0", "00", &[9, 11]),                    // NL
    row("32", "0", "00", &[8, 9]),                     // BE
    row("33", "0", "00", &[9]),                        // FR
    row("34", "", "00", &[9]),                         // ES
    row("350", "", "00", &[8]),                        // GI
    row("351", "", "00", &[9]),                        // PT
    row("352", "", "00", &[4, 5, 6, 7, 8, 9, 10, 11]), // LU
    row("353", "0", "00", &[7, 8, 9, 10]),             // IE
    row("354", "", "00", &[7, 9]),                     // IS
    row("355", "0", "00", &[8, 9]),                    // AL
    row("356", "", "00", &[8]),                        // MT
    row("357", "", "00", &[8]),                        // CY
    row("358", "0", "00", &[5, 6, 7, 8, 9, 10]),       // AX FI
    row("359", "0", "00", &[6, 7, 8, 9]),              // BG
    row("36", "06", "00", &[8, 9]),                    // HU
    row("370", "8 0", "00", &[8]),                     // LT
    row("371", "", "00", &[8]),                        // LV
    row("372", "", "00", &[7, 8]),                     // EE
    row("373", "0", "00", &[8]),                       // MD
    row("374", "0", "00", &[8]),                       // AM
    row("375", "80 8", "810", &[9]),                   // BY
    row("376", "", "00", &[6, 9]),                     // AD
    row("377", "0", "00", &[8, 9]),                    // MC
    zero("378", "", "00", &[8, 10]),                   // SM
    row("380", "0", "00", &[9]),                       // UA
    row("381", "0", "00", &[7, 8, 9, 10, 11, 12]),     // RS
    row("382", "0", "00", &[8]),                       // ME
    row("383", "0", "00", &[8, 9, 10, 11, 12]),        // XK
    row("385", "0", "00", &[8, 9]),                    // HR
    row("386", "0", "00", &[8]),                       // SI
    row("387", "0", "00", &[8, 9]),                    // BA
    row("389", "0", "00", &[8]),                       // MK
    zero("39", "", "00", &[6, 7, 8, 9, 10, 11, 12]),   // IT VA
    row("40", "0", "00", &[6, 9]),                     // RO
    row("41", "0", "00", &[9]),                        // CH
    row("420", "", "00", &[9]),                        // CZ
    row("421", "0", "00", &[6, 7, 9]),                 // SK
    row("423", "0", "00", &[7, 9]),                    // LI
    row("43", "0", "00", &[4, 5, 6, 7, 8, 9, 10, 11, 12, 13]), // AT
    row("44", "0", "00", &[9, 10]),                    // GB GG IM JE
    row("45", "", "00", &[8]),                         // DK
    row("46", "0", "00", &[7, 8, 9]),                  // SE
    row("47", "", "00", &[8]),                         // NO SJ
    row("48", "", "00", &[7, 9]),                      // PL
    row("49", "0", "00", &[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]), // DE
    row("500", "", "00", &[5]),                        // FK
    row("501", "", "00", &[7]),                        // BZ
    row("502", "", "00", &[8]),                        // GT
    row("503", "", "00", &[8]),                        // SV
    row("504", "", "00", &[8]),                        // HN
    row("505", "", "00", &[8]),                        // NI
    row("506", "", "00", &[8]),                        // CR
    row("507", "", "00", &[7, 8]),                     // PA
    row("508", "0", "00", &[6, 9]),                    // PM
    row("509", "", "00", &[8]),                        // HT
    row("51", "0", "00", &[8, 9]),                     // PE
    row("52", "01 044 045", "00", &[10]),              // MX
    row("53", "0", "119", &[6, 7, 8, 10]),             // CU
    row("54", "0", "00", &[10, 11]),                   // AR
    row("55", "0 012 014 015 021 022 023 025 031 041 043 055 065 099", "00", &[10, 11]), // BR
    row("56", "", "00", &[9]),                         // CL
    row("57", "0 03 05 07 09", "005 007 009 00414 00444 00456", &[8, 10]), // CO
    row("58", "0", "00", &[10]),                       // VE
    row("590", "0", "00", &[9]),                       // BL GP MF
    row("591", "0", "00", &[8]),                       // BO
    row("592", "", "001", &[7]),                       // GY
    row("593", "0", "00", &[8, 9]),                    // EC
    row("594", "0", "00", &[9]),                       // GF
    row("595", "0", "00", &[7, 8, 9]),                 // PY
    row("596", "0", "00", &[9]),                       // MQ
    row("597", "", "00", &[6, 7]),                     // SR
    row("598", "0", "00", &[8]),                       // UY
    row("599", "", "00", &[7, 8]),                     // BQ CW
    row("60", "0", "00", &[8, 9, 10]),                 // MY
    row("61", "0", "0011", &[9]),                      // AU CC CX
    row("62", "0", "008 009 001 007 01017", &[7, 8, 9, 10, 11, 12]), // ID
    row("63", "0", "00", &[6, 8, 9, 10]),              // PH
    row("64", "0", "00", &[8, 9, 10]),                 // NZ
    row("65", "", "001 002 008 018 019", &[8]),        // SG
    row("66", "0", "001 004 005 006 007 008 009", &[8, 9]), // TH
    row("670", "", "00", &[7, 8]),                     // TL
    row("672", "", "00", &[6]),                        // NF
    row("673", "", "00", &[7]),                        // BN
    row("674", "", "00", &[7]),                        // NR
    row("675", "", "00", &[7, 8]),                     // PG
    row("676", "", "00", &[5, 7]),                     // TO
    row("677", "", "00", &[5, 7]),                     // SB
    row("678", "", "00", &[5, 7]),                     // VU
    row("679", "", "00", &[7]),                        // FJ
    row("680", "", "011", &[7]),                       // PW
    row("681", "", "00", &[6]),                        // WF
    row("682", "", "00", &[5]),                        // CK
    row("683", "", "00", &[4, 7]),                     // NU
    row("685", "", "0 00", &[5, 6, 7, 10]),            // WS
    row("686", "0", "00", &[5, 8]),                    // KI
    row("687", "", "00", &[6]),                        // NC
    row("688", "", "00", &[5, 6, 7]),                  // TV
    row("689", "", "00", &[8]),                        // PF
    row("690", "", "00", &[4, 5, 6, 7]),               // TK
    row("691", "", "00", &[7]),                        // FM
    row("692", "1", "011", &[7]),                      // MH
    row("7", "8", "810", &[10]),                       // KZ RU
    row("81", "0", "010", &[9, 10]),                   // JP
    row("82", "0", "001 002 005 006 008 009 00700", &[5, 6, 8, 9, 10, 11]), // KR
    row("84", "0", "00", &[9, 10]),                    // VN
    row("850", "0", "00", &[8, 10]),                   // KP
    row("852", "", "001", &[8]),                       // HK
    row("853", "", "00", &[8]),                        // MO
    row("855", "0", "001 004 005 006 007 008 009", &[8, 9]), // KH
    row("856", "0", "00", &[8, 9, 10]),                // LA
    row("86", "0", "00", &[7, 8, 9, 10, 11]),          // CN
    row("880", "0", "00", &[6, 7, 8, 9, 10]),          // BD
    row("886", "0", "002 005 006 007 009 019", &[8, 9, 10, 11]), // TW
    row("90", "0", "00", &[10]),                       // TR
    row("91", "0", "00", &[10]),                       // IN
    row("92", "0", "00", &[9, 10]),                    // PK
    row("93", "0", "00", &[9]),                        // AF
    row("94", "0", "00", &[9]),                        // LK
    row("95", "0", "00", &[6, 7, 8, 9, 10]),           // MM
    row("960", "", "00", &[7]),                        // MV
    row("961", "0", "00", &[7, 8]),                    // LB
    row("962", "0", "00", &[8, 9]),                    // JO
    row("963", "0", "00", &[8, 9]),                    // SY
    row("964", "0", "00", &[8, 9, 10]),                // IQ
    row("965", "", "00", &[8]),                        // KW
    row("966", "0", "00", &[9]),                       // SA
    row("967", "0", "00", &[7, 8, 9]),                 // YE
    row("968", "", "00", &[8]),                        // OM
    row("970", "0", "00", &[8, 9]),                    // PS
    row("971", "0", "00", &[8, 9]),                    // AE
    row("972", "0", "00 012 013 014 015 016 017 018 019", &[8, 9, 11, 12]), // IL
    row("973", "", "00", &[8]),                        // BH
    row("974", "", "00", &[8]),                        // QA
    row("975", "", "00", &[7, 8]),                     // BT
    row("976", "0", "001", &[8, 9, 10]),               // MN
    row("977", "0", "00", &[8, 10]),                   // NP
    row("98", "0", "00", &[6, 7, 10]),                 // IR
    zero("992", "", "810", &[9]),                      // TJ
    row("993", "8", "810", &[8]),                      // TM
    row("994", "0", "00", &[9]),                       // AZ
    row("995", "0", "00", &[9]),                       // GE
    row("996", "0", "00", &[9]),                       // KG
    row("998", "", "00", &[9]),                        // UZ
];

#[cfg(test)]
pub(super) fn all() -> &'static [Country] {
    COUNTRIES
}

#[cfg(test)]
mod tests {
    use phonenumber::metadata::Descriptor;

    use super::*;

    #[test]
    fn codes_are_sorted_and_none_begins_with_another() {
        for pair in COUNTRIES.windows(2) {
            assert!(pair[0].code < pair[1].code && !pair[1].code.starts_with(pair[0].code), "{pair:?}");
        }
        assert_eq!(Country::of("447700900001").map(|(c, rest)| (c.code, rest)), Some(("44", "7700900001")));
        assert_eq!(Country::of("3531234567").map(|(c, _)| c.code), Some("353"));
        assert!(Country::of("999123").is_none() && Country::of("3").is_none());
    }

    /// The numbering plans change. When this fails after an update of `phonenumber`, mend the row that it names.
    #[test]
    fn the_table_is_what_libphonenumber_knows() {
        let plans = &*phonenumber::metadata::DATABASE;
        for country in COUNTRIES {
            let code: u16 = country.code.parse().unwrap();
            let mut lengths = 0;
            for region in plans.by_code(&code).unwrap() {
                let kinds = region.descriptors();
                for kind in [kinds.fixed_line(), kinds.mobile(), kinds.voip(), kinds.personal_number()] {
                    let possible = kind.map(Descriptor::possible_length).unwrap_or_default();
                    lengths = possible.iter().fold(lengths, |all, length| all | 1 << length);
                    let example = kind.and_then(|kind| kind.example()).unwrap_or("1");
                    assert!(!country.has_stray_zero(example), "{country:?}");
                }
            }
            assert_eq!(country.lengths, lengths, "{country:?}");
            let main = &plans.by_code(&code).unwrap()[0];
            if let Some(prefix) = main.national_prefix() {
                assert!(country.national.split(' ').any(|p| prefix == p || (prefix == "8" && p == "80")));
            }
            let known = main.international_prefix().unwrap();
            let usual = country.international.split(' ').next().unwrap();
            // Brazil's callers add a carrier's code, which a caller's number is not seen with.
            let whole = known.find(usual).is_some_and(|found| found.len() == usual.len());
            assert!(whole || country.code == "55", "{country:?}");
        }
        for region in plans.iter().filter(|region| region.id() != "001") {
            assert!(Country::by_code(&region.country_code().to_string()).is_some(), "{}", region.id());
        }
    }
}
