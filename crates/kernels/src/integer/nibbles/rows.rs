//! Rows of floats as numbers of int8, with a scale for each block.
//!
//! The scale of a block is its largest number by 127. A number is multiplied with 127 by the largest one, and
//! rounded, halves to the even one: as ONNX Runtime does.

#![expect(unsafe_code, reason = "several threads write one buffer")]

use crate::{
    BLOCK, Part, Unfit,
    buffer::Shared,
    integer::instructions::{Instructions, Integers, Task, dispatch},
    isa::Isa,
};

/// The longest block: the sum of its numbers, 127 * 256 at most, has 16 bits.
pub(super) const LONGEST: usize = 256;

/// Bytes of what is known of a block: its scale, and its sum.
const NOTE: usize = 8;

/// Bytes of a cache line.
const LINE: usize = 64;

/// How rows are laid out: `[number]` in whole blocks, then `[block]` of [`NOTE`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) depth: usize,
    pub(super) block: usize,
}

impl Layout {
    pub(super) fn blocks(self) -> usize {
        self.depth.div_ceil(self.block)
    }

    /// Where the notes of a row begin.
    pub(super) fn notes(self) -> usize {
        self.blocks() * self.block
    }

    /// From one row to the next: an odd number of lines, so that rows do not meet in the same places of a cache.
    pub(super) fn step(self) -> usize {
        let lines = (self.notes() + self.blocks() * NOTE).div_ceil(LINE);
        (lines | 1) * LINE
    }

    /// The scale of a block, and the sum of its numbers with the other sign.
    ///
    /// # Safety
    /// There is a row at `row`, and it has this block.
    #[inline(always)]
    pub(super) unsafe fn note(self, row: *const u8, block: usize) -> (f32, i32) {
        // SAFETY: the caller says that the note is there.
        let note = unsafe { row.add(self.notes() + block * NOTE).cast::<[[u8; 4]; 2]>().read_unaligned() };
        (f32::from_le_bytes(note[0]), i32::from_le_bytes(note[1]))
    }
}

/// Writes this thread's share of the rows.
///
/// # Errors
/// Buffers that do not fit.
pub(super) fn arrange(
    instructions: Instructions,
    layout: Layout,
    values: &[f32],
    output: Shared<'_, u8>,
    part: Part,
) -> Result<(), Unfit> {
    const WRONG: Unfit = Unfit("rows of int8");
    let (count, step) = (values.len() / layout.depth, layout.step());
    if values.len() != count * layout.depth || count.checked_mul(step).is_none_or(|room| room > output.len())
    {
        return Err(WRONG);
    }
    for row in part.of(count) {
        // SAFETY: this thread alone has the row.
        let target = unsafe { output.part(row * step, step) }.ok_or(WRONG)?;
        let values = &values[row * layout.depth..][..layout.depth];
        dispatch(instructions, Row { layout, values, target });
    }
    Ok(())
}

/// A row that is about to be written.
struct Row<'a> {
    layout: Layout,
    values: &'a [f32],
    target: &'a mut [u8],
}

impl Task for Row<'_> {
    #[inline(always)]
    fn run<I: Integers>(self, isa: I) {
        let size = self.layout.block;
        let (numbers, notes) = self.target.split_at_mut(self.layout.notes());
        let blocks = numbers.chunks_exact_mut(size).zip(notes.chunks_exact_mut(NOTE));
        for ((numbers, note), values) in blocks.zip(self.values.chunks(size)) {
            let mut padded = [0.0; LONGEST];
            let values = match padded.get_mut(..size) {
                Some(padded) if values.len() < size => {
                    padded[..values.len()].copy_from_slice(values);
                    padded
                }
                _ => values,
            };
            let (scale, sum) = block(isa, values, numbers);
            note[..4].copy_from_slice(&scale.to_le_bytes());
            note[4..].copy_from_slice(&(-sum).to_le_bytes());
        }
    }
}

/// Writes the numbers of a block. Gives its scale, and the sum of the numbers.
#[inline(always)]
fn block<I: Integers>(isa: I, values: &[f32], numbers: &mut [u8]) -> (f32, i32) {
    let floats = isa.isa();
    let zero = floats.splat(0.0);
    let (mut largest, mut check) = (zero, zero);
    for values in values.chunks_exact(BLOCK) {
        // SAFETY: there are 16 floats.
        let values = unsafe { floats.load(values.as_ptr()) };
        largest = floats.at_least(floats.absolute(values), largest);
        check = floats.multiply_add(values, zero, check);
    }
    let (mut lanes, mut checks) = ([0.0_f32; BLOCK], [0.0_f32; BLOCK]);
    // SAFETY: there is room for 16 floats.
    unsafe {
        floats.store(largest, lanes.as_mut_ptr());
        floats.store(check, checks.as_mut_ptr());
    }
    // An infinity by zero is not a number.
    if checks.iter().any(|check| check.is_nan()) {
        numbers.fill(0);
        return (f32::NAN, 0);
    }
    let largest = lanes.into_iter().fold(0.0, f32::max);
    let inverse = 127.0 / largest;
    if !inverse.is_finite() {
        numbers.fill(0);
        return (0.0, 0);
    }
    let inverse = floats.splat(inverse);
    for (values, numbers) in values.chunks_exact(BLOCK).zip(numbers.chunks_exact_mut(BLOCK)) {
        // SAFETY: there are 16 floats, and there is room for 16 bytes.
        unsafe {
            let values = floats.multiply(floats.load(values.as_ptr()), inverse);
            isa.narrow(isa.add(isa.nearest(values), isa.splat(128)), numbers.as_mut_ptr());
        }
    }
    let mut sum = 0;
    for number in numbers {
        *number ^= 0x80;
        sum += i32::from(number.cast_signed());
    }
    (largest / 127.0, sum)
}
