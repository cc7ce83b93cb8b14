//! Opus packets taken apart and joined: a multistream packet is one packet per stream, all but the last with its length
//! (RFC 6716, appendix B; RFC 7845, section 3).

use crate::rate::TICKS;

/// Frames of the longest packet: 120 ms of 2.5 ms each (RFC 6716, section 3.2.5).
const MOST: usize = 48;
/// Bytes of the largest frame (RFC 6716, section 3.4, R2).
const LARGEST: usize = 1275;
/// Ticks of the longest packet: 120 ms.
const LONGEST: u32 = TICKS / 1000 * 120;

/// A packet's frames; its padding is left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The table of contents without its code: coder, bandwidth, frame size, stereo (RFC 6716, section 3.1).
    config: u8,
    frames: [&'a [u8]; MOST],
    count: usize,
}

/// How long an Opus packet sounds, in ticks of 48 kHz; none when it is no valid packet (RFC 6716, section 3.4). Only one
/// of [`FRAME`](crate::rate::FRAME) can be packed as it is.
pub fn ticks(packet: &[u8]) -> Option<u32> {
    Packet::parse(packet).map(|p| p.ticks())
}

impl<'a> Packet<'a> {
    /// Takes a packet apart; none when it breaks a rule of RFC 6716, section 3.4.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (contents, rest) = bytes.split_first()?;
        let mut packet = Self { config: contents & !3, frames: [&[]; MOST], count: 0 };
        match contents & 3 {
            0 => packet.push(rest)?,
            1 if rest.len().is_multiple_of(2) => {
                let (first, second) = rest.split_at_checked(rest.len() / 2)?;
                packet.push(first)?;
                packet.push(second)?;
            }
            1 => return None,
            2 => {
                let (first, rest) = read_length(rest)?;
                let (first, second) = rest.split_at_checked(first)?;
                packet.push(first)?;
                packet.push(second)?;
            }
            _ => packet.many(rest)?,
        }
        Some(packet)
    }

    /// A packet of any number of frames, code 3 (RFC 6716, section 3.2.5).
    fn many(&mut self, rest: &'a [u8]) -> Option<()> {
        let (form, mut rest) = rest.split_first()?;
        let count = usize::from(form & 0x3F);
        if count == 0 || u32::from(form & 0x3F) * frame_ticks(self.config) > LONGEST {
            return None;
        }
        if form & 0x40 != 0 {
            let mut padding = 0;
            loop {
                let (more, after) = rest.split_first()?;
                rest = after;
                padding += usize::from(*more).min(254);
                if *more < 255 {
                    break;
                }
            }
            rest = rest.get(..rest.len().checked_sub(padding)?)?;
        }
        if form & 0x80 == 0 {
            if !rest.len().is_multiple_of(count) {
                return None;
            }
            let each = rest.len() / count;
            return (0..count).try_for_each(|n| self.push(rest.get(n * each..(n + 1) * each)?));
        }
        let mut lengths = [0; MOST];
        for length in lengths.iter_mut().take(count - 1) {
            (*length, rest) = read_length(rest)?;
        }
        for length in lengths.into_iter().take(count - 1) {
            let (frame, after) = rest.split_at_checked(length)?;
            self.push(frame)?;
            rest = after;
        }
        self.push(rest)
    }

    fn push(&mut self, frame: &'a [u8]) -> Option<()> {
        *self.frames.get_mut(self.count).filter(|_| frame.len() <= LARGEST)? = frame;
        self.count += 1;
        Some(())
    }

    /// How long it sounds.
    pub fn ticks(&self) -> u32 {
        frame_ticks(self.config) * u32::try_from(self.count).unwrap_or(0)
    }

    /// Writes the packet: with the length of its last frame as well, where another packet follows (RFC 6716, appendix B).
    pub fn write(&self, another_follows: bool, out: &mut Vec<u8>) {
        let frames = self.frames.get(..self.count).unwrap_or_default();
        match frames.len() {
            1 => out.push(self.config),
            2 => out.push(self.config | 2),
            // Of any length each, not padded.
            n => out.extend([self.config | 3, 0x80 | u8::try_from(n).unwrap_or(0)]),
        }
        let told = if another_follows { frames.len() } else { frames.len() - 1 };
        frames.iter().take(told).for_each(|f| write_length(f.len(), out));
        frames.iter().for_each(|f| out.extend_from_slice(f));
    }
}

/// Ticks of one frame (RFC 6716, section 3.1, table 2).
const fn frame_ticks(contents: u8) -> u32 {
    let config = contents >> 3;
    let half_milliseconds = match (config, config & 3) {
        // SILK: 10, 20, 40, 60 ms.
        (0..12, 3) => 120,
        (0..12, size) => 20 << size,
        // Both: 10, 20 ms.
        (12..16, _) => 20 << (config & 1),
        // CELT: 2.5, 5, 10, 20 ms.
        (_, size) => 5 << size,
    };
    half_milliseconds * (TICKS / 2000)
}

/// A frame's length in one or two bytes (RFC 6716, section 3.2.1), and what follows it.
fn read_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [first @ 0..=251, rest @ ..] => Some((usize::from(*first), rest)),
        [first, second, rest @ ..] => Some((usize::from(*second) * 4 + usize::from(*first), rest)),
        _ => None,
    }
}

/// The other way round; `length` is at most [`LARGEST`].
fn write_length(length: usize, out: &mut Vec<u8>) {
    if let Ok(short @ 0..=251) = u8::try_from(length) {
        out.push(short);
    } else {
        let low = 252 + (length & 3);
        out.extend([low, (length - low) / 4].map(|byte| u8::try_from(byte).unwrap_or(u8::MAX)));
    }
}

#[cfg(test)]
mod tests;
