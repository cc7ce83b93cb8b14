//! The ring's memory: a sealed memfd, mapped by both processes.
//!
//! Page 0 holds the header (who made it, how large, the indices), the rest holds records. The seals forbid to
//! shrink or grow the file, so a peer cannot make a mapped page vanish (SIGBUS).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::index::Indices;
use crate::sys::memory::populate;

const MAGIC: u64 = u64::from_ne_bytes(*b"bautatap");
const VERSION: u64 = 1;
/// Bytes before the records.
const HEADER: usize = 4096;
/// Smallest ring: room for a few records of the largest size.
pub(super) const MIN_CAPACITY: usize = 512 * 1024;

#[repr(C)]
struct Header {
    magic: u64,
    version: u64,
    capacity: u64,
    epoch: u64,
    indices: Indices,
}

const _: () = assert!(size_of::<Header>() <= HEADER);

/// The mapping. Unmapped on drop; the file lives as long as either process holds it.
#[derive(Debug)]
pub(super) struct Memory {
    base: NonNull<u8>,
    capacity: usize,
    fd: OwnedFd,
}

// SAFETY: the mapping belongs to this value alone within the process; it is used through `&self`/`&mut self`, and
// what the other process may touch meanwhile are atomics or bytes that are only ever copied.
unsafe impl Send for Memory {}

impl Memory {
    /// Makes a ring's memory of `capacity` bytes (a power of two of at least [`MIN_CAPACITY`]), sealed.
    pub(super) fn create(capacity: usize, epoch: u64) -> io::Result<Self> {
        if !capacity.is_power_of_two() || capacity < MIN_CAPACITY {
            let reason = format!(
                "a tap ring of {capacity} bytes: it must be a power of two of at least {MIN_CAPACITY}"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let fd = memfd_create("bauta-tap", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, (HEADER + capacity) as u64)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let memory = Self::map(fd, capacity)?;
        // SAFETY: freshly mapped, zeroed, page-aligned and large enough; nobody else has the file yet. The indices
        // are atomics, for which all zeroes is the value 0.
        unsafe {
            let header = memory.base.cast::<Header>().as_ptr();
            (&raw mut (*header).version).write(VERSION);
            (&raw mut (*header).capacity).write(capacity as u64);
            (&raw mut (*header).epoch).write(epoch);
            (&raw mut (*header).magic).write(MAGIC);
        }
        Ok(memory)
    }

    /// Maps a ring's memory received from another process, after checking seals, size and header.
    pub(super) fn open(fd: OwnedFd) -> io::Result<(Self, u64)> {
        let alien =
            |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not a tap ring: {what}"));
        let seals = fcntl_get_seals(&fd).map_err(|_| alien("no memfd"))?;
        if !seals.contains(SealFlags::SHRINK | SealFlags::GROW) {
            return Err(alien("not sealed"));
        }
        let size = usize::try_from(fstat(&fd)?.st_size).map_err(|_| alien("size"))?;
        let capacity = size.checked_sub(HEADER).filter(|c| c.is_power_of_two() && *c >= MIN_CAPACITY);
        let memory = Self::map(fd, capacity.ok_or_else(|| alien("size"))?)?;
        // SAFETY: mapped, aligned, large enough; plain integers written before the file was handed over. Raw reads,
        // so that a peer that writes meanwhile can give wrong values at worst, which are checked.
        let (magic, version, stated, epoch) = unsafe {
            let header = memory.base.cast::<Header>().as_ptr();
            (
                (&raw const (*header).magic).read_volatile(),
                (&raw const (*header).version).read_volatile(),
                (&raw const (*header).capacity).read_volatile(),
                (&raw const (*header).epoch).read_volatile(),
            )
        };
        if magic != MAGIC || stated != memory.capacity as u64 {
            return Err(alien("header"));
        }
        if version != VERSION {
            return Err(alien(&format!("version {version}, this side speaks {VERSION}")));
        }
        Ok((memory, epoch))
    }

    fn map(fd: OwnedFd, capacity: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; the file has this size and is sealed.
        let base =
            unsafe { mmap(std::ptr::null_mut(), HEADER + capacity, protection, MapFlags::SHARED, &fd, 0)? };
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Self { base, capacity, fd })
    }

    /// Has the kernel provide every page now.
    pub(super) fn populate(&self) {
        let _ = populate(self.base, HEADER + self.capacity);
    }

    /// Bytes for records.
    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// The shared indices.
    #[inline]
    pub(super) const fn indices(&self) -> &Indices {
        // SAFETY: lies in the mapped header, aligned, and consists of atomics only.
        unsafe { &(*self.base.cast::<Header>().as_ptr()).indices }
    }

    /// Copies `bytes` to `offset`; both ends must lie inside (asserted).
    #[inline]
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(offset <= self.capacity && bytes.len() <= self.capacity - offset, "outside the ring");
        // SAFETY: inside the mapping by the assertion; the source is ours and does not overlap shared memory.
        unsafe {
            let to = self.base.as_ptr().add(HEADER + offset);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }

    /// Copies from `offset` into `out`; both ends must lie inside (asserted).
    #[inline]
    pub(super) fn read(&self, offset: usize, out: &mut [u8]) {
        assert!(offset <= self.capacity && out.len() <= self.capacity - offset, "outside the ring");
        // SAFETY: inside the mapping by the assertion; `out` is ours. An honest peer does not write here between its
        // publish and our commit; a hostile one can only spoil the bytes, which are checked after the copy.
        unsafe {
            let from = self.base.as_ptr().add(HEADER + offset);
            std::ptr::copy_nonoverlapping(from, out.as_mut_ptr(), out.len());
        }
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: this very mapping, used by nobody after this.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), HEADER + self.capacity) };
    }
}
