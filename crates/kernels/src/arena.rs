//! Memory for the weights of a model: in large pieces, for which large pages are asked.
//!
//! A run reads all weights once. With pages of 4 kB the processor looks up one address for every 64 lines,
//! which costs about 5 % of a large product and 20 % of a product of one row.

#![expect(unsafe_code, reason = "memory that several owners have parts of; a call of the system")]

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    ops::{Deref, DerefMut},
    ptr::NonNull,
    sync::Arc,
};

use super::{
    BLOCK,
    pages::{LARGE, ask_for_large},
};

/// Bytes of the largest piece: memory of the system's own, of which what is not used yet costs nothing.
const PIECE: usize = 32 << 20;

/// A piece of memory, of zeros.
struct Piece {
    allocated: NonNull<u8>,
    layout: Layout,
    /// Where its first large page begins.
    start: NonNull<f32>,
    /// The number of floats from `start` on.
    count: usize,
}

// SAFETY: the piece itself gives nobody access; its parts do, and no two of them have a place in common.
unsafe impl Send for Piece {}
// SAFETY: the same.
unsafe impl Sync for Piece {}

impl Piece {
    fn new(bytes: usize) -> Option<Self> {
        let bytes = bytes.checked_next_multiple_of(LARGE)?;
        // Large alignment is not asked for: the allocator would write the zeros itself, and touch all pages.
        let layout = Layout::from_size_align(bytes.checked_add(LARGE)?, align_of::<f32>()).ok()?;
        give_back();
        // SAFETY: the size is not zero.
        let allocated = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        let before = allocated.align_offset(LARGE);
        if before > LARGE {
            return None;
        }
        // SAFETY: there is a large page more than is used.
        let start = unsafe { allocated.add(before) }.cast::<f32>();
        ask_for_large(start.as_ptr(), bytes / size_of::<f32>());
        Some(Self { allocated, layout, start, count: bytes / size_of::<f32>() })
    }
}

/// Gives memory that is free to the system. The originals of packed weights leave gaps that nothing else fills.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim(3) takes the allocator's own locks and touches only memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // SAFETY: it was allocated so, and nobody has a part of it any more.
        unsafe { dealloc(self.allocated.as_ptr(), self.layout) };
    }
}

/// Gives out memory for weights. The memory of a model's weights is given back when all of them are gone.
pub struct Arena {
    piece: Option<Arc<Piece>>,
    /// Floats of the piece that are given out.
    used: usize,
    /// Bytes of a piece.
    size: usize,
}

impl Arena {
    /// For weights of about this number of bytes.
    pub fn new(bytes: usize) -> Self {
        Self { piece: None, used: 0, size: bytes.clamp(LARGE, PIECE) }
    }

    /// Zeros: `count` floats, of which the first begins a cache line. `None` if there is no memory.
    pub fn zeros(&mut self, count: usize) -> Option<Room> {
        let room = count.checked_next_multiple_of(BLOCK)?;
        let fits = |piece: &Arc<Piece>| self.used.checked_add(room).is_some_and(|end| end <= piece.count);
        let piece = match self.piece.take().filter(fits) {
            Some(piece) => piece,
            None => {
                self.used = 0;
                Arc::new(Piece::new(room.checked_mul(size_of::<f32>())?.max(self.size))?)
            }
        };
        // SAFETY: the part is within the piece, whose parts are given out once.
        let start = unsafe { piece.start.add(self.used) };
        self.used += room;
        self.piece = Some(Arc::clone(&piece));
        Some(Room { start, count, _piece: piece })
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new(PIECE)
    }
}

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arena").field("used", &self.used).finish_non_exhaustive()
    }
}

/// Floats of an arena.
pub struct Room {
    start: NonNull<f32>,
    count: usize,
    _piece: Arc<Piece>,
}

// SAFETY: its floats are its own, as those of a vector.
unsafe impl Send for Room {}
// SAFETY: the same.
unsafe impl Sync for Room {}

impl Room {
    /// The floats as bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: floats are four bytes each, and any byte has a value.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.count * size_of::<f32>()) }
    }

    /// The same, to be written: any four bytes are a float.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; `self` is borrowed as a whole.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.count * size_of::<f32>()) }
    }
}

impl Deref for Room {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: the floats are there, have values, and are nobody else's.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: the same.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.count) }
    }
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").field("count", &self.count).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_apart_and_outlive_the_arena() {
        for bytes in [0, 20 << 20, usize::MAX] {
            are_apart_and_outlive(Arena::new(bytes));
        }
        assert!(Arena::new(0).zeros(usize::MAX).is_none());
    }

    fn are_apart_and_outlive(mut arena: Arena) {
        let sizes = [5, 0, 16, 17, PIECE / size_of::<f32>() - 20, 1 << 18, 3];
        let mut rooms: Vec<Room> = sizes.iter().map(|size| arena.zeros(*size).unwrap()).collect();
        assert!(rooms.iter().all(|room| room.iter().all(|value| *value == 0.0)));
        assert!(rooms.iter().all(|room| room.as_ptr().addr().is_multiple_of(64)));
        for (number, room) in rooms.iter_mut().enumerate() {
            room.fill(number as f32);
        }
        drop(arena);
        rooms.remove(2);
        for (number, room) in [0, 1, 3, 4, 5, 6].into_iter().zip(&rooms) {
            assert!(room.iter().all(|value| *value == number as f32));
        }
    }
}
