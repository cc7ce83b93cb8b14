//! Makes what an archive holds: the audio, the packets where they differ from the spool, and the manifest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use super::publish::create;
use super::render::{Plan, Rendered, Sink, render};
use super::scrub::scrub;
use super::stretch::{self, Stretch};
use super::survey::survey;
use super::{ArchiveError, at};
use crate::archive::{AUDIO, PACKETS};
use crate::encode::{self, Ogg, Quality, Voices};
use crate::manifest::{self, Audio, Channel, EncodedChannel, Manifest, Packets};
use crate::rate::{FRAME, TICKS};
use crate::settings::Settings;
use crate::spool::Side;

/// Encodes another stretch of the unfinished spool at `spool`, of so many frames at `most`. True: there is more.
pub fn stretch(
    spool: &Path,
    settings: &Settings,
    most: u64,
    stop: &AtomicBool,
) -> Result<bool, ArchiveError> {
    let quality = Quality::from(settings);
    let done = stretch::read(spool, quality, &mut stretch::Nowhere)?;
    let survey = survey(open(spool)?, done.place(), stop)?;
    let plan = Plan { survey: &survey, origin: done.origin, from: done.frames, most: Some(most), quality };
    let mut packets = stretch::Packets::default();
    let rendered = render(open(spool)?, &plan, &mut packets, stop)?;
    if rendered.frames > done.frames {
        let next = Stretch {
            origin: rendered.origin,
            frames: (done.frames, rendered.frames),
            rates: survey.rates,
            tally: rendered.tally,
            packets,
        };
        done.append(spool, quality, &next)?;
    }
    Ok(rendered.frames >= done.frames + most)
}

/// What [`encode()`] made.
pub struct Encoded {
    /// What the spool tells.
    pub rendered: Rendered,
    audio: Audio,
    /// Hash and length of the packets as they are kept.
    packets: (String, u64),
    /// Whether those are another file than the spool, in the folder already.
    pub scrubbed: bool,
    channels: Vec<EncodedChannel>,
}

/// Makes the audio in the folder `aside`, and beside it the packets without tones, if there were any.
pub fn encode(
    spool: &Path,
    aside: &Path,
    settings: &Settings,
    stop: &AtomicBool,
) -> Result<Encoded, ArchiveError> {
    let quality = Quality::from(settings);
    let done = stretch::read(spool, quality, &mut stretch::Nowhere)?;
    let survey = survey(open(spool)?, done.place(), stop)?;
    let scrubbed = survey.damaged > 0 || survey.tones.iter().any(|t| !t.spans().is_empty());
    let kept = aside.join(PACKETS);
    if scrubbed {
        let file = scrub(open(spool)?, create(&kept)?, &survey.tones, stop)?;
        file.sync_all().map_err(|e| at("writing", &kept, e))?;
    }
    let source = if scrubbed { &kept } else { spool };
    let input = Hashing::new(File::open(source).map_err(|e| at("opening", source, e))?);
    let mut input = BufReader::with_capacity(BUFFER, input);
    let path = aside.join(AUDIO);
    let output = BufWriter::new(Hashing::new(create(&path)?));
    let serial =
        spool.as_os_str().as_encoded_bytes().iter().fold(0_u32, |h, b| h.wrapping_mul(31) + u32::from(*b));
    let rate = survey.rates.into_iter().max().unwrap_or_default();
    let mut ogg = Ogg::new(output, serial, rate, Voices::new(survey.rates, quality)?.look_ahead())?;
    stretch::read(spool, quality, &mut ogg)?;
    let plan = Plan { survey: &survey, origin: done.origin, from: done.frames, most: None, quality };
    let rendered = render(&mut input, &plan, &mut ogg, stop)?;
    let output = ogg.finish(rendered.length)?;
    let mut output = output.into_inner().map_err(|e| at("writing", &path, e.into_error()))?;
    output.flush().and_then(|()| output.inner.sync_all()).map_err(|e| at("writing", &path, e))?;
    let (sha256, bytes) = output.finish();
    let audio = Audio { file: AUDIO.into(), sha256, bytes, channels: 2 };
    let rates = survey.rates.into_iter().zip(done.rates).map(|(now, before)| now.max(before));
    let tallies = rendered.tally.iter().zip(&done.tally).map(|(now, before)| now.with(before));
    let channels = rates.zip(tallies).map(|(rate, tally)| EncodedChannel {
        sample_rate: rate.hz(),
        packed: tally.packed,
        encoded: tally.encoded,
        silent: tally.silent,
    });
    let channels = channels.collect();
    Ok(Encoded { rendered, audio, packets: input.into_inner().finish(), scrubbed, channels })
}

impl<W: Write> Sink for Ogg<W> {
    fn packet(&mut self, packet: &[u8]) -> Result<(), ArchiveError> {
        Ok(Self::packet(self, packet)?)
    }
}

const BUFFER: usize = 64 * 1024;

fn open(path: &Path) -> Result<BufReader<File>, ArchiveError> {
    File::open(path).map(|f| BufReader::with_capacity(BUFFER, f)).map_err(|e| at("opening", path, e))
}

/// What the manifest of the recording says.
pub fn describe(recording: Uuid, encoded: Encoded, settings: &Settings) -> Manifest {
    let quality = Quality::from(settings);
    let Encoded { rendered, audio, packets: (file_sha256, bytes), channels, .. } = encoded;
    let label = rendered.label.unwrap_or_else(|| crate::label::Label::new(recording));
    let [caller, callee] = rendered.streams;
    let channel = |side: Side, streams| Channel {
        side,
        role: side.of(&label.roles).clone(),
        codecs: side.of(&label.legs).codecs.clone(),
        counts: *side.of(&rendered.counts),
        streams,
    };
    let own_reason = rendered.closed.is_some();
    Manifest {
        version: manifest::VERSION,
        recording,
        left: channel(Side::Caller, caller),
        right: channel(Side::Callee, callee),
        offered_at: label.offered_at,
        answered_at: label.answered_at,
        started_at: rendered.started_ns.and_then(utc),
        // What the recorder saw itself is truer than a label that was never brought up to date.
        ended_at: label.ended_at.filter(|_| !own_reason).or_else(|| utc(rendered.ended_ns)),
        ended: if rendered.complete {
            rendered.closed.or(label.ended).unwrap_or_else(|| "closed".into())
        } else {
            "interrupted".into()
        },
        call: label.call,
        trip: label.trip,
        city: label.city,
        duration_ms: rendered.length * 1000 / u64::from(TICKS),
        gaps: rendered.gaps,
        pauses: rendered.pauses,
        silenced: rendered.silenced,
        audio,
        packets: Packets {
            file: settings.keep_packets.then(|| PACKETS.into()),
            sha256: rendered.chain.head(),
            count: rendered.chain.packets(),
            file_sha256,
            bytes,
        },
        encoder: manifest::Encoder {
            codec: "opus".into(),
            bitrate: settings.bitrate,
            complexity: settings.complexity,
            frame_ms: u8::try_from(FRAME * 1000 / TICKS).unwrap_or(0),
            library: encode::library().into(),
            silence_dbfs: quality.silence_dbfs,
            channels,
        },
        continues: rendered.continues,
        software: BTreeMap::from([
            ("bauta-recorder".into(), env!("CARGO_PKG_VERSION").into()),
            ("libopus".into(), encode::library().into()),
        ]),
        notes: rendered.notes,
    }
}

fn utc(ns: u64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(ns.into()).ok()
}

/// Hashes and counts what is read or written through it.
struct Hashing<F> {
    inner: F,
    hash: Sha256,
    bytes: u64,
}

impl<F> Hashing<F> {
    fn new(inner: F) -> Self {
        Self { inner, hash: Sha256::new(), bytes: 0 }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn finish(self) -> (String, u64) {
        (crate::hexadecimal(&self.hash.finalize()), self.bytes)
    }
}

impl<F: Read> Read for Hashing<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.add(buffer.get(..n).unwrap_or_default());
        Ok(n)
    }
}

impl<F: Write> Write for Hashing<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.add(bytes.get(..n).unwrap_or_default());
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
