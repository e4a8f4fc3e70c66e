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
    pages::{LARGE, ask_for_large, release},
    spare::{Owner, Spare},
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
    /// Memory that nobody uses any more, which is taken first.
    spare: Option<Spare>,
}

impl Arena {
    /// For weights of about this number of bytes.
    pub fn new(bytes: usize) -> Self {
        Self { piece: None, used: 0, size: bytes.clamp(LARGE, PIECE), spare: None }
    }

    /// Takes memory for later weights.
    pub fn reuse(&mut self, spare: Spare) {
        match &mut self.spare {
            Some(own) => own.extend(spare),
            none => *none = Some(spare),
        }
        if let Some(spare) = &mut self.spare {
            spare.settle();
        }
    }

    /// Zeros: `count` floats, of which the first begins a cache line. `None` if there is no memory.
    pub fn zeros(&mut self, count: usize) -> Option<Room> {
        let mut room = self.floats(count)?;
        if let Memory::Spare(_) = &room.memory {
            room.fill(0.0);
        }
        Some(room)
    }

    /// As [`Arena::zeros`], but that the floats are any: all of them are about to be written.
    pub fn floats(&mut self, count: usize) -> Option<Room> {
        let room = count.checked_next_multiple_of(BLOCK)?;
        if let Some((start, owner)) = self.spare.as_mut().and_then(|spare| spare.take(room)) {
            return Some(Room { start, count, memory: Memory::Spare(owner) });
        }
        let fits = |piece: &Arc<Piece>| self.used.checked_add(room).is_some_and(|end| end <= piece.count);
        let piece = match self.piece.as_ref().filter(|piece| fits(piece)) {
            Some(piece) => Arc::clone(piece),
            None => {
                self.leave();
                Arc::new(Piece::new(room.checked_mul(size_of::<f32>())?.max(self.size))?)
            }
        };
        // SAFETY: the part is within the piece, whose parts are given out once.
        let start = unsafe { piece.start.add(self.used) };
        self.used += room;
        self.piece = Some(Arc::clone(&piece));
        Some(Room { start, count, memory: Memory::Piece(piece) })
    }

    /// Leaves a piece. The rest of its last large page was touched with the page.
    fn leave(&mut self) {
        if let Some(piece) = self.piece.take() {
            let rest = piece.count.saturating_sub(self.used);
            // SAFETY: nobody has these floats: parts are given out from the start, and there will be no more.
            unsafe { release(piece.start.as_ptr().wrapping_add(self.used).cast(), rest * size_of::<f32>()) };
        }
        self.used = 0;
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.leave();
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

/// What the floats of a room are in, as long as there is such a room.
enum Memory {
    Piece(#[expect(dead_code, reason = "it keeps the memory")] Arc<Piece>),
    Spare(#[expect(dead_code, reason = "it keeps the memory")] Owner),
}

/// Floats of an arena.
pub struct Room {
    start: NonNull<f32>,
    count: usize,
    memory: Memory,
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
    use crate::spare::Shrinking;

    #[test]
    fn rooms_are_apart_and_outlive_the_arena() {
        for bytes in [0, 20 << 20, usize::MAX] {
            are_apart_and_outlive(Arena::new(bytes));
        }
        assert!(Arena::new(0).zeros(usize::MAX).is_none());
    }

    #[test]
    fn memory_that_is_spare_is_taken_first_and_outlives_the_rest() {
        let mut buffer = Shrinking::new(vec![9; 1 << 20]);
        let mut arena = Arena::new(0);
        arena.reuse(buffer.cut(700_000).unwrap());
        arena.reuse(buffer.cut(500_000).unwrap());
        let zeros = arena.zeros(100_003).unwrap();
        assert!(zeros.iter().all(|value| *value == 0.0));
        let mut floats = arena.floats(17).unwrap();
        floats.fill(3.0);
        let large = arena.zeros(1 << 18).unwrap();
        assert!(buffer.bytes().iter().all(|byte| *byte == 9));
        drop((arena, buffer));
        assert!(zeros.iter().chain(&*large).all(|value| *value == 0.0));
        assert!(floats.iter().all(|value| *value == 3.0) && floats.as_ptr().addr().is_multiple_of(64));
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
