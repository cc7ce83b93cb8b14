//! How many instructions a packet takes, without any system call: the figure that does not depend on who else uses the
//! machine. Counted by valgrind, twice, which has to give the same.
//!
//! `cargo bench -p benches --bench instructions` (wants valgrind)
//!
//! The bench starts itself under valgrind for each part, once with so many packets and once with twice as many; the
//! difference is theirs alone. What it takes to make a packet is counted in the same way, and taken off.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench that cannot be set up ends"
)]

use std::hint::black_box;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use relay::call::{CallKey, Leg};
use relay::classify::{Verdict, classify};
use relay::engine::{Engine, NewCall, NewStream, Spans};
use relay::program::message::{Clock, Extensions, Learning, LegMedia, PayloadTypes, Remote, Stream};
use relay::rewrite::Mask;
use relay::row::{Identity, Pair, Port, Row};
use relay::sys::clock::{Now, Timeline};
use relay::table::Slot;
use relay::tap::{self, Handles};

/// As in `bauta-relay`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Packet,
    Classify,
    Rewrite,
    Engine,
    EngineTap,
    Report,
    EngineReport,
}

impl Part {
    /// What is printed of it; none for what is only taken off.
    const fn name(self) -> Option<&'static str> {
        match self {
            Self::Packet | Self::Report => None,
            Self::Classify => Some("classify"),
            Self::Rewrite => Some("rewrite (Mask::rtp)"),
            Self::Engine => Some("Engine::receive, settled, RTP"),
            Self::EngineTap => Some("the same, copied to the tap"),
            Self::EngineReport => Some("Engine::receive, settled, RTCP (SR with one block, SDES)"),
        }
    }

    /// What makes its packets and does nothing with them.
    const fn without(self) -> Self {
        match self {
            Self::Report | Self::EngineReport => Self::Report,
            _ => Self::Packet,
        }
    }
}

/// Instructions per packet.
#[derive(Parser)]
struct Options {
    /// Runs this part, to be watched from outside.
    #[arg(long, hide = true)]
    part: Option<Part>,
    /// So many packets of it.
    #[arg(long, hide = true, default_value_t = PACKETS)]
    packets: u32,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

const PACKETS: u32 = 1_000;

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(part) = options.part {
        run(part, options.packets);
        return Ok(());
    }
    println!("| part | instructions a packet |");
    println!("|---|---|");
    for part in Part::value_variants() {
        let Some(name) = part.name() else { continue };
        let taken = per_packet(*part)? - per_packet(part.without())?;
        println!("| {name} | {} |", taken.round());
    }
    println!("\nEach was counted twice, with the same result.");
    Ok(())
}

/// Instructions that a packet of `part` takes, its making included.
fn per_packet(part: Part) -> Result<f64> {
    let once = [count(part, PACKETS)?, count(part, PACKETS * 2)?];
    let again = [count(part, PACKETS)?, count(part, PACKETS * 2)?];
    ensure!(once == again, "{part:?}: counted {once:?} instructions, then {again:?}");
    Ok(f64::from(once[1] - once[0]) / f64::from(PACKETS))
}

/// Instructions inside [`measured`] with so many packets.
fn count(part: Part, packets: u32) -> Result<u32> {
    let value = part.to_possible_value().context("no name")?;
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*::measured"])
        .arg(std::env::current_exe()?)
        .args(["--part", value.get_name(), "--packets", &packets.to_string()])
        .output()
        .context("valgrind (Debian: apt-get install valgrind)")?;
    let said = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "{said}");
    let line =
        said.lines().find_map(|line| line.split_once("Collected : ")).context("valgrind counted nothing")?;
    Ok(line.1.trim().parse()?)
}

/// What valgrind counts: everything that happens in here.
#[inline(never)]
fn measured(packets: u32, each: &mut dyn FnMut(u32)) {
    for n in 0..packets {
        each(n);
    }
}

fn run(part: Part, packets: u32) {
    let mut buffer = [0; 512];
    let clocks = [Clock { payload_types: PayloadTypes::NONE.with(8), hz: 8_000 }; 1];
    let at = |n: u32| Now { mono_ns: 1_000_000_000 + u64::from(n) * 20_000_000, wall_ns: 1 };
    match part {
        Part::Packet => measured(packets, &mut |n| {
            black_box(rtp(&mut buffer, n));
        }),
        Part::Report => measured(packets, &mut |_| {
            black_box(report(&mut buffer));
        }),
        Part::Classify => {
            let row = settled();
            measured(packets, &mut |n| {
                let length = rtp(&mut buffer, n);
                let verdict = classify(&buffer[..length], CALLER, &row, None, at(n).mono_ns);
                assert!(matches!(black_box(verdict), Verdict::Forward(_)));
            });
        }
        Part::Rewrite => {
            let mut mask = Mask::new(1);
            measured(packets, &mut |n| {
                let length = rtp(&mut buffer, n);
                let done = mask.rtp(&mut buffer[..length], Extensions::default(), &clocks, at(n).mono_ns);
                assert!(black_box(done).is_some());
            });
        }
        Part::Engine | Part::EngineTap | Part::EngineReport => {
            let (mut engine, slots, _tap) = engine(part == Part::EngineTap);
            let length = rtp(&mut buffer, 0);
            // Settles the RTP row, which tells the RTCP row whom to expect; so does the first report.
            assert!(engine.receive(slots[0], CALLER, &mut buffer, length, at(0)).is_some());
            let length = report(&mut buffer);
            assert!(engine.receive(slots[1], CALLER, &mut buffer, length, at(1)).is_some());
            while engine.connection().is_some() {}
            let reports = part == Part::EngineReport;
            measured(packets, &mut |n| {
                let length = if reports { report(&mut buffer) } else { rtp(&mut buffer, n + 1) };
                let slot = slots[usize::from(reports)];
                assert!(black_box(engine.receive(slot, CALLER, &mut buffer, length, at(n + 1))).is_some());
            });
        }
    }
}

const CALLER: SocketAddr = address(1);
const CALLEE: SocketAddr = address(2);

const fn address(host: u8) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, host)), 4_000)
}

/// 20 ms of G.711, the `n`th packet of its stream: its length.
fn rtp(buffer: &mut [u8; 512], n: u32) -> usize {
    let sequence = n.to_be_bytes();
    buffer[..4].copy_from_slice(&[0x80, 8, sequence[2], sequence[3]]);
    buffer[4..8].copy_from_slice(&(n * 160).to_be_bytes());
    buffer[8..12].copy_from_slice(&SSRC);
    12 + 160
}

const SSRC: [u8; 4] = [1, 2, 3, 4];

/// A sender report with one report block, and a CNAME: its length.
fn report(buffer: &mut [u8; 512]) -> usize {
    buffer[..52].fill(0);
    buffer[..4].copy_from_slice(&[0x81, 200, 0, 12]);
    buffer[4..8].copy_from_slice(&SSRC);
    buffer[52..56].copy_from_slice(&[0x81, 202, 0, 3]);
    buffer[56..60].copy_from_slice(&SSRC);
    buffer[60..68].copy_from_slice(b"\x01\x04name\0\0");
    68
}

fn media(phone: SocketAddr) -> LegMedia {
    let accepts = PayloadTypes::NONE.with(8);
    let remote = Some(Remote { rtp: phone, rtcp: phone });
    LegMedia { remote, accepts, tapped: accepts, learning: Learning::Strict, ..LegMedia::default() }
}

fn stream() -> Stream {
    let mut stream = Stream { legs: [media(CALLER), media(CALLEE)], ..Stream::default() };
    stream.legs[0].clocks[0] = Clock { payload_types: PayloadTypes::NONE.with(8), hz: 8_000 };
    stream.legs[1].clocks[0] = stream.legs[0].clocks[0];
    stream
}

/// A row whose source is known.
fn settled() -> Row {
    let pair = |rtp| Pair { rtp, rtcp: rtp + 1 };
    let identity = Identity {
        call: CallKey(1),
        leg: Leg::Caller,
        stream: 0,
        port: Port::Rtp,
        own: pair(0),
        peer: pair(2),
        timeline: Timeline::default(),
    };
    let mut row = Row::new(identity, 1);
    row.signal(&stream(), 0, 0);
    row.source.learn(CALLER, 0);
    row
}

/// An engine with one call, its slots (RTP and RTCP that face the caller, then the callee), and the tap's other end.
fn engine(recorded: bool) -> (Engine, Vec<Slot>, Handles) {
    let (writer, tap) = tap::create(4 << 20, 1).unwrap();
    let mut engine = Engine::new(4, writer, Spans { learn_window_ns: 0, silence_ns: u64::MAX });
    let socket = || std::fs::File::open("/dev/null").unwrap().into();
    let sockets = [0; 2].map(|_| [socket(), socket()]);
    let label = recorded.then(|| b"label".to_vec());
    let streams = vec![NewStream { stream: stream(), sockets, seeds: [1, 2] }];
    let call = NewCall { call: CallKey(1), label, max_seconds: 0, streams };
    let openings = engine.open(call, Now { mono_ns: 1, wall_ns: 1 }).unwrap();
    (engine, openings.iter().map(|opening| opening.slot).collect(), tap)
}
