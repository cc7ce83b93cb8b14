//! What `bauta load` is asked for: its arguments, checked against each other before anything is sent.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use control::ng::value::Value;
use relay::settings::PortRange;

use super::traffic::{Codec, Media, Plan, Sampling};

/// Set up calls at an NG relay (ours, rtpengine) or at a relay itself, send media both ways, and tell what came through:
/// loss, order, and added delay by the kernel's own time-stamps. Exits 0 only if every call was set up and nothing was lost,
/// duplicated or damaged.
#[derive(Debug, Clone, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches of a command line")]
pub struct Arguments {
    /// The NG relay.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:2223")]
    pub ng: SocketAddr,
    /// Program this relay itself, without control: its socket, STATE/run/relay.sock. (A relay has one control; stop that first.)
    #[arg(long, value_name = "SOCKET", conflicts_with_all = ["ng", "record", "flag", "setups"])]
    pub relay: Option<PathBuf>,
    /// Calls at once.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub calls: u32,
    /// Calls set up a second, at the most.
    #[arg(long, default_value_t = 100.0)]
    pub rate: f64,
    /// How long media flows once all calls are set up; with --setups, how long calls are set up; with --find-max, how long
    /// the found load must last.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub seconds: u64,
    /// Calls end after about so many seconds (half as many to half as many again), and new ones take their place.
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["find_max", "setups"])]
    pub call_seconds: Option<f64>,
    /// Packets a second from each leg: 50 are packets of 20 ms. They are of 20 ms at any other rate, too, so that a recording
    /// of them plays faster or slower than it was sent.
    #[arg(long, default_value_t = 50.0)]
    pub packets_per_second: f64,
    /// What the packets carry.
    #[arg(long, value_enum, default_value = "pcma")]
    pub codec: Format,
    /// Send no RTCP.
    #[arg(long)]
    pub no_rtcp: bool,
    /// Find the highest packet rate per leg at which these calls lose nothing: doubled from --packets-per-second until packets
    /// are lost, then bisected, then held for --seconds. Give it many calls: a relay may limit what one leg sends (Bauta:
    /// `packet_rate_multiple`), and would be found to bear no more than that.
    #[arg(long, conflicts_with = "setups")]
    pub find_max: bool,
    /// How long a step of --find-max lasts, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub step_seconds: u64,
    /// Set calls up and end them, as fast as that is answered, without media: offer, answer, delete.
    #[arg(long)]
    pub setups: bool,
    /// How many requests may be open at once, each by a client of its own.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub clients: u32,
    /// Core that the media thread stays on; with --setups, the clients.
    #[arg(long)]
    pub core: Option<usize>,
    /// Our media addresses, the caller's and the callee's side; one is for both. The address by which the NG relay is reached
    /// if left out.
    #[arg(long, value_name = "ADDRESS[,ADDRESS]", value_delimiter = ',')]
    pub from: Vec<IpAddr>,
    /// Our media ports. Best below those that the kernel gives to whoever asks for any (`net.ipv4.ip_local_port_range`).
    #[arg(long, value_name = "FIRST-LAST", default_value = "10000-29999", value_parser = ports)]
    pub ports: PortRange,
    /// Have every call recorded: `record-call=yes`. A Bauta records what its route decision says: name its state directory.
    #[arg(long)]
    pub record: bool,
    /// With --record: state directory of the Bauta POP that is tested. A trip is opened there, and each call asks for its route.
    #[arg(long, value_name = "DIR", requires = "record")]
    pub state: Option<PathBuf>,
    /// Settings file of that POP.
    #[arg(long, value_name = "FILE", requires = "state")]
    pub config: Option<PathBuf>,
    /// Added to every offer and answer: an NG flag, or KEY=VALUE. May be given several times.
    #[arg(long, value_name = "FLAG")]
    pub flag: Vec<String>,
    /// Write the report as JSON, and what each second brought; - for standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw delay and loss over time.
    #[arg(long, value_name = "FILE", conflicts_with = "setups")]
    pub svg: Option<PathBuf>,
}

/// What packets carry, as SDP names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// G.711 A-law.
    Pcma,
    /// G.711 µ-law.
    Pcmu,
    /// Opus.
    Opus,
}

impl Format {
    /// Payload type.
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::Pcma => 8,
            Self::Pcmu => 0,
            Self::Opus => 111,
        }
    }

    /// Encoding name, clock rate, channels (RFC 3551, RFC 7587).
    pub const fn encoding(self) -> &'static str {
        match self {
            Self::Pcma => "PCMA/8000",
            Self::Pcmu => "PCMU/8000",
            Self::Opus => "opus/48000/2",
        }
    }

    /// RTP clock, in Hz.
    pub const fn clock(self) -> u32 {
        match self {
            Self::Pcma | Self::Pcmu => 8_000,
            Self::Opus => 48_000,
        }
    }

    const fn codec(self) -> Codec {
        match self {
            Self::Pcma => Codec::G711A,
            Self::Pcmu => Codec::G711U,
            Self::Opus => Codec::Opus,
        }
    }
}

/// The least that is taken for something that happens per second.
const LEAST: f64 = 0.001;

/// Why arguments do not go together. Each says what to change.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OptionError {
    /// Not a number of something that happens per second, or lasts for seconds; or an absurd one.
    #[error("--{name} {value}: must be {LEAST} at the least and {most} at the most")]
    Number {
        /// The option.
        name: &'static str,
        /// What was given.
        value: f64,
        /// The most that makes sense.
        most: f64,
    },
    /// More than two addresses.
    #[error("--from takes one address, or two: the caller's side and the callee's")]
    Addresses,
    /// An address family that does not fit.
    #[error("--from {0} and {1}: give two addresses of one family")]
    Families(IpAddr, IpAddr),
    /// An address that means "any".
    #[error("--from {0}: SDP must name one address of this host; `ip address` lists them")]
    Anywhere(IpAddr),
    /// Too few ports.
    #[error("--ports {}-{} have room for {room} calls, {needed} are needed{}: give {ports} ports or more", .range.first, .range.last, churn(*.calls, *.needed))]
    Ports {
        /// What was given.
        range: PortRange,
        /// Calls that it has room for.
        room: u32,
        /// Calls wanted.
        calls: u32,
        /// Calls that need room.
        needed: u32,
        /// Ports that would do.
        ports: u32,
    },
}

fn churn(calls: u32, needed: u32) -> String {
    if calls == needed { String::new() } else { format!(" (--calls {calls}, and those whose ports rest)") }
}

/// Seconds that a call's ports rest after it, so that what is still under way does not reach the next one.
pub const REST: Duration = Duration::from_secs(2);

impl Arguments {
    /// Checks what can be told without sending anything.
    pub fn check(&self) -> Result<(), OptionError> {
        let number = |name, value: f64, most: f64| {
            let fits = (LEAST..=most).contains(&value);
            if fits { Ok(()) } else { Err(OptionError::Number { name, value, most }) }
        };
        number("rate", self.rate, 100_000.0)?;
        number("packets-per-second", self.packets_per_second, 20_000.0)?;
        number("call-seconds", self.call_seconds.unwrap_or(1.0), 86_400.0)?;
        if let Some(anywhere) = self.from.iter().find(|a| a.is_unspecified()) {
            return Err(OptionError::Anywhere(*anywhere));
        }
        match self.from.as_slice() {
            [] | [_] => Ok(()),
            [one, other] if one.is_ipv4() == other.is_ipv4() => Ok(()),
            [one, other] => Err(OptionError::Families(*one, *other)),
            _ => Err(OptionError::Addresses),
        }
    }

    /// Calls that need ports of their own at once: those that are up, and those whose ports rest.
    pub fn slots(&self) -> u32 {
        if self.setups {
            return self.clients;
        }
        let resting = self.call_seconds.map_or(0.0, |life| {
            // Half as many again: the lengths vary.
            let ended_a_second = (f64::from(self.calls) / life).min(self.rate);
            4.0 + 1.5 * ended_a_second * (REST.as_secs_f64() + 1.0)
        });
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: some thousands")]
        let resting = resting.ceil() as u32;
        self.calls.saturating_add(resting)
    }

    /// What the media thread is made with.
    pub fn plan(&self) -> Result<Plan, OptionError> {
        let rtcp = !self.no_rtcp;
        let media = Media { codec: self.format_codec(), packets_per_second: self.packets_per_second, rtcp };
        let plan = Plan {
            core: self.core,
            address: self.addresses(),
            ports: self.ports,
            media,
            sampling: Sampling::default(),
        };
        let (room, needed) = (plan.most_calls(), self.slots());
        if room >= needed {
            return Ok(plan);
        }
        let [one, other] = plan.address;
        let each = if one == other { 4 } else { 2 };
        let (range, calls) = (self.ports, self.calls);
        Err(OptionError::Ports { range, room, calls, needed, ports: needed.saturating_mul(each) })
    }

    const fn format_codec(&self) -> Codec {
        self.codec.codec()
    }

    /// Our addresses: the caller's side and the callee's.
    pub fn addresses(&self) -> [IpAddr; 2] {
        match self.from.as_slice() {
            [one, other, ..] => [*one, *other],
            [one] => [*one, *one],
            [] => [self.towards_relay(); 2],
        }
    }

    /// The address of this host that packets to the NG relay leave from.
    fn towards_relay(&self) -> IpAddr {
        let any: IpAddr = if self.ng.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        };
        let local = UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.connect(self.ng)?;
            socket.local_addr()
        });
        local.map_or(Ipv4Addr::LOCALHOST.into(), |local| local.ip())
    }

    /// The media's packet time as SDP says it, in milliseconds: with --find-max the shortest, for a relay that holds a party
    /// to what it said.
    pub fn ptime(&self) -> u16 {
        if self.find_max {
            return 1;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let ptime = (1000.0 / self.packets_per_second).round().clamp(1.0, 200.0) as u16;
        ptime
    }

    /// The flags of --flag as a request has them: keys of their own, and entries of `flags`.
    pub fn flags(&self) -> (Vec<(String, Value)>, Vec<Value>) {
        let split = |flag: &String| flag.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        let keys = self.flag.iter().filter_map(split).map(|(key, value)| (key, Value::from(value)));
        let plain = self.flag.iter().filter(|flag| !flag.contains('=')).map(|flag| Value::from(flag.clone()));
        (keys.collect(), plain.collect())
    }
}

/// `10000-29999`
fn ports(text: &str) -> Result<PortRange, String> {
    let pair = text
        .split_once('-')
        .and_then(|(first, last)| first.trim().parse().ok().zip(last.trim().parse().ok()));
    let (first, last): (u16, u16) = pair.ok_or("expected two ports, like 10000-29999")?;
    let range = PortRange { first, last };
    if first == 0 || range.pairs() < 2 {
        return Err("a call takes two pairs of an even port and the next".into());
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: Arguments,
    }

    pub fn arguments(line: &str) -> Result<Arguments, String> {
        let words = std::iter::once("load").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.load).map_err(|e| e.to_string())
    }

    fn refusal(line: &str) -> String {
        let arguments = match arguments(line) {
            Ok(arguments) => arguments,
            Err(refusal) => return refusal,
        };
        match arguments.check().and_then(|()| arguments.plan().map(drop)) {
            Ok(()) => String::new(),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused_in_clear_words() {
        for (line, words) in [
            ("", ""),
            ("--calls 4000", ""),
            ("--from 127.0.0.1,127.0.0.2 --calls 5000", ""),
            ("--packets-per-second 0", "--packets-per-second 0: must be 0.001 at the least"),
            ("--packets-per-second NaN", "--packets-per-second NaN: must be 0.001 at the least"),
            ("--rate 1e-20", "must be 0.001 at the least"),
            ("--seconds 18446744073709551615", "is not in 1..=604800"),
            ("--rate 0", "--rate 0: must be 0.001 at the least"),
            ("--from 0.0.0.0", "SDP must name one address"),
            ("--from 127.0.0.1,::1", "give two addresses of one family"),
            ("--from 127.0.0.1,127.0.0.2,127.0.0.3", "--from takes one address, or two"),
            ("--ports 40000-40011 --calls 4", "have room for 3 calls, 4 are needed: give 16 ports or more"),
            ("--ports 40000", "expected two ports"),
            ("--ports 40001-40004", "two pairs"),
            ("--setups --find-max", "cannot be used with"),
            ("--relay x --record", "cannot be used with"),
            ("--state var", "--record"),
        ] {
            let said = refusal(line);
            assert!(said.contains(words) && said.is_empty() == words.is_empty(), "{line}: {said}");
        }
        let said = refusal("--ports 40000-40399 --calls 100 --call-seconds 10");
        assert!(said.contains("(--calls 100, and those whose ports rest)"), "{said}");
    }

    #[test]
    fn a_calls_packet_time_is_what_its_packets_have() {
        for (line, ptime) in [("", 20), ("--packets-per-second 100", 10), ("--packets-per-second 0.5", 200)] {
            assert_eq!(arguments(line).unwrap().ptime(), ptime, "{line}");
        }
        assert_eq!(arguments("--find-max").unwrap().ptime(), 1);
    }
}
