//! The thread against a relay that does to known packets what no relay should.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ::tests::ports::Ports;

use super::*;

/// What becomes of the packet of this number, from the caller.
fn fate(number: u32) -> &'static [Fate] {
    match number {
        3 => &[],
        5 => &[Fate::Pass, Fate::Pass],
        7 => &[Fate::Corrupt],
        9 => &[Fate::Hold],
        _ => &[Fate::Pass],
    }
}

#[derive(Clone, Copy)]
enum Fate {
    Pass,
    Corrupt,
    /// Until the next one has passed.
    Hold,
}

/// The relay's four ports: caller's RTP and RTCP, callee's.
struct Reflector {
    ports: [UdpSocket; 4],
    peers: [SocketAddr; 4],
    held: Option<Vec<u8>>,
}

impl Reflector {
    fn new(plan: &Plan, call: u32) -> Self {
        let ports = [(); 4].map(|()| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        });
        let [caller, callee] = [0, 1].map(|leg| plan.ends(call, leg).unwrap());
        Self { ports, peers: [caller.rtp, caller.rtcp, callee.rtp, callee.rtcp], held: None }
    }

    fn call(&self, number: u32) -> Call {
        let at = |n: usize| self.ports[n].local_addr().unwrap();
        Call { number, relay: [Ends { rtp: at(0), rtcp: at(1) }, Ends { rtp: at(2), rtcp: at(3) }] }
    }

    fn pass(&mut self) {
        let mut buffer = [0; 2048];
        for from in 0..4 {
            while let Ok(length) = self.ports[from].recv(&mut buffer) {
                let (to, mut packet) = (from ^ 2, buffer[..length].to_vec());
                let send = |packet: &[u8]| _ = self.ports[to].send_to(packet, self.peers[to]).unwrap();
                let fates = if from == 0 {
                    fate(u32::from_be_bytes(packet[20..24].try_into().unwrap()))
                } else {
                    &[Fate::Pass]
                };
                for fate in fates {
                    match fate {
                        Fate::Pass => send(&packet),
                        Fate::Corrupt => {
                            packet[40] ^= 1;
                            send(&packet);
                        }
                        Fate::Hold => self.held = Some(packet.clone()),
                    }
                }
                if from == 0 && !matches!(fates, [Fate::Hold]) {
                    self.held.take().iter().for_each(|held| send(held));
                }
            }
        }
    }
}

fn plan(first: u16) -> Plan {
    Plan {
        core: None,
        address: [Ipv4Addr::LOCALHOST.into(); 2],
        ports: PortRange { first, last: first + 19 },
        media: Media { codec: Codec::G711A, packets_per_second: 200.0, rtcp: true },
        sampling: Sampling::default(),
    }
}

#[test]
fn each_call_has_ports_of_its_own_as_far_as_they_go() {
    let mut plan = plan(20_001);
    assert_eq!(plan.most_calls(), 4);
    let port = |plan: &Plan, number, leg| plan.ends(number, leg).map(|e| (e.rtp.port(), e.rtcp.port()));
    assert_eq!(port(&plan, 0, 0), Some((20_002, 20_003)));
    assert_eq!(port(&plan, 3, 1), Some((20_016, 20_017)));
    assert!(port(&plan, 4, 1).is_none_or(|(_, last)| last > 20_019));
    plan.address[1] = Ipv4Addr::new(127, 0, 0, 2).into();
    assert_eq!(plan.most_calls(), 9);
    assert_eq!(port(&plan, 8, 1), Some((20_018, 20_019)));
    assert_eq!(port(&plan, 9, 0), None);
}

#[test]
fn what_a_relay_does_to_packets_is_counted_exactly() {
    let ports = Ports::take();
    let plan = plan(ports.media().0);
    let traffic = match Traffic::start(plan.clone()) {
        Ok(traffic) => traffic,
        Err(e) => return println!("skipped: {e}"),
    };
    let mut reflector = Reflector::new(&plan, 1);
    let call = reflector.call(1);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let relay = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            reflector.pass();
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    traffic.begin(call).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while traffic.figures().unwrap().received < 100 {
        assert!(Instant::now() < deadline, "{:?}", traffic.figures().unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    traffic.end(1);
    let figures = traffic.finish().unwrap();
    stop.store(true, Ordering::Relaxed);
    relay.join().unwrap();
    assert!(figures.sent >= 100 && figures.strays == 0 && figures.refused == 0, "{figures:?}");
    assert_eq!(figures.lost, 2, "one was dropped, one was not itself any more");
    assert_eq!(figures.received, figures.sent - 2);
    assert_eq!((figures.duplicates, figures.reordered, figures.corrupt), (1, 1, 1));
    assert_eq!(figures.rtcp_received, figures.rtcp_sent);
    assert!(figures.added_delay_ns.len() + 5 >= figures.sent, "nearly every packet was timed");
    assert!(figures.added_delay_ns.max() < 60_000_000_000 && figures.added_delay_ns.min() > 1);
}

#[test]
fn what_vanishes_and_what_meets_a_closed_port_is_known_while_nothing_follows_it() {
    let ports = Ports::take();
    let plan = plan(ports.media().0);
    let traffic = match Traffic::start(plan.clone()) {
        Ok(traffic) => traffic,
        Err(e) => return println!("skipped: {e}"),
    };
    let deaf = Reflector::new(&plan, 1);
    traffic.begin(deaf.call(1)).unwrap();
    let until = |enough: fn(&Figures) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let figures = traffic.figures().unwrap();
            if enough(&figures) {
                return figures;
            }
            assert!(Instant::now() < deadline, "{figures:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let figures = until(|figures| figures.sent >= 20);
    assert_eq!(
        (figures.outstanding + 2, figures.lost),
        (figures.sent, 0),
        "one of each leg may be under way"
    );
    assert_eq!(figures.unreachable, 0);
    drop(deaf);
    until(|figures| figures.unreachable > 0);
    let figures = traffic.finish().unwrap();
    assert_eq!((figures.lost, figures.received, figures.refused), (figures.sent, 0, 0), "{figures:?}");
}

#[test]
fn samples_are_taken_at_random_and_as_many_as_are_wanted() {
    let mut state = 1;
    let gaps: Vec<u32> = (0..10_000).map(|_| worker::random_about(&mut state, 25)).collect();
    assert!(gaps.iter().all(|gap| (1..50).contains(gap)) && gaps.contains(&1) && gaps.contains(&49));
    let mean = f64::from(gaps.iter().sum::<u32>()) / 10_000.0;
    assert!((24.0..26.0).contains(&mean), "{mean}");
    assert_eq!(worker::random_about(&mut state, 1), 1);
}
