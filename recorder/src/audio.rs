//! An archive's audio file, read: Ogg Opus (RFC 7845) as packets that know their place in time.
//!
//! Takes the container apart and checks it; decodes nothing and needs no libopus. Used by [`crate::verify`] for
//! the length and by [`crate::export`] for the packets. Memory is bounded by a page.

use std::io::{self, Read, Seek};

use ogg::reading::{OggReadError, PacketReader};

use crate::moment::clock;
use crate::rate::{Rate, TICKS};

/// The longest Opus packet: 120 ms (RFC 6716, section 3.2.5), in ticks.
pub const LONGEST: u64 = 120 * TICKS as u64 / 1000;

/// Why an audio file cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not Ogg Opus, or not of the form that archives have.
    #[error("not an archive's audio: {0}")]
    Form(&'static str),
    /// Good up to a place.
    #[error("damaged after {}: {why}", clock(at_ticks / u64::from(TICKS / 1000)))]
    Damaged {
        /// Everything before it is whole; in ticks from the start of what is heard.
        at_ticks: u64,
        /// What is wrong behind it.
        why: &'static str,
    },
}

/// The packets of an audio file, in order.
pub struct Packets<R: Read + Seek> {
    reader: PacketReader<R>,
    serial: u32,
    head: Head,
    /// Ticks of the packets that were given.
    given: u64,
    /// The same at the last page whose own count agreed.
    settled: u64,
    /// Where the audio ends, known with its last packet.
    end: Option<u64>,
}

impl<R: Read + Seek> std::fmt::Debug for Packets<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packets").field("given", &self.given).field("end", &self.end).finish_non_exhaustive()
    }
}

impl<R: Read + Seek> Packets<R> {
    /// Reads the headers.
    pub fn new(input: R) -> Result<Self, AudioError> {
        let mut packets = Self {
            reader: PacketReader::new(input),
            serial: 0,
            head: Head::default(),
            given: 0,
            settled: 0,
            end: None,
        };
        let (head, serial) = packets.header()?;
        packets.serial = serial;
        packets.head = Head::read(&head)?;
        if !packets.header()?.0.starts_with(b"OpusTags") {
            return Err(AudioError::Form("its second packet is not OpusTags"));
        }
        Ok(packets)
    }

    /// Ticks at the start of the first packet that are not to be heard (RFC 7845, section 4.2).
    pub const fn pre_skip(&self) -> u64 {
        self.head.pre_skip
    }

    /// The rate of the sound before it was encoded, as the encoder says; 48 kHz where it does not.
    pub const fn input_rate(&self) -> Rate {
        self.head.input_rate
    }

    /// The next packet, two streams in one; none after the last.
    pub fn packet(&mut self) -> Result<Option<Vec<u8>>, AudioError> {
        let packet = match (self.reader.read_packet(), self.end) {
            (Ok(None), Some(_)) => return Ok(None),
            (Ok(Some(packet)), None) => packet,
            (Ok(Some(_)), Some(_)) => return Err(self.damaged("another stream follows its end")),
            (Ok(None), None) => return Err(self.damaged("the file ends before the audio does")),
            (Err(error), _) => return Err(self.unreadable(error)),
        };
        if packet.stream_serial() != self.serial {
            return Err(self.damaged("a page of another stream"));
        }
        let ticks = duration(&packet.data).ok_or_else(|| self.damaged("a packet that is not Opus"))?;
        self.given += ticks;
        let granule = packet.absgp_page();
        if packet.last_in_stream() {
            // The last page may end within its packets, and what is behind is not heard (RFC 7845, section 4.4).
            if granule > self.given || granule < self.head.pre_skip.max(self.settled.saturating_sub(LONGEST))
            {
                return Err(self.damaged("its packets do not reach its end"));
            }
            self.end = Some(granule);
            self.settled = granule;
        } else if packet.last_in_page() {
            if granule != self.given {
                return Err(self.damaged("pages are missing"));
            }
            self.settled = self.given;
        }
        Ok(Some(packet.data))
    }

    fn header(&mut self) -> Result<(Vec<u8>, u32), AudioError> {
        match self.reader.read_packet() {
            Ok(Some(packet)) => {
                let serial = packet.stream_serial();
                Ok((packet.data, serial))
            }
            Err(OggReadError::ReadError(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
                Err(error.into())
            }
            Ok(None) | Err(_) => Err(AudioError::Form("it does not start as Ogg")),
        }
    }

    /// Ticks that are heard of what is known to be whole.
    fn heard(&self) -> u64 {
        self.settled.saturating_sub(self.head.pre_skip)
    }

    fn damaged(&self, why: &'static str) -> AudioError {
        AudioError::Damaged { at_ticks: self.heard(), why }
    }

    fn unreadable(&self, error: OggReadError) -> AudioError {
        match error {
            OggReadError::ReadError(e) if e.kind() != io::ErrorKind::UnexpectedEof => AudioError::Io(e),
            OggReadError::ReadError(_) => self.damaged("the file ends within a page"),
            OggReadError::HashMismatch(..) => self.damaged("the checksum of a page does not match"),
            OggReadError::NoCapturePatternFound => self.damaged("no page where one should be"),
            OggReadError::InvalidStreamStructVer(_) | OggReadError::InvalidData => {
                self.damaged("a page that is not Ogg")
            }
        }
    }
}

/// Reads all of `input`. Gives its length in ticks and, where it is damaged, how; the length is then that of what
/// comes before.
pub fn length<R: Read + Seek>(input: R) -> Result<(u64, Option<AudioError>), AudioError> {
    let mut packets = Packets::new(input)?;
    loop {
        match packets.packet() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok((packets.heard(), None)),
            Err(error @ AudioError::Damaged { at_ticks, .. }) => return Ok((at_ticks, Some(error))),
            Err(error) => return Err(error),
        }
    }
}

/// What is needed of `OpusHead`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Head {
    /// Ticks.
    pre_skip: u64,
    input_rate: Rate,
}

impl Head {
    /// Reads `OpusHead` (RFC 7845, section 5.1).
    fn read(head: &[u8]) -> Result<Self, AudioError> {
        let fields = head.strip_prefix(b"OpusHead").ok_or(AudioError::Form("it is not Opus"))?;
        let (fixed, mapping) =
            fields.split_first_chunk::<10>().ok_or(AudioError::Form("its OpusHead is cut"))?;
        let [version, channels, skip @ .., r0, r1, r2, r3, gain_low, gain_high] = *fixed;
        if version > 15 {
            return Err(AudioError::Form("it is of a later version of Ogg Opus"));
        }
        // Family 1, two streams, none coupled, left is the first.
        if (channels, mapping) != (2, &[1, 2, 0, 0, 1]) {
            return Err(AudioError::Form("it is not two mono streams, left and right"));
        }
        if [gain_low, gain_high] != [0, 0] {
            return Err(AudioError::Form("it asks for an output gain"));
        }
        let input_rate = match u32::from_le_bytes([r0, r1, r2, r3]) {
            0 => Rate::Full,
            hz => Rate::holding(hz),
        };
        Ok(Self { pre_skip: u16::from_le_bytes(skip).into(), input_rate })
    }
}

/// Ticks that an Opus packet lasts (RFC 6716, section 3.1 and 3.2). Of two packets in one, the first: they last the
/// same (RFC 7845, section 3).
fn duration(packet: &[u8]) -> Option<u64> {
    let (contents, rest) = packet.split_first()?;
    let frame = match (contents >> 3, contents >> 3 & 3) {
        (..12, 3) => 2880,
        (..12, size) => 480 << size,
        (12..16, size) => 480 << (size & 1),
        (_, size) => 120 << size,
    };
    let frames = match contents & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(rest.first()? & 63),
    };
    Some(frame * frames).filter(|ticks| (1..=LONGEST).contains(ticks))
}

#[cfg(test)]
pub(crate) mod tests;
