//! Fields of a packet, read and written where they stand.

/// The 32-bit word at `at`.
pub(super) fn word(packet: &[u8], at: usize) -> Option<u32> {
    packet.get(at..)?.first_chunk().map(|w| u32::from_be_bytes(*w))
}

/// The 16-bit number at `at`.
pub(super) fn half(packet: &[u8], at: usize) -> Option<u16> {
    packet.get(at..)?.first_chunk().map(|h| u16::from_be_bytes(*h))
}

/// Writes a word; false if it does not fit.
#[must_use]
pub(super) fn put(packet: &mut [u8], at: usize, word: u32) -> bool {
    write(packet, at, word.to_be_bytes())
}

/// Writes a 16-bit number; false if it does not fit.
#[must_use]
pub(super) fn put_half(packet: &mut [u8], at: usize, half: u16) -> bool {
    write(packet, at, half.to_be_bytes())
}

fn write<const N: usize>(packet: &mut [u8], at: usize, bytes: [u8; N]) -> bool {
    packet.get_mut(at..).and_then(|p| p.first_chunk_mut()).map(|place| *place = bytes).is_some()
}

/// Sets the bytes at `range` to zero.
pub(super) fn clear(packet: &mut [u8], range: std::ops::Range<usize>) {
    if let Some(place) = packet.get_mut(range) {
        place.fill(0);
    }
}

/// Of the items of `size` bytes from `from` to the packet's end keeps, closed up, those for which `map` says so after
/// it has rewritten them. Returns where they end; what is no whole item is cut off.
pub(super) fn keep(
    packet: &mut [u8],
    from: usize,
    size: usize,
    mut map: impl FnMut(&mut [u8]) -> bool,
) -> usize {
    let mut write = from;
    for read in (from..packet.len()).step_by(size) {
        if read + size > packet.len() {
            break;
        }
        packet.copy_within(read..read + size, write);
        if packet.get_mut(write..write + size).is_some_and(&mut map) {
            write += size;
        }
    }
    write
}
