//! What the express lane's program takes for a packet, all in: frames that the kernel makes come to a veth device, run through the
//! program and are sent (`BPF_F_TEST_XDP_LIVE_FRAMES`), all of it on one core; the worker's end of the ring is read on another.
//!
//! `cargo bench -p benches --bench express`; it needs root, `clang`, `ip`, `ethtool` and two cores, and takes a minute.
//!
//! A frame is rewritten and comes back, so two calls stand so that what one sends the other one takes, in a circle. It ends where
//! the hop limit does, so the kernel is asked again and again for fewer frames than that; what it takes to begin is in the figure.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench that cannot be set up ends; figures are rounded when they are printed"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use relay::interface::Address;
use relay::lane::express::Mode;
use relay::lane::xdp::Express;
use relay::lane::xdp::program::{Plan, load};
use relay::lane::xdp::rows::Orders;
use relay::program::message::PayloadTypes;
use relay::rewrite::Guise;
use relay::settings::PortRange;
use relay::sys::bpf::run_live;
use relay::sys::clock::Now;
use relay::table::Slot;
use relay::worker::pin;
use tests::namespaces::{DEVICE, Link, PARTIES, RELAY};

/// Frames that the kernel is asked for at a time: each of 64 goes round 250 times at the most.
const AT_A_TIME: u32 = 64 * 250;
/// Times of a run.
const TIMES: u32 = 200;
/// Frames of a run.
const FRAMES: u32 = AT_A_TIME * TIMES;
/// Runs; the median counts.
const RUNS: usize = 5;
/// PCMA (RFC 3551).
const PAYLOAD_TYPE: u8 = 8;
/// 20 ms of it, and the RTP header.
const PACKET: usize = 172;

fn main() -> Result<()> {
    let link = Link::make("express", 1)?;
    // What arrives there is not part of it.
    link.generator.drop_all()?;
    println!("| rows in the map | told to the worker | packets/s on one core | ns a packet | of them told |");
    println!("|---|---|---|---|---|");
    for (slots, tapped) in [(8, false), (8, true), (40_000, false), (40_000, true)] {
        let (median, told) = link.relay.inside(|| measure(slots, tapped))??;
        println!(
            "| {} | {} | {:.0} | {:.0} | {:.0} % |",
            slots,
            if tapped { "whole packets (recorded)" } else { "headers" },
            f64::from(FRAMES) / median.as_secs_f64(),
            median.as_secs_f64() * 1e9 / f64::from(FRAMES),
            told * 100.0
        );
    }
    Ok(())
}

/// The median time that the frames took, and how many of them the worker was told of.
fn measure(slots: u32, tapped: bool) -> Result<(Duration, f64)> {
    let ports = PortRange { first: 1, last: u16::MAX };
    let addresses = [RELAY, PARTIES[0]].map(|bound| Address { bound, advertised: bound, ports, dscp: 46 });
    let plan = Plan { workers: 1, slots, addresses: &addresses, expiry: Duration::from_secs(60) };
    let (mut program, mut ends) = load(&plan, None).map_err(anyhow::Error::msg)?;
    program.attach(&[DEVICE.to_owned()], Mode::Driver, false).map_err(anyhow::Error::msg)?;
    let descriptor = program.descriptor()?;
    let interface = interface()?;
    let mut express = ends.pop().context("no end of the ring")?;
    circle(&mut express, slots, tapped)?;
    express.beat(Now::read().mono_ns);
    let [a, b, c, d] = ENDS;
    let frame = frame(a, b, FIRST);
    // Both rows have to see how their parties are reached.
    for frame in [&frame, &self::frame(c, d, SECOND)] {
        run_live(descriptor.as_fd(), frame, interface, 1)?;
    }
    for index in 0..2 {
        let row = express.row(index).context("no row")?;
        ensure!(row.hop().is_some() && row.await_last() && row.promote(0), "row {index} is not promoted");
    }
    let done = AtomicBool::new(false);
    let mut times = Vec::new();
    let mut told = 0_u64;
    std::thread::scope(|scope| -> Result<()> {
        let reader = scope.spawn(|| {
            pin(Some(1)).expect("a second core");
            let mut count = 0_u64;
            while !done.load(Relaxed) {
                express.beat(Now::read().mono_ns);
                while express.next(false).is_some() {
                    count += 1;
                }
                express.done();
                // As the worker does.
                std::thread::sleep(Duration::from_millis(10));
            }
            count
        });
        pin(Some(0))?;
        for _ in 0..RUNS {
            let began = Instant::now();
            for _ in 0..TIMES {
                run_live(descriptor.as_fd(), &frame, interface, AT_A_TIME)?;
            }
            times.push(began.elapsed());
        }
        done.store(true, Relaxed);
        told = reader.join().expect("the reader ends well");
        Ok(())
    })?;
    times.sort();
    Ok((times[RUNS / 2], told as f64 / (f64::from(FRAMES) * RUNS as f64)))
}

/// The device's index.
fn interface() -> Result<u32> {
    // In this namespace, where /sys may be another's.
    let said = std::process::Command::new("ip").args(["-o", "link", "show", "dev", DEVICE]).output()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    said.split(':').next().and_then(|index| index.trim().parse().ok()).context(said)
}

const fn at(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

/// Ends of the circle: what goes from one to the next leaves with the addresses of the two behind.
const ENDS: [SocketAddr; 4] =
    [at(PARTIES[0], 4_000), at(RELAY, 20_000), at(RELAY, 20_002), at(PARTIES[0], 4_002)];

/// SSRCs of the one half of the circle and of the other.
const FIRST: u32 = 0x11;
const SECOND: u32 = 0x22;

/// A packet of 20 ms, in a frame.
fn frame(from: SocketAddr, to: SocketAddr, ssrc: u32) -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(target)) = (from.ip(), to.ip()) else { unreachable!("IPv4") };
    let length = |head: usize| u16::try_from(head + PACKET).expect("a packet's length").to_be_bytes();
    let mut header = [&[0x45, 0][..], &length(28), &[0, 0, 0, 0, 255, 17, 0, 0]].concat();
    header.extend([source.octets(), target.octets()].concat());
    let words = header.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let check = !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("a folded sum");
    header[10..12].copy_from_slice(&check.to_be_bytes());
    // UDP's checksum may be none over IPv4; that it is changed costs a few instructions more where there is one.
    let udp = [from.port().to_be_bytes(), to.port().to_be_bytes(), length(8), [0x12, 0x34]].concat();
    let mut rtp = vec![0x80, PAYLOAD_TYPE, 0, 1, 0, 0, 0, 1];
    rtp.extend(ssrc.to_be_bytes());
    rtp.resize(PACKET, 0xd5);
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0][..], &header, &udp, &rtp].concat()
}

/// Two calls whose packets go round, and other rows beside them.
fn circle(express: &mut Express, slots: u32, tapped: bool) -> Result<()> {
    let [a, b, c, d] = ENDS;
    let rows = [(b, a, (c, d), FIRST, SECOND), (d, c, (a, b), SECOND, FIRST)];
    for (index, (local, source, way, ssrc, shown)) in (0..).zip(rows) {
        let slot = Slot { index, generation: 0 };
        ensure!(express.take(slot, local, source), "no room");
        let set = PayloadTypes::NONE.with(PAYLOAD_TYPE);
        let row = express.row(index).context("no row")?;
        row.order(&Orders {
            accepts: set,
            tapped: if tapped { set } else { PayloadTypes::NONE },
            guise: Guise { source: ssrc, shown, sequence: 7, timestamp: 9 },
            way,
            dscp: 46,
            cap: (0, 0, 0),
            peer: express.name(1 - index),
        });
    }
    for index in 2..slots {
        let ip = Ipv4Addr::from(0x0a00_0000 + index);
        let (local, source) = (at(IpAddr::V4(ip), 30_000), at(IpAddr::V4(ip), 4_000));
        ensure!(express.take(Slot { index, generation: 0 }, local, source), "no room");
    }
    Ok(())
}
