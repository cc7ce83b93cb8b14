//! Writes the two files of an export.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavSpec, WavWriter};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use time::OffsetDateTime;

use super::decode::Decoder;
use super::manifest::{self, Kind, Manifest, Mix, Original, Wav};
use super::manifest_of;
use super::range::{Part, RangeError};
use crate::archive::{AUDIO, MANIFEST};
use crate::audio::{self, AudioError};
use crate::manifest as archive;
use crate::moment::Moment;
use crate::rate::Rate;
use crate::verify::{hash, verify};

/// Bits of a sample.
const BITS: u16 = 16;
/// What a WAV file takes before its samples, at most.
const HEADER: u64 = 68;

/// What is to be exported, and where to.
#[derive(Debug, Clone)]
pub struct Request {
    /// The archive's folder.
    pub folder: PathBuf,
    /// The WAV file; its manifest lies beside it.
    pub wav: PathBuf,
    /// One channel instead of two.
    pub mono: bool,
    /// Where to start; none: at the start.
    pub from: Option<Moment>,
    /// Where to end; none: at the end.
    pub to: Option<Moment>,
    /// Whether files of these names are replaced.
    pub overwrite: bool,
    /// Whether an archive is exported that is not as it was made.
    pub even_damaged: bool,
}

/// What was exported.
#[derive(Debug)]
pub struct Exported {
    /// What the export's manifest says.
    pub manifest: Manifest,
    /// Where that manifest is.
    pub path: PathBuf,
}

/// Why nothing was exported. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There is no manifest in the folder.
    #[error("{}: not an archive: there is no {MANIFEST} in it", .0.display())]
    NotAnArchive(PathBuf),
    /// The archive is not as it was made.
    #[error("{}: not exported, because it is not as it was made:\n  {}", .folder.display(), .failures.join("\n  "))]
    DoesNotHold {
        /// Its folder.
        folder: PathBuf,
        /// What is wrong.
        failures: Vec<String>,
    },
    /// The archive's manifest tells nothing, not even when it is believed without its seal.
    #[error("{}: {MANIFEST} is damaged beyond reading", .0.display())]
    NoManifest(PathBuf),
    /// The audio cannot be read.
    #[error("{AUDIO}: {0}")]
    Audio(#[from] AudioError),
    /// The audio cannot be decoded.
    #[error("{AUDIO}: libopus: {0}")]
    Opus(#[from] opus::Error),
    /// There is nothing in the range.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// A WAV file holds 4 GiB.
    #[error("a WAV file holds 4 GiB, and this would be {} GiB: export it in parts, or in mono", .0.div_ceil(1 << 30))]
    TooLong(u64),
    /// A file of that name is there.
    #[error("{} exists already: it was left as it is", .0.display())]
    Exists(PathBuf),
    /// The WAV file would lie in the archive's own folder.
    #[error("{}: nothing is added to an archive's folder: export to another one", .0.display())]
    Inside(PathBuf),
    /// The WAV file's name is none.
    #[error("{}: not the name of a file", .0.display())]
    Name(PathBuf),
    /// A file cannot be read or written.
    #[error("{doing} {}: {source}", .path.display())]
    Io {
        /// What failed.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The manifest cannot be written down.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Exports as `request` says, at the time `now`.
pub fn export(request: &Request, now: OffsetDateTime) -> Result<Exported, ExportError> {
    let path = manifest_of(&request.wav);
    let name = request.wav.file_name().and_then(|n| n.to_str());
    let name = name.ok_or_else(|| ExportError::Name(request.wav.clone()))?;
    let taken = |path: &&PathBuf| !request.overwrite && path.symlink_metadata().is_ok();
    if let Some(there) = [&request.wav, &path].into_iter().find(taken) {
        return Err(ExportError::Exists(there.clone()));
    }
    let source = Source::open(request)?;
    let part = Part::new(request.from, request.to, source.length, source.manifest.started_at)?;
    let aside = Aside::new(&request.wav)?;
    let wav = write(request, &source, &part, &aside, name)?;
    let manifest = describe(source, &part, wav, now);
    let beside = Aside::new(&path)?;
    let bytes = manifest.to_bytes()?;
    (&beside.file).write_all(&bytes).map_err(|e| at("writing", &path, e))?;
    aside.publish(request.overwrite)?;
    if let Err(error) = beside.publish(request.overwrite) {
        // A WAV file without its manifest is not an export.
        let _ = std::fs::remove_file(&request.wav);
        return Err(error);
    }
    Ok(Exported { manifest, path })
}

/// An archive that may be exported.
struct Source {
    manifest: archive::Manifest,
    manifest_sha256: String,
    audio_sha256: String,
    /// Ticks of its audio that can be read.
    length: u64,
    /// What is wrong with it.
    failures: Vec<String>,
    notes: Vec<String>,
}

impl Source {
    fn open(request: &Request) -> Result<Self, ExportError> {
        let (path, audio) = (request.folder.join(MANIFEST), request.folder.join(AUDIO));
        let bytes = std::fs::read(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                ExportError::NotAnArchive(request.folder.clone())
            }
            _ => at("reading", &path, e),
        })?;
        if inside(&request.wav, &request.folder) {
            return Err(ExportError::Inside(request.wav.clone()));
        }
        let report = verify(&request.folder);
        let failures: Vec<_> = report.failures.iter().map(ToString::to_string).collect();
        if !failures.is_empty() && !request.even_damaged {
            return Err(ExportError::DoesNotHold { folder: request.folder.clone(), failures });
        }
        let believed = report.manifest.or_else(|| serde_json::from_slice(&bytes).ok());
        let manifest = believed.ok_or_else(|| ExportError::NoManifest(request.folder.clone()))?;
        let open = || File::open(&audio).map_err(|e| at("reading", &audio, e));
        let (audio_sha256, _) = hash(open()?).map_err(|e| at("reading", &audio, e))?;
        let (length, damage) = audio::length(BufReader::new(open()?))?;
        let notes = damage.map(|d| format!("{AUDIO} is {d}; what follows is not in this export"));
        let (manifest_sha256, _) = hash(&*bytes).map_err(|e| at("reading", &path, e))?;
        let notes = notes.into_iter().collect();
        Ok(Self { manifest, manifest_sha256, audio_sha256, length, failures, notes })
    }
}

/// Whether `file` would lie in `folder`, which is not to be changed.
fn inside(file: &Path, folder: &Path) -> bool {
    let parent = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    matches!((parent.canonicalize(), folder.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Decodes `part` into the file `aside`.
fn write(
    request: &Request,
    source: &Source,
    part: &Part,
    aside: &Aside,
    name: &str,
) -> Result<Wav, ExportError> {
    let audio = request.folder.join(AUDIO);
    let input = BufReader::new(File::open(&audio).map_err(|e| at("reading", &audio, e))?);
    let recorded = source.manifest.encoder.channels.iter().map(|c| c.sample_rate).max();
    let mut decoder = Decoder::new(input, part.from, part.to, recorded.map(Rate::holding))?;
    let (rate, samples) = (decoder.rate(), decoder.left());
    let channels = if request.mono { 1 } else { 2 };
    let bytes = samples * u64::from(channels * BITS / 8) + HEADER;
    if u32::try_from(bytes).is_err() {
        return Err(ExportError::TooLong(bytes));
    }
    let spec =
        WavSpec { channels, sample_rate: rate.hz(), bits_per_sample: BITS, sample_format: SampleFormat::Int };
    pour(&mut decoder, BufWriter::with_capacity(64 * 1024, &aside.file), spec)?
        .and_then(|()| aside.file.sync_all())
        .map_err(|e| at("writing", &request.wav, e))?;
    let read = (&aside.file).rewind().and_then(|()| hash(&aside.file));
    let (sha256, bytes) = read.map_err(|e| at("reading", &aside.path, e))?;
    let mix = if request.mono { Mix::HalfOfEach } else { Mix::CallerLeftCalleeRight };
    let roles = [&source.manifest.left, &source.manifest.right].map(|side| side.role.clone());
    let (file, sample_rate) = (name.to_owned(), rate.hz());
    Ok(Wav { file, sha256, bytes, samples, sample_rate, bits: BITS, channels, mix, roles })
}

/// Writes all that `decoder` gives. The outer error is the archive's, the inner one the output's.
fn pour<R: io::Read + Seek, W: Write + Seek>(
    decoder: &mut Decoder<R>,
    output: W,
    spec: WavSpec,
) -> Result<io::Result<()>, ExportError> {
    let mut wav = match WavWriter::new(output, spec) {
        Ok(wav) => wav,
        Err(error) => return Ok(Err(io_error(error))),
    };
    let mut mixed = Vec::new();
    while let Some(both) = decoder.samples()? {
        let samples = if spec.channels == 1 {
            mixed.clear();
            mixed.extend(both.chunks_exact(2).map(half_of_each));
            mixed.as_slice()
        } else {
            both
        };
        for sample in samples {
            if let Err(error) = wav.write_sample(*sample) {
                return Ok(Err(io_error(error)));
            }
        }
    }
    Ok(wav.finalize().map_err(io_error))
}

/// The mean of a pair of samples, rounded towards zero.
fn half_of_each(pair: &[i16]) -> i16 {
    match pair {
        [caller, callee] => caller.midpoint(*callee),
        _ => 0,
    }
}

fn io_error(error: hound::Error) -> io::Error {
    match error {
        hound::Error::IoError(error) => error,
        other => io::Error::other(other),
    }
}

fn describe(source: Source, part: &Part, wav: Wav, now: OffsetDateTime) -> Manifest {
    let original = source.manifest;
    Manifest {
        version: manifest::VERSION,
        kind: Kind::Export,
        range: part.range(original.started_at),
        wav,
        gaps: part.cut(&original.gaps),
        pauses: part.cut(&original.pauses),
        silenced: part.cut(&original.silenced),
        created_at: now,
        software: BTreeMap::from([
            ("bauta".into(), env!("CARGO_PKG_VERSION").into()),
            ("libopus".into(), opus::version().into()),
        ]),
        notes: source.notes.into_iter().chain(part.clipped.iter().cloned()).collect(),
        original: Original {
            recording: original.recording,
            manifest_sha256: source.manifest_sha256,
            audio_sha256: source.audio_sha256,
            duration_ms: original.duration_ms,
            failures: source.failures,
        },
    }
}

/// A file that has not got its name yet; gone unless it is published.
struct Aside {
    path: PathBuf,
    target: PathBuf,
    file: File,
}

impl Aside {
    /// Makes a file in the folder of `target`.
    fn new(target: &Path) -> Result<Self, ExportError> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.{}.new", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|e| at("making", target, e))?;
        Ok(Self { path, target: target.into(), file })
    }

    /// Gives the file its name, for good.
    fn publish(self, overwrite: bool) -> Result<(), ExportError> {
        let failed = |e| at("writing", &self.target, e);
        self.file.sync_all().map_err(failed)?;
        let named = if overwrite { Err(Errno::INVAL) } else { self.name_if_free() };
        match named {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(ExportError::Exists(self.target.clone())),
            // Not every file system knows how; that the name is free was seen at the start.
            Err(Errno::INVAL | Errno::NOSYS) => {
                std::fs::rename(&self.path, &self.target).map_err(failed)?;
            }
            Err(error) => return Err(failed(error.into())),
        }
        let folder = self.target.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new("."))).and_then(|f| f.sync_all()).map_err(failed)
    }

    fn name_if_free(&self) -> Result<(), Errno> {
        renameat_with(CWD, &self.path, CWD, &self.target, RenameFlags::NOREPLACE)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // Nothing is there any more once it was published.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn at(doing: &'static str, path: &Path, source: io::Error) -> ExportError {
    ExportError::Io { doing, path: path.into(), source }
}
