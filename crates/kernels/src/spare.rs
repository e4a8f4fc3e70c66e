//! A buffer whose end is given away, part after part.
//!
//! A model's file is such a buffer: its weights are packed from its end on. What they leave is memory for packed
//! weights, which saves the system's work for new pages: it clears each before it gives it away.

#![expect(unsafe_code, reason = "memory that several owners have parts of")]

use std::{mem::ManuallyDrop, ptr::NonNull, sync::Arc};

use super::pages::{LARGE, collapse, release};

/// Bytes of a cache line, on which parts begin and end.
const LINE: usize = 64;

/// Bytes of a spare part that stay with the process. The rest goes back to the system until it is used.
const KEPT: usize = 32 << 20;

/// The memory of a vector.
struct Whole {
    start: NonNull<u8>,
    length: usize,
    capacity: usize,
}

// SAFETY: it gives nobody access by itself; its parts do, and no two of them have a place in common.
unsafe impl Send for Whole {}
// SAFETY: the same.
unsafe impl Sync for Whole {}

impl Drop for Whole {
    fn drop(&mut self) {
        // SAFETY: it was taken from a vector of this capacity, and nobody has a part of it any more.
        drop(unsafe { Vec::from_raw_parts(self.start.as_ptr(), 0, self.capacity) });
    }
}

/// A buffer whose end can be cut off. Its memory is given back when all parts of it are gone.
pub struct Shrinking {
    whole: Arc<Whole>,
    /// Bytes that are still read.
    length: usize,
    /// Bytes that are not given away. It is on a line.
    end: usize,
}

impl Shrinking {
    /// A buffer of these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        let mut bytes = ManuallyDrop::new(bytes);
        let (length, capacity) = (bytes.len(), bytes.capacity());
        let start = NonNull::new(bytes.as_mut_ptr()).unwrap_or(NonNull::dangling());
        let beyond = start.addr().get().wrapping_add(length) % LINE;
        Self {
            whole: Arc::new(Whole { start, length, capacity }),
            length,
            end: length.saturating_sub(beyond),
        }
    }

    /// The bytes that were not cut off.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: these bytes have values, and no spare part begins before their end.
        unsafe { std::slice::from_raw_parts(self.whole.start.as_ptr(), self.length) }
    }

    /// Cuts all bytes but this many off, and gives their memory away. `None` if that is less than a cache line.
    pub fn cut(&mut self, length: usize) -> Option<Spare> {
        self.length = self.length.min(length);
        let before = self.whole.start.as_ptr().wrapping_add(self.length).align_offset(LINE);
        let begin = self.length.checked_add(before).filter(|begin| *begin < self.end)?;
        let count = (self.end - begin) / size_of::<f32>();
        // SAFETY: the place is within the buffer.
        let start = unsafe { self.whole.start.add(begin) }.cast::<f32>();
        self.end = begin;
        Some(Spare { whole: Arc::clone(&self.whole), start, count })
    }
}

impl Drop for Shrinking {
    fn drop(&mut self) {
        let bytes = self.end.min(self.whole.length);
        // SAFETY: nobody reads these bytes any more, and no spare part has one of them.
        unsafe { release(self.whole.start.as_ptr(), bytes) };
    }
}

impl Default for Shrinking {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl std::fmt::Debug for Shrinking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shrinking").field("length", &self.length).finish_non_exhaustive()
    }
}

/// Memory that was cut off. Its contents are any bytes. The rest goes back to the system when it is dropped.
pub struct Spare {
    whole: Arc<Whole>,
    /// On a cache line.
    start: NonNull<f32>,
    count: usize,
}

// SAFETY: its memory is its own, as that of a vector.
unsafe impl Send for Spare {}
// SAFETY: the same.
unsafe impl Sync for Spare {}

/// An owner of a part of the memory: as long as it lives, so does that.
pub(super) struct Owner {
    _whole: Arc<Whole>,
}

impl Spare {
    /// Joins the part that lies directly before this one, or takes its place.
    pub(super) fn extend(&mut self, mut before: Self) {
        // SAFETY: the end is within the buffer, or directly behind it.
        let end = unsafe { before.start.add(before.count) };
        if Arc::ptr_eq(&self.whole, &before.whole) && end == self.start {
            self.start = before.start;
            self.count += std::mem::take(&mut before.count);
        } else {
            std::mem::swap(self, &mut before);
        }
    }

    /// Gives all but the end back to the system until it is used, and asks for large pages for the rest.
    pub(super) fn settle(&mut self) {
        let bytes = self.count * size_of::<f32>();
        let more = bytes.saturating_sub(KEPT) / LARGE * LARGE;
        // SAFETY: the bytes are this part's own, and have no contents that anybody needs.
        unsafe { release(self.start.as_ptr().cast(), more) };
        collapse(self.start.as_ptr().cast::<u8>().wrapping_add(more), bytes - more);
    }

    /// Takes floats of the end, a whole number of cache lines. Their values are any.
    pub(super) fn take(&mut self, count: usize) -> Option<(NonNull<f32>, Owner)> {
        let rest = self.count.checked_sub(count)?;
        // SAFETY: the place is within this part.
        let start = unsafe { self.start.add(rest) };
        self.count = rest;
        Some((start, Owner { _whole: Arc::clone(&self.whole) }))
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        // SAFETY: the bytes are this part's own, and nobody reads them any more.
        unsafe { release(self.start.as_ptr().cast(), self.count * size_of::<f32>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_stays_as_it_is_while_the_end_is_given_away() {
        for length in [0_usize, 1, 63, 64, 200, 5000, 3 * LARGE + 77] {
            let content: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
            let mut buffer = Shrinking::new(content.clone());
            let mut given = 0;
            for left in [length, length / 2, length / 2, length / 3 + 1, length, 0] {
                let left = left.min(buffer.bytes().len());
                if let Some(spare) = buffer.cut(left) {
                    given += spare.count * size_of::<f32>();
                    drop(spare);
                }
                assert_eq!(buffer.bytes(), &content[..left]);
            }
            assert!(given <= length && given + 3 * LINE > length);
        }
    }

    #[test]
    fn parts_side_by_side_become_one_and_are_taken_from_the_end() {
        let mut buffer = Shrinking::new(vec![7; 4096]);
        let mut spare = buffer.cut(3000).unwrap();
        let first = spare.count;
        spare.extend(buffer.cut(1000).unwrap());
        spare.settle();
        assert!(spare.count > first);
        let whole = spare.count;
        let (start, owner) = spare.take(16).unwrap();
        // SAFETY: the place is within the part.
        assert_eq!(start, unsafe { spare.start.add(whole - 16) });
        assert!(spare.take(whole).is_none());
        assert!(buffer.bytes().iter().all(|byte| *byte == 7));
        // Memory of another buffer takes the place of this one.
        spare.extend(Shrinking::new(vec![1; 640]).cut(0).unwrap());
        assert!(spare.count <= 160);
        drop((buffer, spare, owner));
    }
}
