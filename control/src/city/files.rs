//! The folder of city files: `cities/london.toml` holds the plan of the city london.
//!
//! [`read`] reads them all, [`Watch`] gives what has changed since it last looked. Both block on the file system: to be
//! called where that harms nobody. Neither keeps a plan; who asks puts it into the store.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::written::Written;
use super::{BadCity, CityPlan};
use crate::http::redact;
use crate::name::{BadName, City};

/// Largest city file, in bytes: a pool of more than 100,000 numbers.
pub const LARGEST: u64 = 4 << 20;

/// What is in the folder, or what has changed there.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// By city: its plan, checked, or why its file gives none.
    pub cities: BTreeMap<City, Result<CityPlan, BadFile>>,
    /// Cities whose files went away since the last look. What that means for the city is for the caller to say.
    pub gone: Vec<City>,
    /// What is wrong apart from a city's own file: a folder that cannot be read, a `*.toml` named like no city.
    pub problems: Vec<BadFile>,
}

/// A file or folder that gives no city, with the line where it is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct BadFile {
    /// `cities/london.toml:7`; a number in a file's name is left out.
    pub place: String,
    /// What is wrong and what to do.
    pub why: Why,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The system does not let it be read.
    #[error("cannot be read ({0}): let the user that control runs as read it")]
    Unreadable(String),
    /// A folder, a pipe, a device.
    #[error("is no file: a city is a plain file")]
    NotAFile,
    /// Beyond [`LARGEST`].
    #[error("is larger than 4 MiB, too large for a city: split it into several cities")]
    TooLarge,
    /// Not UTF-8.
    #[error("is not UTF-8: save it as UTF-8 text")]
    NotText,
    /// Its name names no city.
    #[error("{0}, followed by .toml: rename the file")]
    Name(BadName),
    /// No TOML, or other keys and values than a plan has. Without what could be a number.
    #[error("{0}: correct the line; the keys are those of PUT /v1/cities")]
    Toml(String),
    /// A plan that makes no sense.
    #[error("{0}")]
    Plan(#[from] BadCity),
}

/// Reads every city file of `folder`. A folder that is not there holds none.
pub fn read(folder: &Path) -> Found {
    Watch::new(folder).look()
}

/// Remembers which files it has given, and gives only what has changed.
///
/// Its first look gives everything. After that a file counts as changed once it has stayed the same for two looks,
/// since one that is being written may be a valid plan up to where it stops. A file that cannot be read is tried again
/// with every look, and told of once.
#[derive(Debug)]
pub struct Watch {
    folder: PathBuf,
    first: bool,
    files: BTreeMap<City, File>,
    problems: Vec<BadFile>,
}

/// What is remembered of a file.
#[derive(Debug, Default)]
struct File {
    seen: Option<Stamp>,
    given: Option<Stamp>,
    /// Why the last try to read it came to nothing.
    failed: Option<BadFile>,
}

/// What differs when a file has changed: modified, changed (a copy may keep the former), length, inode, device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    changed: (i64, i64),
    length: u64,
    inode: (u64, u64),
}

impl Watch {
    /// A watch on `folder`, which need not be there yet.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), first: true, files: BTreeMap::new(), problems: Vec::new() }
    }

    /// What has changed since the last look.
    pub fn look(&mut self) -> Found {
        let mut found = Found::default();
        let mut problems = Vec::new();
        match list(&self.folder, &mut problems) {
            Ok(paths) => {
                self.compare(&paths, &mut found);
                self.first = false;
            }
            Err(error) => problems.push(BadFile::new(&self.folder, None, unreadable(&error))),
        }
        found.problems = problems.iter().filter(|p| !self.problems.contains(p)).cloned().collect();
        self.problems = problems;
        found
    }

    fn compare(&mut self, paths: &BTreeMap<City, PathBuf>, found: &mut Found) {
        self.files.retain(|city, file| {
            let stays = paths.contains_key(city);
            if !stays && (file.given.is_some() || file.failed.is_some()) {
                found.gone.push(city.clone());
            }
            stays
        });
        for (city, path) in paths {
            let file = self.files.entry(city.clone()).or_default();
            if let Some(plan) = file.look(path, self.first) {
                found.cities.insert(city.clone(), plan);
            }
        }
    }
}

impl File {
    /// The plan or error, if it is new and the file at rest.
    fn look(&mut self, path: &Path, first: bool) -> Option<Result<CityPlan, BadFile>> {
        let stamp = match Stamp::of(path) {
            Ok(stamp) => stamp,
            Err(error) => return self.fail(BadFile::new(path, None, unreadable(&error))),
        };
        let rests = first || self.seen == Some(stamp);
        self.seen = Some(stamp);
        if !rests || (self.given == Some(stamp) && self.failed.is_none()) {
            return None;
        }
        let plan = plan(path);
        if Stamp::of(path).ok() != Some(stamp) {
            return None;
        }
        match plan {
            Err(bad @ BadFile { why: Why::Unreadable(_), .. }) => self.fail(bad),
            plan => {
                (self.given, self.failed) = (Some(stamp), None);
                Some(plan)
            }
        }
    }

    /// The error, unless it was told of already.
    fn fail(&mut self, bad: BadFile) -> Option<Result<CityPlan, BadFile>> {
        if self.failed.as_ref() == Some(&bad) {
            return None;
        }
        self.failed = Some(bad.clone());
        Some(Err(bad))
    }
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let m = fs::metadata(path)?;
        Ok(Self {
            modified: (m.mtime(), m.mtime_nsec()),
            changed: (m.ctime(), m.ctime_nsec()),
            length: m.len(),
            inode: (m.dev(), m.ino()),
        })
    }
}

impl BadFile {
    fn new(path: &Path, line: Option<usize>, why: Why) -> Self {
        let folder = path.parent().unwrap_or(Path::new(""));
        let name = redact(&path.file_name().unwrap_or_default().to_string_lossy());
        let mut place = folder.join(name).display().to_string();
        if let Some(line) = line {
            place = format!("{place}:{line}");
        }
        Self { place, why }
    }
}

fn unreadable(error: &io::Error) -> Why {
    Why::Unreadable(error.to_string())
}

/// The city files of a folder; hidden files and what does not end in `.toml` are passed over.
fn list(folder: &Path, problems: &mut Vec<BadFile>) -> io::Result<BTreeMap<City, PathBuf>> {
    let mut paths = BTreeMap::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(paths),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        let Some(stem) = text.strip_suffix(".toml").filter(|_| !text.starts_with('.')) else { continue };
        let path = folder.join(&name);
        match City::new(stem) {
            Ok(city) => drop(paths.insert(city, path)),
            Err(bad) => problems.push(BadFile::new(&path, None, Why::Name(bad))),
        }
    }
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    Ok(paths)
}

/// The plan in a file, checked.
fn plan(path: &Path) -> Result<CityPlan, BadFile> {
    let bytes = content(path).map_err(|why| BadFile::new(path, None, why))?;
    let line_at = |at: usize| 1 + bytes.iter().take(at).filter(|b| **b == b'\n').count();
    let text = str::from_utf8(&bytes)
        .map_err(|error| BadFile::new(path, Some(line_at(error.valid_up_to())), Why::NotText))?;
    let written: Written = toml_edit::de::from_str(text).map_err(|error| {
        let line = error.span().map(|span| line_at(span.start));
        BadFile::new(path, line, Why::Toml(redact(error.message())))
    })?;
    let plan = CityPlan::try_from(written).and_then(|plan| plan.check().map(|()| plan));
    plan.map_err(|bad| BadFile::new(path, line_of(&bad, text), bad.into()))
}

fn content(path: &Path) -> Result<Vec<u8>, Why> {
    // Opening a pipe would wait for its other end.
    if !fs::metadata(path).map_err(|e| unreadable(&e))?.is_file() {
        return Err(Why::NotAFile);
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|e| unreadable(&e))?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
    if bytes.len() as u64 > LARGEST { Err(Why::TooLarge) } else { Ok(bytes) }
}

/// The line that a plan is refused for, as far as the text shows it.
fn line_of(bad: &BadCity, text: &str) -> Option<usize> {
    let lines = || text.lines().zip(1..);
    let field = match bad {
        BadCity::Foreign { number, .. } | BadCity::Twice { number, .. } => {
            let quoted = format!("{number}\"");
            return lines().filter(|(line, _)| line.contains(&quoted)).last().map(|(_, at)| at);
        }
        BadCity::Country(_) => "country",
        BadCity::Neighbour(_) => "neighbours",
        BadCity::EndsEarly(_) => "ends_in",
        BadCity::Duration { field, .. } | BadCity::Pace { field, .. } => field,
        BadCity::Count { field, .. } | BadCity::Announcement(field) => field,
        BadCity::Unknown(_) | BadCity::TrunkName => return None,
    };
    // A table's key stands below the table's name: `[answers.trip_ended]`.
    let mut names = std::iter::successors(Some(field), |name| Some(name.rsplit_once('.')?.0));
    let begins = |line: &str, name: &str| {
        let rest = line.trim_start_matches([' ', '\t', '[']).strip_prefix(name);
        rest.is_some_and(|rest| rest.trim_start().starts_with(['=', ']', '.']))
    };
    names.find_map(|name| lines().find(|(line, _)| begins(line, name))).map(|(_, at)| at)
}

#[cfg(test)]
mod tests;
