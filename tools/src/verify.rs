//! `bauta verify`: whether archives and exports are as they were made.

mod table;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use recorder::archive::{AUDIO, MANIFEST, PACKETS, folder};
use recorder::export;
use recorder::manifest::{Manifest, SCHEMA};
use recorder::moment::clock;
use recorder::verify::{Failure, Report, verify, verify_export};

/// Some file is not as it was made.
const CHANGED: u8 = 1;
/// Nothing can be said: there is nothing, or it cannot be read.
const UNREADABLE: u8 = 2;

/// Check archives and exports: exits 0 if all are as they were made, 1 if any was changed, 2 if one cannot be read.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// An archive's folder, a folder that holds archives at any depth, or the manifest of an export (OUT.wav.json).
    #[arg(required_unless_present = "schema", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Tell what is missing in each archive, also where there are several.
    #[arg(long)]
    long: bool,
    /// The folder of the archive that an export was made from; without it, it is looked for in STATE.
    #[arg(long, value_name = "FOLDER")]
    original: Option<PathBuf>,
    /// State directory: where the archives are that exports were made from.
    #[arg(long, value_name = "DIR", default_value = "var")]
    state: PathBuf,
    /// Print the JSON Schema of an archive's or an export's manifest instead.
    #[arg(long, value_name = "KIND", conflicts_with_all = ["paths", "original"])]
    schema: Option<Kind>,
}

/// Kinds of manifests.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// `manifest.json` of an archive.
    Manifest,
    /// `OUT.wav.json` of an export.
    Export,
}

/// Runs the subcommand.
pub fn main(arguments: &Arguments) -> ExitCode {
    match arguments.schema {
        Some(Kind::Manifest) => print!("{SCHEMA}"),
        Some(Kind::Export) => print!("{}", export::manifest::SCHEMA),
        None => return ExitCode::from(check(arguments)),
    }
    ExitCode::SUCCESS
}

/// Checks all that is named; gives the exit code.
fn check(arguments: &Arguments) -> u8 {
    let (mut worst, mut found) = (0, Vec::new());
    for path in &arguments.paths {
        let is_export = |file: &Path| file.extension() == Some(OsStr::new("json")) && file.is_file();
        let beside = export::manifest_of(path);
        let of_wav = path.extension() == Some(OsStr::new("wav")) && beside.is_file();
        if of_wav || is_export(path) && path.file_name() != Some(OsStr::new(MANIFEST)) {
            let manifest = if of_wav { &beside } else { path };
            worst = worst.max(exported(manifest, arguments));
            continue;
        }
        let below = archives(path);
        if below.is_empty() {
            eprintln!(
                "bauta: {}: no archive (no folder with a {MANIFEST}) and no export can be read there",
                path.display()
            );
            worst = worst.max(UNREADABLE);
        }
        found.extend(below);
    }
    for folder in &found {
        let report = verify(folder);
        println!("{}", folder.display());
        lines(&report).iter().for_each(|line| println!("  {line}"));
        if let Some(manifest) = report.manifest.as_ref().filter(|_| arguments.long || found.len() == 1) {
            println!();
            indented(&table::archive(manifest));
        }
        worst = worst.max(verdict(&report.failures, MANIFEST));
    }
    if found.len() > 1 {
        println!("{} archives: {}", found.len(), if worst == 0 { "all hold" } else { "NOT all hold" });
    }
    worst
}

/// Checks the export whose manifest is `path`; gives its exit code.
fn exported(path: &Path, arguments: &Arguments) -> u8 {
    let found = || {
        let manifest = export::manifest::Manifest::from_bytes(&std::fs::read(path).ok()?).ok()?;
        folder(&arguments.state, manifest.original.recording).filter(|folder| folder.is_dir())
    };
    let original = arguments.original.clone().or_else(found);
    let report = verify_export(path, original.as_deref());
    println!("{}", path.display());
    export_lines(path, &report, original.as_deref()).iter().for_each(|line| println!("  {line}"));
    if let Some(manifest) = &report.manifest {
        println!();
        indented(&table::missing(&manifest.gaps, &manifest.pauses, &manifest.silenced));
    }
    verdict(&report.failures, &path.file_name().unwrap_or_default().to_string_lossy())
}

fn indented(text: &str) {
    for line in text.lines() {
        println!("{}", format!("  {line}").trim_end());
    }
}

/// The folders at or below `path` that hold any file of an archive, in order of their names.
fn archives(path: &Path) -> Vec<PathBuf> {
    if [MANIFEST, AUDIO, PACKETS].iter().any(|file| path.join(file).is_file()) {
        return vec![path.to_owned()];
    }
    let mut folders: Vec<_> = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    folders.iter().flat_map(|folder| archives(folder)).collect()
}

/// One line per check, then the verdict.
pub fn lines(report: &Report) -> Vec<String> {
    let mut checks = Vec::new();
    if let Some(manifest) = &report.manifest {
        checks.push((MANIFEST, Some("its seal".to_owned())));
        checks.push((AUDIO, Some("SHA-256, length and duration".to_owned())));
        let count = manifest.packets.count;
        let kept = manifest.packets.file.as_ref();
        checks.push((
            PACKETS,
            kept.map(|_| format!("SHA-256, length, and the hash chain over its {count} packets")),
        ));
    }
    let mut lines = checked(&checks, &report.failures, "not kept, by the settings of its time");
    lines.push(match &report.manifest {
        Some(manifest) if report.holds() => format!("holds: {}", summary(manifest)),
        _ => "DOES NOT HOLD".into(),
    });
    lines
}

/// The same of an export.
fn export_lines(
    path: &Path,
    report: &Report<export::manifest::Manifest>,
    original: Option<&Path>,
) -> Vec<String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut checks = Vec::new();
    if let Some(manifest) = &report.manifest {
        checks.push((&*name, Some("its seal".to_owned())));
        checks.push((&manifest.wav.file, Some("SHA-256 and length".to_owned())));
        checks.push((ORIGINAL, original.map(|folder| format!("is {}", folder.display()))));
    }
    let mut lines = checked(&checks, &report.failures, "not compared: give its folder by --original");
    let Some(manifest) = report.manifest.as_ref().filter(|_| report.holds()) else {
        lines.push("DOES NOT HOLD".into());
        return lines;
    };
    let (id, range) = (manifest.original.recording, &manifest.range);
    let part = format!("{} to {} of recording {id}", clock(range.from_ms), clock(range.to_ms));
    if manifest.original.failures.is_empty() {
        lines.push(format!("holds: {part}"));
    } else {
        lines.extend(manifest.original.failures.iter().map(|failure| format!("NOTE  original: {failure}")));
        lines.push(format!("holds: {part}, which was NOT as it was made when it was exported"));
    }
    lines.extend(manifest.notes.iter().map(|note| format!("note: {note}")));
    lines
}

/// What failures about an export's original begin their file's name with.
const ORIGINAL: &str = "the original";

/// A line for each check that nothing failed, or that could not be made; and one for each failure.
fn checked(checks: &[(&str, Option<String>)], failures: &[Failure], skipped: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for (file, what) in checks {
        match what {
            Some(what) if !failures.iter().any(|failure| failure.file().starts_with(file)) => {
                lines.push(format!("ok    {file:<15} {what}"));
            }
            Some(_) => {}
            None => lines.push(format!("--    {file:<15} {skipped}")),
        }
    }
    lines.extend(failures.iter().map(|failure| format!("FAIL  {failure}")));
    lines
}

fn summary(manifest: &Manifest) -> String {
    let trip = manifest.trip.as_deref().unwrap_or("none");
    let seconds = format!("{}.{:03}", manifest.duration_ms / 1000, manifest.duration_ms % 1000);
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let (gaps, pauses) = (plural(manifest.gaps.len(), "gap"), plural(manifest.pauses.len(), "pause"));
    format!("trip {trip}, {seconds} s, {gaps}, {pauses}")
}

/// The exit code for an archive or an export whose manifest is the file `manifest`. A file that is gone is a change;
/// one that may not be read is not.
fn verdict(failures: &[Failure], manifest: &str) -> u8 {
    let unreadable = |failure: &Failure| match failure {
        Failure::Unreadable { file, source } => {
            file == manifest || file.starts_with(ORIGINAL) || source.kind() != std::io::ErrorKind::NotFound
        }
        _ => false,
    };
    match failures {
        [] => 0,
        failures if failures.iter().any(unreadable) => UNREADABLE,
        _ => CHANGED,
    }
}
