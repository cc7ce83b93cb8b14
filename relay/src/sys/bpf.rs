//! Memory that is shared with a BPF program: an array, and a ring that it writes. And running one on a frame that never was on
//! a wire.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::prefetch::prefetch_at;

/// What may lie in memory that others change at any time.
///
/// # Safety
///
/// Made of atomic integers alone, in the layout that the program has: any bytes are a value, and no reference to it forbids
/// others to change it. Its size is a multiple of eight.
pub unsafe trait Shared {}

// SAFETY: an atomic integer of eight bytes.
unsafe impl Shared for AtomicU64 {}

/// The values of a BPF array (`BPF_F_MMAPABLE`), mapped.
#[derive(Debug)]
pub struct SharedArray<T> {
    base: NonNull<T>,
    length: usize,
    values: PhantomData<T>,
}

// SAFETY: what it gives out are references to atomic integers, which every thread may use at once.
unsafe impl<T: Shared> Send for SharedArray<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for SharedArray<T> {}

impl<T: Shared> SharedArray<T> {
    /// Maps the first `length` values of the array `map`, whose values are of `T`'s size.
    pub fn map(map: impl AsFd, length: usize) -> io::Result<Self> {
        let (protection, size) = (ProtFlags::READ | ProtFlags::WRITE, length * size_of::<T>());
        // SAFETY: a new mapping at an address of the kernel's choice; the kernel refuses more than the array has.
        let base = unsafe { mmap(std::ptr::null_mut(), size, protection, MapFlags::SHARED, map, 0)? };
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Self { base, length, values: PhantomData })
    }

    /// The value at `index`.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        // SAFETY: inside of the mapping, aligned as pages and the values' size are, and made of atomic integers.
        (index < self.length).then(|| unsafe { self.base.add(index).as_ref() })
    }
}

impl<T> Drop for SharedArray<T> {
    fn drop(&mut self) {
        // SAFETY: the whole mapping; references into it have ended.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.length * size_of::<T>()) };
    }
}

/// The reader of a BPF ring buffer (`BPF_MAP_TYPE_RINGBUF`); the only one it has. Never waits.
///
/// As the kernel has it (kernel/bpf/ringbuf.c): a page with the reader's position, a page with the writers', then the data, which is
/// mapped twice in a row, so that no record is torn. A record begins with its length and two flags.
#[derive(Debug)]
pub struct RingReader {
    /// The reader's position.
    mine: SharedArray<AtomicU64>,
    /// The page with the writers' position, and the data behind it.
    theirs: NonNull<u8>,
    size: usize,
    /// Up to here there are records, or were when it was looked at: a cache line that writers write.
    written: u64,
    /// Up to here records were given out by [`Self::next`].
    read: u64,
    /// Up to here by [`Self::ahead`].
    seen: u64,
    /// Up to here writers may overwrite.
    freed: u64,
    /// So many records lie between.
    between: usize,
}

// SAFETY: mapped memory belongs to no thread; it is read here alone.
unsafe impl Send for RingReader {}

const PAGE: usize = 4096;
/// Bytes before a record.
const HEAD: usize = 8;
/// It is still being written.
const BUSY: u32 = 1 << 31;
/// It is to be skipped.
const DISCARDED: u32 = 1 << 30;
/// How many records are seen before they are given out.
const AHEAD: usize = 4;
/// So many bytes before they are seen records are loaded into the cache.
const FURTHER: u64 = 512;

impl RingReader {
    /// Maps the ring `map` of `size` bytes.
    pub fn map(map: impl AsFd, size: usize) -> io::Result<Self> {
        let mine: SharedArray<AtomicU64> = SharedArray::map(map.as_fd(), PAGE / size_of::<u64>())?;
        let length = PAGE + 2 * size;
        // SAFETY: a new mapping at an address of the kernel's choice, which refuses more than there is.
        let theirs = unsafe {
            mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, map, PAGE as u64)?
        };
        let theirs = NonNull::new(theirs.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        let read = mine.get(0).map_or(0, |position| position.load(Acquire));
        Ok(Self { mine, theirs, size, written: read, read, seen: read, freed: read, between: 0 })
    }

    /// Goes on where the reader has stopped that had the ring before.
    pub fn begin(&mut self) {
        let read = self.mine.get(0).map_or(0, |position| position.load(Acquire));
        (self.written, self.read, self.seen, self.freed, self.between) = (read, read, read, read, 0);
    }

    /// The next record but a few, each once: what will be needed for it can be loaded into the cache. None: there is none
    /// yet, or it is too far ahead.
    #[inline]
    pub fn ahead(&mut self) -> Option<&[u8]> {
        if self.between >= AHEAD {
            return None;
        }
        let (length, kept) = self.record(self.seen)?;
        let at = self.seen;
        self.seen = after(at, length);
        self.between += 1;
        // Another core wrote them.
        prefetch_at(self.data(at + FURTHER).as_ptr(), length as usize + HEAD);
        Some(if kept { self.bytes(at, length) } else { &[] })
    }

    /// The next record; none if there is none yet. An empty one means nothing. What was given out before may be overwritten
    /// from now on.
    #[inline]
    #[allow(clippy::should_implement_trait, reason = "what it gives is borrowed from it")]
    pub fn next(&mut self) -> Option<&[u8]> {
        let (length, kept) = self.record(self.read)?;
        let at = self.read;
        // A cache line that writers look at: rarely.
        if at - self.freed >= self.size as u64 / 16 {
            self.free(at);
        }
        self.read = after(at, length);
        self.between = self.between.saturating_sub(1);
        self.seen = self.seen.max(self.read);
        Some(if kept { self.bytes(at, length) } else { &[] })
    }

    /// Whether [`Self::next`] has nothing to give yet.
    #[inline]
    pub fn is_empty(&mut self) -> bool {
        self.record(self.read).is_none()
    }

    /// All that was given out may be overwritten.
    #[inline]
    pub fn done(&mut self) {
        self.free(self.read);
    }

    #[inline]
    fn free(&mut self, until: u64) {
        self.freed = until;
        self.mine.get(0).into_iter().for_each(|mine| mine.store(until, Release));
    }

    /// Length of the record at a position, and whether it is to be kept.
    #[inline]
    fn record(&mut self, at: u64) -> Option<(u32, bool)> {
        if at >= self.written {
            // SAFETY: in the mapping's first page, aligned, and only ever used as an atomic integer.
            self.written = unsafe { self.theirs.cast::<AtomicU64>().as_ref() }.load(Acquire);
            if at >= self.written {
                return None;
            }
        }
        // SAFETY: records are aligned to eight bytes, and lie inside of the data.
        let head = unsafe { self.data(at).cast::<AtomicU32>().as_ref() }.load(Acquire);
        (head & BUSY == 0).then_some((head & !DISCARDED, head & DISCARDED == 0))
    }

    fn bytes(&self, at: u64, length: u32) -> &[u8] {
        let length = (length as usize).min(self.size - HEAD);
        // SAFETY: less than the data's size from a place in its first half, all of it mapped; writers leave it alone until the
        // reader's position is moved past it, which needs `&mut self`.
        unsafe { std::slice::from_raw_parts(self.data(at + HEAD as u64).as_ptr(), length) }
    }

    #[inline]
    fn data(&self, at: u64) -> NonNull<u8> {
        #[allow(clippy::cast_possible_truncation, reason = "less than the size")]
        let offset = (at & (self.size as u64 - 1)) as usize;
        // SAFETY: inside of the mapping: behind its first page, less than the data's size.
        unsafe { self.theirs.add(PAGE + offset) }
    }
}

impl Drop for RingReader {
    fn drop(&mut self) {
        // SAFETY: the whole mapping; references into it have ended.
        let _ = unsafe { munmap(self.theirs.as_ptr().cast(), PAGE + 2 * self.size) };
    }
}

/// Where the record behind one of this length begins.
const fn after(at: u64, length: u32) -> u64 {
    at + (length as u64 + HEAD as u64).next_multiple_of(8)
}

/// Of `bpf_cmd`.
const BPF_PROG_TEST_RUN: libc::c_int = 10;

/// `bpf_attr` as this command has it (linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    verdict: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration_ns: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    unused: u32,
}

/// `xdp_md` (linux/bpf.h): where a frame comes from.
#[repr(C)]
#[derive(Default)]
struct Context {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_interface: u32,
    receive_queue: u32,
    egress_interface: u32,
}

/// `BPF_F_TEST_XDP_LIVE_FRAMES`: what the program decides is done.
const LIVE_FRAMES: u32 = 2;

/// Has the kernel run an XDP program on `frame` (14 bytes or more), as if it had come to the first interface. Gives the
/// verdict (`XDP_PASS` and so on, linux/bpf.h); the frame becomes what the program made of it.
pub fn run(program: BorrowedFd<'_>, frame: &mut Vec<u8>) -> io::Result<u32> {
    let mut out = vec![0_u8; frame.len() + 256];
    let mut attributes = TestRun {
        size_out: length(&out)?,
        data_out: out.as_mut_ptr().expose_provenance() as u64,
        repeat: 1,
        ..TestRun::of(program, frame)?
    };
    attributes.run()?;
    out.truncate(attributes.size_out as usize);
    *frame = out;
    Ok(attributes.verdict)
}

/// Has the kernel run an XDP program on `frame` so often, as if it had come to `interface` (its index), and send what the program
/// sends. It keeps few frames, in turn: what the program changed in one stays changed, until the kernel takes another in its
/// place because it was passed up.
pub fn run_live(program: BorrowedFd<'_>, frame: &[u8], interface: u32, repeat: u32) -> io::Result<()> {
    let context = Context { data_end: length(frame)?, ingress_interface: interface, ..Context::default() };
    let mut attributes = TestRun {
        context_size_in: u32::try_from(size_of::<Context>()).map_err(io::Error::other)?,
        context_in: (&raw const context).expose_provenance() as u64,
        repeat,
        flags: LIVE_FRAMES,
        batch_size: 64,
        ..TestRun::of(program, frame)?
    };
    attributes.run()
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len()).map_err(io::Error::other)
}

impl TestRun {
    fn of(program: BorrowedFd<'_>, frame: &[u8]) -> io::Result<Self> {
        Ok(Self {
            program: u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?,
            size_in: length(frame)?,
            data_in: frame.as_ptr().expose_provenance() as u64,
            ..Self::default()
        })
    }

    fn run(&mut self) -> io::Result<()> {
        // SAFETY: the kernel reads `size_in` bytes at `data_in` and `context_size_in` at `context_in`, writes at most `size_out`
        // at `data_out`, and the attributes; the caller has all of them borrowed.
        let done = unsafe {
            libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, std::ptr::from_mut(self), size_of::<Self>())
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
