//! The engine's end of the tap: packets, events, and the gaps that are told once there is room again.

use std::collections::VecDeque;

use crate::row::{Gap, Row};
use crate::sys::clock::Now;
use crate::tap::{Kind, Record, Writer};

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

impl Tapping {
    pub(super) fn new(writer: Writer) -> Self {
        Self { writer, waiting: VecDeque::new(), lost: 0 }
    }

    /// Copies a row's packet to the recorder.
    #[inline]
    pub(super) fn packet(&mut self, row: &mut Row, bytes: &[u8], now: Now) {
        let kind = Kind::Packet { leg: row.leg, stream: row.stream };
        let record = Record { position: 0, call: row.call, at_ns: now.wall_ns, kind };
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

    #[cold]
    fn missed(&mut self, row: &mut Row, now: Now) {
        self.lost += 1;
        row.tap_lost += 1;
        let gap = row.gap.get_or_insert(Gap { packets: 0, since_ns: now.wall_ns, until_ns: now.wall_ns });
        gap.packets += 1;
        gap.until_ns = now.wall_ns;
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

    pub(super) fn reader_attached(&mut self) {
        self.writer.reader_attached();
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
