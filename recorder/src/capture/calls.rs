//! The calls being captured: which record goes to which spool, and which was there already.
//!
//! Pure: records in, bytes to append out. Owned by the capture thread.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use bytes::BytesMut;
use relay::call::{CallKey, Leg};
use relay::tap::{Kind, Record};
use uuid::Uuid;

use super::Recovered;
use super::events::Types;
use crate::label::Label;
use crate::metrics::{self, Metrics};
use crate::spool::{self, Event, EventKind, Origin, Packet, Side};

/// Why a call was closed whose relay process ended: the manifest's `ended`.
pub const RELAY_LOST: &str = "relay_lost";

/// A spool's name within this process: recording ids are control's and may come twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpoolId(pub u64);

/// Bytes to append to a spool.
#[derive(Debug)]
pub struct Append {
    /// Which.
    pub spool: SpoolId,
    /// What its file is to be called.
    pub name: Uuid,
    /// Where in the file they belong. Writing them again does no harm.
    pub offset: u64,
    /// The bytes: whole blocks.
    pub bytes: BytesMut,
}

/// A call's name: unique within its relay process.
type Key = (u64, CallKey);

/// All calls being captured.
#[derive(Debug, Default)]
pub struct Calls {
    live: HashMap<Key, Call>,
    /// Calls whose spool is closed, with ring and last position: a ring may show their records once more.
    finished: HashMap<Key, (u32, u64)>,
    /// Calls with bytes to write.
    dirty: Vec<Key>,
    /// Calls that are closed as soon as what was taken is written.
    closing: Vec<Key>,
    /// Buffers to use again.
    spare: Vec<BytesMut>,
    /// Spools so far.
    spools: u64,
    /// Recorded time, in nanoseconds, after which a spool is told to have grown.
    stretch_ns: u64,
    /// Spools that have.
    grown: Vec<SpoolId>,
    /// A packet that is changed before it is written.
    masked: Vec<u8>,
    /// The last time that the disk refused, for calls that began in it.
    stall: Option<Rc<Stall>>,
    /// The last calls that were closed: the end of one that lay in a broken ring may be told twice.
    past: VecDeque<Key>,
}

/// Closed calls that are remembered.
const PAST: usize = 1024;

/// A time in which the disk refused.
#[derive(Debug)]
struct Stall {
    since_ns: u64,
    until_ns: u64,
    why: String,
}

/// What holds after a record.
#[derive(Debug, Clone, Copy, Default)]
struct Point {
    position: u64,
    at_ns: u64,
    paused: bool,
}

/// One of them.
#[derive(Debug)]
struct Call {
    spool: SpoolId,
    /// The recording's id, as far as it was known when the spool was opened.
    name: Uuid,
    origin: Origin,
    /// After the last record taken.
    last: Point,
    /// After what the last batch brings into the spool.
    sent: Point,
    /// After what was in the spool before the last batch.
    kept: Point,
    /// Times in which the disk refused, to be told when the call's records reach their ends: what waited in the
    /// ring meanwhile comes before, so that a spool's times do not leap ahead of its packets.
    stalls: VecDeque<Rc<Stall>>,
    /// Length of the spool, with what is on its way to it.
    length: u64,
    pending: BytesMut,
    /// Packets that the tap lost since the last packet, by side.
    dropped: [u64; 2],
    label: Option<Label>,
    /// What the payload types of caller and callee were said to be.
    types: [Types; 2],
    /// Since when it has grown by no stretch that was told; 0 before its first record.
    grown_ns: u64,
    /// When it was last gone on with in another spool.
    moved_ns: u64,
}

impl Calls {
    /// Goes on with what a recorder before this one left; spools get their ids in the order given.
    pub fn recovered(spools: &[Recovered]) -> Self {
        let mut calls = Self::default();
        for spool in spools {
            let id = calls.next_id();
            let key = (spool.origin.epoch, CallKey(spool.origin.call));
            if spool.closed {
                calls.finished.insert(key, (spool.origin.ring, spool.last));
                continue;
            }
            let last = Point { position: spool.last, at_ns: spool.last_ns, paused: spool.paused };
            let mut call = Call::new(id, spool.name, spool.origin, last);
            call.length = spool.length;
            (call.dropped, call.label, call.types) = (spool.dropped, spool.label.clone(), spool.types);
            let note =
                (spool.cut > 0).then(|| format!("{} bytes of an unfinished write were cut", spool.cut));
            call.event(spool.last_ns, EventKind::Continued, None, note);
            calls.dirty.push(key);
            // How much of it is encoded already is for the archiver to see.
            call.grown_ns = spool.last_ns;
            calls.grown.push(id);
            calls.live.insert(key, call);
        }
        calls
    }

    fn next_id(&mut self) -> SpoolId {
        self.spools += 1;
        SpoolId(self.spools - 1)
    }

    /// Calls being captured now.
    pub fn count(&self) -> usize {
        self.live.len()
    }

    /// Takes the next record of a ring.
    pub fn take(&mut self, epoch: u64, ring: u32, record: &Record, payload: &[u8], counters: &Metrics) {
        let key = (epoch, record.call);
        let seen = |(of, last): (u32, u64)| of == ring && record.position <= last;
        if self.finished.get(&key).is_some_and(|f| seen(*f)) {
            return;
        }
        let known = self.live.get(&key).map(|c| (c.origin.ring, c.last.position));
        let told_twice = known.is_none() && record.kind == Kind::Close && self.past.contains(&key);
        if known.is_some_and(seen) || told_twice {
            return;
        }
        if known.is_none() {
            self.open(key, ring, record, payload, counters);
        }
        let Some(call) = self.live.get_mut(&key) else { return };
        if call.grown_ns == 0 {
            call.grown_ns = record.at_ns;
        } else if self.stretch_ns > 0 && record.at_ns.saturating_sub(call.grown_ns) >= self.stretch_ns {
            call.grown_ns = record.at_ns;
            self.grown.push(call.spool);
        }
        if call.pending.is_empty() {
            if call.pending.capacity() == 0 {
                call.pending = self.spare.pop().unwrap_or_default();
            }
            self.dirty.push(key);
        }
        call.tell_stalls(record.at_ns, record.kind == Kind::Close);
        match record.kind {
            // Told again to a new recorder; the label may be newer than ours.
            Kind::Open if known.is_some() => {
                if Label::from_bytes(payload).is_ok_and(|l| call.label.as_ref() != Some(&l)) {
                    call.take(record, Kind::Label, payload, &mut self.masked, counters);
                }
            }
            Kind::Open => {}
            kind => call.take(record, kind, payload, &mut self.masked, counters),
        }
        if record.kind == Kind::Close {
            tracing::info!(recording = %call.name, "the call ended");
            self.closing.push(key);
        }
    }

    /// Opens a spool for a call that is new here.
    fn open(&mut self, key: Key, ring: u32, record: &Record, payload: &[u8], counters: &Metrics) {
        let origin = Origin { epoch: key.0, ring, call: record.call.0 };
        let (label, note) = match (record.kind, Label::from_bytes(payload)) {
            (Kind::Open, Ok(label)) => (Some(label), None),
            (Kind::Open, Err(error)) => {
                metrics::add(&counters.unreadable_labels, 1);
                (None, Some(error.to_string()))
            }
            _ => (None, Some("capture began in mid-call: its beginning was not seen".to_owned())),
        };
        let name = label.as_ref().map_or_else(Uuid::now_v7, |l| l.recording);
        match &note {
            None => tracing::info!(recording = %name, call = %record.call, "a call begins"),
            Some(note) => tracing::warn!(recording = %name, call = %record.call, "no label: {note}"),
        }
        let first = Point { position: record.position, at_ns: record.at_ns, paused: false };
        let mut call = Call::new(self.next_id(), name, origin, first);
        call.pending = self.spare.pop().unwrap_or_default();
        spool::header(&mut call.pending);
        if let Some(label) = &label {
            call.learn(label.clone());
        }
        call.event(record.at_ns, EventKind::Open, label, note);
        call.stalls.extend(self.stall.iter().filter(|s| record.at_ns < s.until_ns).map(|s| {
            let since_ns = s.since_ns.max(record.at_ns);
            Rc::new(Stall { since_ns, until_ns: s.until_ns, why: s.why.clone() })
        }));
        self.dirty.push(key);
        self.live.insert(key, call);
    }

    /// The relay's process is gone: closes every call, or all but those of the relay `but`.
    pub fn relay_lost(&mut self, but: Option<u64>, at_ns: u64, counters: &Metrics) {
        for (key, call) in &mut self.live {
            if Some(key.0) != but && !self.closing.contains(key) {
                tracing::warn!(recording = %call.name, "the relay's process ended in mid-call");
                metrics::add(&counters.relay_lost, 1);
                call.tell_stalls(at_ns, true);
                call.event(at_ns, EventKind::Close, None, Some(RELAY_LOST.to_owned()));
                self.dirty.push(*key);
                self.closing.push(*key);
            }
        }
    }

    /// The disk refused from `since_ns` to `until_ns`: every call that lived meanwhile says so, with the reason.
    pub fn stalled(&mut self, since_ns: u64, until_ns: u64, why: &str) {
        let stall = Rc::new(Stall { since_ns, until_ns, why: why.to_owned() });
        for (key, call) in &mut self.live {
            if !self.closing.contains(key) {
                call.stalls.push_back(stall.clone());
            }
        }
        self.stall = Some(stall);
    }

    /// Writes a note into the spool of every call that goes on.
    pub fn note(&mut self, note: &str) {
        for (key, call) in &mut self.live {
            if !self.closing.contains(key) {
                call.event(call.last.at_ns, EventKind::Label, None, Some(note.to_owned()));
                self.dirty.push(*key);
            }
        }
    }

    /// The spool `old` cannot be written any more, though others can: its call goes on in another one, with the bytes
    /// that were refused. Gives these, or gives them back when this was tried a moment ago.
    pub fn go_on_elsewhere(
        &mut self,
        refused: Append,
        old: Uuid,
        now_ns: u64,
        why: &str,
    ) -> Result<Append, Append> {
        const AGAIN_NS: u64 = 1_000_000_000;
        let id = SpoolId(self.spools);
        let found = self.live.values_mut().find(|c| c.spool == refused.spool);
        let Some(call) = found.filter(|c| now_ns.saturating_sub(c.moved_ns) >= AGAIN_NS) else {
            return Err(refused);
        };
        self.spools += 1;
        let mut bytes = BytesMut::new();
        // With nothing in the old one, what was refused begins as every spool does.
        if refused.offset > 0 {
            let Point { position, at_ns, paused } = call.kept;
            let note = Some(format!("goes on from recording {old}: {why}"));
            let (origin, label, continues) = (call.origin, call.label.clone(), Some(old));
            let open = Event { origin, position, at_ns, kind: EventKind::Open, label, continues, note };
            spool::header(&mut bytes);
            spool::write_event(&mut bytes, &open);
            if paused {
                let kind = EventKind::Pause;
                spool::write_event(
                    &mut bytes,
                    &Event { kind, label: None, continues: None, note: None, ..open },
                );
            }
        }
        bytes.extend_from_slice(&refused.bytes);
        (call.spool, call.name, call.moved_ns) = (id, Uuid::now_v7(), now_ns);
        call.length = bytes.len() as u64;
        Ok(Append { spool: id, name: call.name, offset: 0, bytes })
    }

    /// The spools that have grown by a stretch since this was asked.
    pub fn grown(&mut self) -> std::vec::Drain<'_, SpoolId> {
        self.grown.drain(..)
    }

    /// Spools are told to have grown after so much recorded time.
    pub fn tell_grown(&mut self, stretch: std::time::Duration) {
        self.stretch_ns = u64::try_from(stretch.as_nanos()).unwrap_or(u64::MAX);
    }

    /// Moves all pending bytes into `batch`.
    pub fn batch(&mut self, batch: &mut Vec<Append>) {
        for key in self.dirty.drain(..) {
            let Some(call) = self.live.get_mut(&key).filter(|c| !c.pending.is_empty()) else { continue };
            let (bytes, offset) = (std::mem::take(&mut call.pending), call.length);
            call.length += bytes.len() as u64;
            (call.kept, call.sent) = (call.sent, call.last);
            batch.push(Append { spool: call.spool, name: call.name, offset, bytes });
        }
    }

    /// All that was taken is written: gives the spools that are closed by it.
    pub fn written(&mut self) -> Vec<SpoolId> {
        let mut closed = Vec::new();
        for key in self.closing.drain(..) {
            if let Some(call) = self.live.remove(&key) {
                self.finished.insert(key, (call.origin.ring, call.last.position));
                if self.past.len() == PAST {
                    self.past.pop_front();
                }
                self.past.push_back(key);
                closed.push(call.spool);
            }
        }
        closed
    }

    /// The ring `ring` of the relay `epoch` was committed: it will not show anything again.
    pub fn committed(&mut self, epoch: u64, ring: u32) {
        self.finished.retain(|key, (of, _)| key.0 == epoch && *of != ring);
    }

    /// Takes a written buffer back.
    pub fn reuse(&mut self, mut buffer: BytesMut) {
        const KEEP: usize = 64;
        if self.spare.len() < KEEP && buffer.capacity() <= 64 * 1024 {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

impl Call {
    fn new(spool: SpoolId, name: Uuid, origin: Origin, last: Point) -> Self {
        Self {
            spool,
            name,
            origin,
            last,
            sent: last,
            kept: last,
            stalls: VecDeque::new(),
            length: 0,
            pending: BytesMut::new(),
            dropped: [0; 2],
            label: None,
            types: Default::default(),
            grown_ns: 0,
            moved_ns: 0,
        }
    }

    fn learn(&mut self, label: Label) {
        self.types.iter_mut().zip(&label.legs).for_each(|(types, leg)| types.learn(&leg.codecs));
        self.label = Some(label);
    }

    fn event(&mut self, at_ns: u64, kind: EventKind, label: Option<Label>, note: Option<String>) {
        let (origin, position) = (self.origin, self.last.position);
        // The system's clock may have been set back: a spool's times do not go back with it.
        let at_ns = at_ns.max(self.last.at_ns);
        let event = Event { origin, position, at_ns, kind, label, continues: None, note };
        spool::write_event(&mut self.pending, &event);
    }

    /// Tells the times in which the disk refused that end before `at_ns`, or all of them.
    fn tell_stalls(&mut self, at_ns: u64, all: bool) {
        while let Some(stall) = self.stalls.pop_front() {
            if !all && stall.until_ns > at_ns {
                return self.stalls.push_front(stall);
            }
            let (kind, until_ns) =
                (EventKind::Stalled { since_ns: stall.since_ns }, stall.until_ns.min(at_ns));
            if stall.since_ns < until_ns {
                self.event(until_ns, kind, None, Some(stall.why.clone()));
            }
        }
    }

    /// Appends a record as if it were of `kind`.
    fn take(
        &mut self,
        record: &Record,
        kind: Kind,
        payload: &[u8],
        masked: &mut Vec<u8>,
        counters: &Metrics,
    ) {
        (self.last.position, self.last.at_ns) = (record.position, record.at_ns);
        let (label, note) = match kind {
            Kind::Label | Kind::Close if !payload.is_empty() => match Label::from_bytes(payload) {
                Ok(label) => (Some(label), None),
                Err(error) => {
                    metrics::add(&counters.unreadable_labels, 1);
                    (None, Some(error.to_string()))
                }
            },
            _ => (None, None),
        };
        if let Some(label) = &label {
            self.learn(label.clone());
        }
        let kind = match kind {
            Kind::Packet { leg, stream } => {
                metrics::add(&counters.packets, 1);
                let side = side(leg);
                let dropped = std::mem::take(side.of_mut(&mut self.dropped));
                let packet = Packet { side, stream, at_ns: record.at_ns, position: record.position, dropped };
                masked.clear();
                masked.extend_from_slice(payload);
                if side.of(&self.types).mask(masked) {
                    metrics::add(&counters.dtmf_packets, 1);
                }
                spool::write_packet(&mut self.pending, &packet, masked);
                return;
            }
            Kind::Gap { leg, stream, packets, since_ns } => {
                metrics::add(&counters.gaps, 1);
                metrics::add(&counters.lost_packets, packets);
                tracing::warn!(recording = %self.name, packets, "the tap's ring was full: packets are missing");
                let side = side(leg);
                *side.of_mut(&mut self.dropped) += packets;
                EventKind::Gap { side, stream, packets, since_ns }
            }
            Kind::Open | Kind::Label => EventKind::Label,
            Kind::Pause => {
                self.last.paused = true;
                EventKind::Pause
            }
            Kind::Resume => {
                self.last.paused = false;
                EventKind::Resume
            }
            Kind::Close => EventKind::Close,
        };
        self.event(record.at_ns, kind, label, note);
    }
}

const fn side(leg: Leg) -> Side {
    match leg {
        Leg::Caller => Side::Caller,
        Leg::Callee => Side::Callee,
    }
}
