//! The relay's side of the tap, as a script: speaks, never waits, and tells what did not fit as the relay does.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use recorder::label::Label;
use recorder::spool::Side;
use relay::call::{CallKey, Leg};
use relay::tap::{Host, Kind, Record, Writer, create};
use uuid::Uuid;

use super::scene::now_ns;

const MS: u64 = 1_000_000;
/// One packet's share of time.
pub const PACKET_MS: u64 = 20;

/// One ring, served.
pub struct Relay {
    writer: Writer,
    waiting: VecDeque<(Record, Vec<u8>)>,
    pub calls: Vec<Call>,
    /// When its packets of number 0 arrive.
    pub start_ns: u64,
    /// Bytes of RTP header extension in each packet, a multiple of 4: a ring is full sooner.
    pub extension: u16,
}

/// A recorded call, and what the ring took of it.
#[derive(Debug)]
pub struct Call {
    pub id: Uuid,
    /// What the ring took, in order: side and sequence number.
    pub taken: Vec<(Side, u16)>,
    /// What it did not take and is told by now.
    pub missed: Vec<Missed>,
    open: [Option<Missed>; 2],
}

/// Packets that did not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    pub side: Side,
    pub packets: u64,
    pub since_ns: u64,
    pub until_ns: u64,
}

impl Relay {
    pub fn start(state: &Path) -> Self {
        std::fs::create_dir_all(state.join("run")).unwrap();
        // Calls of two relay processes are told apart by it.
        let epoch = now_ns();
        let (writer, handles) = create(1 << 20, epoch).unwrap();
        let host = Host::bind(&state.join("run/tap.sock"), vec![handles], epoch).unwrap();
        std::thread::spawn(move || host.serve(|_| {}));
        let (waiting, calls) = (VecDeque::new(), Vec::new());
        Self { writer, waiting, calls, start_ns: now_ns(), extension: 0 }
    }

    /// Opens recorded calls; they are told apart by their place among `calls`.
    pub fn open(&mut self, count: usize) {
        for _ in 0..count {
            let id = Uuid::now_v7();
            let (taken, missed, open) = (Vec::new(), Vec::new(), [None; 2]);
            self.calls.push(Call { id, taken, missed, open });
            self.event(self.calls.len() - 1, self.start_ns, Kind::Open, Label::new(id).to_bytes());
        }
        self.flush();
    }

    /// Ends every call behind packet `n`.
    pub fn close(&mut self, n: u32) {
        let at_ns = self.at_ns(n);
        for call in 0..self.calls.len() {
            for leg in Leg::BOTH {
                self.tell(call, leg);
            }
            self.event(call, at_ns, Kind::Close, Vec::new());
        }
        self.flush();
        while !self.waiting.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
            self.flush();
        }
    }

    fn at_ns(&self, n: u32) -> u64 {
        self.start_ns + u64::from(n) * PACKET_MS * MS
    }

    /// Packet `n` of both sides of every call.
    pub fn speak(&mut self, n: u32) {
        for call in 0..self.calls.len() {
            Leg::BOTH.into_iter().for_each(|leg| self.say(call, leg, n));
        }
        self.flush();
    }

    /// Speaks from packet `n` on, each packet at its time, until `enough`; gives the number of the next one.
    pub fn speak_until(&mut self, what: &str, mut n: u32, mut enough: impl FnMut(&Self) -> bool) -> u32 {
        let begun = Instant::now();
        while !enough(self) {
            assert!(begun.elapsed() < Duration::from_secs(30), "never: {what}");
            std::thread::sleep(Duration::from_nanos(self.at_ns(n).saturating_sub(now_ns())));
            self.speak(n);
            n += 1;
        }
        n
    }

    /// 20 ms of one side: a tone, in µ-law.
    pub fn say(&mut self, call: usize, leg: Leg, n: u32) {
        let mut rtp = vec![if self.extension > 0 { 0x90 } else { 0x80 }, 0];
        rtp.extend((n as u16).to_be_bytes());
        rtp.extend((n * 160).to_be_bytes());
        rtp.extend([0, 0, 0, leg as u8 + 1]);
        if self.extension > 0 {
            rtp.extend([0, 0]);
            rtp.extend((self.extension / 4).to_be_bytes());
            rtp.resize(rtp.len() + usize::from(self.extension), 0x55);
        }
        let pitch = [0.05, 0.09][leg as usize];
        rtp.extend((0..160_u32).map(|i| {
            let t = f64::from(n * 160 + i);
            if (t * pitch * std::f64::consts::TAU).sin() > 0.0 { 0x90 } else { 0x10 }
        }));
        let (at_ns, kind) = (self.at_ns(n), Kind::Packet { leg, stream: 0 });
        let fits = self.waiting.is_empty()
            && (self.calls[call].open[leg as usize].is_none() || self.writer.fits_after_gap(rtp.len()));
        if fits {
            self.tell(call, leg);
        }
        let record = Record { position: 0, call: key(call), at_ns, kind };
        let call = &mut self.calls[call];
        if fits && self.writer.packet(&record, &rtp).is_ok() {
            call.taken.push((side(leg), n as u16));
        } else {
            let new = Missed { side: side(leg), packets: 0, since_ns: at_ns, until_ns: at_ns };
            let missed = call.open[leg as usize].get_or_insert(new);
            missed.packets += 1;
            missed.until_ns = at_ns;
        }
    }

    /// Tells what was missed, if anything was.
    fn tell(&mut self, call: usize, leg: Leg) {
        if let Some(missed) = self.calls[call].open[leg as usize].take() {
            let Missed { packets, since_ns, until_ns, .. } = missed;
            self.calls[call].missed.push(missed);
            self.event(call, until_ns, Kind::Gap { leg, stream: 0, packets, since_ns }, Vec::new());
        }
    }

    fn event(&mut self, call: usize, at_ns: u64, kind: Kind, payload: Vec<u8>) {
        let record = Record { position: 0, call: key(call), at_ns, kind };
        if !self.waiting.is_empty() || self.writer.event(&record, &payload).is_err() {
            self.waiting.push_back((record, payload));
        }
    }

    pub fn flush(&mut self) {
        while let Some((record, payload)) = self.waiting.front() {
            if self.writer.event(record, payload).is_err() {
                break;
            }
            self.waiting.pop_front();
        }
        self.writer.flush();
    }

    /// Bytes that the recorder has not made its own yet.
    pub fn backlog(&self) -> u64 {
        self.writer.backlog()
    }

    /// Waits where the ring is filling: for tests that speak faster than anybody does.
    pub fn breathe(&self) {
        while self.backlog() > 1 << 19 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether every side of every call misses packets at this moment.
    pub fn missing_all(&self) -> bool {
        self.calls.iter().all(|c| c.open.iter().all(Option::is_some))
    }

    /// Whether none does.
    pub fn missing_none(&self) -> bool {
        self.calls.iter().all(|c| c.open.iter().all(Option::is_none)) && self.waiting.is_empty()
    }
}

impl Call {
    pub fn taken_of(&self, side: Side) -> u64 {
        self.taken.iter().filter(|t| t.0 == side).count() as u64
    }
}

const fn key(call: usize) -> CallKey {
    CallKey(call as u64 + 1)
}

const fn side(leg: Leg) -> Side {
    match leg {
        Leg::Caller => Side::Caller,
        Leg::Callee => Side::Callee,
    }
}
