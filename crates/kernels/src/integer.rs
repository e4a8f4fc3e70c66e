//! Kernels of quantised networks: images of bytes, in blocks of 16 channels.
//!
//! A byte stands for the real number `(byte - zero point) * scale`. Numbers of int8 are kept as bytes, too:
//! 128 is added to the number and to its zero point, which changes no real number. Products of bytes with
//! weights of int8 are summed in 32 bits, exactly, so every set of instructions gives the same bits. The
//! sums are rounded to bytes as ONNX Runtime does: multiplied in 32-bit floats, the nearest integer, halves
//! to the even one, then clipped.

pub mod convolution;
pub mod depthwise;
pub mod dynamic;
pub mod elementwise;
mod excess;
pub mod filters;
pub mod finish;
mod instructions;
mod kernels;
pub mod layout;
pub mod memory;
pub mod nibbles;
pub mod pool;
pub mod product;
pub mod target;
#[cfg(test)]
mod tests;
mod tile;

pub use instructions::Instructions;

use super::planes::Planes;

/// Images of bytes and where they are.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    pub planes: Planes,
    pub values: &'a [u8],
}

/// How the channels of a pixel are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// In blocks of 16.
    Blocks,
    /// All at once: they are next to each other, in whole fours.
    Whole,
}

/// Channels of which one instruction multiplies all with weights at once.
pub const GROUP: usize = 4;
