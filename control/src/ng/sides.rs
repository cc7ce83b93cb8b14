//! Which interfaces of the relay a request names, and for which side, in the keys and flags that proxies use.
//!
//! Pure. What a name stands for, the relay knows: [`crate::call`] asks its list.

use super::value::Value;

/// Interfaces by name. First the side that sends the request, then the one that its SDP is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sides {
    /// `direction`.
    direction: Vec<String>,
    /// `from-interface` and `to-interface`.
    each: [Option<String>; 2],
    /// `interface`: both.
    both: Option<String>,
    /// The flags `internal` and `external`, in their order: names, if there are interfaces that are called so.
    flags: Vec<&'static str>,
}

impl Sides {
    /// Takes a key, as [`super::flags::plain`] has it; false when it says nothing of interfaces.
    pub(crate) fn take(&mut self, key: &str, value: &Value) -> bool {
        let names = || value.items().iter().filter_map(Value::text).map(str::trim).filter(|n| !n.is_empty());
        let [from, to] = &mut self.each;
        let one = match key {
            // A list, or the key once for each side.
            "direction" => {
                let left = 2_usize.saturating_sub(self.direction.len());
                self.direction.extend(names().take(left).map(str::to_owned));
                return true;
            }
            "from-interface" => from,
            "to-interface" => to,
            "interface" => &mut self.both,
            _ => return false,
        };
        *one = names().next().map(str::to_owned).or(one.take());
        true
    }

    /// Takes a flag; false when it says nothing of interfaces.
    pub(crate) fn flag(&mut self, flag: &str) -> bool {
        let Some(name) = ["internal", "external"].into_iter().find(|name| *name == flag) else {
            return false;
        };
        if self.flags.len() < 2 {
            self.flags.push(name);
        }
        true
    }

    /// The names for the sending and the receiving side. `exists` says whether an interface has a name: what only a
    /// flag says counts where it does.
    pub fn names(&self, exists: impl Fn(&str) -> bool) -> [Option<&str>; 2] {
        let [from, to] = &self.each;
        [(0, from), (1, to)].map(|(n, each)| {
            let said = each.as_ref().or_else(|| self.direction.get(n)).or(self.both.as_ref());
            let hint = || self.flags.get(n).copied().filter(|name| exists(name));
            said.map(String::as_str).or_else(hint)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(said: &[(&str, &[&str])]) -> Sides {
        let mut sides = Sides::default();
        for (key, values) in said {
            let list = values.iter().map(|v| Value::from((*v).to_owned())).collect();
            assert!(sides.take(key, &Value::List(list)) || values.is_empty() && sides.flag(key), "{key}");
        }
        sides
    }

    #[test]
    fn every_way_to_name_interfaces_is_understood() {
        for (said, names) in [
            (&[("direction", &["a", "b"][..])][..], [Some("a"), Some("b")]),
            (&[("direction", &["a"]), ("direction", &["b"]), ("direction", &["c"])], [Some("a"), Some("b")]),
            (&[("direction", &["a"])], [Some("a"), None]),
            (&[("from-interface", &["a"])], [Some("a"), None]),
            (&[("to-interface", &[" b "])], [None, Some("b")]),
            (&[("direction", &["a", "b"]), ("to-interface", &["c"])], [Some("a"), Some("c")]),
            (&[("interface", &["a"]), ("to-interface", &["c"])], [Some("a"), Some("c")]),
            (&[("interface", &["a"])], [Some("a"), Some("a")]),
            (&[("internal", &[]), ("external", &[])], [Some("internal"), Some("external")]),
            (&[("external", &[])], [Some("external"), None]),
            (&[("external", &[]), ("direction", &["a", "b"])], [Some("a"), Some("b")]),
            (&[("direction", &[""])], [None, None]),
        ] {
            assert_eq!(sides(said).names(|_| true), names, "{said:?}");
        }
        let flags = sides(&[("internal", &[]), ("external", &[])]);
        assert_eq!(flags.names(|name| name == "external"), [None, Some("external")]);
        assert!(!Sides::default().take("colour", &Value::from("a")) && !Sides::default().flag("inside"));
    }
}
