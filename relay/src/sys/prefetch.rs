//! A hint to the processor that something will be read soon. Does nothing where there is no such instruction.

/// Bytes of a cache line.
const LINE: usize = 64;

/// Begins to load all of `value` into the cache.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = std::ptr::from_ref(value).cast::<i8>();
        // Into its first line: a value may begin in the middle of it, and end in one line more than it would fill.
        let skew = start.addr() % LINE;
        for offset in (0..size_of::<T>() + skew).step_by(LINE) {
            // SAFETY: the instruction is a hint that cannot fault, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(offset).wrapping_sub(skew)) }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, LINE);
}
