//! What there is to carry a call's media with, whatever is asked for: the relay's interfaces, and what the settings
//! allow.
//!
//! Pure. A stream's places are chosen once, when an offer brings the stream, and stay for its life: the ports have
//! been told by then.

use std::net::IpAddr;

use relay::program::message::{Family, Interface, Place};

use crate::ng::error::NgError;
use crate::ng::flags::Options;

/// Interfaces and settings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Means<'a> {
    /// The relay's interfaces, the default one first; with none, nothing is known of them.
    pub interfaces: &'a [Interface],
    /// SRTP between the parties may pass (`control.srtp`).
    pub srtp: bool,
    /// Room above what was negotiated, 0 for no limit (`control.packet_rate_multiple`).
    pub packet_rate_multiple: u32,
}

impl Means<'_> {
    /// Where the ports of a new stream shall lie: towards the leg that offers it, whose own address is `own`, and towards
    /// the other one. `before` are those of the call's first stream, if it has one.
    ///
    /// Interfaces are those that the offer names, else those of before, else the default one. The offerer is met in the
    /// family of its own address, the other one in the family that the offer asks for, else that of before, else the
    /// offerer's; where the interface has no such address, in the one that it has.
    pub fn places(
        &self,
        options: &Options,
        own: Option<IpAddr>,
        before: Option<[Place; 2]>,
    ) -> Result<[Place; 2], NgError> {
        let [from, to] = options.sides.names(|name| self.find(name).is_some());
        let [from, to] = [self.named(from)?, self.named(to)?];
        let [offerer, answerer] = before.map_or([None; 2], |places| places.map(Some));
        let place = |interface: Option<u8>, wished: [Option<Family>; 2], before: Option<Place>| {
            let interface = interface.or(before.map(|p| p.interface)).unwrap_or_default();
            let before = before.filter(|p| p.interface == interface).map(|p| p.family);
            let [first, last] = wished;
            let family = [first, before, last].into_iter().flatten().find(|f| self.has(interface, *f));
            Place { interface, family: family.unwrap_or_else(|| self.first(interface)) }
        };
        let offerer = place(from, [own.map(Family::of), None], offerer);
        let answerer = place(to, [options.family, Some(offerer.family)], answerer);
        if options.family.is_some_and(|family| family != answerer.family) {
            return Err(NgError::NoFamily);
        }
        Ok([offerer, answerer])
    }

    fn find(&self, name: &str) -> Option<u8> {
        let at = self.interfaces.iter().position(|interface| interface.name == name)?;
        u8::try_from(at).ok()
    }

    /// The interface that was asked for by name. The refusal does not repeat the name: it may be anything.
    fn named(&self, name: Option<&str>) -> Result<Option<u8>, NgError> {
        let Some(name) = name else { return Ok(None) };
        let unknown = || {
            let names: Vec<&str> = self.interfaces.iter().map(|i| i.name.as_str()).collect();
            NgError::Interface(names.join(", ").into())
        };
        self.find(name).map(Some).ok_or_else(unknown)
    }

    /// Whether an interface has an address of this family.
    fn has(&self, interface: u8, family: Family) -> bool {
        let interface = self.interfaces.get(usize::from(interface));
        interface.is_none_or(|interface| interface.addresses.iter().any(|(bound, _)| family.fits(*bound)))
    }

    fn first(&self, interface: u8) -> Family {
        let interface = self.interfaces.get(usize::from(interface));
        let address = interface.and_then(|interface| interface.addresses.first());
        address.map_or(Family::Any, |(bound, _)| Family::of(*bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ng::value::Value;

    fn interfaces() -> Vec<Interface> {
        let interface = |name: &str, addresses: &[&str]| Interface {
            name: name.into(),
            addresses: addresses.iter().map(|a| (a.parse().unwrap(), a.parse().unwrap())).collect(),
        };
        vec![
            interface("four", &["192.0.2.1"]),
            interface("both", &["2001:db8::1", "198.51.100.1"]),
            interface("six", &["2001:db8::9"]),
        ]
    }

    fn places(names: &[&str], family: Option<Family>, own: &str) -> Result<[(u8, Family); 2], NgError> {
        let interfaces = interfaces();
        let means = Means { interfaces: &interfaces, ..Means::default() };
        let mut options = Options { family, ..Options::default() };
        options
            .sides
            .take("direction", &Value::List(names.iter().map(|n| Value::from((*n).to_owned())).collect()));
        let places = means.places(&options, own.parse().ok(), None)?;
        Ok(places.map(|p| (p.interface, p.family)))
    }

    #[test]
    fn without_names_the_default_interface_meets_both_in_the_family_it_has() {
        assert_eq!(places(&[], None, "192.0.2.7"), Ok([(0, Family::Ip4); 2]));
        assert_eq!(places(&[], None, "2001:db8::7"), Ok([(0, Family::Ip4); 2]));
        assert_eq!(places(&[], None, "unknown"), Ok([(0, Family::Ip4); 2]));
    }

    #[test]
    fn the_offerer_is_met_in_its_own_family_and_the_other_in_the_same_unless_asked_for() {
        use Family::{Ip4, Ip6};
        for (names, family, own, expected) in [
            (["both", "both"], None, "192.0.2.7", [(1, Ip4), (1, Ip4)]),
            (["both", "both"], None, "2001:db8::7", [(1, Ip6), (1, Ip6)]),
            (["both", "both"], Some(Ip6), "192.0.2.7", [(1, Ip4), (1, Ip6)]),
            (["both", "both"], Some(Ip4), "2001:db8::7", [(1, Ip6), (1, Ip4)]),
            (["four", "six"], None, "192.0.2.7", [(0, Ip4), (2, Ip6)]),
            (["six", "four"], None, "2001:db8::7", [(2, Ip6), (0, Ip4)]),
            (["six", "both"], None, "2001:db8::7", [(2, Ip6), (1, Ip6)]),
        ] {
            assert_eq!(places(&names, family, own), Ok(expected), "{names:?} {family:?} {own}");
        }
        assert_eq!(places(&["both"], Some(Ip4), "2001:db8::7"), Ok([(1, Ip6), (0, Ip4)]));
        assert_eq!(places(&["four", "six"], Some(Ip4), "192.0.2.7"), Err(NgError::NoFamily));
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_there_are_and_not_repeated() {
        for names in [["447700900001", "four"], ["four", "447700900001"]] {
            let error = places(&names, None, "192.0.2.7").unwrap_err().to_string();
            assert_eq!(error, "Unknown interface (the relay has: four, both, six)");
        }
    }

    #[test]
    fn a_further_stream_lies_beside_the_first() {
        let interfaces = interfaces();
        let means = Means { interfaces: &interfaces, ..Means::default() };
        let before =
            [Place { interface: 2, family: Family::Ip6 }, Place { interface: 1, family: Family::Ip4 }];
        let own = "2001:db8::7".parse().ok();
        assert_eq!(means.places(&Options::default(), own, Some(before)), Ok(before));
    }

    #[test]
    fn of_a_relay_that_lists_nothing_only_the_default_interface_is_asked() {
        let own = "192.0.2.7".parse().ok();
        let place = Place { interface: 0, family: Family::Ip4 };
        assert_eq!(Means::default().places(&Options::default(), own, None), Ok([place; 2]));
    }
}
