//! Registered files as descriptors again: the kernel installs one (6.8 and newer), or one was kept beside each.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use io_uring::types::Fixed;
use io_uring::{IoUring, Probe, opcode};

use super::{Completion, Operation, Ring, tag};
use crate::table::Slot;

/// Descriptors beside the registered files; empty where the kernel can install them.
#[derive(Debug, Default)]
pub(super) struct Kept(Vec<Option<OwnedFd>>);

impl Kept {
    /// As this kernel needs it, for so many files.
    pub(super) fn for_ring(uring: &IoUring, files: u32) -> Self {
        let mut probe = Probe::new();
        let probed = uring.submitter().register_probe(&mut probe);
        let installs = probed.is_ok() && probe.is_supported(opcode::FixedFdInstall::CODE);
        if installs { Self::default() } else { Self::all(files) }
    }

    fn all(files: u32) -> Self {
        Self((0..files).map(|_| None).collect())
    }

    pub(super) fn put(&mut self, index: u32, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
        if let Some(place) = self.0.get_mut(index as usize) {
            *place = socket.map(|s| s.try_clone_to_owned()).transpose()?;
        }
        Ok(())
    }
}

impl<const CONTROL: usize> Ring<CONTROL> {
    /// Keeps descriptors as on a kernel that cannot install them; before the first [`Self::register`].
    pub fn keep_files(&mut self, files: u32) {
        self.kept = Kept::all(files);
    }

    /// The descriptor beside a registered file, where one is kept.
    pub fn kept(&self, index: u32) -> Option<BorrowedFd<'_>> {
        self.kept.0.get(index as usize)?.as_ref().map(AsFd::as_fd)
    }

    /// Asks for a descriptor of a registered file; [`Self::installed`] takes it from the completion.
    pub fn install(&mut self, slot: Slot) -> io::Result<()> {
        let entry = opcode::FixedFdInstall::new(Fixed(slot.index), 0).build();
        self.push(&entry.user_data(tag(Operation::Install, slot)))
    }

    /// The descriptor that an [`Operation::Install`] made.
    pub fn installed(&self, completion: &Completion) -> io::Result<OwnedFd> {
        match completion.result {
            Ok(fd) if completion.operation == Operation::Install => {
                let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
                // SAFETY: the kernel has just made this descriptor for us, and nobody else has its number. A
                // completion is taken off the ring once.
                Ok(unsafe { OwnedFd::from_raw_fd(fd) })
            }
            Ok(_) => Err(io::ErrorKind::InvalidInput.into()),
            Err(errno) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Whether [`Self::take`] would give something.
    pub fn has_completions(&mut self) -> bool {
        !self.uring.completion().is_empty()
    }
}
