//! Two engines with the same call: one with the express lane's program before it, one alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use relay::call::CallKey;
use relay::engine::{Engine, NewCall, NewStream, Spans};
use relay::interface::Address;
use relay::lane::xdp::program::{Plan, Program, load};
use relay::program::message::{CallCounters, LegMedia, PayloadTypes, Remote, Stream as Media};
use relay::rewrite::rtcp::SDES;
use relay::settings::PortRange;
use relay::sys::bpf::run;
use relay::sys::clock::Now;
use relay::table::Slot;
use relay::tap::{self, Attachment, Host, Kind as Tapped};

use crate::frames::{Chance, Frame, Kind, Stream, frame, read};

/// Verdicts (linux/bpf.h).
pub const XDP_DROP: u32 = 1;
pub const XDP_PASS: u32 = 2;
pub const XDP_TX: u32 = 3;

const CALL: CallKey = CallKey(7);
const DSCP: u8 = 46;
const SECOND: u64 = 1_000_000_000;

/// An engine, and the recorder's end of its tap.
struct Side {
    engine: Engine,
    slots: Vec<Slot>,
    recorder: Attachment,
    /// Payloads that the recorder got of each leg.
    taped: [Vec<Vec<u8>>; 2],
    gaps: u64,
    _folder: tempfile::TempDir,
}

impl Side {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tap.sock");
        let (writer, ring) = tap::create(64 << 20, 1).unwrap();
        let host = Host::bind(&path, vec![ring], 1).unwrap();
        std::thread::spawn(move || host.serve(|_| {}));
        let recorder = tap::attach(&path).unwrap();
        let spans = Spans { learn_window_ns: SECOND, silence_ns: 60 * SECOND };
        Self {
            engine: Engine::new(8, writer, spans),
            slots: Vec::new(),
            recorder,
            taped: [Vec::new(), Vec::new()],
            gaps: 0,
            _folder: folder,
        }
    }

    /// Opens the call on ports of `ip`; gives those that face the two legs.
    fn open(&mut self, media: &Media, ip: IpAddr) -> [SocketAddr; 2] {
        let bound = || UdpSocket::bind((ip, 0)).unwrap();
        let sockets = [[bound(), bound()], [bound(), bound()]];
        let locals = [&sockets[0][0], &sockets[1][0]].map(|s| s.local_addr().unwrap());
        let sockets = sockets.map(|leg| leg.map(OwnedFd::from));
        let stream = NewStream { stream: *media, sockets, seeds: [1, 2] };
        let new =
            NewCall { call: CALL, label: Some(b"call".to_vec()), max_seconds: 0, streams: vec![stream] };
        self.slots = self.engine.open(new, Now::read()).unwrap().into_iter().map(|o| o.slot).collect();
        locals
    }

    /// A packet comes to a leg's socket; gives what leaves.
    fn receive(&mut self, leg: usize, from: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = [payload, &[0; SDES]].concat();
        let slot = self.slots[leg * 2];
        let out = self.engine.receive(slot, from, &mut buffer, payload.len(), Now::read());
        // As a lane does, which connects the sockets.
        while self.engine.connection().is_some() {}
        self.listen();
        out.map(|out| buffer[..out.length].to_vec())
    }

    fn listen(&mut self) {
        self.engine.batch_done();
        let ring = &mut self.recorder.rings[0];
        let mut payload = Vec::new();
        while let Some(record) = ring.next(&mut payload).unwrap() {
            match record.kind {
                Tapped::Packet { leg, .. } => self.taped[leg as usize].push(payload.clone()),
                Tapped::Gap { packets, .. } => self.gaps += packets,
                _ => {}
            }
        }
        ring.commit();
    }

    fn counters(&self) -> CallCounters {
        self.engine.read(CALL, Now::read()).unwrap()
    }

    fn active(&self) -> u64 {
        self.engine.stats().express_rows
    }
}

/// Both.
pub struct Pair {
    main: Side,
    reference: Side,
    program: OwnedFd,
    _program: Program,
    streams: [Stream; 2],
    phones: [SocketAddr; 2],
    locals: [SocketAddr; 2],
    media: Media,
    vlan: bool,
    /// How far ahead of the clock the rows' own is.
    ahead_ns: u64,
}

impl Pair {
    /// Without a cap. None, and says why, where there can be no express lane.
    pub fn new(ipv6: bool, vlan: bool) -> Option<Self> {
        Self::capped(ipv6, vlan, 0)
    }

    /// The same, with a cap on packets a second.
    pub fn capped(ipv6: bool, vlan: bool, packets_per_second: u32) -> Option<Self> {
        let bound: IpAddr = if ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        let phones: [SocketAddr; 2] = if ipv6 {
            ["[fd00::1]:4000".parse().unwrap(), "[fd00::2]:4001".parse().unwrap()]
        } else {
            ["10.9.0.1:4000".parse().unwrap(), "10.9.0.2:4001".parse().unwrap()]
        };
        let ports = PortRange { first: 1, last: u16::MAX };
        let addresses = [Address { bound, advertised: bound, ports, dscp: DSCP }];
        let plan = Plan { workers: 2, slots: 8, addresses: &addresses, expiry: Duration::from_secs(60) };
        let (mut program, mut ends) = match load(&plan, None) {
            Ok(loaded) => loaded,
            Err(why) => {
                assert!(why.contains("CAP_BPF") || why.contains("clang"), "{why}");
                eprintln!("SKIPPED: {why}");
                return None;
            }
        };
        let legs = phones.map(|rtp| LegMedia {
            remote: Some(Remote { rtp, rtcp: (rtp.ip(), rtp.port() + 100).into() }),
            accepts: PayloadTypes::NONE.with(8).with(101),
            tapped: PayloadTypes::NONE.with(8),
            events: PayloadTypes::NONE.with(101),
            rtcp_mux: true,
            packets_per_second,
            ..LegMedia::default()
        });
        let media = Media { legs, ..Media::default() };
        let (mut main, mut reference) = (Side::new(), Side::new());
        // The second worker's: its rows are not the first ones.
        main.engine.board(ends.pop().unwrap());
        let locals = main.open(&media, bound);
        reference.open(&media, bound);
        let stream = |n: u16| Stream {
            sequence: 65_000 + n,
            timestamp: u32::MAX - 4_000,
            ssrc: 0xabc0 + u32::from(n),
        };
        let descriptor = program.descriptor().unwrap();
        Some(Self {
            main,
            reference,
            program: descriptor,
            _program: program,
            streams: [stream(0), stream(1)],
            phones,
            locals,
            media,
            vlan,
            ahead_ns: 0,
        })
    }

    /// The next frame of a leg's phone.
    pub fn frame(&mut self, leg: usize, kind: Kind, chance: &mut Chance) -> Frame {
        let payload = self.streams[leg].next(kind, chance);
        frame(kind, (self.phones[leg], self.locals[leg]), self.vlan, &payload, chance)
    }

    /// A frame comes. Fails where something else comes of it than of its packet without an express lane.
    #[track_caller]
    pub fn bring(&mut self, leg: usize, frame: &Frame) -> u32 {
        let Frame { bytes, delivered } = frame;
        let expected =
            delivered.as_ref().and_then(|(from, payload)| self.reference.receive(leg, *from, payload));
        let mut bytes = bytes.clone();
        let verdict = run(self.program.as_fd(), &mut bytes).unwrap();
        match verdict {
            XDP_TX => {
                let left = read(&bytes);
                assert_eq!(Some(left.payload), expected, "what left");
                assert_eq!((left.from, left.to), (self.locals[1 - leg], self.phones[1 - leg]));
                assert_eq!((left.hops, left.class, left.tag.is_some()), (63, DSCP << 2, self.vlan));
                let phone = if leg == 0 { 3 } else { 2 };
                assert_eq!(left.hardware, [2, 0, 0, 0, 0, phone, 2, 0, 0, 0, 0, 1], "the other phone's");
            }
            XDP_PASS => {
                if let Some((from, payload)) = delivered {
                    assert_eq!(self.main.receive(leg, *from, payload), expected, "what was made of it above");
                }
            }
            XDP_DROP => assert_eq!(expected, None, "it was dropped"),
            other => panic!("verdict {other}"),
        }
        verdict
    }

    /// The next frame of a leg's phone comes.
    #[track_caller]
    pub fn bring_new(&mut self, leg: usize, kind: Kind, chance: &mut Chance) -> u32 {
        let frame = self.frame(leg, kind, chance);
        self.bring(leg, &frame)
    }

    /// Has the rows of both legs promoted, with packets as they take.
    #[track_caller]
    pub fn promote(&mut self) {
        let mut chance = Chance::new(3);
        for _ in 0..20 {
            if self.main.active() == 2 {
                return;
            }
            self.ahead_ns += SECOND;
            self.turn();
            for leg in 0..2 {
                self.bring_new(leg, Kind::Plain, &mut chance);
            }
            self.turn();
            self.turn();
        }
        panic!("the rows are not promoted: {:?}", self.main.engine.stats().lane);
    }

    fn turn(&mut self) {
        let now = Now::read();
        self.main.engine.express(Now { mono_ns: now.mono_ns + self.ahead_ns, ..now });
        self.main.listen();
    }

    /// The worker was alive last at that time, monotonic nanoseconds.
    pub fn was_alive(&mut self, mono_ns: u64) {
        self.main.engine.express(Now { mono_ns, wall_ns: 0 });
    }

    /// The same offer comes once more.
    pub fn offer_again(&mut self) {
        for side in [&mut self.main, &mut self.reference] {
            side.engine.update(CALL, None, &[self.media], Vec::new(), Now::read()).unwrap();
            while side.engine.connection().is_some() {}
        }
    }

    /// The recording is paused for a moment.
    pub fn pause(&mut self) {
        for side in [&mut self.main, &mut self.reference] {
            side.engine.pause(CALL, true, Now::read()).unwrap();
            side.engine.pause(CALL, false, Now::read()).unwrap();
        }
    }

    /// Another relay nearly takes over.
    pub fn hand_over(&mut self) {
        drop(self.main.engine.export());
    }

    /// Fails unless both counted the same, and told the recorder the same.
    #[track_caller]
    pub fn agree(&mut self) {
        // Late enough for a look at what the program alone counts: of all calls, and then from the first one on.
        for _ in 0..2 {
            self.ahead_ns += SECOND;
            self.turn();
        }
        self.reference.listen();
        let [main, reference] = [&self.main, &self.reference].map(|side| {
            side.counters().streams[0].each_ref().map(|leg| {
                let drops: u64 = leg.drops.iter().map(|(_, count)| count).sum();
                let quality = leg.quality.map(|q| (q.ssrc, q.payload_type, q.sequence, q.timestamp));
                (leg.rtp, leg.rtcp, drops, quality, leg.events, leg.tap_lost)
            })
        });
        assert_eq!(main, reference);
        assert_eq!(self.main.gaps, 0);
        for leg in 0..2 {
            let (ours, theirs) = (&self.main.taped[leg], &self.reference.taped[leg]);
            assert_eq!(ours.len(), theirs.len(), "packets that the recorder got");
            assert!(ours == theirs, "the recorder got the same, in order");
        }
        let told = self.main.engine.stats().lane;
        for name in ["express_untold", "express_disagreed"] {
            assert!(told.contains(&(name.to_owned(), 0)), "{told:?}");
        }
    }

    /// So many frames come while the worker does nothing. Gives how many were forwarded.
    pub fn flood(&mut self, leg: usize, frames: usize, chance: &mut Chance) -> u64 {
        let before = self.main.counters().streams[0][leg].rtp.packets;
        self.main.taped[leg].clear();
        for _ in 0..frames {
            let mut frame = self.frame(leg, Kind::Plain, chance).bytes;
            assert_eq!(run(self.program.as_fd(), &mut frame).unwrap(), XDP_TX);
        }
        assert_eq!(self.main.counters().streams[0][leg].rtp.packets, before, "nothing was replayed");
        frames as u64
    }

    /// After a flood: packets of it that were counted, that the recorder was told to be missing, and that it got.
    pub fn what_became_of_the_flood(&mut self, leg: usize) -> (u64, u64, u64) {
        let before = self.main.counters().streams[0][leg].rtp.packets;
        let (counters, _) = self.main.engine.close(CALL, None, Now::read()).unwrap();
        self.main.listen();
        let counted = counters.streams[0][leg].rtp.packets - before;
        (counted, self.main.gaps, self.main.taped[leg].len() as u64)
    }
}
