//! The options of a request, out of the many places and spellings in which proxies put them.
//!
//! Pure. An option may be a top-level key (`ICE: remove`), an entry of `flags` (`asymmetric`), or part of the one
//! string `rtpp-flags` that newer proxies send (`replace-origin ICE=remove direction=[a b]`). Names are compared
//! without regard to case, and space, `-` and `_` are one.

use std::net::IpAddr;

use relay::program::message::{Family, Learning};

use super::sides::Sides;
use super::value::Value;
use crate::sdp::Profile;

/// What a request asks for beside its command. What control always does (own origin, no ICE, no keys in SDP) and
/// what only the incumbent has is understood and changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "independent flags, each named by the protocol")]
pub struct Options {
    /// Where the proxy says the SIP message came from, when it wants that to stand for the SDP's address
    /// (`SIP-source-address` with `received-from`).
    pub address: Option<IpAddr>,
    /// From where the party's packets may come, when the proxy says something about it.
    pub learning: Option<Learning>,
    /// No packets from elsewhere than the signalled address, unless the request says that the party is behind NAT, and
    /// no handover (`strict-source`).
    pub strict_source: bool,
    /// A new source with the same SSRC may take over from one that fell silent (`media-handover`).
    pub handover: bool,
    /// The party sends from elsewhere than it receives at (`asymmetric`).
    pub asymmetric: bool,
    /// Interfaces of the relay.
    pub sides: Sides,
    /// The family of the address that the SDP is to show (`address-family`).
    pub family: Option<Family>,
    /// The address that the SDP is to show instead of the relay's own (`media-address`).
    pub shown_as: Option<IpAddr>,
    /// What the m-lines shall say (`transport-protocol`).
    pub transport: Option<Transport>,
    /// rtcp-mux: offer it though the offerer did not.
    pub mux_offer: bool,
    /// rtcp-mux: do not offer it on, but accept it back (`demux`), or accept it though the answerer did not.
    pub mux_accept: bool,
    /// rtcp-mux: do not offer it on.
    pub mux_demux: bool,
    /// rtcp-mux: refuse it to the offerer.
    pub mux_reject: bool,
    /// The answer is provisional, a 1xx (`provisional`, or its `sip-code`): the call does not count as answered.
    pub provisional: bool,
    /// A delete that finds nothing is an error.
    pub fatal: bool,
    /// A delete that wants no statistics.
    pub fast: bool,
    /// How many seconds the call goes on after its delete (`delete-delay`).
    pub delete_delay: Option<u32>,
    /// The proxy understands `result: load limit` (`supports`).
    pub load_limit: bool,
    /// The party's telephone events are kept from the other (`block-DTMF`, with an offer or answer).
    pub block_dtmf: bool,
    /// The command is for the party of the `from-tag` alone (`directional`).
    pub directional: bool,
    /// The command is for the call and each of its parties (`all`).
    pub all: bool,
    /// The command is for a party that is named otherwise (`label`, `address`).
    pub selects: bool,
    /// What becomes of the recording (`record-call`).
    pub record: Option<Record>,
    /// What was recorded so far is to be thrown away (`discard-recording`).
    pub discard: bool,
}

/// What `record-call` may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// To be recorded.
    Yes,
    /// Not to be recorded.
    No,
}

/// What `transport-protocol` may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// This.
    Profile(Profile),
    /// Something that is not known here.
    Other,
}

/// A name in the one spelling used here: lower case, hyphens.
pub fn plain(name: &str) -> String {
    name.trim().chars().map(|c| if " _".contains(c) { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// Keys that are read elsewhere, or that the incumbent has and that change nothing here. Others are unknown.
/// `tos` is among them: packets are marked by interface (`relay.interfaces`, `relay.dscp`).
const KNOWN: &str = "allow-asymmetric-codecs codec digits drop-traffic dtls dtls-fingerprint dtls-reverse \
    generate-mid ice ice-lite metadata osrtp pause ptime ptime-reverse recording-dir \
    recording-file recording-pattern repacketize replace rtcp-mux sdes sdp-attr set-label sip-message-type \
    t.38 t38 template to-label tos xmlrpc-callback";

impl Options {
    /// Takes one entry of a request's dictionary, its key [`plain`]; false when the key is not known.
    pub(super) fn take(&mut self, key: &str, value: &Value) -> bool {
        let first = || value.items().first().and_then(Value::text).map(plain).unwrap_or_default();
        match key {
            "flags" => value.items().iter().filter_map(Value::text).for_each(|flag| self.flag(flag)),
            "supports" => {
                self.load_limit |=
                    value.items().iter().filter_map(Value::text).any(|s| plain(s) == "load-limit");
            }
            "rtcp-mux" => {
                value.items().iter().filter_map(Value::text).for_each(|wish| self.mux(&plain(wish)));
            }
            "transport-protocol" => self.transport = transport(&first()),
            "endpoint-learning" => self.learn(&first()),
            "address-family" => match first().as_str() {
                "ip4" | "inet" => self.family = Some(Family::Ip4),
                "ip6" | "inet6" => self.family = Some(Family::Ip6),
                _ => {}
            },
            "media-address" => {
                let address = first().parse().ok().map(|address: IpAddr| address.to_canonical());
                self.shown_as = address.filter(|a| !a.is_unspecified() && !a.is_multicast());
            }
            "record-call" => match first().as_str() {
                "yes" | "on" | "true" | "1" => self.record = Some(Record::Yes),
                "no" | "off" | "false" | "0" => self.record = Some(Record::No),
                "discard" => self.discard = true,
                _ => {}
            },
            "block-dtmf" => self.block_dtmf |= !matches!(first().as_str(), "no" | "off" | "false" | "0"),
            "all" => self.all |= first() == "all",
            "label" | "from-label" | "address" => self.selects = true,
            "discard-recording" => self.discard |= !matches!(first().as_str(), "no" | "off" | "false" | "0"),
            // An hour at most: what a call on hold may last.
            "delete-delay" => {
                self.delete_delay = value.int().and_then(|s| u32::try_from(s).ok()).map(|s| s.min(3600));
            }
            "sip-code" | "sip-response-code" => {
                self.provisional |= value.int().is_some_and(|code| (100..200).contains(&code));
            }
            _ => return self.sides.take(key, value) || KNOWN.split(' ').any(|known| known == key),
        }
        true
    }

    /// Takes one flag; flags that are not known change nothing.
    pub(super) fn flag(&mut self, flag: &str) {
        let flag = plain(flag);
        match flag.as_str() {
            // A proxy that takes the address from below SIP knows a NAT there; so does one that asks for packets
            // through it. Who sends from another port than it receives at cannot be held to the signalled one.
            "sip-source-address" | "pierce-nat" => {
                self.learning.get_or_insert(Learning::Nat);
            }
            "asymmetric" => {
                self.asymmetric = true;
                self.learning.get_or_insert(Learning::Nat);
            }
            "strict-source" => self.strict_source = true,
            "media-handover" => self.handover = true,
            "provisional" => self.provisional = true,
            "fatal" => self.fatal = true,
            "fast" => self.fast = true,
            "record-call" => self.record = Some(Record::Yes),
            "discard-recording" => self.discard = true,
            "block-dtmf" => self.block_dtmf = true,
            "directional" => self.directional = true,
            "all" => self.all = true,
            _ if self.sides.flag(&flag) => {}
            _ => {
                if let Some(wish) = flag.strip_prefix("rtcp-mux-") {
                    self.mux(wish);
                } else if let Some(mode) = flag.strip_prefix("endpoint-learning-") {
                    self.learn(mode);
                } else if flag.starts_with("rtp/") || flag.starts_with("udp/") {
                    self.transport = transport(&flag);
                }
            }
        }
    }

    /// `endpoint-learning` says it outright, so it outweighs what only hints at a NAT.
    fn learn(&mut self, mode: &str) {
        match mode {
            "off" | "no-learning" => self.learning = Some(Learning::Strict),
            "heuristic" | "delayed" | "immediate" => self.learning = Some(Learning::Nat),
            _ => {}
        }
    }

    fn mux(&mut self, wish: &str) {
        match wish {
            "offer" | "require" => self.mux_offer = true,
            "accept" => self.mux_accept = true,
            "demux" => {
                self.mux_demux = true;
                self.mux_accept = true;
            }
            "reject" => self.mux_reject = true,
            _ => {}
        }
    }
}

fn transport(name: &str) -> Option<Transport> {
    match name {
        // `accept` takes an offer's protocol as it is: what happens without the key too.
        "accept" | "" => None,
        _ => Some(Profile::read(&name.to_ascii_uppercase()).map_or(Transport::Other, Transport::Profile)),
    }
}

/// Takes the one string of `rtpp-flags` apart: keys with a value, and flags (with none).
pub(super) fn split(text: &str) -> Vec<(String, Option<Value>)> {
    let mut words = text.split_whitespace();
    let mut out = Vec::new();
    while let Some(word) = words.next() {
        let Some((key, value)) = word.split_once('=') else {
            out.push((plain(word), None));
            continue;
        };
        let value = match value.strip_prefix('[') {
            None => Value::from(value.to_owned()),
            Some(inner) => {
                let (mut items, mut item) = (Vec::new(), Some(inner));
                while let Some(text) = item {
                    let last = text.ends_with(']');
                    let text = text.trim_matches(['[', ']']);
                    if !text.is_empty() {
                        items.push(Value::from(text.to_owned()));
                    }
                    item = if last { None } else { words.next() };
                }
                Value::List(items)
            }
        };
        out.push((plain(key), Some(value)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_string_of_flags_is_taken_apart() {
        let text = "replace-origin ICE=remove direction=[internal external] rtcp-mux=[ demux ] asymmetric";
        let list =
            |items: &[&str]| Some(Value::List(items.iter().map(|i| Value::from((*i).to_owned())).collect()));
        let want = [
            ("replace-origin", None),
            ("ice", Some(Value::from("remove"))),
            ("direction", list(&["internal", "external"])),
            ("rtcp-mux", list(&["demux"])),
            ("asymmetric", None),
        ];
        assert_eq!(split(text), want.map(|(k, v)| (k.to_owned(), v)));
        assert_eq!(split("a=[b").len(), 1);
    }

    #[test]
    fn spellings_are_one() {
        for flag in ["endpoint-learning_off", "Endpoint learning-off"] {
            let mut options = Options::default();
            options.flag(flag);
            assert_eq!(options.learning, Some(Learning::Strict), "{flag}");
        }
        let mut options = Options::default();
        assert!(options.take("transport-protocol", &Value::from("RTP/XYZ")));
        assert_eq!(options.transport, Some(Transport::Other));
        assert!(options.take("transport-protocol", &Value::from("UDP/TLS/RTP/SAVPF")));
        assert_eq!(options.transport, Some(Transport::Profile(Profile::TlsSavpf)));
        options.flag("RTP/AVP");
        assert_eq!(options.transport, Some(Transport::Profile(Profile::Avp)));
        assert!(!options.take("colour", &Value::from("red")));
    }

    #[test]
    fn addresses_and_sources_are_read_in_every_spelling() {
        let mut options = Options::default();
        for (key, value) in [("address-family", "IP6"), ("media-address", "::ffff:192.0.2.9"), ("tos", "184")]
        {
            assert!(options.take(key, &Value::from(value.to_owned())), "{key}");
        }
        assert_eq!((options.family, options.shown_as), (Some(Family::Ip6), "192.0.2.9".parse().ok()));
        for flag in ["strict source", "Media_Handover", "asymmetric"] {
            options.flag(flag);
        }
        assert!(options.strict_source && options.handover && options.asymmetric);
        assert_eq!(options.learning, Some(Learning::Nat), "what strict-source says does not outweigh it");
        for nowhere in ["0.0.0.0", "::", "224.0.0.1", "host.example.org", ""] {
            assert!(options.take("media-address", &Value::from(nowhere)));
            assert_eq!(options.shown_as, None, "{nowhere}");
        }
    }

    #[test]
    fn the_proxy_says_who_is_behind_nat() {
        let read = |words: &[&str]| {
            let mut options = Options::default();
            for word in words {
                match word.split_once('=') {
                    Some((key, value)) => assert!(options.take(key, &Value::from(value.to_owned()))),
                    None => options.flag(word),
                }
            }
            options.learning
        };
        assert_eq!(read(&["trust-address", "symmetric"]), None);
        for nat in ["SIP-source-address", "pierce NAT", "asymmetric", "endpoint-learning=heuristic"] {
            assert_eq!(read(&[nat]), Some(Learning::Nat), "{nat}");
            assert_eq!(read(&[nat, "endpoint-learning=off"]), Some(Learning::Strict), "{nat}");
            assert_eq!(read(&["endpoint-learning=immediate", nat]), Some(Learning::Nat), "{nat}");
        }
        assert_eq!(read(&["endpoint-learning=off", "asymmetric"]), Some(Learning::Strict));
        assert_eq!(read(&["endpoint-learning=delayed", "pierce-NAT"]), Some(Learning::Nat));
    }
}
