//! Reads a spool block by block, in bounded memory; steps over what is no whole, sound block to the next one.
//!
//! A party chooses the bytes of its packets, so they may look like blocks. Behind damage a block is taken only when
//! it is what this spool can hold there: at a higher position, and an event of its very origin, whose epoch no
//! party knows.

use std::io::{self, Read};

use super::block::{FIRST_PORT, Packet, WRAPPING, code};
use super::{Event, Origin, Side};

/// Largest block that a spool holds: a label of 64 KiB, escaped.
const MAX_BLOCK: usize = 1 << 20;

/// One block of interest.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A packet, and the RTP packet's bytes as they arrived.
    Packet(Packet, &'a [u8]),
    /// An event.
    Event(Box<Event>),
    /// So many bytes are no whole, sound blocks.
    Damaged {
        /// How many.
        bytes: u64,
    },
}

/// Why a spool cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Nothing in the file is a whole, sound block.
    #[error("no whole block of a spool in {0} bytes")]
    Broken(u64),
}

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// Reads a spool from its first byte.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// What was read and not given out, from `start` on.
    data: Vec<u8>,
    start: usize,
    /// Bytes of the file before `start`.
    offset: u64,
    /// Behind the last sound block.
    sound: u64,
    blocks: u64,
    /// Origin of the last event, and position of the last record.
    origin: Option<Origin>,
    last: Option<u64>,
    /// Length of the block that was given out last.
    given: usize,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads from `input`; buffers it.
    pub const fn new(input: R) -> Self {
        Self {
            input,
            data: Vec::new(),
            start: 0,
            offset: 0,
            sound: 0,
            blocks: 0,
            origin: None,
            last: None,
            given: 0,
            ended: false,
        }
    }

    /// Where the last sound block ends that was found so far: what is behind it at the end is an unfinished write.
    pub const fn sound(&self) -> u64 {
        self.sound
    }

    /// The next packet or event, or how much before it is damaged; None at the end of the file.
    pub fn item(&mut self) -> Result<Option<Item<'_>>, ReadError> {
        self.pass();
        let mut damaged = 0;
        let length = loop {
            if !self.fill(1)? {
                break None;
            }
            match self.block()? {
                Some(_) if damaged > 0 => break None,
                Some((kind, length)) => {
                    (self.given, self.sound) = (length, self.offset + length as u64);
                    self.blocks += 1;
                    if kind == code::PACKET || kind == code::JOURNAL {
                        break Some((kind, length));
                    }
                    self.pass();
                }
                None => {
                    // Blocks are of whole words: the next one begins at one.
                    let skip = (self.data.len() - self.start).min(4);
                    damaged += skip as u64;
                    self.start += skip;
                    self.offset += skip as u64;
                }
            }
        };
        if damaged > 0 {
            return if self.sound == 0 && self.ended {
                Err(ReadError::Broken(self.offset))
            } else {
                Ok(Some(Item::Damaged { bytes: damaged }))
            };
        }
        let Some((kind, length)) = length else { return Ok(None) };
        let body = self.data.get(self.start + 8..self.start + length - 4).unwrap_or_default();
        let item = if kind == code::PACKET {
            packet(body).map(|(packet, rtp)| {
                self.last = Some(packet.position);
                Item::Packet(packet, rtp)
            })
        } else {
            event(body).map(|event| {
                (self.origin, self.last) = (Some(event.origin), Some(event.position));
                Item::Event(Box::new(event))
            })
        };
        // `block` has parsed it before.
        item.map(Some).ok_or(ReadError::Broken(self.offset))
    }

    /// Steps over the block that was given out.
    fn pass(&mut self) {
        let given = std::mem::take(&mut self.given);
        self.start += given;
        self.offset += given as u64;
    }

    /// Type and length of the block that begins here. None: here is no whole, sound block.
    fn block(&mut self) -> io::Result<Option<(u32, usize)>> {
        let Some((kind, length)) = self.head() else { return Ok(None) };
        if !(12..=MAX_BLOCK).contains(&length) || !length.is_multiple_of(4) || !self.fill(length)? {
            return Ok(None);
        }
        let Some(block) = self.data.get(self.start..self.start + length) else { return Ok(None) };
        let (Some(body), Some(trailer)) = (block.get(8..length - 4), field(block, length - 4)) else {
            return Ok(None);
        };
        let sound = trailer as usize == length
            && match kind {
                code::SECTION => self.offset == 0 && field(body, 0) == Some(code::BYTE_ORDER),
                code::INTERFACE => (1..=2).contains(&self.blocks),
                code::PACKET => packet(body).is_some_and(|(p, _)| {
                    self.sound == self.offset || self.last.is_none_or(|last| p.position > last)
                }),
                code::JOURNAL => event(body).is_some_and(|e| {
                    self.sound == self.offset
                        || (self.origin.is_none_or(|origin| e.origin == origin)
                            && self.last.is_none_or(|last| e.position >= last))
                }),
                // Other tools may have added blocks, behind what every spool begins with.
                _ => self.blocks > 2 && self.sound == self.offset,
            };
        Ok(sound.then_some((kind, length)))
    }

    fn head(&mut self) -> Option<(u32, usize)> {
        if !self.fill(8).ok()? {
            return None;
        }
        let head = self.data.get(self.start..)?;
        Some((field(head, 0)?, field(head, 4)? as usize))
    }

    /// Has `wanted` bytes at hand. False: the file ends before.
    fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        while self.data.len() - self.start < wanted && !self.ended {
            self.data.drain(..self.start);
            self.start = 0;
            let held = self.data.len();
            self.data.resize(held + CHUNK.max(wanted - held), 0);
            let read = loop {
                match self.input.read(self.data.get_mut(held..).unwrap_or_default()) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    done => break done,
                }
            };
            self.data.truncate(held + *read.as_ref().unwrap_or(&0));
            self.ended = read? == 0;
        }
        Ok(self.data.len() - self.start >= wanted)
    }
}

fn field(body: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*body.get(at..)?.first_chunk()?))
}

fn packet(body: &[u8]) -> Option<(Packet, &[u8])> {
    let side = *Side::BOTH.get(field(body, 0)? as usize)?;
    let at_ns = (u64::from(field(body, 4)?) << 32) | u64::from(field(body, 8)?);
    let length = field(body, 12)? as usize;
    let data = body.get(20..)?;
    let (wrapping, rtp) = data.get(..length)?.split_at_checked(WRAPPING)?;
    let port = u16::from_be_bytes(*wrapping.get(20..)?.first_chunk()?);
    let stream = u8::try_from(port.checked_sub(FIRST_PORT)? / 2).ok()?;
    let mut options = data.get(length.next_multiple_of(4)..)?;
    let (mut position, mut dropped) = (None, 0);
    while let Some((head, rest)) = options.split_first_chunk::<4>() {
        let [a, b, c, d] = *head;
        let (code, length) = (u16::from_le_bytes([a, b]), usize::from(u16::from_le_bytes([c, d])));
        let number = rest.first_chunk().map(|v| u64::from_le_bytes(*v)).filter(|_| length == 8);
        match code {
            code::EPB_PACKETID => position = number,
            code::EPB_DROPCOUNT => dropped = number?,
            _ => {}
        }
        options = rest.get(length.next_multiple_of(4)..)?;
    }
    Some((Packet { side, stream, at_ns, position: position?, dropped }, rtp))
}

fn event(body: &[u8]) -> Option<Event> {
    Event::from_text(std::str::from_utf8(body).ok()?.trim_end_matches('\0'))
}
