//! One value type for both encodings of NG: bencode and JSON.
//!
//! Pure. A value may hold Call-IDs, tags and SDP, so it cannot be printed by accident: no `Debug` outside tests.

use std::borrow::Cow;

use serde_json::Value as Json;

/// Text that is either written in the program or made for the message.
pub type Text = Cow<'static, str>;

/// What an NG message is made of. Text is UTF-8; other bytes on the wire become U+FFFD.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum Value {
    /// A string.
    Text(Text),
    /// An integer.
    Int(i64),
    /// A list.
    List(Vec<Value>),
    /// A dictionary, in the order it was written; of keys that occur twice the first counts.
    Dict(Vec<(Text, Value)>),
}

impl Value {
    /// A dictionary of these entries.
    pub fn dict<K: Into<Text>, const N: usize>(entries: [(K, Self); N]) -> Self {
        Self::Dict(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, also when it was written as text.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            Self::List(_) | Self::Dict(_) => None,
        }
    }

    /// The entries of a list; a text alone counts as a list of one, as proxies write it.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            Self::Text(_) | Self::Int(_) => std::slice::from_ref(self),
            Self::Dict(_) => &[],
        }
    }

    /// The entry of a dictionary, by its exact key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Dict(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Adds an entry; does nothing where this is no dictionary.
    #[must_use]
    pub fn with(mut self, key: impl Into<Text>, value: impl Into<Self>) -> Self {
        if let Self::Dict(entries) = &mut self {
            entries.push((key.into(), value.into()));
        }
        self
    }

    /// Takes JSON: booleans become 0 and 1, other numbers than integers become text, null becomes an empty text.
    pub fn from_json(json: Json) -> Self {
        match json {
            Json::String(text) => Self::Text(text.into()),
            Json::Number(number) => {
                number.as_i64().map_or_else(|| Self::Text(number.to_string().into()), Self::Int)
            }
            Json::Bool(yes) => Self::Int(i64::from(yes)),
            Json::Null => Self::Text(Text::default()),
            Json::Array(items) => Self::List(items.into_iter().map(Self::from_json).collect()),
            Json::Object(map) => {
                Self::Dict(map.into_iter().map(|(k, v)| (k.into(), Self::from_json(v))).collect())
            }
        }
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Text(text) => Json::from(text.as_ref()),
            Self::Int(number) => Json::from(*number),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Dict(entries) => {
                Json::Object(entries.iter().map(|(k, v)| (k.clone().into_owned(), v.to_json())).collect())
            }
        }
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<Vec<Self>> for Value {
    fn from(items: Vec<Self>) -> Self {
        Self::List(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_understood_as_numbers_and_as_text() {
        assert_eq!(Value::Int(184).int(), Some(184));
        assert_eq!(Value::from("184").int(), Some(184));
        assert_eq!(Value::from("x").int(), None);
    }

    #[test]
    fn a_lone_text_counts_as_a_list_of_one() {
        assert_eq!(Value::from("remove").items(), [Value::from("remove")]);
        assert!(Value::dict([("a", Value::Int(1))]).items().is_empty());
    }
}
