//! Memory that is taken once, at start, in huge pages where there are any: a worker's tables then take few places of the
//! processor's address cache. Written first by the worker's own thread, so it is local to its core.

use std::io;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Bytes of a huge page, on the processors that this runs on.
const HUGE: usize = 2 << 20;
const PAGE: usize = 4096;

/// Zeroed memory of our own, unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    size: usize,
}

impl Mapping {
    /// Maps at least `size` bytes, all of them present: in huge pages that were set aside (`vm.nr_hugepages`), or else in
    /// what the kernel can do (transparent huge pages), or in ordinary ones.
    pub fn new(size: usize) -> io::Result<Self> {
        let size = size.next_multiple_of(HUGE);
        let map = |flags| -> io::Result<Self> {
            let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | flags);
            // SAFETY: a new anonymous mapping at an address of the kernel's choice.
            let base = unsafe { mmap_anonymous(std::ptr::null_mut(), size, protection, flags)? };
            let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
            Ok(Self { base, size })
        };
        // Set aside for others meanwhile, or on another node: such a page would be missed only when it is touched, by a
        // signal that ends the process. Hence every one is touched now, by the kernel.
        if let Ok(mapping) = map(MapFlags::HUGETLB)
            && populate(mapping.base, size).is_ok()
        {
            return Ok(mapping);
        }
        let mapping = map(MapFlags::empty())?;
        // SAFETY: our own mapping; advice about pages changes none of its bytes.
        let _ = unsafe { madvise(mapping.base.as_ptr().cast(), size, Advice::LinuxHugepage) };
        // Before Linux 5.14 they come when they are touched.
        let _ = populate(mapping.base, size);
        Ok(mapping)
    }

    /// Where it begins, page-aligned.
    pub const fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, which nobody uses any more: whoever has it owns what points into it.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.size) };
    }
}

/// Has the kernel provide all pages of mapped memory of our own now. Since Linux 5.14.
pub fn populate(base: NonNull<u8>, size: usize) -> io::Result<()> {
    // SAFETY: the pages are mapped; touching them changes none of their bytes.
    unsafe { madvise(base.as_ptr().cast(), size, Advice::LinuxPopulateWrite)? };
    Ok(())
}

/// Asks for huge pages behind memory that was allocated and is not written yet. A hint: it may be refused.
pub fn prefer_huge_pages<T>(memory: &mut [MaybeUninit<T>]) {
    let start = memory.as_mut_ptr().cast::<u8>();
    let skip = start.align_offset(PAGE);
    let Some(size) = size_of_val(memory).checked_sub(skip).map(|size| size / PAGE * PAGE) else { return };
    if size >= HUGE {
        // SAFETY: whole pages inside of `memory`, which we have for ourselves; the advice changes none of its bytes.
        let _ = unsafe { madvise(start.add(skip).cast(), size, Advice::LinuxHugepage) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_zero_and_writable_to_its_end() {
        let mapping = Mapping::new(HUGE + 1).unwrap();
        // SAFETY: mapped with at least this size, and nobody else has it.
        let bytes = unsafe { std::slice::from_raw_parts_mut(mapping.base().as_ptr(), HUGE + 1) };
        assert!(bytes.iter().all(|b| *b == 0));
        bytes.fill(7);
        assert_eq!(bytes.last(), Some(&7));
    }

    #[test]
    fn memory_of_any_size_may_ask_for_huge_pages() {
        for size in [0, 1, PAGE, HUGE, 5 * HUGE + 17] {
            let mut memory: Vec<u8> = Vec::with_capacity(size);
            prefer_huge_pages(memory.spare_capacity_mut());
            memory.resize(size, 3);
            assert!(memory.iter().all(|b| *b == 3));
        }
    }
}
