//! `bauta export`: a recording, or a part of it, as a WAV file with a manifest of its own.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use recorder::archive::{AUDIO, MANIFEST, folder};
use recorder::export::manifest::{Mix, Wav};
use recorder::export::{Exported, Request, export};
use recorder::moment::{Moment, clock};
use time::OffsetDateTime;
use uuid::Uuid;

/// Export a recording, or a part of it, as a WAV file that any player opens.
///
/// The archive is verified first and never changed. OUT.json, beside the WAV file, says which recording it is and
/// which part, and what is missing in it; `bauta verify OUT.json` checks both. A place in the recording is
/// written as 00:12:03.250, as seconds (723.25), as 12m3s, or as a time in UTC, 2026-11-22T16:12:03Z.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A recording's id, or the folder of an archive.
    #[arg(value_name = "RECORDING")]
    recording: String,
    /// The WAV file to make.
    #[arg(long, value_name = "OUT")]
    wav: PathBuf,
    /// One channel with both voices, each at half its level, instead of caller left and callee right.
    #[arg(long)]
    mono: bool,
    /// Where to start: a place in the recording, or a time.
    #[arg(long, value_name = "PLACE")]
    from: Option<Moment>,
    /// Where to end: a place in the recording, or a time.
    #[arg(long, value_name = "PLACE")]
    to: Option<Moment>,
    /// Replace OUT; and export an archive that is not as it was made, which OUT.json then says.
    #[arg(long)]
    force: bool,
    /// State directory: where the archives of ids are.
    #[arg(long, value_name = "DIR", default_value = "var")]
    state: PathBuf,
}

/// Runs the subcommand.
pub fn main(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let request = Request {
        folder: archive(&arguments.recording, &arguments.state)?,
        wav: arguments.wav,
        mono: arguments.mono,
        from: arguments.from,
        to: arguments.to,
        overwrite: arguments.force,
        even_damaged: arguments.force,
    };
    let exported = export(&request, OffsetDateTime::now_utc())?;
    for failure in &exported.manifest.original.failures {
        eprintln!("bauta: the archive is not as it was made: {failure}");
    }
    print!("{}", readable(&exported, &request.wav));
    Ok(ExitCode::SUCCESS)
}

/// The folder of the archive that is meant: a path that is there, or else a recording's id.
fn archive(recording: &str, state: &Path) -> anyhow::Result<PathBuf> {
    let path = Path::new(recording);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    if path.is_file() && [MANIFEST, AUDIO].iter().any(|name| path.ends_with(name)) {
        return Ok(path.with_file_name(""));
    }
    // What it is instead is not repeated: it may be a number.
    let id = Uuid::try_parse(recording).ok().context(
        "neither an archive's folder that is there, nor a recording's id: those look like \
         019ab6c2-4f1e-7d3a-9c55-0123456789ab, and GET /v1/recordings?trip=TRIP lists them",
    )?;
    let there = folder(state, id).context("no recording has this id: it holds no time")?;
    ensure!(
        there.is_dir(),
        "no recording of this id is archived: {} is not there (another --state? still in STATE/spool?)",
        there.display()
    );
    Ok(there)
}

fn readable(exported: &Exported, wav: &Path) -> String {
    let manifest = &exported.manifest;
    let Wav { samples, sample_rate, .. } = &manifest.wav;
    let (from, to) = (clock(manifest.range.from_ms), clock(manifest.range.to_ms));
    let [caller, callee] =
        manifest.wav.roles.each_ref().map(|role| role.as_deref().unwrap_or("role not known"));
    let mix = match manifest.wav.mix {
        Mix::CallerLeftCalleeRight => format!("caller ({caller}) left, callee ({callee}) right"),
        Mix::HalfOfEach => format!("caller ({caller}) and callee ({callee}) in one channel, half of each"),
    };
    let mut text = format!(
        "{}: {from} to {to} of recording {}\n  {mix}; {sample_rate} Hz, {samples} samples\n{}: its manifest\n",
        wav.display(),
        manifest.original.recording,
        exported.path.display(),
    );
    for note in &manifest.notes {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "note: {note}");
    }
    text
}
