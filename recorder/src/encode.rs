//! From frames to Ogg Opus (RFC 7845): two uncoupled mono streams, so that neither voice touches the other's channel.
//!
//! Sans-IO but for the writer it is given; used by the archiver, one [`Encoder`] per archive, memory bounded by
//! a page. Channel mapping family 1, two channels, two streams, none coupled: left is the caller.

mod framing;

use std::borrow::Cow;
use std::io::{self, Write};

use ogg::writing::{PacketWriteEndInfo, PacketWriter};
use opus::{Application, Bitrate, Channels};

use serde::{Deserialize, Serialize};

use crate::rate::{FRAME, Rate};

/// Frames of a page: 1 s.
const PAGE: u64 = 50;
/// The largest Opus frame is 1275 bytes (RFC 6716, section 3.4), and its table of contents takes one.
const MAX_PACKET: usize = 1276;

/// How audio is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quality {
    /// Bits per second of each channel.
    pub bitrate: u32,
    /// CPU against quality, 0 to 10.
    pub complexity: u8,
    /// The level (dBFS, RMS over a packet) below which a packet is written as silence.
    pub silence_dbfs: Option<i8>,
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

/// 20 ms of one side.
#[derive(Debug, Clone, Copy)]
pub enum Sound<'a> {
    /// Samples at the side's rate: [`Rate::frame`] of them.
    Samples(&'a [i16]),
    /// A party's own Opus packet of 20 ms, taken as it is.
    Packed(&'a [u8]),
}

/// How the packets of one side were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Taken as they were.
    pub packed: u64,
    /// Encoded.
    pub encoded: u64,
    /// Written as silence.
    pub silent: u64,
}

impl Tally {
    /// Both together.
    #[must_use]
    pub const fn with(&self, more: &Self) -> Self {
        Self {
            packed: self.packed + more.packed,
            encoded: self.encoded + more.encoded,
            silent: self.silent + more.silent,
        }
    }
}

/// Samples at 48 kHz by which libopus's encoder is behind, at every rate: the pre-skip of a file.
pub const PRE_SKIP: u64 = 312;

/// Frames that bring a fresh encoder into its state before the first that is kept.
pub const PRE_ROLL: usize = 10;

/// The encoders of both sides.
#[derive(Debug)]
pub struct Voices {
    sides: [opus::Encoder; 2],
    look_ahead: u64,
    tally: [Tally; 2],
}

impl Voices {
    /// Encoders for sides of these rates.
    pub fn new(rates: [Rate; 2], quality: Quality) -> Result<Self, EncodeError> {
        let [left, right] = rates;
        let mut sides = [encoder(left, quality)?, encoder(right, quality)?];
        let [first, _] = &mut sides;
        let look_ahead = u64::from(first.get_lookahead()?.unsigned_abs() * left.ticks());
        Ok(Self { sides, look_ahead, tally: Default::default() })
    }

    /// Encodes the next 20 ms into one packet behind what `out` holds.
    pub fn frame(&mut self, sides: [Sound<'_>; 2], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut packets = [Vec::new(), Vec::new()];
        for (((sound, encoder), packet), tally) in
            sides.into_iter().zip(&mut self.sides).zip(&mut packets).zip(&mut self.tally)
        {
            match sound {
                Sound::Samples(samples) => {
                    *packet = encoder.encode_vec(samples, MAX_PACKET)?;
                    tally.encoded += 1;
                }
                Sound::Packed(own) => {
                    *packet = own.to_vec();
                    tally.packed += 1;
                }
            }
        }
        let [first, second] = &packets;
        out.extend(framing::join(first, second).ok_or(EncodeError::Form)?);
        Ok(())
    }

    /// Samples at 48 kHz by which sound comes out behind its place.
    pub const fn look_ahead(&self) -> u64 {
        self.look_ahead
    }

    /// How packets were made since the beginning, or since [`Self::begin_tally`].
    pub const fn tally(&self) -> [Tally; 2] {
        self.tally
    }

    /// Counts anew from here.
    pub fn begin_tally(&mut self) {
        self.tally = Default::default();
    }
}

/// Writes one Ogg Opus file, packet by packet.
pub struct Ogg<W: Write> {
    writer: PacketWriter<'static, W>,
    serial: u32,
    /// The last packet, held back until it is known whether it is the last of all.
    held: Option<Vec<u8>>,
    /// Packets written or held.
    packets: u64,
}

impl<W: Write> std::fmt::Debug for Ogg<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ogg")
            .field("serial", &self.serial)
            .field("packets", &self.packets)
            .finish_non_exhaustive()
    }
}

/// The library that encodes, with its version.
pub fn library() -> &'static str {
    opus::version()
}

impl<W: Write> Ogg<W> {
    /// Starts a file: writes its headers. `serial` tells the stream from others that it may be joined with.
    pub fn new(output: W, serial: u32, rate: Rate, pre_skip: u64) -> Result<Self, EncodeError> {
        let mut ogg = Self { writer: PacketWriter::new(output), serial, held: None, packets: 0 };
        ogg.whole(head(u16::try_from(pre_skip).unwrap_or(0), rate))?;
        ogg.whole(tags())?;
        Ok(ogg)
    }

    /// Ends the file so that a decoder gives exactly `length` ticks behind the pre-skip; gives the output back.
    pub fn finish(mut self, length: u64, pre_skip: u64) -> Result<W, EncodeError> {
        self.release(PacketWriteEndInfo::EndStream, pre_skip + length)?;
        Ok(self.writer.into_inner())
    }

    /// A header packet, alone on its page (RFC 7845, section 3).
    fn whole(&mut self, packet: Vec<u8>) -> io::Result<()> {
        self.writer.write_packet(Cow::Owned(packet), self.serial, PacketWriteEndInfo::EndPage, 0)
    }

    /// Writes the next 20 ms.
    pub fn packet(&mut self, packet: &[u8]) -> io::Result<()> {
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

    fn release(&mut self, end: PacketWriteEndInfo, granule: u64) -> io::Result<()> {
        match self.held.take() {
            Some(packet) => self.writer.write_packet(Cow::Owned(packet), self.serial, end, granule),
            None => Ok(()),
        }
    }
}

fn encoder(rate: Rate, quality: Quality) -> Result<opus::Encoder, opus::Error> {
    // Not `Voip`: its high-pass filter takes the bottom off a voice and shifts the rest, and this is evidence.
    let mut encoder = opus::Encoder::new(rate.hz(), Channels::Mono, Application::Audio)?;
    encoder.set_bitrate(Bitrate::Bits(i32::try_from(quality.bitrate).unwrap_or(i32::MAX)))?;
    encoder.set_complexity(quality.complexity.into())?;
    Ok(encoder)
}

/// `OpusHead` (RFC 7845, section 5.1).
fn head(pre_skip: u16, rate: Rate) -> Vec<u8> {
    let mut head = b"OpusHead\x01\x02".to_vec();
    head.extend(pre_skip.to_le_bytes());
    head.extend(rate.hz().to_le_bytes());
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
