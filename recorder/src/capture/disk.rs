//! The spool files: opened, written, closed. Through io_uring where the kernel lets us, else by plain writes.
//!
//! On the capture thread, inside its runtime.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::BytesMut;
use uuid::Uuid;

use super::{Append, Recovered, SpoolId};
use crate::spool::EXTENSION;

/// Writes at once in flight: stays below the submission queue of tokio-uring, 256.
const IN_FLIGHT: usize = 128;

/// Where batches are written.
pub trait Disk {
    /// Writes the batch. What is written leaves `batch` for `done`; what is not stays, to be handed in again.
    /// The first error is told.
    fn append(
        &mut self,
        batch: &mut Vec<Append>,
        done: &mut Vec<BytesMut>,
    ) -> impl Future<Output = io::Result<()>>;

    /// Whether a new file can be made and written.
    fn probe(&mut self) -> io::Result<()>;

    /// The file of a spool that is being written.
    fn path(&self, spool: SpoolId) -> Option<PathBuf>;

    /// No more will be appended: closes the file and gives its path.
    fn close(&mut self, spool: SpoolId) -> Option<PathBuf>;

    /// As [`Self::close`], for a file that cannot be written behind its first `length` bytes: what of it is behind
    /// them lies elsewhere, and goes. None when nothing is left.
    fn leave(&mut self, spool: SpoolId, length: u64) -> Option<PathBuf>;
}

/// Spools in a folder.
#[derive(Debug)]
pub struct SpoolFiles {
    folder: PathBuf,
    uring: bool,
    open: HashMap<SpoolId, (PathBuf, Handle)>,
}

/// An open spool.
#[derive(Clone)]
enum Handle {
    Uring(Rc<tokio_uring::fs::File>),
    Plain(Rc<File>),
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Uring(_) => "Uring",
            Self::Plain(_) => "Plain",
        })
    }
}

impl SpoolFiles {
    /// Spools in `folder`; by io_uring only inside a tokio-uring runtime.
    pub fn new(folder: &Path, uring: bool) -> Self {
        Self { folder: folder.to_owned(), uring, open: HashMap::new() }
    }

    /// Goes on with the spools that were found: those still open, under the ids that
    /// [`Calls::recovered`](super::Calls::recovered) gives them.
    pub fn adopt(&mut self, spools: &[Recovered]) -> io::Result<()> {
        for (id, spool) in (0..).map(SpoolId).zip(spools).filter(|(_, s)| !s.closed) {
            let file = OpenOptions::new().write(true).open(&spool.path)?;
            self.open.insert(id, (spool.path.clone(), self.handle(file)));
        }
        Ok(())
    }

    fn handle(&self, file: File) -> Handle {
        if self.uring {
            Handle::Uring(Rc::new(tokio_uring::fs::File::from_std(file)))
        } else {
            Handle::Plain(Rc::new(file))
        }
    }

    /// The open file of a spool; made at its first append.
    fn file(&mut self, spool: SpoolId, name: Uuid) -> io::Result<Handle> {
        if let Some((_, handle)) = self.open.get(&spool) {
            return Ok(handle.clone());
        }
        let create = |name: Uuid| {
            let path = self.folder.join(name.to_string()).with_extension(EXTENSION);
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map(|file| (path, file))
        };
        let (path, file) = match create(name) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                tracing::warn!(recording = %name, "a spool of this id is there already: written beside it");
                create(Uuid::now_v7())
            }
            made => made,
        }?;
        let handle = self.handle(file);
        self.open.insert(spool, (path, handle.clone()));
        Ok(handle)
    }
}

impl Disk for SpoolFiles {
    async fn append(&mut self, batch: &mut Vec<Append>, done: &mut Vec<BytesMut>) -> io::Result<()> {
        let mut failed = Vec::new();
        let mut result = Ok(());
        while !batch.is_empty() {
            // Begun together, then awaited one by one.
            let mut begun = Vec::new();
            for append in batch.drain(..batch.len().min(IN_FLIGHT)) {
                match self.file(append.spool, append.name) {
                    Ok(Handle::Uring(file)) => {
                        let write = file.write_at(append.bytes, append.offset).submit();
                        begun.push((write, file, append.spool, append.name, append.offset));
                    }
                    Ok(Handle::Plain(file)) => match file.write_all_at(&append.bytes, append.offset) {
                        Ok(()) => done.push(append.bytes),
                        Err(e) => {
                            result = Err(e);
                            failed.push(append);
                        }
                    },
                    Err(e) => {
                        result = Err(e);
                        failed.push(append);
                    }
                }
            }
            for (write, file, spool, name, offset) in begun {
                let (written, bytes) = match write.await {
                    // A short write is rare (the disk is full): written again as a whole.
                    (Ok(n), bytes) if n < bytes.len() => file.write_all_at(bytes, offset).await,
                    (written, bytes) => (written.map(drop), bytes),
                };
                match written {
                    Ok(()) => done.push(bytes),
                    Err(e) => {
                        result = Err(e);
                        failed.push(Append { spool, name, offset, bytes });
                    }
                }
            }
        }
        batch.append(&mut failed);
        result
    }

    fn probe(&mut self) -> io::Result<()> {
        let path = self.folder.join(".probe");
        std::fs::write(&path, [0; 4096])?;
        std::fs::remove_file(&path)
    }

    fn path(&self, spool: SpoolId) -> Option<PathBuf> {
        self.open.get(&spool).map(|(path, _)| path.clone())
    }

    fn close(&mut self, spool: SpoolId) -> Option<PathBuf> {
        self.open.remove(&spool).map(|(path, _)| path)
    }

    fn leave(&mut self, spool: SpoolId, length: u64) -> Option<PathBuf> {
        let path = self.close(spool)?;
        if length == 0 {
            // What cannot be removed is removed, or set aside, by the next start.
            let _ = std::fs::remove_file(&path);
            return None;
        }
        let cut = OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(length));
        if let Err(error) = cut {
            tracing::warn!(spool = %path.display(), "the end that was refused stays in it: {error}");
        }
        Some(path)
    }
}
