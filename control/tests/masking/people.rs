//! Who calls, and how a trunk may write it.

/// Handsets of the model, each in every form in which a business or a carrier may write it.
pub const HANDSETS: [&[&str]; 6] = [
    &["+447700900101"],
    &["+447700900102"],
    &["+447700900103"],
    &["+447700900104"],
    // Mexico's old 1 before mobiles, and Argentina's 9: one handset each.
    &["+5215512345678", "+525512345678"],
    &["+5491123456789", "+541123456789"],
];

/// A handset in no trip.
pub const STRANGER: &str = "+447700900777";

/// A phone as a trip's request has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Phone {
    pub handset: usize,
    pub form: usize,
}

impl Phone {
    pub fn text(self) -> &'static str {
        let forms = HANDSETS[self.handset];
        forms[self.form % forms.len()]
    }
}

/// Who calls, as far as the network says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caller {
    Handset(usize),
    Stranger,
    /// The number is withheld.
    Withheld,
    /// An address that is no number.
    Named,
}

impl Caller {
    /// The From of a call.
    pub fn address(self, spelling: u8) -> String {
        match self {
            Self::Handset(handset) => {
                spelled(Phone { handset, form: usize::from(spelling / 8) }.text(), spelling)
            }
            Self::Stranger => spelled(STRANGER, spelling),
            Self::Withheld => {
                let ways = [
                    "\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1",
                    "",
                    "<sip:restricted@carrier.example>",
                    "sip:unavailable@carrier.example",
                    "tel:anonymous",
                ];
                ways[usize::from(spelling) % ways.len()].to_owned()
            }
            Self::Named => "sip:alice@example.org".to_owned(),
        }
    }
}

/// One of the ways in which a British trunk without a name writes a number.
pub fn spelled(number: &str, spelling: u8) -> String {
    let digits = number.trim_start_matches('+');
    match (spelling % 6, digits.strip_prefix("44")) {
        (0, _) => format!("sip:{number}@carrier.example"),
        (1, _) => format!("tel:+{}-{}.{}", &digits[..2], &digits[2..5], &digits[5..]),
        (2, Some(national)) => format!("sip:0{national}@carrier.example;user=phone"),
        (3, Some(national)) => format!("\"Me\" <sip:+44 (0){national}@carrier.example>;tag=x"),
        (4, _) => format!("<sip:{digits}@carrier.example>"),
        _ => format!("sip:00{digits}@192.0.2.1:5060;transport=udp"),
    }
}
