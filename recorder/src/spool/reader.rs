//! Reads a spool block by block, in bounded memory; stops at the first byte that is not a whole, sound block.

use std::io::{self, Read};

use super::block::{FIRST_PORT, Packet, WRAPPING, code};
use super::{Event, Side};

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
    /// The bytes from here on are not whole blocks: a write that was cut short, or damage.
    #[error("no whole block of a spool at byte {0}")]
    Broken(u64),
}

/// Reads a spool from its first byte.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    offset: u64,
    blocks: u64,
    block: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads from `input`, which should be buffered.
    pub const fn new(input: R) -> Self {
        Self { input, offset: 0, blocks: 0, block: Vec::new() }
    }

    /// Bytes of whole, sound blocks so far.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The next packet or event; None at the end of the file.
    pub fn item(&mut self) -> Result<Option<Item<'_>>, ReadError> {
        let kind = loop {
            let Some(kind) = self.fill()? else { return Ok(None) };
            let sound = match kind {
                code::SECTION => self.blocks == 0 && field(&self.block, 0) == Some(code::BYTE_ORDER),
                code::INTERFACE => (1..=2).contains(&self.blocks),
                // Packets and events come behind section and interfaces; other tools may have added blocks.
                _ => self.blocks > 2,
            };
            if !sound {
                return Err(ReadError::Broken(self.offset));
            }
            if kind == code::PACKET || kind == code::JOURNAL {
                break kind;
            }
            self.pass();
        };
        let item = if kind == code::PACKET {
            packet(&self.block).map(|(packet, rtp)| Item::Packet(packet, rtp))
        } else {
            event(&self.block).map(|event| Item::Event(Box::new(event)))
        };
        let at = self.offset;
        self.blocks += 1;
        self.offset += self.block.len() as u64 + 12;
        item.map(Some).ok_or_else(|| {
            self.offset = at;
            ReadError::Broken(at)
        })
    }

    fn pass(&mut self) {
        self.blocks += 1;
        self.offset += self.block.len() as u64 + 12;
    }

    /// Reads a block's body; gives its type. None at a clean end.
    fn fill(&mut self) -> Result<Option<u32>, ReadError> {
        let broken = || ReadError::Broken(self.offset);
        let mut head = [0; 8];
        match read_full(&mut self.input, &mut head)? {
            0 => return Ok(None),
            8 => {}
            _ => return Err(broken()),
        }
        let [a, b, c, d, rest @ ..] = head;
        let kind = u32::from_le_bytes([a, b, c, d]);
        let length = u32::from_le_bytes(rest) as usize;
        if !(12..=MAX_BLOCK).contains(&length) || !length.is_multiple_of(4) {
            return Err(broken());
        }
        self.block.resize(length - 8, 0);
        let whole = read_full(&mut self.input, &mut self.block)? == length - 8;
        let trailer = self.block.split_off(length - 12);
        if !whole || trailer != rest {
            return Err(ReadError::Broken(self.offset));
        }
        Ok(Some(kind))
    }
}

/// Reads until `buffer` is full or the input ends; gives the number of bytes.
fn read_full(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|r| !r.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
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
