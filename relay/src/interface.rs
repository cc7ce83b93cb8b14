//! The relay's interfaces: the addresses that media ports are taken from, what the outside is told of them, and how
//! packets that leave them are marked.
//!
//! Read once at start: the setting `interfaces`, or else the keys that describe the one interface of a simple site.

use std::net::IpAddr;

use toml_edit::Value;

use crate::options::Options;
use crate::program::message;
use crate::settings::{Error, File, PortRange, Section, Setting, on_this_host};

/// The name of the only interface, where none are listed.
pub const DEFAULT: &str = "default";
/// Most interfaces: a call's [`Place`](message::Place) names one in a byte.
const MOST: usize = 256;

/// A named set of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// What offers call it.
    pub name: String,
    /// In the order of the settings; one at least.
    pub addresses: Vec<Address>,
}

/// Ports on one address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Media sockets are bound to it.
    pub bound: IpAddr,
    /// What the parties are told instead; of the same family.
    pub advertised: IpAddr,
    /// Its ports.
    pub ports: PortRange,
    /// What packets that leave it are marked with, 0 to 63 (RFC 2474).
    pub dscp: u8,
}

impl Interface {
    /// As the programming protocol tells it.
    pub fn told(&self) -> message::Interface {
        let mut addresses: Vec<(IpAddr, IpAddr)> = Vec::with_capacity(self.addresses.len());
        for address in &self.addresses {
            let told = (address.bound, address.advertised);
            if !addresses.contains(&told) {
                addresses.push(told);
            }
        }
        message::Interface { name: self.name.clone(), addresses }
    }
}

impl Options {
    /// The relay's interfaces, the default one first.
    pub fn interfaces(&self) -> Vec<Interface> {
        let Self { address, advertised, ports, dscp, .. } = *self;
        if self.interfaces.0.is_empty() {
            let advertised = advertised.unwrap_or(address);
            let only = Address { bound: address, advertised, ports, dscp };
            return vec![Interface { name: DEFAULT.to_owned(), addresses: vec![only] }];
        }
        let mut interfaces: Vec<Interface> = Vec::new();
        for entry in &self.interfaces.0 {
            let addresses = entry.addresses.iter().map(|(bound, advertised)| Address {
                bound: *bound,
                advertised: advertised.unwrap_or(*bound),
                ports: entry.ports.unwrap_or(ports),
                dscp: entry.dscp.unwrap_or(dscp),
            });
            if let Some(interface) = interfaces.iter_mut().find(|i| i.name == entry.name) {
                interface.addresses.extend(addresses);
            } else {
                let addresses = addresses.collect();
                interfaces.push(Interface { name: entry.name.clone(), addresses });
            }
        }
        interfaces
    }
}

/// Refuses interfaces that cannot be: what no single key shows.
pub fn check(options: &Options, file: &File) -> Result<(), Error> {
    let listed = !options.interfaces.0.is_empty();
    let refuse = |key: &str, reason: String| Err(file.refusal(Options::NAME, key, &reason));
    if listed && let Some(key) = ["address", "advertised"].into_iter().find(|k| file.has(Options::NAME, k)) {
        let reason = "is not used when relay.interfaces lists the addresses: leave out one of the two";
        return refuse(key, reason.into());
    }
    let interfaces = options.interfaces();
    if interfaces.len() > MOST {
        return refuse("interfaces", format!("{MOST} interfaces at most"));
    }
    let mut before: Vec<(&str, &Address)> = Vec::new();
    for (name, address) in interfaces.iter().flat_map(|i| i.addresses.iter().map(|a| (i.name.as_str(), a))) {
        let (key, whose) = if listed {
            ("interfaces", format!("interface \"{name}\": "))
        } else {
            ("advertised", String::new())
        };
        if listed && let Err(reason) = on_this_host(&address.bound) {
            return refuse(key, format!("{whose}{} {reason}", address.bound));
        }
        if let Err(reason) = stands_for(address.advertised, address.bound) {
            return refuse(key, format!("{whose}{reason}"));
        }
        let clash = |other: &Address| {
            other.bound == address.bound
                && other.ports.first <= address.ports.last
                && address.ports.first <= other.ports.last
        };
        if let Some((other, _)) = before.iter().find(|(_, a)| clash(a)) {
            return refuse(
                key,
                format!("{whose}some ports of {} are interface \"{other}\"'s already", address.bound),
            );
        }
        before.push((name, address));
    }
    Ok(())
}

/// Whether `advertised` may be told instead of `bound`.
fn stands_for(advertised: IpAddr, bound: IpAddr) -> Result<(), String> {
    if advertised.is_unspecified() || advertised.is_multicast() {
        return Err(format!("{advertised} is no address that a party could send to"));
    }
    if advertised.is_ipv4() != bound.is_ipv4() {
        return Err(format!("{advertised} cannot stand for {bound}: one is IPv4, the other IPv6"));
    }
    Ok(())
}

/// The setting `relay.interfaces`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing(pub Vec<Entry>);

/// One entry of the list: some addresses of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The interface's name.
    pub name: String,
    /// What is bound, and what is told instead; none for the same.
    pub addresses: Vec<(IpAddr, Option<IpAddr>)>,
    /// Ports on each address; none for those of `relay.ports`.
    pub ports: Option<PortRange>,
    /// DSCP; none for that of `relay.dscp`.
    pub dscp: Option<u8>,
}

/// For `check`: a code point has six bits.
pub fn is_dscp(dscp: &u8) -> Result<(), String> {
    if *dscp < 64 { Ok(()) } else { Err("0 to 63".into()) }
}

impl Setting for Listing {
    const KIND: &'static str = "a list of tables like { name = \"inside\", address = \"10.0.0.1\", advertised = \"\", ports = \"30000-39999\", dscp = 46 }";

    fn read(value: &Value) -> Result<Self, String> {
        let list = value.as_array().ok_or_else(|| format!("expected {}", Self::KIND))?;
        list.iter().map(Entry::read).collect::<Result<_, _>>().map(Self)
    }

    fn show(&self) -> String {
        format!("[{}]", self.0.iter().map(Entry::show).collect::<Vec<_>>().join(", "))
    }
}

impl Entry {
    const KEYS: [&str; 5] = ["name", "address", "advertised", "ports", "dscp"];

    fn read(value: &Value) -> Result<Self, String> {
        let table = value.as_inline_table().ok_or_else(|| format!("expected {}", Listing::KIND))?;
        let name = match table.get("name").map(String::read) {
            None => return Err("an interface without a name".into()),
            Some(name) => name.map_err(|e| format!("name: {e}"))?,
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(allowed) {
            return Err(format!("\"{name}\" is no name: letters, digits, - and _ make one"));
        }
        let whose = |reason: String| format!("interface \"{name}\": {reason}");
        if let Some((key, _)) = table.iter().find(|(key, _)| !Self::KEYS.contains(key)) {
            return Err(whose(format!("unknown key `{key}`: there are {}", Self::KEYS.join(", "))));
        }
        let field = |key: &str| table.get(key).map(|value| (key.to_owned(), value));
        let bound: Vec<IpAddr> =
            field("address").map(one_or_more).transpose().map_err(whose)?.unwrap_or_default();
        let told: Vec<Option<IpAddr>> =
            field("advertised").map(one_or_more).transpose().map_err(whose)?.unwrap_or_default();
        if bound.is_empty() {
            return Err(whose("has no address".into()));
        }
        if !told.is_empty() && told.len() != bound.len() {
            let counts = (bound.len(), told.len());
            return Err(whose(format!(
                "{} address(es), but {} advertised: one for each, in order",
                counts.0, counts.1
            )));
        }
        let told = told.into_iter().chain(std::iter::repeat(None));
        let addresses = bound.into_iter().zip(told).collect();
        let ports = field("ports").map(one).transpose().map_err(whose)?;
        let dscp: Option<u8> = field("dscp").map(one).transpose().map_err(whose)?;
        dscp.as_ref().map_or(Ok(()), is_dscp).map_err(|e| whose(format!("dscp: {e}")))?;
        Ok(Self { name, addresses, ports, dscp })
    }

    fn show(&self) -> String {
        let (bound, told): (Vec<IpAddr>, Vec<Option<IpAddr>>) = self.addresses.iter().copied().unzip();
        let mut fields = vec![format!("name = {}, address = {}", self.name.show(), bound.show())];
        if told.iter().any(Option::is_some) {
            fields.push(format!("advertised = {}", told.show()));
        }
        fields.extend(self.ports.map(|ports| format!("ports = {}", ports.show())));
        fields.extend(self.dscp.map(|dscp| format!("dscp = {dscp}")));
        format!("{{ {} }}", fields.join(", "))
    }
}

fn one<T: Setting>((key, value): (String, &Value)) -> Result<T, String> {
    T::read(value).map_err(|e| format!("{key}: {e}"))
}

fn one_or_more<T: Setting>((key, value): (String, &Value)) -> Result<Vec<T>, String> {
    if value.is_array() { one((key, value)) } else { one((key, value)).map(|single| vec![single]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Options, Error> {
        File::parse("pop.toml", &format!("[relay]\n{text}")).and_then(|f| Options::read(&f))
    }

    fn refusal(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    fn at(bound: &str, advertised: &str, first: u16, last: u16, dscp: u8) -> Address {
        let [bound, advertised] = [bound, advertised].map(|a| a.parse().unwrap());
        Address { bound, advertised, ports: PortRange { first, last }, dscp }
    }

    #[test]
    fn without_a_list_there_is_one_interface_of_the_plain_keys() {
        let options = read("address = \"127.0.0.2\"\nadvertised = \"192.0.2.9\"\ndscp = 8").unwrap();
        let only = at("127.0.0.2", "192.0.2.9", 30_000, 39_999, 8);
        assert_eq!(options.interfaces(), [Interface { name: DEFAULT.into(), addresses: vec![only] }]);
        assert_eq!(Options::default().interfaces()[0].addresses[0].dscp, 46, "EF (RFC 4594)");
    }

    #[test]
    fn listed_interfaces_come_in_order_and_entries_of_one_name_are_one() {
        let text = "ports = \"20000-20099\"\ndscp = 34\ninterfaces = [
            { name = \"inside\", address = \"127.0.0.2\" },
            { name = \"out-1\", address = [\"127.0.0.3\", \"::1\"], advertised = [\"192.0.2.9\", \"\"], dscp = 0 },
            { name = \"inside\", address = \"127.0.0.2\", ports = \"40000-40009\" },
        ]";
        let options = read(text).unwrap();
        let inside = vec![
            at("127.0.0.2", "127.0.0.2", 20_000, 20_099, 34),
            at("127.0.0.2", "127.0.0.2", 40_000, 40_009, 34),
        ];
        let out = vec![at("127.0.0.3", "192.0.2.9", 20_000, 20_099, 0), at("::1", "::1", 20_000, 20_099, 0)];
        let interfaces = options.interfaces();
        assert_eq!(interfaces.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["inside", "out-1"]);
        assert_eq!((&interfaces[0].addresses, &interfaces[1].addresses), (&inside, &out));
        assert_eq!(interfaces[0].told().addresses, [(inside[0].bound, inside[0].bound)], "told once");
        let again =
            read(&format!("ports = \"20000-20099\"\ndscp = 34\ninterfaces = {}", options.interfaces.show()));
        assert_eq!(again.unwrap().interfaces(), interfaces, "what is shown is read back");
    }

    #[test]
    fn tables_of_their_own_are_a_list_too() {
        let text = "ports = \"20000-20099\"\n[[relay.interfaces]]\nname = \"a\"\naddress = \"127.0.0.2\"\n\
                    [[relay.interfaces]]\nname = \"b\"\naddress = \"127.0.0.3\"";
        let names: Vec<String> = read(text).unwrap().interfaces().into_iter().map(|i| i.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(
            refusal("[[relay.interfaces]]\nname = \"a\"\n"),
            "pop.toml:2: relay.interfaces: interface \"a\": has no address"
        );
    }

    #[test]
    fn every_refusal_names_the_line_the_interface_and_the_reason() {
        for (entries, reason) in [
            ("7", "expected a list of tables like { name ="),
            ("[7]", "expected a list of tables like { name ="),
            ("[{ address = \"127.0.0.2\" }]", ": an interface without a name"),
            (
                "[{ name = \"a b\", address = \"127.0.0.2\" }]",
                "\"a b\" is no name: letters, digits, - and _ make one",
            ),
            ("[{ name = \"\", address = \"127.0.0.2\" }]", "\"\" is no name"),
            ("[{ name = \"a\" }]", "interface \"a\": has no address"),
            ("[{ name = \"a\", address = [] }]", "interface \"a\": has no address"),
            ("[{ name = \"a\", address = \"host\" }]", "interface \"a\": address: expected an IP address"),
            (
                "[{ name = \"a\", address = \"203.0.113.9\" }]",
                "interface \"a\": 203.0.113.9 is not an address of this host",
            ),
            ("[{ name = \"a\", address = \"0.0.0.0\" }]", "interface \"a\": 0.0.0.0 names no interface"),
            ("[{ name = \"a\", address = \"127.0.0.2\", port = 1 }]", "unknown key `port`"),
            (
                "[{ name = \"a\", address = \"127.0.0.2\", ports = \"5-6\" }]",
                "interface \"a\": ports: holds 2 ports",
            ),
            ("[{ name = \"a\", address = \"127.0.0.2\", dscp = 64 }]", "interface \"a\": dscp: 0 to 63"),
            (
                "[{ name = \"a\", address = \"127.0.0.2\", advertised = [\"\", \"\"] }]",
                "1 address(es), but 2 advertised",
            ),
            (
                "[{ name = \"a\", address = \"127.0.0.2\", advertised = \"2001:db8::1\" }]",
                "one is IPv4, the other IPv6",
            ),
            (
                "[{ name = \"a\", address = \"127.0.0.2\", advertised = \"0.0.0.0\" }]",
                "no address that a party could send to",
            ),
            (
                "[{ name = \"a\", address = \"127.0.0.2\", ports = \"30000-30009\" }, { name = \"b\", address = \"127.0.0.2\", ports = \"30009-30019\" }]",
                "interface \"b\": some ports of 127.0.0.2 are interface \"a\"'s already",
            ),
        ] {
            let text = refusal(&format!("workers = 1\ninterfaces = {entries}"));
            assert!(text.starts_with(&format!("pop.toml:3: relay.interfaces = {entries}: ")), "{text}");
            assert!(text.contains(reason), "{text}");
        }
    }

    #[test]
    fn what_would_go_unused_or_cannot_be_told_is_refused() {
        let list = "interfaces = [{ name = \"a\", address = \"127.0.0.2\" }]";
        for key in ["address", "advertised"] {
            assert_eq!(
                refusal(&format!("{list}\n{key} = \"127.0.0.3\"")),
                format!(
                    "pop.toml:3: relay.{key} = \"127.0.0.3\": is not used when relay.interfaces lists the \
                     addresses: leave out one of the two"
                )
            );
        }
        assert!(refusal("advertised = \"2001:db8::1\"").starts_with("pop.toml:2: relay.advertised = "));
        assert!(refusal("dscp = 64").ends_with("0 to 63"));
    }
}
