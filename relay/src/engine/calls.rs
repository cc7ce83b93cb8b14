//! Opening, changing and closing calls: the rows that a call has, and what the recorder is told of it.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::{Engine, Opening};
use crate::call::{CallKey, Leg};
use crate::program::message::{CallCounters, Count, LegCounters, Refusal, Stream};
use crate::row::{Identity, Pair, Port, Row};
use crate::sys::clock::{Now, Timeline};
use crate::sys::socket;
use crate::table::Slot;
use crate::tap::{Kind, Record};

/// A call to open.
#[derive(Debug)]
pub struct NewCall {
    /// Its key.
    pub call: CallKey,
    /// The recorder's label: the call is recorded.
    pub label: Option<Vec<u8>>,
    /// Seconds until it is reported as expired; 0 for never.
    pub max_seconds: u32,
    /// Its streams.
    pub streams: Vec<NewStream>,
}

/// A stream to add to a call.
#[derive(Debug)]
pub struct NewStream {
    /// What was negotiated.
    pub stream: Stream,
    /// Bound sockets per leg: RTP, RTCP.
    pub sockets: [[OwnedFd; 2]; 2],
    /// A random seed per leg for what is shown instead of the leg's SSRC; used once.
    pub seeds: [u64; 2],
}

/// A call that is open.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) key: CallKey,
    pub(super) opened: Now,
    pub(super) expires_ns: Option<u64>,
    /// When its silence was last reported, or it was opened.
    pub(super) reported_ns: u64,
    pub(super) recorded: bool,
    pub(super) paused: bool,
    pub(super) label: Vec<u8>,
    /// What the server knows of it, in the server's own words: for the ledger.
    pub(super) book: Vec<u8>,
    /// Per stream and leg: RTP and RTCP slot.
    pub(super) streams: Vec<[[Slot; 2]; 2]>,
}

impl Call {
    /// The clock that its recording goes by.
    const fn timeline(&self) -> Timeline {
        Timeline::starting(self.opened)
    }

    /// Those of RTP.
    #[cfg(feature = "xdp")]
    pub(super) fn rtp_slots(&self) -> impl Iterator<Item = Slot> {
        self.streams.iter().flatten().map(|[rtp, _]| *rtp)
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.streams.iter().flatten().flatten().copied()
    }
}

impl Engine {
    /// Opens a call. The lane must open the sockets that come back; if it cannot, [`Self::close`] undoes all.
    pub fn open(&mut self, new: NewCall, now: Now) -> Result<Vec<Opening>, Refusal> {
        if self.calls.contains_key(&new.call) {
            return Err(Refusal::CallExists);
        }
        if self.table.free() < new.streams.len() * 4 {
            return Err(Refusal::OutOfFiles);
        }
        let mut call = Call {
            key: new.call,
            opened: now,
            expires_ns: (new.max_seconds > 0)
                .then(|| now.mono_ns + u64::from(new.max_seconds) * 1_000_000_000),
            reported_ns: now.mono_ns,
            recorded: false,
            paused: false,
            label: Vec::new(),
            book: Vec::new(),
            streams: Vec::with_capacity(new.streams.len()),
        };
        let openings = self.add_streams(&mut call, new.streams, now);
        self.label(&mut call, new.label, now);
        self.calls.insert(new.call, call);
        self.freshen(new.call, now.mono_ns);
        Ok(openings)
    }

    /// Changes a call: `streams` are its existing ones, `added` come behind them.
    pub fn update(
        &mut self,
        key: CallKey,
        label: Option<Vec<u8>>,
        streams: &[Stream],
        added: Vec<NewStream>,
        now: Now,
    ) -> Result<Vec<Opening>, Refusal> {
        if !added.is_empty() && self.table.free() < added.len() * 4 {
            return Err(Refusal::OutOfFiles);
        }
        let mut call = self.calls.remove(&key).ok_or(Refusal::UnknownCall)?;
        if !streams.is_empty() {
            self.alight(call.slots(), true, now.mono_ns);
        }
        for (slots, stream) in call.streams.iter().zip(streams) {
            for slot in slots.iter().flatten() {
                if let Some(row) = self.table.at_mut(slot.index) {
                    let before = row.source.connectable();
                    row.signal(stream, now.mono_ns, self.spans.learn_window_ns);
                    let after = row.source.connectable();
                    if before != after {
                        row.connected = false;
                        self.connections.push_back((*slot, after));
                    }
                }
            }
        }
        let openings = self.add_streams(&mut call, added, now);
        self.label(&mut call, label, now);
        self.calls.insert(key, call);
        self.freshen(key, now.mono_ns);
        Ok(openings)
    }

    /// Takes note of what the server knows of a call.
    pub fn book(&mut self, key: CallKey, book: Vec<u8>, now: Now) {
        self.calls.entry(key).and_modify(|call| call.book = book);
        self.keep_again(key, now.mono_ns);
    }

    /// Takes away the streams of a call from number `keep` on. Gives the slots to close.
    pub fn take_streams(&mut self, key: CallKey, keep: usize) -> Vec<Slot> {
        let Some(call) = self.calls.get_mut(&key) else { return Vec::new() };
        let gone = call.streams.split_off(keep.min(call.streams.len()));
        let slots: Vec<Slot> = gone.into_iter().flatten().flatten().collect();
        self.alight(slots.iter().copied(), true, 0);
        for slot in &slots {
            self.table.clear(*slot);
        }
        slots
    }

    /// Pauses or resumes a call's tap; a call that is not recorded yet will be begun that way.
    pub fn pause(&mut self, key: CallKey, paused: bool, now: Now) -> Result<(), Refusal> {
        let call = self.calls.get_mut(&key).ok_or(Refusal::UnknownCall)?;
        let changed = std::mem::replace(&mut call.paused, paused) != paused;
        if call.recorded && changed {
            let slots: Vec<Slot> = call.slots().collect();
            self.alight(slots.into_iter(), false, now.mono_ns);
            let call = self.calls.get(&key).ok_or(Refusal::UnknownCall)?;
            for slot in call.streams.iter().flatten().flatten() {
                if let Some(row) = self.table.at_mut(slot.index) {
                    row.tapping = !paused;
                }
            }
            let kind = if paused { Kind::Pause } else { Kind::Resume };
            let at_ns = call.timeline().at(now);
            self.tapping.event(Record { position: 0, call: key, at_ns, kind }, Vec::new());
        }
        Ok(())
    }

    /// Ends a call: its rows are gone at once, its slots when the lane has closed them. Gives the last counters and
    /// the slots to close.
    pub fn close(
        &mut self,
        key: CallKey,
        label: Option<Vec<u8>>,
        now: Now,
    ) -> Result<(CallCounters, Vec<Slot>), Refusal> {
        let call = self.calls.get(&key).ok_or(Refusal::UnknownCall)?;
        let slots: Vec<Slot> = call.slots().collect();
        self.alight(slots.into_iter(), true, now.mono_ns);
        let counters = self.read(key, now)?;
        let call = self.calls.remove(&key).ok_or(Refusal::UnknownCall)?;
        for slot in call.slots() {
            if let Some(mut row) = self.table.clear(slot) {
                self.tapping.last_gap(&mut row);
            }
        }
        if call.recorded {
            let record = Record { position: 0, call: key, at_ns: call.timeline().at(now), kind: Kind::Close };
            self.tapping.event(record, label.unwrap_or_default());
        }
        Ok((counters, call.slots().collect()))
    }

    /// A call's counters.
    pub fn read(&self, key: CallKey, now: Now) -> Result<CallCounters, Refusal> {
        let call = self.calls.get(&key).ok_or(Refusal::UnknownCall)?;
        let streams = call.streams.iter().map(|legs| legs.map(|pair| self.leg_counters(pair, now))).collect();
        Ok(CallCounters { opened_ns: call.opened.wall_ns, streams })
    }

    /// A recorder has attached: every recorded call is told again, so that none is unknown to it.
    pub fn recorder_attached(&mut self, now: Now) {
        self.tapping.reader_attached();
        self.tell_recorded(now);
    }

    /// Tells the recorder of every recorded call.
    pub(super) fn tell_recorded(&mut self, now: Now) {
        for call in self.calls.values().filter(|c| c.recorded) {
            let at_ns = call.timeline().at(now);
            let record = Record { position: 0, call: call.key, at_ns, kind: Kind::Open };
            self.tapping.event(record, call.label.clone());
            if call.paused {
                self.tapping.event(Record { kind: Kind::Pause, ..record }, Vec::new());
            }
        }
    }

    /// Calls open now.
    pub fn call_count(&self) -> usize {
        self.calls.len()
    }

    fn leg_counters(&self, [rtp, rtcp]: [Slot; 2], now: Now) -> LegCounters {
        let rows = [rtp, rtcp].map(|s| self.table.get(s));
        let rows = || rows.iter().flatten();
        let sum =
            |count: fn(&Row) -> Count| rows().map(|r| count(r)).fold(Count::default(), std::ops::Add::add);
        let last = rows().map(|r| r.last_ns).max().filter(|ns| *ns > 0);
        let mut drops: Vec<(String, u64)> = Vec::new();
        for (name, count) in rows().flat_map(|r| r.drops.named()).filter(|(_, count)| *count > 0) {
            match drops.iter_mut().find(|(n, _)| n == name) {
                Some((_, sum)) => *sum += count,
                None => drops.push((name.to_owned(), count)),
            }
        }
        LegCounters {
            rtp: sum(|r| r.rtp),
            rtcp: sum(|r| r.rtcp),
            settled: self.table.get(rtp).and_then(|r| r.source.settled()),
            express: self.table.get(rtp).is_some_and(Row::is_express),
            last_packet_ms: last.map(|ns| now.mono_ns.saturating_sub(ns) / 1_000_000),
            drops,
            tap_lost: rows().map(|r| r.tap_lost).sum(),
            events: rows().map(|r| r.keypad.count()).sum(),
            quality: self.table.get(rtp).and_then(|r| r.reception.quality()),
            report: self.table.get(rtp).and_then(|r| r.reception.report()),
        }
    }

    fn add_streams(&mut self, call: &mut Call, streams: Vec<NewStream>, now: Now) -> Vec<Opening> {
        let mut openings = Vec::with_capacity(streams.len() * 4);
        for NewStream { stream, sockets, seeds } in streams {
            let number = u8::try_from(call.streams.len()).unwrap_or(u8::MAX);
            let mut slots = Vec::with_capacity(4);
            let mut locals = Vec::with_capacity(4);
            for socket in sockets.into_iter().flatten() {
                // There were enough free slots before the first was taken.
                let Some(slot) = self.table.take() else { return openings };
                slots.push(slot);
                locals.push(if self.boards() { socket::local(&socket) } else { None });
                openings.push(Opening { slot, socket });
            }
            let [caller_rtp, caller_rtcp, callee_rtp, callee_rtcp] = *slots.as_slice() else {
                return openings;
            };
            let legs = [[caller_rtp, caller_rtcp], [callee_rtp, callee_rtcp]];
            let pairs = legs.map(|[rtp, rtcp]| Pair { rtp: rtp.index, rtcp: rtcp.index });
            let [caller, callee] = pairs;
            let mut locals = locals.into_iter();
            for ((leg, slots), seed) in Leg::BOTH.into_iter().zip(legs).zip(seeds) {
                let first = call.streams.first().and_then(|s| s.get(leg as usize)).map(|[rtp, _]| *rtp);
                let first = first.and_then(|rtp| self.table.get(rtp)).map(|row| row.mask);
                let (own, peer) = if leg == Leg::Caller { (caller, callee) } else { (callee, caller) };
                for (slot, port) in slots.into_iter().zip([Port::Rtp, Port::Rtcp]) {
                    let (call_key, timeline) = (call.key, call.timeline());
                    let identity =
                        Identity { call: call_key, leg, stream: number, port, own, peer, timeline };
                    let mut row = Row::new(identity, seed);
                    first.iter().for_each(|first| row.mask.share_cname(first));
                    row.local = locals.next().flatten();
                    row.tapping = call.recorded && !call.paused;
                    row.signal(&stream, now.mono_ns, self.spans.learn_window_ns);
                    self.table.put(slot, row);
                }
            }
            call.streams.push(legs);
        }
        openings
    }

    fn label(&mut self, call: &mut Call, label: Option<Vec<u8>>, now: Now) {
        let Some(label) = label else { return };
        let (key, at_ns) = (call.key, call.timeline().at(now));
        let record = |kind| Record { position: 0, call: key, at_ns, kind };
        call.label.clone_from(&label);
        if call.recorded {
            self.tapping.event(record(Kind::Label), label);
            return;
        }
        self.tapping.event(record(Kind::Open), label);
        if call.paused {
            self.tapping.event(record(Kind::Pause), Vec::new());
        }
        self.alight(call.slots(), false, now.mono_ns);
        for slot in call.streams.iter().flatten().flatten() {
            if let Some(row) = self.table.at_mut(slot.index) {
                row.tapping = !call.paused;
            }
        }
        call.recorded = true;
    }
}
