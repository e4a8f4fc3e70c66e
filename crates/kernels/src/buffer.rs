//! Memory of kernels: floats on cache lines, and a way for several threads to write into one buffer.

#![expect(unsafe_code, reason = "lines as floats; tiles that threads write at the same time")]

use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

use super::BLOCK;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; BLOCK]);

/// Floats of which the first begins a cache line.
#[derive(Clone, Default)]
pub struct Buffer(Vec<Line>);

impl Buffer {
    /// Zeros: `count` floats, rounded up to whole lines.
    pub fn zeros(count: usize) -> Self {
        Self(vec![Line([0.0; BLOCK]); count.div_ceil(BLOCK)])
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a line is 16 floats without gaps, and lines of a vector follow one another.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * BLOCK) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: a line is 16 floats without gaps, and lines of a vector follow one another.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * BLOCK) }
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
