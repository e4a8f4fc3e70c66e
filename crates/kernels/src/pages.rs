//! Large pages: with pages of 4 KiB, the first touch of one costs as much as its contents, and the
//! processor looks up one address for every 64 lines.

#![expect(unsafe_code, reason = "a call of the system")]

/// Bytes of a large page, on most machines.
pub(super) const LARGE: usize = 2 << 20;

/// Asks for large pages for the whole ones within this memory: neighbours are not its business. Contents stay
/// as they are.
#[cfg(target_os = "linux")]
pub(super) fn ask_for_large(start: *const f32, floats: usize) {
    let before = start.align_offset(LARGE);
    let bytes = floats.saturating_sub(before) * size_of::<f32>() / LARGE * LARGE;
    if bytes > 0 {
        // SAFETY: this advice changes how memory is backed and not its contents. A system that does not know it, or
        // the range, refuses it, and nothing is lost.
        unsafe { libc::madvise(start.wrapping_add(before).cast_mut().cast(), bytes, libc::MADV_HUGEPAGE) };
    }
}

/// Asks for nothing: other systems have no such call.
#[cfg(not(target_os = "linux"))]
pub(super) fn ask_for_large(_: *const f32, _: usize) {}
