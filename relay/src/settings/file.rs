//! The file itself: sections, known keys, and errors that name file, line and reason.

use std::path::Path;

use toml_edit::{Document, Item, Table};

use super::Setting;

/// The sections that a `pop.toml` may hold.
const SECTIONS: [&str; 3] = ["relay", "control", "recorder"];

/// Why a settings file is refused. Prints as `FILE:LINE: what: why`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {reason}", line.map(|n| format!(":{n}")).unwrap_or_default())]
pub struct Error {
    /// The file as it was named.
    pub file: String,
    /// Line, from 1; none where the whole file is meant.
    pub line: Option<usize>,
    /// What is wrong and what would be right.
    pub reason: String,
}

/// One key of a section, for `bauta config` and for documentation.
#[derive(Debug, Clone)]
pub struct Key {
    /// Name inside its section.
    pub name: &'static str,
    /// What a value looks like, in words.
    pub kind: &'static str,
    /// The default as it would be written in the file.
    pub default: String,
    /// What it means, with unit and range.
    pub sentence: &'static str,
}

/// A section of the settings file; implemented by [`settings!`](crate::settings!).
pub trait Section: Sized {
    /// The table's name in the file.
    const NAME: &'static str;
    /// What the section is about.
    const ABOUT: &'static str;
    /// Every key with its default.
    fn keys() -> Vec<Key>;
    /// Reads the section, defaults filled in. Refuses unknown keys, wrong types and impossible values.
    fn read(file: &File) -> Result<Self, Error>;
}

/// A settings file in memory, spans kept.
#[derive(Debug)]
pub struct File {
    name: String,
    text: String,
    document: Document<String>,
}

impl File {
    /// Reads `path`. Without a path: `pop.toml` in the current directory if there is one, else all defaults.
    pub fn open(path: Option<&Path>) -> Result<Self, Error> {
        let (path, required) = path.map_or((Path::new("pop.toml"), false), |p| (p, true));
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&name, &text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !required => Self::parse(&name, ""),
            Err(e) => Err(Error { file: name, line: None, reason: format!("cannot be read: {e}") }),
        }
    }

    /// Takes `text` as the file called `name`.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let fail = |line, reason| Error { file: name.to_owned(), line, reason };
        let document = Document::parse(text.to_owned()).map_err(|e| {
            let line = e.span().map(|s| line_of(text, s.start));
            fail(line, e.message().trim().replace('\n', "; "))
        })?;
        let file = Self { name: name.to_owned(), text: text.to_owned(), document };
        for (key, item) in file.document.as_table() {
            if !SECTIONS.contains(&key) {
                let known = SECTIONS.map(|s| format!("[{s}]")).join(", ");
                return Err(file.error(
                    Some(file.line_of_key(file.document.as_table(), key)),
                    format!("unknown section or key `{key}`: sections are {known}"),
                ));
            }
            if !item.is_table() {
                return Err(file.error(
                    Some(file.line_of_key(file.document.as_table(), key)),
                    format!("`{key}` is a section: write [{key}]"),
                ));
            }
        }
        Ok(file)
    }

    /// Refuses keys of `section` that are not in `known`.
    pub fn known_keys(&self, section: &str, known: &[&str]) -> Result<(), Error> {
        let Some(table) = self.table(section) else { return Ok(()) };
        match table.iter().find(|(key, _)| !known.contains(key)) {
            None => Ok(()),
            Some((key, _)) => {
                let near = known.iter().min_by_key(|k| distance(k, key)).filter(|k| distance(k, key) <= 3);
                let hint = near.map_or(String::new(), |k| format!("; did you mean `{k}`?"));
                let reason = format!("unknown key {section}.{key}{hint} (`bauta config` lists every key)");
                Err(self.error(Some(self.line_of_key(table, key)), reason))
            }
        }
    }

    /// The value of `section.key`, or `default`; `check` says why a well-formed value is impossible.
    pub fn value<T: Setting>(
        &self,
        section: &str,
        key: &str,
        default: T,
        check: fn(&T) -> Result<(), String>,
    ) -> Result<T, Error> {
        let Some(item) = self.table(section).and_then(|t| t.get(key)) else {
            return check(&default)
                .map(|()| default)
                .map_err(|reason| self.error(None, format!("{section}.{key} (default): {reason}")));
        };
        let refuse = |reason: String| self.refusal(section, key, &reason);
        // Tables of their own, [[section.key]], are a list as good as any.
        let tables = item.is_array_of_tables().then(|| item.clone().into_value().ok()).flatten();
        let value = tables.as_ref().or_else(|| item.as_value());
        let value = value.ok_or_else(|| refuse("a table stands where a value belongs".into()))?;
        let value = T::read(value).map_err(refuse)?;
        check(&value).map_err(refuse)?;
        Ok(value)
    }

    /// Whether the file sets `section.key`.
    pub fn has(&self, section: &str, key: &str) -> bool {
        self.table(section).is_some_and(|t| t.contains_key(key))
    }

    /// The refusal of what the file says for `section.key`; without a line where it says nothing.
    pub fn refusal(&self, section: &str, key: &str, reason: &str) -> Error {
        let Some((table, item)) = self.table(section).and_then(|t| t.get(key).map(|i| (t, i))) else {
            return self.error(None, format!("{section}.{key}: {reason}"));
        };
        let written = item.as_value().map(|v| format!(" = {}", v.to_string().trim()));
        // A value of many lines would hide the reason.
        let written = written.filter(|w| !w.contains('\n')).unwrap_or_default();
        self.error(Some(self.line_of_key(table, key)), format!("{section}.{key}{written}: {reason}"))
    }

    fn table(&self, section: &str) -> Option<&Table> {
        self.document.as_table().get(section).and_then(Item::as_table)
    }

    fn line_of_key(&self, table: &Table, key: &str) -> usize {
        let span = table.key(key).and_then(toml_edit::Key::span);
        span.map_or(1, |s| line_of(&self.text, s.start))
    }

    fn error(&self, line: Option<usize>, reason: String) -> Error {
        Error { file: self.name.clone(), line, reason }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

/// Edit distance, to name the key that was meant.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let best = (corner + usize::from(x != y)).min(left + 1).min(*cell + 1);
            corner = std::mem::replace(cell, best);
            left = best;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::settings! {
        /// For the tests.
        pub struct Sample in "relay" {
            /// A port range.
            ports: super::super::PortRange = super::super::PortRange { first: 30000, last: 39999 };
            /// A count.
            workers: u16 = 1;
            /// An address.
            address: std::net::IpAddr = std::net::Ipv4Addr::LOCALHOST.into(), check super::super::value::on_this_host;
        }
    }

    fn refusal(text: &str) -> String {
        match File::parse("pop.toml", text).and_then(|f| Sample::read(&f)) {
            Ok(s) => panic!("{s:?} was accepted"),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn every_refusal_names_file_line_and_reason() {
        assert_eq!(
            refusal("[relay]\nworkers = \"two\""),
            "pop.toml:2: relay.workers = \"two\": expected a whole number from 0 to 65535"
        );
        assert_eq!(
            refusal("\n[relay]\n\nworker = 2"),
            "pop.toml:4: unknown key relay.worker; did you mean `workers`? (`bauta config` lists every key)"
        );
        assert_eq!(
            refusal("[relay]\nports = \"30000-30002\""),
            "pop.toml:2: relay.ports = \"30000-30002\": holds 3 ports; a call takes 4"
        );
        assert!(
            refusal("[relay]\naddress = \"203.0.113.9\"")
                .starts_with("pop.toml:2: relay.address = \"203.0.113.9\": is not an address of this host")
        );
        assert!(refusal("[relay]\nports = \"30001-30004\"").contains("one pair"));
        assert!(refusal("[relay]\naddress = \"0.0.0.0\"").contains("names no interface"));
        assert!(refusal("[relai]").starts_with("pop.toml:1: unknown section or key `relai`"));
        assert!(refusal("[relay]\nworkers = = 1").starts_with("pop.toml:2: "));
        assert!(refusal("relay = 1").starts_with("pop.toml:1: `relay` is a section"));
    }

    #[test]
    fn defaults_fill_what_the_file_leaves_out() {
        let sample = Sample::read(&File::parse("pop.toml", "[relay]\nworkers = 3").unwrap()).unwrap();
        assert_eq!((sample.workers, sample.ports.first, sample.ports.last), (3, 30000, 39999));
    }

    #[test]
    fn what_is_shown_as_default_reads_back_as_itself() {
        let text = Sample::keys()
            .iter()
            .fold("[relay]\n".to_owned(), |t, k| format!("{t}{} = {}\n", k.name, k.default));
        let sample = Sample::read(&File::parse("pop.toml", &text).unwrap()).unwrap();
        assert_eq!(format!("{sample:?}"), format!("{:?}", Sample::default()));
    }
}
