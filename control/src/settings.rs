//! The `[control]` section of `pop.toml`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use relay::program::message::Learning;
use relay::settings::Setting;

relay::settings::settings! {
    /// control: NG and HTTP listeners, and what is answered to whom.
    pub struct ControlSettings in "control" {
        /// Where the NG protocol is answered (UDP address and port).
        ng: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 2223));
        /// Networks whose NG requests are answered, besides this host's loopback, like ["10.1.0.0/16"]. NG has no authentication: list your SIP proxies and nothing else.
        ng_allow: Vec<Network> = Vec::new();
        /// Where the HTTP API is served (TCP address and port).
        http: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8090));
        /// What an NG offer gets whose Call-ID had no route decision: "relay" carries it without a trip and without recording, "refuse" answers an error.
        unrouted_offers: UnroutedOffers = UnroutedOffers::Relay;
        /// Where a party's packets may come from when the proxy says nothing about it: "strict" takes the signalled address alone, "nat" lets another one be learned just after an offer or answer. The proxy says so per call with the flags SIP-source-address, pierce-NAT, asymmetric, or endpoint-learning=heuristic and =off, and with strict-source where it says none of these.
        learning: SourceLearning = SourceLearning::Strict;
        /// What becomes of SRTP (RTP/SAVP, DTLS-SRTP) that the parties speak end to end: "refuse" refuses such m-lines, "pass" passes packets as they are, with the keys or fingerprints in the SDP. Such streams cannot be recorded, and their SSRC, sequence and timestamps are not hidden from the other party; in a call that is recorded they are refused always.
        srtp: Srtp = Srtp::Refuse;
        /// How many times the packets a second that were negotiated a party may send, RTP and RTCP each; more are dropped (rate_limit). Negotiated count: audio 50, or what ptime asks for where that is more; text 50; video its b=AS or b=TIAS in packets of 500 bytes (100 to 10000), else 2000; T.38 100. 0 for no limit.
        packet_rate_multiple: u32 = 5, check |m: &u32| if *m <= 1000 { Ok(()) } else { Err("1000 at most".into()) };
        /// Seconds that an offer waits for its answer before its ports are given back.
        offer_timeout_seconds: u32 = 3600, check |s: &u32| at_least(*s, 1);
        /// Seconds without a packet after which an answered call ends, when neither party holds it.
        timeout_seconds: u32 = 60, check |s: &u32| at_least(*s, 1);
        /// The same for a call on hold.
        silent_timeout_seconds: u32 = 3600, check |s: &u32| at_least(*s, 1);
        /// Longest duration of any call from its answer on, in seconds; 0 for none but what the city allows.
        final_timeout_seconds: u32 = 0;
        /// Seconds that a call goes on after its delete, in case the proxy offers it again; the NG key delete-delay says it per call. Media flows, and is recorded, until then.
        delete_delay_seconds: u32 = 0, check |s: &u32| if *s <= 3600 { Ok(()) } else { Err("an hour at most".into()) };
        /// Days whose call records are kept in STATE/calls, today included; 0 keeps none.
        call_records_days: u32 = 30;
        /// Keys that a party presses, as telephone events (RFC 4733): "pass" lets them reach the other party, "block" does not. The proxy says so per call with NG's block DTMF and unblock DTMF, or the flag block-DTMF. Tones in the voice always pass.
        dtmf: Dtmf = Dtmf::Pass;
        /// Where each key is told as one JSON datagram over UDP, "HOST:PORT", in the shape of rtpengine's dtmf-log-dest; "" tells nobody. Keys may be card numbers and PINs, and the datagram is neither encrypted nor signed: keep it on loopback or a trusted network.
        dtmf_notify: String = String::new(), check |receiver: &String| receiver_or_none(receiver);
        /// Host part of the URIs in a route decision: where the proxy sends the call when nothing in its own configuration says where (BAUTA_NEXT_HOP). Name your carrier's SBC. The default leads nowhere. It is never taken from the caller's request: whoever chose it would be sent the callee's number.
        sip_host: String = "pop.invalid".into(), check |host: &String| sip_host(host);
        /// Folder of city files, `london.toml` for the city london: read at start and whenever one changes. A relative path starts at the folder of the settings file, or at the current one. It need not be there.
        cities: String = "cities".into(), check |folder: &String| not_empty(folder);
        /// Longest body of an HTTP request, in bytes.
        http_body_limit: u32 = 65_536, check |s: &u32| at_least(*s, 1024);
        /// Requests a second that one token may make; a token that was given a pace of its own keeps that.
        http_rate: u32 = 50_000, check |s: &u32| at_least(*s, 1);
    }
}

fn at_least(value: u32, least: u32) -> Result<(), String> {
    if value >= least { Ok(()) } else { Err(format!("must be {least} or more")) }
}

fn not_empty(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("must name a folder".into()) } else { Ok(()) }
}

fn receiver_or_none(receiver: &str) -> Result<(), String> {
    let port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let fits = receiver.rsplit_once(':').is_some_and(|(host, p)| {
        // An IPv6 address stands in brackets, or its last group would be taken for the port.
        port(p) && !host.is_empty() && (!host.contains(':') || receiver.parse::<SocketAddr>().is_ok())
    });
    if fits || receiver.is_empty() { Ok(()) } else { Err("must be like 127.0.0.1:5070, or empty".into()) }
}

fn sip_host(host: &str) -> Result<(), String> {
    let fits = crate::number::address::host(&format!("sip:x@{host}")) == Some(host);
    if fits { Ok(()) } else { Err("must be a host name or an address, with a port if need be".into()) }
}

/// A setting that is one of two words.
macro_rules! choice {
    ($type:ident: $one:literal => $first:ident, $other:literal => $second:ident) => {
        impl Setting for $type {
            const KIND: &'static str = concat!("\"", $one, "\" or \"", $other, "\"");

            fn read(value: &toml_edit::Value) -> Result<Self, String> {
                match value.as_str() {
                    Some($one) => Ok(Self::$first),
                    Some($other) => Ok(Self::$second),
                    _ => Err(format!("expected {}", Self::KIND)),
                }
            }

            fn show(&self) -> String {
                match self {
                    Self::$first => concat!("\"", $one, "\"").into(),
                    Self::$second => concat!("\"", $other, "\"").into(),
                }
            }
        }
    };
}

/// What happens to an NG offer that no route decision announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnroutedOffers {
    /// Its media is carried, without trip and without recording.
    Relay,
    /// It is answered with an error.
    Refuse,
}

choice!(UnroutedOffers: "relay" => Relay, "refuse" => Refuse);

/// What becomes of telephone events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtmf {
    /// They reach the other party.
    Pass,
    /// They do not.
    Block,
}

impl Setting for Dtmf {
    const KIND: &'static str = "\"pass\" or \"block\"";

    fn read(value: &toml_edit::Value) -> Result<Self, String> {
        match value.as_str() {
            Some("pass") => Ok(Self::Pass),
            Some("block") => Ok(Self::Block),
            _ => Err(format!("expected {}", Self::KIND)),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Pass => "\"pass\"".into(),
            Self::Block => "\"block\"".into(),
        }
    }
}

/// Where a party's packets may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceLearning {
    /// The signalled address alone.
    Strict,
    /// Another one may be learned: the party may be behind NAT.
    Nat,
}

choice!(SourceLearning: "strict" => Strict, "nat" => Nat);

/// What becomes of SRTP between the parties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Srtp {
    /// Its m-lines are refused.
    Refuse,
    /// It passes as it is, in calls that are not recorded.
    Pass,
}

choice!(Srtp: "refuse" => Refuse, "pass" => Pass);

impl From<SourceLearning> for Learning {
    fn from(setting: SourceLearning) -> Self {
        match setting {
            SourceLearning::Strict => Self::Strict,
            SourceLearning::Nat => Self::Nat,
        }
    }
}

/// An IPv4 or IPv6 network, `10.1.0.0/16`; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether `address` lies in this network. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                u32::from(net) & mask == u32::from(ip) & mask
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                u128::from(net) & mask == u128::from(ip) & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), str::parse).map_err(|_| ())?;
        if prefix <= longest { Ok(Self { address, prefix }) } else { Err(()) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Setting for Network {
    const KIND: &'static str = "a network in quotes, like \"10.1.0.0/16\"";

    fn read(value: &toml_edit::Value) -> Result<Self, String> {
        let text = value.as_str().unwrap_or_default();
        text.parse().map_err(|()| format!("expected {}", Self::KIND))
    }

    fn show(&self) -> String {
        format!("\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay::settings::{File, Section};

    #[test]
    fn what_is_shown_as_default_reads_back() {
        let text = ControlSettings::keys()
            .iter()
            .fold("[control]\n".to_owned(), |t, k| format!("{t}{} = {}\n", k.name, k.default));
        let read = ControlSettings::read(&File::parse("pop.toml", &text).unwrap()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", ControlSettings::default()));
    }

    #[test]
    fn networks_contain_their_addresses() {
        let inside = |net: &str, ip: &str| net.parse::<Network>().unwrap().contains(ip.parse().unwrap());
        assert!(inside("10.1.0.0/16", "10.1.255.3") && !inside("10.1.0.0/16", "10.2.0.1"));
        assert!(inside("0.0.0.0/0", "192.0.2.1") && inside("192.0.2.7", "::ffff:192.0.2.7"));
        assert!(
            inside("fd00::/8", "fd12::1") && !inside("fd00::/8", "10.0.0.1") && inside("::/0", "2001:db8::1")
        );
        for bad in ["10.0.0.0/33", "host", "10.0.0/8", "::/129", "10.0.0.0/"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refusal_names_the_line() {
        let file = File::parse("pop.toml", "[control]\nunrouted_offers = \"drop\"").unwrap();
        let error = ControlSettings::read(&file).unwrap_err().to_string();
        assert_eq!(error, "pop.toml:2: control.unrouted_offers = \"drop\": expected \"relay\" or \"refuse\"");
        let file = File::parse("pop.toml", "[control]\nsip_host = \"a b\"").unwrap();
        assert!(ControlSettings::read(&file).unwrap_err().to_string().contains("must be a host name"));
        let file = File::parse("pop.toml", "[control]\nsip_host = \"[2001:db8::1]:5060\"").unwrap();
        assert_eq!(ControlSettings::read(&file).unwrap().sip_host, "[2001:db8::1]:5060");
    }

    #[test]
    fn a_receiver_of_keys_is_a_host_and_a_port_or_nobody() {
        let read = |receiver: &str| {
            let file = File::parse("pop.toml", &format!("[control]\ndtmf_notify = \"{receiver}\"")).unwrap();
            ControlSettings::read(&file).map(|settings| settings.dtmf_notify)
        };
        for good in ["", "127.0.0.1:5070", "[::1]:5070", "ivr.example:5070"] {
            assert_eq!(read(good).unwrap(), good);
        }
        for bad in ["5070", ":5070", "ivr.example", "::1:5070", "ivr.example:0", "ivr.example:70000"] {
            assert!(read(bad).unwrap_err().to_string().contains("must be like 127.0.0.1:5070"), "{bad}");
        }
    }
}
