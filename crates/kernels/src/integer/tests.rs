//! Kernels of bytes against plain loops over `[image][channel][row][column]`, bit for bit, with each set of
//! instructions, over odd shapes.
//!
//! Here is what tests begin with: images, and what numbers become by the standard library.

mod convolutions;
mod images;

use super::{
    Images, Instructions,
    finish::Addition,
    layout::{Entering, Leaving, enter, fill_border, leave},
    memory::Bytes,
};
use crate::{
    Part,
    buffer::Shared,
    planes::{Border, Planes},
};

fn bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // The extremes come often.
        match state >> 60 {
            0 => 0,
            1 => 255,
            2 => 128,
            _ => (state >> 40) as u8,
        }
    })
    .take(count)
    .collect()
}

fn signed(values: &[u8]) -> Vec<i8> {
    values.iter().map(|value| value.cast_signed()).collect()
}

/// Images as a model has them.
#[derive(Clone, Debug)]
struct Plain {
    sizes: [usize; 4],
    values: Vec<u8>,
}

impl Plain {
    fn new(sizes: [usize; 4], seed: u64) -> Self {
        Self { sizes, values: bytes(sizes.iter().product(), seed) }
    }

    /// A byte, or none outside of the image.
    fn at(&self, image: usize, channel: usize, y: isize, x: isize) -> Option<u8> {
        let [_, channels, height, width] = self.sizes;
        let (row, column) = (usize::try_from(y).ok()?, usize::try_from(x).ok()?);
        let is_inside = row < height && column < width;
        is_inside.then(|| self.values[((image * channels + channel) * height + row) * width + column])
    }

    /// The same in a buffer of planes.
    fn entered(&self, border: Border, zero: u8, whole: bool, isa: Instructions) -> (Planes, Bytes) {
        let [images, channels, height, width] = self.sizes;
        let mut planes = Planes::new(channels, images, height, width, border);
        if whole {
            (planes.lanes, planes.blocks) = (channels.next_multiple_of(4), 1);
        }
        let mut buffer = Bytes::zeros(planes.len());
        buffer.fill(77);
        fill_border(planes, zero, &mut buffer).unwrap();
        let entering = Entering::Unsigned(&self.values);
        enter(isa, entering, channels, planes, Shared::new(&mut buffer), Part::WHOLE).unwrap();
        (planes, buffer)
    }
}

fn left(planes: Planes, values: &[u8], channels: usize) -> Vec<u8> {
    let mut found = vec![0; planes.images * channels * planes.height * planes.width];
    let output = Leaving::Unsigned(Shared::new(&mut found));
    leave(Images { planes, values }, channels, output, Part::WHOLE).unwrap();
    found
}

fn available() -> impl Iterator<Item = Instructions> {
    Instructions::ALL.into_iter().filter(|instructions| instructions.is_available())
}

/// The nearest byte, by the standard library.
fn nearest(value: f32, zero: u8) -> u8 {
    let low = -f32::from(zero);
    let clipped = if value > low { value.min(255.0 - f32::from(zero)) } else { low };
    (clipped.round_ties_even() as i32 + i32::from(zero)) as u8
}

fn sum_of(first: u8, second: u8, addition: &Addition) -> u8 {
    let shift = if addition.is_signed { 128 } else { 0 };
    let real = |byte: u8| (i32::from(byte) - shift) as f32;
    let inner = real(second).mul_add(addition.ratios[1], addition.fixed);
    let sum = real(first).mul_add(addition.ratios[0], inner);
    let (low, high) = (-shift as f32, (255 - shift) as f32);
    let clipped = if sum > low { sum.min(high) } else { low };
    (clipped.round_ties_even() as i32 + shift) as u8
}

fn addition(seed: u64) -> Addition {
    let ratio = |shift: u32| ((seed >> shift) % 400) as f32 / 173.0;
    Addition {
        ratios: [ratio(3), ratio(11)],
        fixed: ratio(20) * 50.0 - 60.0,
        is_first: seed.is_multiple_of(2),
        is_signed: seed.is_multiple_of(3),
    }
}
