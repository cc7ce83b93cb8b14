//! Memory that is shared with a BPF program, and running one on a frame that never was on a wire.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

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

/// Has the kernel run an XDP program on `frame` (14 bytes or more), as if it had come to the first interface. Gives the
/// verdict (`XDP_PASS` and so on, linux/bpf.h); the frame becomes what the program made of it.
pub fn run(program: BorrowedFd<'_>, frame: &mut Vec<u8>) -> io::Result<u32> {
    let size = |length: usize| u32::try_from(length).map_err(io::Error::other);
    let mut out = vec![0_u8; frame.len() + 256];
    let mut attributes = TestRun {
        program: u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?,
        size_in: size(frame.len())?,
        size_out: size(out.len())?,
        data_in: frame.as_ptr().expose_provenance() as u64,
        data_out: out.as_mut_ptr().expose_provenance() as u64,
        repeat: 1,
        ..TestRun::default()
    };
    // SAFETY: the kernel reads `size_in` bytes at `data_in` and writes at most `size_out` at `data_out`, and the attributes.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attributes, size_of::<TestRun>()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    out.truncate(attributes.size_out as usize);
    *frame = out;
    Ok(attributes.verdict)
}
