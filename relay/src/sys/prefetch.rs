//! A hint to the processor that something will be read soon. Does nothing where there is no such instruction.

/// Bytes of a cache line.
const LINE: usize = 64;

/// Begins to load so many bytes from `start` on into the cache, whatever is there.
#[inline]
pub fn prefetch_at(start: *const u8, length: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // Into its first line: it may begin in the middle of it, and end in one line more than it would fill.
        let skew = start.addr() % LINE;
        for offset in (0..length + skew).step_by(LINE) {
            // SAFETY: the instruction is a hint that cannot fault, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(offset).wrapping_sub(skew).cast()) }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, length, LINE);
}
