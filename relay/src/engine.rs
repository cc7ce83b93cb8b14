//! What a worker knows and decides: its rows, its calls, its end of the tap. No sockets, no clock: lanes bring
//! datagrams and the time, and send what [`Engine::receive`] says.
//!
//! Owned by one worker. [`Engine::receive`] allocates nothing, locks nothing, logs nothing.

mod calls;
mod digits;
#[cfg(feature = "xdp")]
pub mod express;
pub mod handover;
#[cfg(feature = "xdp")]
pub mod kept;
mod learning;
#[cfg(not(feature = "xdp"))]
mod no_express;
mod reports;
mod tapping;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

pub use calls::{NewCall, NewStream};
use digits::Digits;
use tapping::Tapping;

use crate::call::CallKey;
use crate::classify::{Verdict, classify};
use crate::drop_reason::{DropCounters, DropReason};
use crate::packet::Packet;
use crate::program::message::{Count, Event, Load, WorkerStats};
use crate::row::{Port, Row};
use crate::sys::clock::Now;
use crate::table::{Slot, Table};
use crate::tap::Writer;
use calls::Call;

/// A packet that is to be sent: what the lane's buffer holds now, up to `length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// Index of the slot whose socket sends.
    pub via: u32,
    /// Where to; none where that socket is connected, to whoever it is.
    pub to: Option<SocketAddr>,
    /// Bytes of the buffer.
    pub length: usize,
}

/// A socket for the lane to open.
#[derive(Debug)]
pub struct Opening {
    /// The slot it serves.
    pub slot: Slot,
    /// The bound socket.
    pub socket: OwnedFd,
}

/// Spans that the engine keeps.
#[derive(Debug, Clone, Copy)]
pub struct Spans {
    /// How long after an offer or answer a source may be learned.
    pub learn_window_ns: u64,
    /// After so long without a forwarded packet a call is reported as silent.
    pub silence_ns: u64,
}

/// A worker's rows and calls.
#[derive(Debug)]
pub struct Engine {
    table: Table,
    calls: BTreeMap<CallKey, Call>,
    tapping: Tapping,
    digits: Digits,
    spans: Spans,
    /// Sockets that are to be connected, or (with none) to be so no longer.
    connections: VecDeque<(Slot, Option<SocketAddr>)>,
    received: u64,
    forwarded: Count,
    drops: DropCounters,
    /// Where there is an express lane.
    #[cfg(feature = "xdp")]
    station: Option<Box<express::Station>>,
}

impl Engine {
    /// An engine of `size` slots that taps into `tap`.
    pub fn new(size: u32, tap: Writer, spans: Spans) -> Self {
        Self {
            table: Table::new(size),
            calls: BTreeMap::new(),
            tapping: Tapping::new(tap),
            digits: Digits::new(),
            spans,
            connections: learning::queue(size),
            received: 0,
            forwarded: Count::default(),
            drops: DropCounters::default(),
            #[cfg(feature = "xdp")]
            station: None,
        }
    }

    /// Decides on the datagram `buffer[..length]` that came from `source` to `slot`; rewrites it in place. Some: it is
    /// to be sent. `buffer` must be longer than the datagram by [`crate::rewrite::rtcp::SDES`] bytes, or names are left out.
    #[inline]
    pub fn receive(
        &mut self,
        slot: Slot,
        source: SocketAddr,
        buffer: &mut [u8],
        length: usize,
        now: Now,
    ) -> Option<Outgoing> {
        #[cfg(feature = "xdp")]
        self.overtaken(slot, now.mono_ns);
        self.received += 1;
        match self.forward(slot, source, buffer, length, now) {
            Ok(out) => Some(out),
            Err(reason) => {
                self.dropped(slot, reason);
                None
            }
        }
    }

    #[inline]
    fn forward(
        &mut self,
        slot: Slot,
        source: SocketAddr,
        buffer: &mut [u8],
        length: usize,
        now: Now,
    ) -> Result<Outgoing, DropReason> {
        let datagram = buffer.get_mut(..length).ok_or(DropReason::Oversize)?;
        let Admitted { packet, learn, via, to } = self.admit(slot, source, datagram, now)?;
        if learn {
            self.learn(slot, packet, source, datagram, now.mono_ns)?;
        }
        let row = self.table.at_mut(slot.index).ok_or(DropReason::Stale)?;
        if let Packet::Rtp { ssrc, .. } = packet {
            row.source.heard(ssrc, now.mono_ns);
            #[cfg(feature = "xdp")]
            row.boarding.note(datagram);
            row.reception.rtp(datagram, row.events, &row.clocks, now.mono_ns);
        }
        if !row.cap.admits(now.mono_ns) {
            return Err(DropReason::RateLimit);
        }
        let (to, connected) = to.ok_or(DropReason::NoDestination)?;
        let to = (!connected).then_some(to);
        let length = match packet {
            Packet::Rtp { payload_type, .. } => {
                media(row, payload_type, datagram, now, &mut self.tapping, &mut self.digits)?
            }
            Packet::Rtcp if !row.verbatim => self.reports(slot, buffer, length, now)?,
            Packet::Rtcp => {
                count(&mut row.rtcp, length);
                length
            }
            Packet::Opaque => {
                count(&mut row.rtp, length);
                length
            }
        };
        if let Some(row) = self.table.at_mut(slot.index) {
            row.last_ns = now.mono_ns;
        }
        count(&mut self.forwarded, length);
        Ok(Outgoing { via, to, length })
    }

    /// Whether a datagram may pass, and which way it goes. Changes nothing.
    #[inline]
    fn admit(
        &self,
        slot: Slot,
        source: SocketAddr,
        datagram: &[u8],
        now: Now,
    ) -> Result<Admitted, DropReason> {
        let row = self.table.get(slot).ok_or(DropReason::Stale)?;
        let rtp_host = match row.port {
            Port::Rtp => None,
            Port::Rtcp => self.table.at(row.own.rtp).and_then(|rtp| rtp.source.host()),
        };
        let (packet, learn) = match classify(datagram, source, row, rtp_host, now.mono_ns) {
            Verdict::Forward(packet) => (packet, false),
            Verdict::Learn(packet) => (packet, true),
            Verdict::Drop(reason) => return Err(reason),
        };
        let peer_rtp = self.table.at(row.peer.rtp).ok_or(DropReason::NoDestination)?;
        match packet {
            Packet::Rtp { .. } if !row.verbatim && row.mask.looped(datagram, &peer_rtp.mask) => {
                return Err(DropReason::Looped);
            }
            // Speech that was under way when the stream became a fax: it would show who speaks.
            Packet::Opaque if !row.verbatim && row.mask.hides(datagram) => {
                return Err(DropReason::UnexpectedRtp);
            }
            _ => {}
        }
        let via = if packet == Packet::Rtcp && !peer_rtp.rtcp_mux { row.peer.rtcp } else { row.peer.rtp };
        let to = self.table.at(via).and_then(|r| r.source.destination().map(|to| (to, r.connected)));
        Ok(Admitted { packet, learn, via, to })
    }

    /// A packet of `slot` will be brought soon: loads what forwarding it needs into the cache.
    #[inline]
    pub fn prefetch(&self, slot: Slot) {
        self.table.prefetch(slot.index, &Row::HOT);
    }

    /// The same of the other leg, once what [`Self::prefetch`] loads is there.
    #[inline]
    pub fn prefetch_way(&self, slot: Slot) {
        if let Some(row) = self.table.at(slot.index) {
            self.table.prefetch(row.peer.rtp, &[Row::WAY]);
        }
    }

    /// Counts a packet of `slot` that was not forwarded.
    pub fn dropped(&mut self, slot: Slot, reason: DropReason) {
        self.drops.count(reason);
        if self.table.get(slot).is_some()
            && let Some(row) = self.table.at_mut(slot.index)
        {
            row.drops.count(reason);
        }
    }

    /// To be called when a batch is done: the recorder sees what was tapped.
    #[inline]
    pub fn batch_done(&mut self) {
        self.tapping.flush();
    }

    /// The next key that was recognised in what came, if there is one: to be reported.
    pub fn next_digit(&mut self) -> Option<Event> {
        self.digits.next()
    }

    /// Gives a slot back that the lane has done with.
    pub fn release(&mut self, slot: Slot) {
        self.table.release(slot);
    }

    /// What was forwarded since the start.
    pub const fn forwarded(&self) -> Count {
        self.forwarded
    }

    /// Packets received since the start.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Totals since the start; load and the lane's own counters are for the caller to add.
    pub fn stats(&self) -> WorkerStats {
        WorkerStats {
            load: Load::default(),
            sockets: (self.table.size() - self.table.free()) as u64,
            express_rows: self.express_rows(),
            forwarded: self.forwarded,
            drops: self.drops.named().map(|(name, count)| (name.to_owned(), count)).collect(),
            lane: [("digits_lost".to_owned(), self.digits.lost())]
                .into_iter()
                .chain(self.express_counters())
                .collect(),
            tap_records: self.tapping.records(),
            tap_lost: self.tapping.lost(),
            tap_backlog: self.tapping.backlog(),
        }
    }
}

/// A datagram that may pass.
struct Admitted {
    packet: Packet,
    /// Its source is to be learned.
    learn: bool,
    /// Index of the slot whose socket sends.
    via: u32,
    /// Where that one sends to, if anywhere yet, and whether it is connected to there.
    to: Option<(SocketAddr, bool)>,
}

/// Taps, reads and rewrites RTP that came from its leg, in place. Gives its new length.
#[inline]
fn media(
    row: &mut Row,
    payload_type: u8,
    datagram: &mut [u8],
    now: Now,
    tapping: &mut Tapping,
    digits: &mut Digits,
) -> Result<usize, DropReason> {
    if row.tapping && row.tapped.contains(payload_type) {
        tapping.packet(row, datagram, now);
    }
    if row.events.contains(payload_type) {
        // Of what the parties protect end to end, there is only the payload type to see.
        if !row.verbatim {
            digits.hear(row, payload_type, datagram, now);
        }
        if row.block_events {
            return Err(DropReason::EventBlocked);
        }
    }
    count(&mut row.rtp, datagram.len());
    if row.verbatim {
        return Ok(datagram.len());
    }
    row.mask.rtp(datagram, row.extensions, &row.clocks, now.mono_ns).ok_or(DropReason::Malformed)
}

/// Counts one packet of `length` bytes.
#[inline]
const fn count(count: &mut Count, length: usize) {
    count.packets += 1;
    count.bytes += length as u64;
}

#[cfg(test)]
#[path = "engine/engine_tests.rs"]
#[allow(clippy::large_types_passed_by_value, reason = "a stream is written where it is used")]
mod tests;
