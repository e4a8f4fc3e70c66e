//! Memory of kernels: floats on cache lines, and a way for several threads to write into one buffer.

#![expect(unsafe_code, reason = "tiles that threads write at the same time")]

use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut, Range},
};

use super::{BLOCK, pages::ask_for_large};

/// Bytes of a cache line.
const LINE: usize = 64;

/// Floats of which the first begins a cache line.
///
/// A large buffer is in large pages where the system has them.
#[derive(Default)]
pub struct Buffer {
    /// A few more floats than are used.
    memory: Vec<f32>,
    used: Range<usize>,
}

impl Buffer {
    /// Zeros: `count` floats, rounded up to whole lines.
    pub fn zeros(count: usize) -> Self {
        let count = count.next_multiple_of(BLOCK);
        let memory = vec![0.0_f32; count.saturating_add(BLOCK)];
        let start = memory.as_ptr().align_offset(LINE).min(BLOCK);
        let buffer = Self { memory, used: start..start + count };
        // Before its zeros are touched.
        ask_for_large(buffer.as_ptr(), count);
        buffer
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = Self::zeros(self.len());
        copy.copy_from_slice(self);
        copy
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory[self.used.clone()]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[self.used.clone()]
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A buffer into which several threads write, each into places of its own.
#[derive(Clone, Copy, Debug)]
pub struct Shared<'a, T = f32> {
    start: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: the methods that write are unsafe, and demand that no two threads write the same place.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: the same.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Of a buffer that nobody else has meanwhile.
    pub fn new(buffer: &'a mut [T]) -> Self {
        Self { start: buffer.as_mut_ptr(), len: buffer.len(), lifetime: PhantomData }
    }

    /// How many numbers there are.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks whether there is nothing")]
    pub fn len(self) -> usize {
        self.len
    }

    /// Where the number of this index is. Writing there is for the caller to justify.
    pub(super) fn pointer(self, index: usize) -> *mut T {
        self.start.wrapping_add(index)
    }

    /// Some of the numbers; `None` if there are fewer.
    ///
    /// # Safety
    /// Nobody else reads or writes these numbers while the result is in use.
    pub(super) unsafe fn part(&self, from: usize, count: usize) -> Option<&'a mut [T]> {
        if from.checked_add(count)? > self.len {
            return None;
        }
        // SAFETY: the range is within the buffer; the caller says that nobody else uses it.
        Some(unsafe { std::slice::from_raw_parts_mut(self.start.add(from), count) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::LARGE;

    #[test]
    fn buffers_of_every_size_are_zeros_on_lines() {
        for count in [0, 1, 16, 17, 5000, LARGE / 4 - 16, LARGE, LARGE + 1] {
            let buffer = Buffer::zeros(count);
            assert_eq!(buffer.len(), count.next_multiple_of(BLOCK));
            assert!((buffer.as_ptr() as usize).is_multiple_of(LINE));
            assert!(buffer.iter().all(|value| *value == 0.0));
            let mut copy = buffer.clone();
            copy.fill(1.0);
            assert_eq!(copy.len(), buffer.len());
            assert!((copy.as_ptr() as usize).is_multiple_of(LINE));
        }
    }
}
