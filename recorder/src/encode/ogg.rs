//! The container (RFC 7845): channel mapping family 1, two channels, two streams, none coupled, left is the caller.

use std::borrow::Cow;
use std::io::{self, Write};

use ogg::writing::{PacketWriteEndInfo, PacketWriter};

use super::EncodeError;
use crate::rate::{FRAME, Rate};

/// Packets of a page: 1 s.
const PAGE: u64 = 50;

/// Writes one Ogg Opus file, packet by packet, a page per second.
pub struct Ogg<W: Write> {
    writer: PacketWriter<'static, W>,
    serial: u32,
    pre_skip: u64,
    /// The last packet, held back until it is known whether it is the last of all.
    held: Option<Vec<u8>>,
    /// Packets written or held.
    packets: u64,
}

impl<W: Write> std::fmt::Debug for Ogg<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ogg")
            .field("serial", &self.serial)
            .field("pre_skip", &self.pre_skip)
            .field("packets", &self.packets)
            .finish_non_exhaustive()
    }
}

impl<W: Write> Ogg<W> {
    /// Starts a file: writes its headers. `serial` tells the stream from others that it may be joined with, `input_rate`
    /// is told to who reads it, `pre_skip` is [`Voices::look_ahead`](super::Voices::look_ahead), in ticks.
    pub fn new(output: W, serial: u32, input_rate: Rate, pre_skip: u64) -> Result<Self, EncodeError> {
        let told = u16::try_from(pre_skip).map_err(|_| EncodeError::Form)?;
        let mut ogg = Self { writer: PacketWriter::new(output), serial, pre_skip, held: None, packets: 0 };
        ogg.header(head(input_rate, told))?;
        ogg.header(tags())?;
        Ok(ogg)
    }

    /// Takes the next packet of 20 ms.
    pub fn packet(&mut self, packet: &[u8]) -> Result<(), EncodeError> {
        let end = if self.packets.is_multiple_of(PAGE) {
            PacketWriteEndInfo::EndPage
        } else {
            PacketWriteEndInfo::NormalPacket
        };
        self.release(end, self.packets * u64::from(FRAME))?;
        self.held = Some(packet.to_vec());
        self.packets += 1;
        Ok(())
    }

    /// Packets that must still come until the file can hold `length` ticks of audio: the encoder's look-ahead comes on top,
    /// and a file of no audio needs a packet too, to carry its end.
    pub const fn missing(&self, length: u64) -> u64 {
        let needed = (self.pre_skip + length).div_ceil(FRAME as u64);
        let needed = if needed == 0 { 1 } else { needed };
        needed.saturating_sub(self.packets)
    }

    /// Ends the file so that a decoder gives `length` ticks of audio, to the sample; gives the output back. The file must
    /// have exactly the packets that this takes: none [`missing`](Self::missing), and none over.
    pub fn finish(mut self, length: u64) -> Result<W, EncodeError> {
        let end = self.pre_skip + length;
        // Trimming may take less than the last packet only: the page before it has told its own end.
        if self.missing(length) > 0 || (self.packets - 1) * u64::from(FRAME) > end {
            return Err(EncodeError::Length { packets: self.packets, ticks: length });
        }
        self.release(PacketWriteEndInfo::EndStream, end)?;
        Ok(self.writer.into_inner())
    }

    /// A header packet, alone on its page (RFC 7845, section 3).
    fn header(&mut self, packet: Vec<u8>) -> io::Result<()> {
        self.writer.write_packet(Cow::Owned(packet), self.serial, PacketWriteEndInfo::EndPage, 0)
    }

    fn release(&mut self, end: PacketWriteEndInfo, granule: u64) -> io::Result<()> {
        match self.held.take() {
            Some(packet) => self.writer.write_packet(Cow::Owned(packet), self.serial, end, granule),
            None => Ok(()),
        }
    }
}

/// `OpusHead` (RFC 7845, section 5.1).
fn head(input_rate: Rate, pre_skip: u16) -> Vec<u8> {
    let mut head = b"OpusHead\x01\x02".to_vec();
    head.extend(pre_skip.to_le_bytes());
    head.extend(input_rate.hz().to_le_bytes());
    // Gain 0; mapping family 1: two streams, none coupled, left is the first, right the second.
    head.extend([0, 0, 1, 2, 0, 0, 1]);
    head
}

/// `OpusTags` (RFC 7845, section 5.2): the library, and no comments.
fn tags() -> Vec<u8> {
    let vendor = super::library();
    let mut tags = b"OpusTags".to_vec();
    tags.extend(u32::try_from(vendor.len()).unwrap_or(0).to_le_bytes());
    tags.extend(vendor.as_bytes());
    tags.extend(0_u32.to_le_bytes());
    tags
}
