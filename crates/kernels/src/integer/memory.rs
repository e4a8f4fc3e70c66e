//! Bytes of which the first begins a cache line.

#![expect(unsafe_code, reason = "floats as bytes")]

use crate::buffer::Buffer;
use std::ops::{Deref, DerefMut};

/// Bytes of which the first begins a cache line. Many of them are in large pages where the system has them.
#[derive(Clone, Default)]
pub struct Bytes(Buffer);

impl Bytes {
    /// Zeros: `count` bytes, rounded up to whole lines.
    pub fn zeros(count: usize) -> Self {
        Self(Buffer::zeros(count.div_ceil(size_of::<f32>())))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let floats: &[f32] = &self.0;
        // SAFETY: a float is four bytes, any of which may be read.
        unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), size_of_val(floats)) }
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        let floats: &mut [f32] = &mut self.0;
        // SAFETY: a float is four bytes, and any four bytes are a float.
        unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), size_of_val(floats)) }
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bytes").field("len", &self.len()).finish_non_exhaustive()
    }
}
