//! Large pages: with pages of 4 KiB, the first touch of one costs more than its contents, and the
//! processor looks up one address for every 64 lines.

#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "a call of the system"))]

use std::collections::TryReserveError;

/// Bytes of a large page, on most machines.
pub(super) const LARGE: usize = 2 << 20;

/// An empty vector with room for this number of bytes, for which large pages are asked. No page is touched.
///
/// # Errors
/// There is no memory.
pub fn room(bytes: usize) -> Result<Vec<u8>, TryReserveError> {
    let mut room = Vec::new();
    room.try_reserve_exact(bytes)?;
    ask_for_large(room.as_ptr(), room.capacity());
    Ok(room)
}

/// Asks for large pages for the whole ones within this memory: neighbours are not its business. Contents stay
/// as they are.
#[cfg(target_os = "linux")]
pub(super) fn ask_for_large<T>(start: *const T, count: usize) {
    let start = start.cast::<u8>();
    let before = start.align_offset(LARGE);
    let bytes = (count * size_of::<T>()).saturating_sub(before) / LARGE * LARGE;
    if bytes > 0 {
        // SAFETY: this advice changes how memory is backed and not its contents. A system that does not know it, or
        // the range, refuses it, and nothing is lost.
        unsafe { libc::madvise(start.wrapping_add(before).cast_mut().cast(), bytes, libc::MADV_HUGEPAGE) };
    }
}

/// Asks for nothing: other systems have no such call.
#[cfg(not(target_os = "linux"))]
pub(super) fn ask_for_large<T>(_: *const T, _: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_as_large_as_asked_for_or_refused() {
        for bytes in [0, 1, LARGE - 1, 3 * LARGE + 5] {
            let mut room = room(bytes).unwrap();
            assert!(room.is_empty() && room.capacity() >= bytes);
            room.resize(bytes, 7);
            assert!(room.iter().all(|byte| *byte == 7));
        }
        assert!(room(usize::MAX).is_err());
    }
}
