//! Prometheus text (exposition format 0.0.4), written by hand: families, labels, values.
//!
//! Label values come from closed sets (reasons, states, roles) and never from callers.

use std::fmt::{Display, Write};

/// Collects metric families as text.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Starts a family; its samples must follow before the next family starts.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) -> &mut Self {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        self
    }

    /// One sample of the family that was started last.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, escape(text));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
        self
    }

    /// A family that has a single sample without labels.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) -> &mut Self {
        self.family(name, kind, help).sample(name, &[], value)
    }

    /// Appends text that is in the format already.
    pub fn append(&mut self, text: &str) -> &mut Self {
        self.0.push_str(text);
        if !text.is_empty() && !text.ends_with('\n') {
            self.0.push('\n');
        }
        self
    }

    /// The text so far.
    pub fn finish(self) -> String {
        self.0
    }
}

/// What a family's numbers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_samples_are_in_the_exposition_format() {
        let mut text = Text::default();
        text.family("a_total", Kind::Counter, "How many.").sample("a_total", &[("r", "x\"y"), ("s", "z")], 3);
        text.single("b", Kind::Gauge, "Now.", 1.5).append("c 1");
        let want = "# HELP a_total How many.\n# TYPE a_total counter\na_total{r=\"x\\\"y\",s=\"z\"} 3\n\
                    # HELP b Now.\n# TYPE b gauge\nb 1.5\nc 1\n";
        assert_eq!(text.finish(), want);
    }
}
