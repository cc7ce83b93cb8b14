//! From frames to Ogg Opus (RFC 7845): two uncoupled mono streams, so that neither voice touches the other's channel.
//!
//! Sans-IO but for the writer it is given; used by the archiver, one [`Encoder`] per archive, memory bounded by
//! a page. Channel mapping family 1, two channels, two streams, none coupled: left is the caller.

mod framing;

use std::borrow::Cow;
use std::io::{self, Write};

use ogg::writing::{PacketWriteEndInfo, PacketWriter};
use opus::{Application, Bitrate, Channels};

use crate::timeline::{FRAME, Frame, RATE};

/// Opus counts in samples of 48 kHz whatever is encoded.
const UP: u64 = 48_000 / RATE as u64;
/// Frames of a page: 1 s.
const PAGE: u64 = 50;
/// The largest Opus frame is 1275 bytes (RFC 6716, section 3.4), and its table of contents takes one.
const MAX_PACKET: usize = 1276;

/// How audio is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quality {
    /// Bits per second of each channel.
    pub bitrate: u32,
    /// CPU against quality, 0 to 10.
    pub complexity: u8,
}

/// Why audio cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// libopus refused.
    #[error("libopus: {0}")]
    Opus(#[from] opus::Error),
    /// libopus made a packet that cannot be joined with another.
    #[error("libopus made a packet of an unexpected form")]
    Form,
    /// The file cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes one Ogg Opus file.
#[derive(Debug)]
pub struct Encoder<W: Write> {
    sides: [opus::Encoder; 2],
    pages: Pages<W>,
    /// Samples at 48 kHz that the decoder is to skip: the encoder's look-ahead.
    pre_skip: u64,
    /// Samples at [`RATE`] that were handed in.
    length: u64,
}

/// The Ogg side.
struct Pages<W: Write> {
    writer: PacketWriter<'static, W>,
    serial: u32,
    /// The last packet, held back until it is known whether it is the last of all.
    held: Option<Vec<u8>>,
    /// Packets written or held.
    packets: u64,
}

impl<W: Write> std::fmt::Debug for Pages<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages")
            .field("serial", &self.serial)
            .field("packets", &self.packets)
            .finish_non_exhaustive()
    }
}

/// The library that encodes, with its version.
pub fn library() -> &'static str {
    opus::version()
}

impl<W: Write> Encoder<W> {
    /// Starts a file: writes its headers. `serial` tells the stream from others that it may be joined with.
    pub fn new(output: W, serial: u32, quality: Quality) -> Result<Self, EncodeError> {
        let mut sides = [encoder(quality)?, encoder(quality)?];
        let [left, _] = &mut sides;
        let pre_skip = u64::from(left.get_lookahead()?.unsigned_abs()) * UP;
        let mut pages = Pages { writer: PacketWriter::new(output), serial, held: None, packets: 0 };
        pages.whole(head(u16::try_from(pre_skip).unwrap_or(0)))?;
        pages.whole(tags())?;
        Ok(Self { sides, pages, pre_skip, length: 0 })
    }

    /// Encodes the next frame; only the last may be shorter than [`FRAME`].
    pub fn frame(&mut self, frame: &Frame) -> Result<(), EncodeError> {
        self.length += frame.length as u64;
        self.encode(&frame.sides)
    }

    /// Ends the file so that a decoder gives exactly as many samples as were handed in; gives the output back.
    pub fn finish(mut self) -> Result<W, EncodeError> {
        let end = self.pre_skip + self.length * UP;
        // The encoder's look-ahead is still inside it. An Ogg stream needs a packet to carry its end.
        while self.pages.packets * FRAME as u64 * UP < end || self.pages.packets == 0 {
            self.encode(&[[0; FRAME]; 2])?;
        }
        self.pages.release(PacketWriteEndInfo::EndStream, end)?;
        Ok(self.pages.writer.into_inner())
    }

    fn encode(&mut self, samples: &[[i16; FRAME]; 2]) -> Result<(), EncodeError> {
        let [left, right] = &mut self.sides;
        let [left_samples, right_samples] = samples;
        let first = left.encode_vec(left_samples, MAX_PACKET)?;
        let second = right.encode_vec(right_samples, MAX_PACKET)?;
        let packet = framing::join(&first, &second).ok_or(EncodeError::Form)?;
        self.pages.packet(packet)?;
        Ok(())
    }
}

impl<W: Write> Pages<W> {
    /// A header packet, alone on its page (RFC 7845, section 3).
    fn whole(&mut self, packet: Vec<u8>) -> io::Result<()> {
        self.writer.write_packet(Cow::Owned(packet), self.serial, PacketWriteEndInfo::EndPage, 0)
    }

    fn packet(&mut self, packet: Vec<u8>) -> io::Result<()> {
        let end = if self.packets.is_multiple_of(PAGE) {
            PacketWriteEndInfo::EndPage
        } else {
            PacketWriteEndInfo::NormalPacket
        };
        self.release(end, self.packets * FRAME as u64 * UP)?;
        self.held = Some(packet);
        self.packets += 1;
        Ok(())
    }

    fn release(&mut self, end: PacketWriteEndInfo, granule: u64) -> io::Result<()> {
        match self.held.take() {
            Some(packet) => self.writer.write_packet(Cow::Owned(packet), self.serial, end, granule),
            None => Ok(()),
        }
    }
}

fn encoder(quality: Quality) -> Result<opus::Encoder, opus::Error> {
    // Not `Voip`: its high-pass filter takes the bottom off a voice and shifts the rest, and this is evidence.
    let mut encoder = opus::Encoder::new(RATE, Channels::Mono, Application::Audio)?;
    encoder.set_bitrate(Bitrate::Bits(i32::try_from(quality.bitrate).unwrap_or(i32::MAX)))?;
    encoder.set_complexity(quality.complexity.into())?;
    Ok(encoder)
}

/// `OpusHead` (RFC 7845, section 5.1).
fn head(pre_skip: u16) -> Vec<u8> {
    let mut head = b"OpusHead\x01\x02".to_vec();
    head.extend(pre_skip.to_le_bytes());
    head.extend(RATE.to_le_bytes());
    // Gain 0; mapping family 1: two streams, none coupled, left is the first, right the second.
    head.extend([0, 0, 1, 2, 0, 0, 1]);
    head
}

/// `OpusTags` (RFC 7845, section 5.2): the library, and no comments.
fn tags() -> Vec<u8> {
    let vendor = library();
    let mut tags = b"OpusTags".to_vec();
    tags.extend(u32::try_from(vendor.len()).unwrap_or(0).to_le_bytes());
    tags.extend(vendor.as_bytes());
    tags.extend(0_u32.to_le_bytes());
    tags
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the numbers are the test's own"
)]
mod tests;
