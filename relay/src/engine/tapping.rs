//! The engine's end of the tap: packets, events, and the gaps that are told once there is room again.

use std::collections::{HashMap, VecDeque};
use std::io;

use serde::{Deserialize, Serialize};

use crate::call::{CallKey, Leg};
use crate::row::{Gap, Row};
use crate::sys::clock::Now;
use crate::tap::{Handles, Kind, Position, Record, Writer};

/// Events that wait for room: far more than the calls that can open while a ring is full for minutes.
const MAX_WAITING: usize = 65_536;

/// Writes records in order; what does not fit is counted, never waited for.
#[derive(Debug)]
pub(super) struct Tapping {
    writer: Writer,
    /// Events that did not fit. While any waits, nothing overtakes it: packets are counted as lost meanwhile.
    waiting: VecDeque<(Record, Vec<u8>)>,
    lost: u64,
}

/// The tap of an engine that has stopped.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TappingState {
    position: Position,
    waiting: VecDeque<(Record, Vec<u8>)>,
    lost: u64,
}

impl TappingState {
    /// Of a ring that nothing was written to.
    #[cfg(feature = "xdp")]
    pub(super) fn beginning(writer: &mut Writer) -> Self {
        Self { position: writer.position(), waiting: VecDeque::new(), lost: 0 }
    }
}

impl Tapping {
    pub(super) fn export(&mut self) -> TappingState {
        self.flush();
        TappingState { position: self.writer.position(), waiting: self.waiting.clone(), lost: self.lost }
    }

    pub(super) fn resume(state: TappingState, handles: Handles, epoch: u64) -> io::Result<Self> {
        let TappingState { position, waiting, lost } = state;
        Ok(Self { writer: Writer::resume(handles, epoch, position)?, waiting, lost })
    }

    pub(super) fn new(writer: Writer) -> Self {
        Self { writer, waiting: VecDeque::new(), lost: 0 }
    }

    /// Copies a row's packet to the recorder.
    #[inline]
    pub(super) fn packet(&mut self, row: &mut Row, bytes: &[u8], now: Now) {
        let kind = Kind::Packet { leg: row.leg, stream: row.stream };
        let record = Record { position: 0, call: row.call, at_ns: row.timeline.at(now), kind };
        let open = self.waiting.is_empty() && (row.gap.is_none() || self.end_gap(row, bytes.len()));
        if !open || self.writer.packet(&record, bytes).is_err() {
            self.missed(row, now);
        }
    }

    /// Writes an event, or keeps it until there is room.
    pub(super) fn event(&mut self, record: Record, payload: Vec<u8>) {
        if !self.waiting.is_empty() || self.writer.event(&record, &payload).is_err() {
            if self.waiting.len() < MAX_WAITING {
                self.waiting.push_back((record, payload));
            } else {
                tracing::error!(call = %record.call, "no room for an event of a recorded call, neither in the tap ring nor beside it");
            }
        }
    }

    /// Writes the gap that is open in a row's recording, once there is room for the packet that ends it as well.
    #[cold]
    fn end_gap(&mut self, row: &mut Row, next: usize) -> bool {
        let fits = self.writer.fits_after_gap(next);
        if fits {
            self.last_gap(row);
        }
        fits
    }

    /// Tells the gap that is open in a row's recording, now or when there is room: before a call's rows go.
    pub(super) fn last_gap(&mut self, row: &mut Row) {
        if let Some(gap) = row.gap.take() {
            let kind =
                Kind::Gap { leg: row.leg, stream: row.stream, packets: gap.packets, since_ns: gap.since_ns };
            self.event(Record { position: 0, call: row.call, at_ns: gap.until_ns, kind }, Vec::new());
        }
    }

    /// Packets of a recorded row were forwarded, the last one now, and cannot be copied.
    #[cfg(feature = "xdp")]
    pub(super) fn missing(&mut self, row: &mut Row, packets: u64, mono_ns: u64) {
        (0..packets).for_each(|_| self.missed(row, Now { mono_ns, wall_ns: 0 }));
    }

    #[cold]
    fn missed(&mut self, row: &mut Row, now: Now) {
        self.lost += 1;
        row.tap_lost += 1;
        let at_ns = row.timeline.at(now);
        let gap = row.gap.get_or_insert(Gap { packets: 0, since_ns: at_ns, until_ns: at_ns });
        gap.packets += 1;
        gap.until_ns = at_ns;
    }

    /// Writes what waits, then shows everything to the recorder.
    #[inline]
    pub(super) fn flush(&mut self) {
        while let Some((record, payload)) = self.waiting.front() {
            if self.writer.event(record, payload).is_err() {
                break;
            }
            self.waiting.pop_front();
        }
        self.writer.flush();
    }

    /// A new reader attached. Where the last one broke the ring, what was dropped is told once more: events as they
    /// were, packets as gaps. What the last reader had taken in its last second may be among it.
    pub(super) fn reader_attached(&mut self) {
        let mut dropped = Vec::new();
        self.writer.reader_attached(|record, payload| match record.kind {
            Kind::Packet { .. } => dropped.push((*record, Vec::new())),
            _ => dropped.push((*record, payload.to_vec())),
        });
        // They came before what waits.
        let waiting = std::mem::take(&mut self.waiting);
        let mut gaps = HashMap::new();
        for (record, payload) in dropped {
            match record.kind {
                Kind::Packet { leg, stream } => {
                    self.lost += 1;
                    let first = Gap { packets: 0, since_ns: record.at_ns, until_ns: 0 };
                    let gap = gaps.entry((record.call, leg, stream)).or_insert(first);
                    (gap.packets, gap.until_ns) = (gap.packets + 1, record.at_ns);
                }
                kind => {
                    if kind == Kind::Close {
                        let of_call =
                            gaps.extract_if(|(call, ..), _: &mut Gap| *call == record.call).collect();
                        self.dropped_gaps(of_call);
                    }
                    self.event(record, payload);
                }
            }
        }
        self.dropped_gaps(gaps.into_iter().collect());
        waiting.into_iter().for_each(|(record, payload)| self.event(record, payload));
    }

    fn dropped_gaps(&mut self, gaps: Vec<((CallKey, Leg, u8), Gap)>) {
        for ((call, leg, stream), Gap { packets, since_ns, until_ns }) in gaps {
            let kind = Kind::Gap { leg, stream, packets, since_ns };
            self.event(Record { position: 0, call, at_ns: until_ns, kind }, Vec::new());
        }
    }

    /// Takes note of how far the reader is, once a second: what it committed is not dropped with a ring that it
    /// breaks later.
    pub(super) fn look(&mut self) {
        self.writer.look();
    }

    pub(super) fn records(&self) -> u64 {
        self.writer.records()
    }

    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    pub(super) fn backlog(&self) -> u64 {
        self.writer.backlog()
    }
}
