//! Stretches of a long call that are encoded while it goes on: beside its spool, in a file of packets.
//!
//! `<recording>.stretches` holds one block per stretch: a line of JSON ([`Head`]), then every packet behind its
//! length (two bytes, big endian). A block counts only when its hash is right: one that was not written to its end is cut off, and
//! its frames are encoded again. Blocks that another version or other settings made are not used at all.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::render::Sink;
use super::{ArchiveError, at};
use crate::encode::{Quality, Tally};
use crate::rate::{FRAME, Rate};

/// File name extension of stretches.
pub const EXTENSION: &str = "stretches";
/// The longest head that is read.
const MAX_HEAD: u64 = 4096;

/// What a block says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    version: String,
    quality: Quality,
    origin: i64,
    from: u64,
    frames: u64,
    rates: [u32; 2],
    tally: [Tally; 2],
    bytes: u64,
    sha256: String,
}

/// What is encoded already of a call.
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// Frames, from the first on.
    pub frames: u64,
    /// Where the audio begins; none: nothing is encoded.
    pub origin: Option<i64>,
    /// How often it was gone on with.
    pub stretches: u64,
    /// The highest rate of each side.
    pub rates: [Rate; 2],
    /// How they were encoded.
    pub tally: [Tally; 2],
    /// Bytes of the file that are good.
    length: u64,
}

/// The packets of a stretch, in memory: some megabytes at most.
#[derive(Debug, Default)]
pub struct Packets(Vec<u8>);

/// For those who only want to know what is there.
#[derive(Debug)]
pub struct Nowhere;

impl Sink for Nowhere {
    fn packet(&mut self, _: &[u8]) -> Result<(), ArchiveError> {
        Ok(())
    }
}

impl Sink for Packets {
    fn packet(&mut self, packet: &[u8]) -> Result<(), ArchiveError> {
        let length = u16::try_from(packet.len())
            .map_err(|_| ArchiveError::Encode(crate::encode::EncodeError::Form))?;
        self.0.extend(length.to_be_bytes());
        self.0.extend_from_slice(packet);
        Ok(())
    }
}

/// A stretch to be written behind the others.
#[derive(Debug)]
pub struct Stretch {
    /// Where the audio begins.
    pub origin: i64,
    /// Its frames: first, and behind the last.
    pub frames: (u64, u64),
    /// The rate of each side.
    pub rates: [Rate; 2],
    /// How they were encoded.
    pub tally: [Tally; 2],
    /// Their packets.
    pub packets: Packets,
}

/// The file beside a spool.
pub fn path(spool: &Path) -> PathBuf {
    spool.with_extension(EXTENSION)
}

/// What is encoded already of the call of `spool` with `quality`; every packet is given to `sink`.
pub fn read(spool: &Path, quality: Quality, sink: &mut impl Sink) -> Result<Done, ArchiveError> {
    let path = path(spool);
    let mut done = Done::default();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(done),
        Err(e) => return Err(at("opening", &path, e)),
    };
    let mut file = BufReader::new(file);
    loop {
        let mut line = Vec::new();
        file.by_ref().take(MAX_HEAD).read_until(b'\n', &mut line).map_err(|e| at("reading", &path, e))?;
        let Ok(head) = serde_json::from_slice::<Head>(&line) else { break };
        let goes_on = head.from == done.frames && done.origin.is_none_or(|o| o == head.origin);
        if !goes_on || head.version != env!("CARGO_PKG_VERSION") || head.quality != quality {
            break;
        }
        let mut bytes = Vec::new();
        file.by_ref().take(head.bytes).read_to_end(&mut bytes).map_err(|e| at("reading", &path, e))?;
        if crate::hexadecimal(&Sha256::digest(&bytes)) != head.sha256 {
            break;
        }
        let mut rest = bytes.as_slice();
        while let Some((length, tail)) = rest.split_first_chunk::<2>() {
            let Some((packet, tail)) = tail.split_at_checked(u16::from_be_bytes(*length).into()) else {
                break;
            };
            sink.packet(packet)?;
            rest = tail;
        }
        done.length += (line.len() + bytes.len()) as u64;
        done.add(&head);
    }
    Ok(done)
}

impl Done {
    /// Where the next stretch begins; none: it is the first.
    pub fn place(&self) -> Option<i64> {
        let frames = i64::try_from(self.frames).ok()?;
        self.origin.map(|origin| origin + frames * i64::from(FRAME))
    }

    fn add(&mut self, head: &Head) {
        self.origin = Some(head.origin);
        self.frames = head.from + head.frames;
        self.stretches += 1;
        for ((rate, tally), (hz, more)) in
            self.rates.iter_mut().zip(&mut self.tally).zip(head.rates.iter().zip(&head.tally))
        {
            *rate = (*rate).max(Rate::holding(*hz));
            *tally = tally.with(more);
        }
    }

    /// Writes the next stretch behind those that are done.
    pub fn append(&self, spool: &Path, quality: Quality, stretch: &Stretch) -> Result<(), ArchiveError> {
        let path = path(spool);
        let (from, to) = stretch.frames;
        let head = Head {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            quality,
            origin: stretch.origin,
            from,
            frames: to - from,
            rates: stretch.rates.map(Rate::hz),
            tally: stretch.tally,
            bytes: stretch.packets.0.len() as u64,
            sha256: crate::hexadecimal(&Sha256::digest(&stretch.packets.0)),
        };
        let mut line = serde_json::to_vec(&head)?;
        line.push(b'\n');
        line.extend_from_slice(&stretch.packets.0);
        let write = || {
            let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
            file.set_len(self.length)?;
            file.write_all(&line)
        };
        write().map_err(|e| at("writing", &path, e))
    }
}
