//! Bytes of which the first begins a cache line.

#![expect(unsafe_code, reason = "lines as bytes")]

use crate::pages::ask_for_large;
use std::ops::{Deref, DerefMut};

/// The bytes of a cache line.
const SIZE: usize = 64;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; SIZE]);

/// Bytes of which the first begins a cache line. Many of them are in large pages where the system has them.
#[derive(Clone, Default)]
pub struct Bytes(Vec<Line>);

impl Bytes {
    /// Zeros: `count` bytes, rounded up to whole lines.
    pub fn zeros(count: usize) -> Self {
        let lines = vec![Line([0; SIZE]); count.div_ceil(SIZE)];
        // Before its zeros are touched.
        ask_for_large(lines.as_ptr(), lines.len());
        Self(lines)
    }

    /// Makes them `count` bytes, rounded up to whole lines. New ones are zeros.
    pub(super) fn resize(&mut self, count: usize) {
        self.0.resize(count.div_ceil(SIZE), Line([0; SIZE]));
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: a line is 64 bytes, and lines of a vector follow one another.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * SIZE) }
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: a line is 64 bytes, and lines of a vector follow one another.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * SIZE) }
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bytes").field("len", &self.len()).finish_non_exhaustive()
    }
}
