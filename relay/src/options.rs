//! The relay's section of `pop.toml`.

use std::net::{IpAddr, Ipv4Addr};

use crate::interface::{self, Listing, is_dscp};
use crate::lane::Choice;
use crate::lane::express::Mode;
use crate::settings::{Error, File, PortRange, Section, on_this_host, settings};

/// Most workers: each has a core, a ring and a tap ring of its own.
pub const MAX_WORKERS: usize = 64;

settings! {
    /// The media relay.
    pub struct Options in "relay" {
        /// Address that media sockets are bound to; an address of this host.
        address: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST), check on_this_host;
        /// Address that is told to the parties in SDP, when it differs from `address` (behind a 1:1 NAT); "" for the same.
        advertised: Option<IpAddr> = None;
        /// Media ports, first and last. A call takes four for each stream: RTP and RTCP on both sides.
        ports: PortRange = PortRange { first: 30_000, last: 39_999 };
        /// Mark of the packets that are sent, for routers that know voice by it: a DSCP, 0 to 63 (RFC 4594); 46 is "expedited forwarding".
        dscp: u8 = 46, check is_dscp;
        /// Interfaces by name, for a relay between networks. Offers choose by name; the first is taken where they do not.
        /// `address` and `advertised` may be lists, one for each; entries of the same name are one interface, and of its
        /// addresses the one with the most free ports is taken. `ports` and `dscp`, where left out, are those above.
        /// `relay.address` and `relay.advertised` then must be left out. With none listed there is one interface, "default",
        /// of the keys above.
        interfaces: Listing = Listing::default();
        /// How long the ports of an ended call rest before the next one takes them, in seconds: late packets meet closed
        /// ports. Where no others are left, they rest for a tenth of it.
        port_rest_seconds: u32 = 5, check |n: &u32| if *n <= 3_600 { Ok(()) } else { Err("3600 seconds at most".into()) };
        /// How packets are moved: "auto" takes io_uring where the kernel allows it, else "mmsg"; and beside it, where the
        /// drivers of the interfaces take it, the express lane "xdp", which settled streams are moved to. "xdp" demands that one.
        /// "uring" and "mmsg" are that one alone.
        lane: Choice = Choice::Auto;
        /// Interfaces that the express lane is attached to, by their names in the system; [] for those that have the addresses
        /// of media.
        xdp_interfaces: Vec<String> = Vec::new();
        /// Where the express lane is attached: "driver", or "generic", which is slower and which every interface takes. "auto"
        /// is the driver, and behind it only where `lane` demands the express lane.
        xdp_mode: Mode = Mode::Auto;
        /// Where the express lane is pinned, in a BPF file system: below it, in a folder of the state directory's name. The streams
        /// on it then go on when the relay is killed, and the relay that is started next goes on with their calls. "" for nowhere.
        xdp_pins: String = "/sys/fs/bpf/bauta".to_owned();
        /// Streams are moved by the express lane no longer when their relay gave no sign of life for so many seconds.
        xdp_expiry_seconds: u32 = 60, check |n: &u32| if *n > 0 { Ok(()) } else { Err("1 second at least".into()) };
        /// Worker threads, one per core at most; 0 for as many as there are cores.
        workers: u16 = 0, check |n: &u16| if usize::from(*n) <= MAX_WORKERS { Ok(()) } else { Err(format!("{MAX_WORKERS} workers at most")) };
        /// Whether each worker stays on a core of its own.
        pin: bool = true;
        /// While packets come, how long a worker lets them gather before it handles the first, in microseconds; 0 for not at
        /// all. Each is late by up to as much (its arrival in the archive too), and all cost less CPU. For io_uring, and
        /// without `busy_poll_us`.
        gather_us: u32 = 1_000, check |us: &u32| if *us <= 5_000 { Ok(()) } else { Err("5000 microseconds at most".into()) };
        /// How long a worker spins for the next packet before it sleeps, in microseconds; 0 for never. It wakes up sooner, and
        /// under load takes all of its core: `max_cpu_percent` must be 0 then.
        busy_poll_us: u32 = 0, check |us: &u32| if *us <= 1_000 { Ok(()) } else { Err("1000 microseconds at most".into()) };
        /// Receive buffer of each media socket, in KiB.
        receive_buffer_kib: u32 = 256, check |n: &u32| if (8..=65_536).contains(n) { Ok(()) } else { Err("8 to 65536 KiB".into()) };
        /// Size of each worker's tap ring, in MiB, a power of two: what a recorder that is away for a moment can catch up on.
        tap_ring_mib: u32 = 64, check |n: &u32| if n.is_power_of_two() && *n <= 4096 { Ok(()) } else { Err("a power of two from 1 to 4096".into()) };
        /// Most calls at once; 0 for no limit but ports. Beyond it new offers get the load-limit answer, and a proxy turns to its next node.
        max_calls: u32 = 0;
        /// Most packets received a second before new calls are refused; 0 for no limit.
        max_packets_per_second: u64 = 0;
        /// How busy the busiest worker may be, in percent of its core, before new calls are refused; 0 for no limit.
        max_cpu_percent: u8 = 90, check |n: &u8| if *n <= 100 { Ok(()) } else { Err("over 100 %".into()) };
        /// How long after an offer or answer a leg's source address may be learned, in milliseconds.
        learn_window_ms: u32 = 3_000;
        /// Each time so many seconds have passed without a packet, a call is reported to control as silent. Control decides when that is too long, no finer than this.
        silence_seconds: u32 = 10, check |n: &u32| if *n > 0 { Ok(()) } else { Err("1 second at least".into()) };
    }
    check check
}

fn check(options: &Options, file: &File) -> Result<(), Error> {
    if options.busy_poll_us > 0 && options.max_cpu_percent > 0 {
        let reason = "makes a worker look busy that is not: set relay.max_cpu_percent to 0 with it";
        return Err(file.refusal(Options::NAME, "busy_poll_us", reason));
    }
    interface::check(options, file)
}

impl Options {
    /// How many workers there are on a host with so many cores for them.
    pub fn workers_of(&self, cores: usize) -> usize {
        if self.workers == 0 { cores.min(MAX_WORKERS) } else { usize::from(self.workers) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_spins_is_not_told_to_refuse_calls_because_the_core_is_busy() {
        let refusal = |text: &str| {
            let file = File::parse("pop.toml", text).unwrap();
            Options::read(&file).map(drop).map_err(|e| e.to_string())
        };
        let error = refusal("[relay]\nbusy_poll_us = 50\n").unwrap_err();
        assert!(error.starts_with("pop.toml:2: relay.busy_poll_us = 50: "), "{error}");
        assert!(error.contains("relay.max_cpu_percent to 0"), "{error}");
        assert_eq!(refusal("[relay]\nbusy_poll_us = 50\nmax_cpu_percent = 0\n"), Ok(()));
    }
}
