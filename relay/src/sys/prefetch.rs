//! A hint to the processor that something will be read soon. Does nothing where there is no such instruction.

/// Bytes of a cache line.
const LINE: usize = 64;

/// Begins to load all of `value` into the cache.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..size_of::<T>()).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address is inside of `value`; the instruction is a hint that cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast::<i8>().add(offset)) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, LINE);
}
