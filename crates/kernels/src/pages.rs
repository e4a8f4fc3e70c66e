//! Large pages: with pages of 4 KiB, the first touch of one costs more than its contents, and the
//! processor looks up one address for every 64 lines.

#![expect(unsafe_code, reason = "calls of the system")]

use std::collections::TryReserveError;

/// Bytes of a large page, on most machines.
pub(super) const LARGE: usize = 2 << 20;

/// Bytes that are given back at once: whole pages, on every machine.
#[cfg(target_os = "linux")]
const RELEASED: usize = 64 << 10;

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

/// Zeros, for which large pages are asked. No page is touched before it is written.
pub fn zeros<T: Default + Clone>(count: usize) -> Vec<T> {
    let zeros = vec![T::default(); count];
    ask_for_large(zeros.as_ptr(), count);
    zeros
}

/// Puts memory that is in use into large pages, where the system can: those within it. Contents stay as they are.
#[cfg(target_os = "linux")]
pub(super) fn collapse(start: *const u8, bytes: usize) {
    let before = start.align_offset(LARGE);
    let bytes = bytes.saturating_sub(before) / LARGE * LARGE;
    if bytes > 0 {
        // SAFETY: as above.
        unsafe { libc::madvise(start.wrapping_add(before).cast_mut().cast(), bytes, libc::MADV_COLLAPSE) };
    }
}

/// Does nothing: other systems have no such call.
#[cfg(not(target_os = "linux"))]
pub(super) fn collapse(_: *const u8, _: usize) {}

/// Gives the pages within this memory back to the system, until they are written again. Their contents become any bytes.
///
/// # Safety
/// The memory is allocated, and nobody reads or writes it meanwhile or needs its contents.
#[cfg(target_os = "linux")]
pub(super) unsafe fn release(start: *mut u8, bytes: usize) {
    let before = start.align_offset(RELEASED);
    let bytes = bytes.saturating_sub(before) / RELEASED * RELEASED;
    if bytes > 0 {
        // SAFETY: the caller says that nobody needs the contents. A system that refuses this changes nothing.
        unsafe { libc::madvise(start.wrapping_add(before).cast(), bytes, libc::MADV_DONTNEED) };
    }
}

/// Gives nothing back: other systems have no such call.
///
/// # Safety
/// As above.
#[cfg(not(target_os = "linux"))]
pub(super) unsafe fn release(_: *mut u8, _: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_zeros_and_memory_that_was_given_back_can_be_written() {
        for count in [0, 5, LARGE / 4 + 3, LARGE] {
            let mut zeros = zeros::<f32>(count);
            assert!(zeros.len() == count && zeros.iter().all(|value| *value == 0.0));
            zeros.fill(2.0);
            let bytes = count * size_of::<f32>();
            collapse(zeros.as_ptr().cast(), bytes);
            assert!(zeros.iter().all(|value| *value == 2.0));
            // SAFETY: the contents are written again before they are read.
            unsafe { release(zeros.as_mut_ptr().cast(), bytes) };
            zeros.fill(3.0);
            assert!(zeros.iter().all(|value| *value == 3.0));
        }
    }

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
