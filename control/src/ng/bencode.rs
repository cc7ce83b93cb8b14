//! Bencode, as NG uses it: keys in any order, integers, byte strings, lists, dictionaries.
//!
//! Pure. Decoding refuses what is nested deeper than [`MAX_DEPTH`] or holds more than [`MAX_VALUES`] values, and
//! takes no more memory than the message implies. Bytes behind the first value are not looked at, as by the
//! incumbent.

use super::value::Value;

/// Deepest nesting that is followed.
pub const MAX_DEPTH: usize = 16;
/// Most values in one message.
pub const MAX_VALUES: usize = 8192;

/// Why bytes are not bencode. Does not repeat them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BencodeError {
    /// It stops in the middle.
    #[error("ends too early")]
    Short,
    /// A byte stands where none like it may.
    #[error("malformed at byte {0}")]
    Malformed(usize),
    /// Nested too deep, or too many values.
    #[error("too deep or too large")]
    TooLarge,
}

/// Decodes the first value in `bytes`.
pub fn decode(bytes: &[u8]) -> Result<Value, BencodeError> {
    Decoder { bytes, at: 0, values: 0 }.value(0)
}

/// Encodes `value`; dictionaries keep their order.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    write(value, &mut out);
    out
}

/// Appends `value`; dictionaries keep their order.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => write_text(text, out),
        Value::Int(number) => {
            out.push(b'i');
            if *number < 0 {
                out.push(b'-');
            }
            write_number(number.unsigned_abs(), out);
            out.push(b'e');
        }
        Value::List(items) => {
            out.push(b'l');
            for item in items {
                write(item, out);
            }
            out.push(b'e');
        }
        Value::Dict(entries) => {
            out.push(b'd');
            for (key, value) in entries {
                write_text(key, out);
                write(value, out);
            }
            out.push(b'e');
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    write_number(text.len() as u64, out);
    out.push(b':');
    out.extend_from_slice(text.as_bytes());
}

/// In decimal. A reply is mostly short texts with their lengths, and formatting them took longer than all else of it.
fn write_number(number: u64, out: &mut Vec<u8>) {
    let start = out.len();
    let mut rest = number;
    loop {
        out.push(b"0123456789".get((rest % 10) as usize).copied().unwrap_or(b'0'));
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.get_mut(start..).unwrap_or_default().reverse();
}

struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    values: usize,
}

impl Decoder<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, BencodeError> {
        self.values += 1;
        if depth > MAX_DEPTH || self.values > MAX_VALUES {
            return Err(BencodeError::TooLarge);
        }
        match self.peek()? {
            b'0'..=b'9' => Ok(Value::Text(self.text()?.into())),
            b'i' => {
                self.at += 1;
                Ok(Value::Int(self.integer(b'e')?))
            }
            b'l' => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.end()? {
                    items.push(self.value(depth + 1)?);
                }
                Ok(Value::List(items))
            }
            b'd' => {
                self.at += 1;
                let mut entries = Vec::new();
                while !self.end()? {
                    let key = self.text()?;
                    entries.push((key.into(), self.value(depth + 1)?));
                }
                Ok(Value::Dict(entries))
            }
            _ => Err(BencodeError::Malformed(self.at)),
        }
    }

    fn peek(&self) -> Result<u8, BencodeError> {
        self.bytes.get(self.at).copied().ok_or(BencodeError::Short)
    }

    fn end(&mut self) -> Result<bool, BencodeError> {
        let ends = self.peek()? == b'e';
        self.at += usize::from(ends);
        Ok(ends)
    }

    fn integer(&mut self, end: u8) -> Result<i64, BencodeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        // The longest is `-9223372036854775808`.
        let length = match rest.iter().take(21).position(|b| *b == end) {
            Some(length) => length,
            None if rest.len() < 21 => return Err(BencodeError::Short),
            None => return Err(BencodeError::Malformed(self.at)),
        };
        let digits = rest.get(..length).and_then(|d| std::str::from_utf8(d).ok());
        let number = digits.filter(|d| !d.starts_with('+')).and_then(|d| d.parse().ok());
        let number = number.ok_or(BencodeError::Malformed(self.at))?;
        self.at += length + 1;
        Ok(number)
    }

    fn text(&mut self) -> Result<String, BencodeError> {
        let start = self.at;
        let length = usize::try_from(self.integer(b':')?).map_err(|_| BencodeError::Malformed(start))?;
        let end = self.at.checked_add(length).ok_or(BencodeError::Short)?;
        let bytes = self.bytes.get(self.at..end).ok_or(BencodeError::Short)?;
        self.at = end;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_come_in_any_order() {
        let value = decode(b"d7:command4:ping1:ai-5e5:flagsl4:fast0:ee").unwrap();
        assert_eq!(value.get("command").unwrap().text(), Some("ping"));
        assert_eq!(value.get("a").unwrap().int(), Some(-5));
        assert_eq!(value.get("flags").unwrap().items(), [Value::from("fast"), Value::from("")]);
        assert_eq!(encode(&value), b"d7:command4:ping1:ai-5e5:flagsl4:fast0:ee");
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 9, 10, 1_000_007, -1, i64::MIN, i64::MAX] {
            assert_eq!(encode(&Value::Int(number)), format!("i{number}e").as_bytes());
        }
        assert_eq!(encode(&Value::from("x".repeat(120))), format!("120:{}", "x".repeat(120)).as_bytes());
    }

    #[test]
    fn malformed_bytes_are_refused() {
        use BencodeError::{Malformed, Short, TooLarge};
        for (bytes, error) in [
            (&b""[..], Short),
            (b"d", Short),
            (b"5:abcd", Short),
            (b"i12", Short),
            (b"i1.5e", Malformed(1)),
            (b"i+1e", Malformed(1)),
            (b"ie", Malformed(1)),
            (b"i99999999999999999999e", Malformed(1)),
            (b"18446744073709551615:x", Malformed(0)),
            (b"di1e1:ae", Malformed(1)),
            (b"x", Malformed(0)),
        ] {
            assert_eq!(decode(bytes), Err(error), "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(decode(&b"l".repeat(60_000)), Err(TooLarge));
        let many = [&b"l"[..], &b"le".repeat(20_000), b"e"].concat();
        assert_eq!(decode(&many), Err(TooLarge));
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(decode(b"2:\xff\xfe").unwrap(), Value::from("\u{fffd}\u{fffd}"));
    }

    pub fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![".{0,12}".prop_map(Value::from), any::<i64>().prop_map(Value::Int)];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
                prop::collection::vec((".{0,8}".prop_map(Into::into), inner), 0..6).prop_map(Value::Dict),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(value in values()) {
            prop_assert_eq!(decode(&encode(&value)).unwrap(), value);
        }

        #[test]
        fn alien_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_damaged_message_never_panics(value in values(), at: prop::sample::Index, byte: u8) {
            let mut bytes = encode(&value);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = decode(&bytes);
            let _ = decode(&bytes[..at]);
        }

        #[test]
        fn json_holds_the_same(value in values()) {
            let text = value.to_json().to_string();
            let back = Value::from_json(serde_json::from_str(&text).unwrap());
            prop_assert_eq!(back.to_json(), value.to_json());
        }
    }
}
