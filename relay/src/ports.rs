//! The media ports of every interface: which address a leg's pair is taken from, and the binding of it.
//!
//! Owned by the server's thread. A pair that another program has bound is passed over and tried again later.

mod pool;

use std::cmp::Reverse;
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::interface::{Address, Interface};
use crate::program::message::{Family, InterfaceStats, LocalPorts, Place, Refusal};
use crate::sys::socket;
use pool::Pool;

/// The port pairs of all interfaces.
#[derive(Debug)]
pub struct Ports {
    names: Vec<String>,
    addresses: Vec<Bindable>,
    receive_buffer: usize,
}

/// An address with its free-list.
#[derive(Debug)]
struct Bindable {
    interface: usize,
    address: Address,
    pool: Pool,
}

/// A pair that was taken. Whoever has it gives it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Index of its address.
    origin: usize,
    /// What the leg is told.
    pub local: LocalPorts,
}

/// A pair and its sockets.
#[derive(Debug)]
pub struct BoundPair {
    /// The pair.
    pub pair: Pair,
    /// RTP, RTCP.
    pub sockets: [OwnedFd; 2],
}

impl Ports {
    /// All pairs of `interfaces`, in an order drawn from `seed`. Each rests for `rest_ns` after its use; sockets get a
    /// receive buffer of `receive_buffer` bytes.
    pub fn new(interfaces: &[Interface], rest_ns: u64, receive_buffer: usize, seed: u64) -> Self {
        let every =
            interfaces.iter().enumerate().flat_map(|(i, one)| one.addresses.iter().map(move |a| (i, *a)));
        let addresses = (0_u64..).zip(every).map(|(number, (interface, address))| {
            let pool = Pool::new(address.ports, rest_ns, seed.wrapping_add(number << 1));
            Bindable { interface, address, pool }
        });
        let names = interfaces.iter().map(|i| i.name.clone()).collect();
        Self { names, addresses: addresses.collect(), receive_buffer }
    }

    /// Binds a pair at `place`. Of several addresses that will do, those of the first one's family are tried, the one
    /// with the most free pairs first; of an address, the pair that was free the longest.
    pub fn take(&mut self, place: Place, now_ns: u64) -> Result<BoundPair, Refusal> {
        let mut refusal = Refusal::NoInterface;
        for origin in self.candidates(place, now_ns) {
            match self.take_from(origin, now_ns) {
                // The next address is no help when the process is at its limit.
                done @ (Ok(_) | Err(Refusal::OutOfFiles)) => return done,
                // An address that is gone says more than one that is used up.
                Err(other) if matches!(refusal, Refusal::NoInterface | Refusal::OutOfPorts) => {
                    refusal = other;
                }
                Err(_) => {}
            }
        }
        Err(refusal)
    }

    /// Gives back a pair that carried a call; its sockets are closed or about to be.
    pub fn give(&mut self, pair: Pair, now_ns: u64) {
        if let Some(origin) = self.addresses.get_mut(pair.origin) {
            origin.pool.give(pair.local.rtp, now_ns);
        }
    }

    /// Gives back a pair that nobody was told of.
    pub fn put_back(&mut self, pair: Pair) {
        if let Some(origin) = self.addresses.get_mut(pair.origin) {
            origin.pool.put_back(pair.local.rtp);
        }
    }

    /// Per address: which it is, and its pairs that rest with the time until which they do.
    pub fn export(&self) -> Vec<(IpAddr, Vec<(u16, u64)>)> {
        self.addresses.iter().map(|a| (a.address.bound, a.pool.export())).collect()
    }

    /// Goes on where the ports of another process were, which knew `theirs`: the pairs `taken` are taken, and what rested
    /// rests. Pairs that the settings have no more are forgotten when they are given back.
    pub fn adopt<'a>(
        &mut self,
        theirs: &[(IpAddr, Vec<(u16, u64)>)],
        taken: impl Iterator<Item = &'a mut Pair>,
    ) {
        let mut free: Vec<HashSet<u16>> = self.addresses.iter().map(|a| a.pool.all_free()).collect();
        let mut find = |bound: IpAddr, rtp: u16| {
            let mut places = self.addresses.iter().zip(&mut free).map(|(a, free)| (a.address.bound, free));
            places.position(|(address, free)| address == bound && free.remove(&rtp))
        };
        for pair in taken {
            let place = theirs.get(pair.origin).and_then(|(bound, _)| find(*bound, pair.local.rtp));
            pair.origin = place.unwrap_or(usize::MAX);
        }
        let every = theirs.iter().flat_map(|(bound, resting)| resting.iter().map(move |r| (*bound, *r)));
        let mut rest: Vec<(usize, (u16, u64))> =
            every.filter_map(|(bound, (rtp, until))| Some((find(bound, rtp)?, (rtp, until)))).collect();
        rest.sort_by_key(|(_, (_, until_ns))| *until_ns);
        for (index, (address, free)) in self.addresses.iter_mut().zip(&free).enumerate() {
            address.pool.adopt(free, rest.iter().filter(|(i, _)| *i == index).map(|(_, resting)| *resting));
        }
    }

    /// Free, resting and all pairs, by interface.
    pub fn stats(&mut self, now_ns: u64) -> Vec<InterfaceStats> {
        let named = |name: &String| InterfaceStats { name: name.clone(), ..InterfaceStats::default() };
        let mut stats: Vec<InterfaceStats> = self.names.iter().map(named).collect();
        for Bindable { interface, pool, .. } in &mut self.addresses {
            if let Some(stats) = stats.get_mut(*interface) {
                stats.pairs_free += pool.free(now_ns) as u64;
                stats.pairs_resting += pool.resting(now_ns) as u64;
                stats.pairs_total += pool.total() as u64;
            }
        }
        stats
    }

    /// Pairs of all interfaces.
    pub fn total(&self) -> usize {
        self.addresses.iter().map(|a| a.pool.total()).sum()
    }

    /// The addresses that will do at `place`, best first.
    fn candidates(&mut self, place: Place, now_ns: u64) -> Vec<usize> {
        let mut family = place.family;
        let mut list = Vec::new();
        for (index, Bindable { interface, address, pool }) in self.addresses.iter_mut().enumerate() {
            if *interface == usize::from(place.interface) && family.fits(address.bound) {
                family = Family::of(address.bound);
                list.push((index, pool.free(now_ns)));
            }
        }
        list.sort_by_key(|(_, free)| Reverse(*free));
        list.into_iter().map(|(index, _)| index).collect()
    }

    fn take_from(&mut self, origin: usize, now_ns: u64) -> Result<BoundPair, Refusal> {
        let receive_buffer = self.receive_buffer;
        let Some(Bindable { address, pool, .. }) = self.addresses.get_mut(origin) else {
            return Err(Refusal::NoInterface);
        };
        // What cannot be bound now goes back when the search is over, or it would be found again at once.
        let mut passed_over = Vec::new();
        let mut found = Err(Refusal::OutOfPorts);
        while let Some(rtp) = pool.take(now_ns) {
            let error = match bind(address, rtp, receive_buffer) {
                Ok(sockets) => {
                    let local = LocalPorts { address: address.advertised, rtp, rtcp: rtp + 1 };
                    found = Ok(BoundPair { pair: Pair { origin, local }, sockets });
                    break;
                }
                Err(e) => e,
            };
            passed_over.push(rtp);
            match error.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                    found = Err(Refusal::OutOfFiles);
                    break;
                }
                Some(libc::EADDRINUSE | libc::EACCES) => {}
                _ => {
                    let bound = SocketAddr::new(address.bound, rtp);
                    found = Err(Refusal::Impossible(format!("{bound} cannot be bound: {error}")));
                    break;
                }
            }
        }
        passed_over.into_iter().for_each(|rtp| pool.put_back(rtp));
        found
    }
}

fn bind(address: &Address, rtp: u16, receive_buffer: usize) -> io::Result<[OwnedFd; 2]> {
    let bind = |port| socket::bind(SocketAddr::new(address.bound, port), receive_buffer, address.dscp);
    Ok([bind(rtp)?, bind(rtp + 1)?])
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, UdpSocket};

    use super::*;
    use crate::settings::PortRange;

    const REST: u64 = 1_000;

    fn interface(name: &str, addresses: &[(&str, u16, u16)]) -> Interface {
        let address = |(bound, first, last): &(&str, u16, u16)| {
            let bound: IpAddr = bound.parse().unwrap();
            Address { bound, advertised: bound, ports: PortRange { first: *first, last: *last }, dscp: 46 }
        };
        Interface { name: name.into(), addresses: addresses.iter().map(address).collect() }
    }

    fn ports(interfaces: &[Interface]) -> Ports {
        Ports::new(interfaces, REST, 65_536, 7)
    }

    fn place(interface: u8, family: Family) -> Place {
        Place { interface, family }
    }

    fn taken(ports: &mut Ports, interface: u8, family: Family) -> Result<LocalPorts, Refusal> {
        ports.take(place(interface, family), 0).map(|bound| bound.pair.local)
    }

    #[test]
    fn a_pair_that_another_program_has_is_passed_over_and_nothing_leaks() {
        let mut ports = ports(&[interface("a", &[("127.0.0.1", 28_812, 28_815)])]);
        let theirs = UdpSocket::bind("127.0.0.1:28813").unwrap();
        assert_eq!(taken(&mut ports, 0, Family::Any).unwrap().rtp, 28_814);
        assert_eq!(taken(&mut ports, 0, Family::Any).unwrap_err(), Refusal::OutOfPorts);
        drop(theirs);
        assert_eq!(taken(&mut ports, 0, Family::Any).unwrap().rtp, 28_812);
    }

    #[test]
    fn a_pair_that_another_program_has_does_not_keep_resting_ones_from_a_call() {
        let mut ports = ports(&[interface("a", &[("127.0.0.1", 28_816, 28_819)])]);
        let theirs = UdpSocket::bind("127.0.0.1:28819").unwrap();
        let used = ports.take(place(0, Family::Any), 0).unwrap().pair;
        ports.give(used, 0);
        assert_eq!(taken(&mut ports, 0, Family::Any).unwrap_err(), Refusal::OutOfPorts);
        assert_eq!(ports.take(place(0, Family::Any), REST / 2).unwrap().pair, used);
        drop(theirs);
    }

    #[test]
    fn a_pair_is_bound_on_its_own_address_and_told_as_advertised() {
        let mut inside = interface("inside", &[("127.0.0.2", 28_820, 28_823)]);
        inside.addresses[0].advertised = "192.0.2.9".parse().unwrap();
        let mut ports = ports(&[interface("a", &[("127.0.0.1", 28_820, 28_823)]), inside]);
        let bound = ports.take(place(1, Family::Ip4), 0).unwrap();
        let local = bound.pair.local;
        assert_eq!((local.address, local.rtcp), ("192.0.2.9".parse().unwrap(), local.rtp + 1));
        assert!(UdpSocket::bind(("127.0.0.2", local.rtp)).is_err(), "it is bound");
        assert!(UdpSocket::bind(("127.0.0.2", local.rtcp)).is_err(), "RTCP too");
        assert!(UdpSocket::bind(("127.0.0.1", local.rtp)).is_ok(), "and nowhere else");
    }

    #[test]
    fn the_address_with_the_most_free_pairs_is_taken_of_the_wanted_family() {
        let list = [("127.0.0.1", 28_830, 28_833), ("::1", 28_830, 28_839), ("127.0.0.2", 28_830, 28_835)];
        let mut ports = ports(&[interface("a", &list)]);
        let mut addresses = |family| {
            std::iter::from_fn(|| taken(&mut ports, 0, family).ok().map(|l| l.address.to_string()))
                .collect::<Vec<_>>()
        };
        let (one, two) = ("127.0.0.1", "127.0.0.2");
        assert_eq!(addresses(Family::Any), [two, one, two, one, two], "the first address is IPv4");
        assert_eq!(addresses(Family::Ip6), ["::1"; 5]);
    }

    #[test]
    fn refusals_say_which_want_it_is() {
        let mut ports = ports(&[interface("a", &[("127.0.0.1", 28_840, 28_843)])]);
        assert_eq!(taken(&mut ports, 0, Family::Ip6).unwrap_err(), Refusal::NoInterface);
        assert_eq!(taken(&mut ports, 1, Family::Any).unwrap_err(), Refusal::NoInterface);
        ports.addresses[0].address.bound = "203.0.113.9".parse().unwrap();
        let Err(Refusal::Impossible(reason)) = taken(&mut ports, 0, Family::Any) else { panic!() };
        assert!(reason.starts_with("203.0.113.9:2884") && reason.contains("cannot be bound"), "{reason}");
        assert_eq!(ports.stats(0)[0].pairs_free, 2, "nothing was lost by it");
    }

    #[test]
    fn every_interface_is_counted_by_itself() {
        let mut ports = ports(&[
            interface("a", &[("127.0.0.1", 28_850, 28_853)]),
            interface("b", &[("127.0.0.2", 28_850, 28_853), ("127.0.0.3", 28_850, 28_857)]),
        ]);
        let (used, unused) =
            (ports.take(place(1, Family::Any), 0).unwrap(), ports.take(place(1, Family::Any), 0).unwrap());
        let _kept = ports.take(place(1, Family::Any), 0).unwrap();
        ports.give(used.pair, 0);
        ports.put_back(unused.pair);
        let figures = |stats: Vec<InterfaceStats>| {
            stats
                .into_iter()
                .map(|s| (s.name, s.pairs_free, s.pairs_resting, s.pairs_total))
                .collect::<Vec<_>>()
        };
        assert_eq!(figures(ports.stats(1)), [("a".into(), 2, 0, 2), ("b".into(), 4, 1, 6)]);
        assert_eq!(figures(ports.stats(REST)), [("a".into(), 2, 0, 2), ("b".into(), 5, 0, 6)]);
        assert_eq!(ports.total(), 8);
    }

    #[test]
    fn ports_taken_over_are_taken_or_rest_as_they_did() {
        let list = [("127.0.0.1", 28_860, 28_865), ("127.0.0.2", 28_860, 28_863)];
        let mut old = ports(&[interface("a", &list)]);
        let mut pairs: Vec<Pair> = (0..5).map(|_| old.take(place(0, Family::Any), 0).unwrap().pair).collect();
        old.give(pairs.remove(0), 7);
        // The settings have changed meanwhile: another order, and fewer ports.
        let other = [("127.0.0.2", 28_860, 28_863), ("127.0.0.1", 28_862, 28_865)];
        let mut new = ports(&[interface("a", &other)]);
        new.adopt(&old.export(), pairs.iter_mut());
        let stats = |ports: &mut Ports, now| {
            let stats = ports.stats(now).remove(0);
            (stats.pairs_free, stats.pairs_resting)
        };
        let (before, _) = stats(&mut new, 7 + REST);
        assert!(before <= 1, "at most what rested is free");
        pairs.iter().for_each(|pair| new.give(*pair, 8));
        let (free, resting) = stats(&mut new, 8);
        assert_eq!(free + resting, 4, "the pair that is no more did not come back");
        assert_eq!(stats(&mut new, 9 + REST), (4, 0));
    }
}
