//! `bauta verify`: whether archives are as they were made.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use recorder::archive::{AUDIO, MANIFEST, PACKETS};
use recorder::manifest::Manifest;
use recorder::verify::{Failure, Report, verify};

/// Some file of an archive is not as it was made.
const CHANGED: u8 = 1;
/// Nothing can be said: there is no archive, or it cannot be read.
const UNREADABLE: u8 = 2;

/// Check archives: exits 0 if all are as they were made, 1 if any was changed, 2 if one cannot be read.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// An archive's folder, or a folder that holds archives at any depth.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Runs the subcommand.
pub fn main(arguments: &Arguments) -> ExitCode {
    let (mut worst, mut count) = (0, 0);
    for path in &arguments.paths {
        let found = archives(path);
        if found.is_empty() {
            eprintln!(
                "bauta: {}: no archive (no folder with a {MANIFEST}) can be read there",
                path.display()
            );
            worst = worst.max(UNREADABLE);
        }
        for folder in found {
            let report = verify(&folder);
            println!("{}", folder.display());
            lines(&report).iter().for_each(|line| println!("  {line}"));
            worst = worst.max(verdict(&report));
            count += 1;
        }
    }
    if count > 1 {
        println!("{count} archives: {}", if worst == 0 { "all hold" } else { "NOT all hold" });
    }
    ExitCode::from(worst)
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
    let mut lines = Vec::new();
    let failed = |file: &str| report.failures.iter().any(|f| about(f) == file);
    if let Some(manifest) = &report.manifest {
        let mut check = |file: &str, what: String| {
            if !failed(file) {
                lines.push(format!("ok    {file:<15} {what}"));
            }
        };
        check(MANIFEST, "its seal".into());
        check(AUDIO, "SHA-256 and length".into());
        if manifest.packets.file.is_some() {
            let count = manifest.packets.count;
            check(PACKETS, format!("SHA-256, length, and the hash chain over its {count} packets"));
        } else {
            lines.push(format!("--    {PACKETS:<15} not kept, by the settings of its time"));
        }
    }
    lines.extend(report.failures.iter().map(|failure| format!("FAIL  {failure}")));
    lines.push(match &report.manifest {
        Some(manifest) if report.holds() => format!("holds: {}", summary(manifest)),
        _ => "DOES NOT HOLD".into(),
    });
    lines
}

fn summary(manifest: &Manifest) -> String {
    let trip = manifest.trip.as_deref().unwrap_or("none");
    let seconds = format!("{}.{:03}", manifest.duration_ms / 1000, manifest.duration_ms % 1000);
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let (gaps, pauses) = (plural(manifest.gaps.len(), "gap"), plural(manifest.pauses.len(), "pause"));
    format!("trip {trip}, {seconds} s, {gaps}, {pauses}")
}

/// The file that a failure is about.
fn about(failure: &Failure) -> &str {
    match failure {
        Failure::Manifest(_) => MANIFEST,
        Failure::Unreadable { file, .. } | Failure::Differs { file, .. } | Failure::Capture { file, .. } => {
            file
        }
    }
}

/// The exit code for one archive. A file that is gone is a change; one that may not be read is not.
fn verdict(report: &Report) -> u8 {
    let unreadable = |failure: &Failure| match failure {
        Failure::Unreadable { file, source } => {
            file == MANIFEST || source.kind() != std::io::ErrorKind::NotFound
        }
        _ => false,
    };
    match report.failures.as_slice() {
        [] => 0,
        failures if failures.iter().any(unreadable) => UNREADABLE,
        _ => CHANGED,
    }
}
