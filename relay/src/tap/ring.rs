//! The ring's two ends: records in, records out. [`Writer`] lives on a relay worker, [`Reader`] in the recorder.
//!
//! A record lies in one piece; where it would pass the end, a filler record (kind 0) closes the lap.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use serde::{Deserialize, Serialize};

use super::index::{Consumer, Producer};
use super::memory::Memory;
use super::record::{ALIGN, HEADER, MAX_PAYLOAD, Record};

pub use super::index::Poisoned;

/// The record did not fit: it was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tap ring is full")]
pub struct Full;

/// A share of the ring that packets leave free, so that a call's open, close and gap records still find room.
const EVENT_RESERVE: u64 = 16;

/// What a process needs to hand a ring over: the memory and the bell that wakes its reader.
#[derive(Debug)]
pub struct Handles {
    pub(super) memory: OwnedFd,
    pub(super) bell: OwnedFd,
}

impl Handles {
    /// Handles that came from another process.
    pub const fn new(memory: OwnedFd, bell: OwnedFd) -> Self {
        Self { memory, bell }
    }

    /// A second set of handles of the same ring.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { memory: self.memory.try_clone()?, bell: self.bell.try_clone()? })
    }

    /// Memory, bell.
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.memory.as_fd(), self.bell.as_fd()]
    }
}

/// What the next writer of a ring must know of the last one, which writes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// What is not known to be consumed: from and to.
    unconsumed: (u64, u64),
    records: u64,
    poisoned: bool,
}

/// Makes a ring of `capacity` bytes (a power of two, 512 KiB or more) for the relay process `epoch`.
pub fn create(capacity: usize, epoch: u64) -> io::Result<(Writer, Handles)> {
    let memory = Memory::create(capacity, epoch)?;
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let handles = Handles { memory: memory.as_fd().try_clone_to_owned()?, bell: bell.try_clone()? };
    let producer = Producer::new(capacity as u64);
    Ok((Writer { memory, bell, producer, dirty: false, records: 0, poisoned: false }, handles))
}

/// The relay's end: never waits.
#[derive(Debug)]
pub struct Writer {
    memory: Memory,
    bell: OwnedFd,
    producer: Producer,
    dirty: bool,
    records: u64,
    poisoned: bool,
}

impl Writer {
    /// Goes on with a ring of the relay `epoch` where its last writer was.
    pub fn resume(handles: Handles, epoch: u64, at: Position) -> io::Result<Self> {
        let (memory, made_by) = Memory::open(handles.memory)?;
        if made_by != epoch {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the tap ring is of another relay"));
        }
        let producer = Producer::resume(at.unconsumed, memory.capacity() as u64)?;
        let Position { records, poisoned, .. } = at;
        Ok(Self { memory, bell: handles.bell, producer, dirty: false, records, poisoned })
    }

    /// Takes all of the ring's memory now, local to the calling thread's core: writing then waits for no page. Where the
    /// kernel does not know how, pages come when they are written first.
    pub fn populate(&mut self) {
        self.memory.populate();
    }

    /// Where this writer is; everything that it wrote is shown to the reader.
    pub fn position(&mut self) -> Position {
        self.flush();
        let Self { producer, records, poisoned, .. } = self;
        Position { unconsumed: producer.unconsumed(), records: *records, poisoned: *poisoned }
    }

    /// Copies a packet into the ring. The reader sees it after [`Self::flush`].
    #[inline]
    pub fn packet(&mut self, record: &Record, bytes: &[u8]) -> Result<(), Full> {
        self.push(record, bytes, self.packet_reserve())
    }

    /// Whether a packet of this many bytes and a gap record before it would fit for certain.
    pub fn fits_after_gap(&mut self, bytes: usize) -> bool {
        // Each of the two could need a filler of nearly its own size.
        let wanted = 2 * (2 * HEADER + bytes).next_multiple_of(ALIGN) as u64 + self.packet_reserve();
        self.has_room(wanted)
    }

    /// Whether so many bytes are free; a reader that wrote an impossible index ends the tap until the next one.
    #[inline]
    fn has_room(&mut self, wanted: u64) -> bool {
        let Ok(room) = self.producer.room(self.memory.indices(), wanted) else {
            if !std::mem::replace(&mut self.poisoned, true) {
                tracing::error!(
                    "the recorder's end of the tap ring is broken; nothing is tapped until a recorder attaches anew"
                );
            }
            return false;
        };
        room >= wanted && !self.poisoned
    }

    const fn packet_reserve(&self) -> u64 {
        self.memory.capacity() as u64 / EVENT_RESERVE
    }

    /// Copies any other record into the ring; may use the reserve that packets leave.
    pub fn event(&mut self, record: &Record, payload: &[u8]) -> Result<(), Full> {
        self.push(record, payload, 0)
    }

    #[inline]
    fn push(&mut self, record: &Record, payload: &[u8], reserve: u64) -> Result<(), Full> {
        if payload.len() > MAX_PAYLOAD {
            return Err(Full);
        }
        let length = (HEADER + payload.len()).next_multiple_of(ALIGN);
        let mut offset = self.offset();
        let lap = self.memory.capacity() - offset;
        let filler = if length > lap { lap } else { 0 };
        let wanted = (filler + length) as u64 + reserve;
        if !self.has_room(wanted) {
            return Err(Full);
        }
        if filler > 0 {
            let length = u32::try_from(filler).unwrap_or(u32::MAX).to_ne_bytes();
            self.memory.write(offset, &length);
            self.memory.write(offset + 4, &[0; 4]);
            self.producer.advance(filler as u64);
            offset = 0;
        }
        self.memory.write(offset, &record.header(payload.len()));
        self.memory.write(offset + HEADER, payload);
        self.producer.advance(length as u64);
        self.records += 1;
        self.dirty = true;
        Ok(())
    }

    /// Shows the reader what was written since the last flush, and wakes it if it sleeps. Once per batch.
    #[inline]
    pub fn flush(&mut self) {
        if self.dirty {
            self.dirty = false;
            if self.producer.publish(self.memory.indices()) {
                // Fails only when the bell has rung 2^64 times unheard: it is rung, then.
                let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
            }
        }
    }

    /// A new reader attached: a ring that its predecessor broke is emptied and trusted again. (The new reader's own
    /// attempt may have failed on it; its next one will not.) Gives `dropped` each record that was not consumed for
    /// certain, with its payload, in order.
    pub fn reader_attached(&mut self, mut dropped: impl FnMut(&Record, &[u8])) {
        if self.poisoned || !self.producer.trusted(self.memory.indices()) {
            self.flush();
            let (mut position, head) = self.producer.unconsumed();
            let mut payload = Vec::new();
            // The last reader may have written to the records as well: what is none ends this.
            while let Ok(Some((record, length))) = step(&self.memory, position, head - position, &mut payload)
            {
                record.iter().for_each(|r| dropped(r, &payload));
                position += length;
            }
            let bytes = self.producer.reset(self.memory.indices());
            tracing::error!("a recorder left the tap ring broken: {bytes} bytes of records were dropped");
            self.poisoned = false;
        }
    }

    /// Asks how far the reader is.
    pub fn look(&mut self) {
        self.has_room(u64::MAX);
    }

    /// Records written since the ring was made.
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Bytes that the reader has not committed yet.
    pub fn backlog(&self) -> u64 {
        Consumer::backlog(self.memory.indices())
    }

    #[inline]
    const fn offset(&self) -> usize {
        #[allow(clippy::cast_possible_truncation, reason = "masked by the capacity, which is a usize")]
        let position = self.producer.position() as usize;
        position & (self.memory.capacity() - 1)
    }
}

/// The recorder's end.
#[derive(Debug)]
pub struct Reader {
    memory: Memory,
    bell: OwnedFd,
    consumer: Consumer,
    index: usize,
    epoch: u64,
}

impl Reader {
    /// Maps a ring that was handed over and goes on where the last reader committed.
    pub(super) fn open(handles: Handles, index: usize) -> io::Result<Self> {
        let (memory, epoch) = Memory::open(handles.memory)?;
        let consumer =
            Consumer::resume(memory.indices(), memory.capacity() as u64).map_err(io::Error::other)?;
        Ok(Self { memory, bell: handles.bell, consumer, index, epoch })
    }

    /// The next record; its payload is copied into `payload`, which is cleared first. None: nothing there now.
    /// After an error the ring must not be read any more.
    pub fn next(&mut self, payload: &mut Vec<u8>) -> Result<Option<Record>, Poisoned> {
        payload.clear();
        loop {
            let available = self.consumer.available(self.memory.indices())?;
            let Some((record, length)) = step(&self.memory, self.consumer.position(), available, payload)?
            else {
                return Ok(None);
            };
            self.consumer.advance(length);
            if record.is_some() {
                return Ok(record);
            }
        }
    }

    /// Gives all that [`Self::next`] returned so far back to the relay. A successor starts behind it.
    pub fn commit(&mut self) {
        self.consumer.commit(self.memory.indices());
    }

    /// Bytes published and not committed.
    pub fn backlog(&self) -> u64 {
        Consumer::backlog(self.memory.indices())
    }

    /// Which of the relay's rings this is, from 0.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// The relay process that made it.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The bell that rings when records come while the reader has said that it sleeps.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Says that the reader is going to sleep. False: there are records, stay awake.
    pub(super) fn may_sleep(&mut self) -> Result<bool, Poisoned> {
        self.consumer.may_sleep(self.memory.indices())
    }

    /// Leaves the ring as a reader does that has gone mad.
    #[cfg(all(test, not(loom_model)))]
    pub(crate) fn go_mad(&self) {
        self.memory.indices().attack(None, Some(u64::MAX));
    }

    /// Goes on as this reader's successor would.
    #[cfg(all(test, not(loom_model)))]
    pub(crate) fn succeed(&mut self) -> Result<(), Poisoned> {
        self.consumer = Consumer::resume(self.memory.indices(), self.memory.capacity() as u64)?;
        Ok(())
    }

    /// Awake again.
    pub(super) fn woke(&self) {
        Consumer::woke(self.memory.indices());
        let _ = rustix::io::read(&self.bell, &mut [0_u8; 8]);
    }
}

/// What lies at `position`, `available` bytes being there: a record, whose payload is copied, or a filler; and its
/// length. None: nothing is there.
fn step(
    memory: &Memory,
    position: u64,
    available: u64,
    payload: &mut Vec<u8>,
) -> Result<Option<(Option<Record>, u64)>, Poisoned> {
    if available == 0 {
        return Ok(None);
    }
    let offset = usize::try_from(position).map_err(|_| Poisoned)? & (memory.capacity() - 1);
    let lap = memory.capacity() - offset;
    let readable = usize::try_from(available).map_err(|_| Poisoned)?.min(lap);
    if readable < ALIGN || !offset.is_multiple_of(ALIGN) {
        return Err(Poisoned);
    }
    let mut header = [0; HEADER];
    let head = header.get_mut(..readable.min(HEADER)).ok_or(Poisoned)?;
    memory.read(offset, head);
    let [a, b, c, d, kind, ..] = header;
    if kind == 0 {
        // A filler reaches exactly to the end of the lap.
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        return if length == lap && readable == lap {
            Ok(Some((None, length as u64)))
        } else {
            Err(Poisoned)
        };
    }
    let (record, bytes) = Record::parse(position, &header).ok_or(Poisoned)?;
    let length = (HEADER + bytes).next_multiple_of(ALIGN);
    if length > readable {
        return Err(Poisoned);
    }
    payload.resize(bytes, 0);
    memory.read(offset + HEADER, payload);
    Ok(Some((Some(record), length as u64)))
}

#[cfg(test)]
#[cfg(not(loom_model))]
#[path = "ring_tests.rs"]
mod tests;
