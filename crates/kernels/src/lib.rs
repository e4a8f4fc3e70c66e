//! Kernels: the innermost loops of compiled regions, over blocks of 16 channels.
//!
//! Each kernel is written once over the operations of [`isa::Isa`], a set of vector instructions, and
//! compiled for each set: AVX-512, AVX2, NEON, and plain Rust for all other processors. The set is chosen
//! when the program runs ([`Level`]). A product of a convolution is summed in the same order at every
//! position and for every size of a batch, so an answer does not depend on its neighbours.
//!
//! `unsafe` is here for two reasons only: vector instructions, and tiles that several threads write
//! into one buffer. Every kernel checks the sizes of what it is given before it starts.

pub mod activation;
#[cfg(target_arch = "x86_64")]
mod amx;
pub mod arena;
pub mod attention;
pub mod bfloat;
pub mod blocked;
pub mod buffer;
pub mod channels;
pub mod convolution;
pub mod crew;
pub mod depthwise;
pub mod elementwise;
pub mod filters;
pub mod integer;
mod isa;
pub mod layout;
pub mod level;
pub mod moments;
pub mod narrowing;
pub mod normalization;
pub mod pages;
pub mod planes;
pub mod pool;
pub mod products;
pub mod resampling;
pub mod spare;
#[cfg(test)]
mod tests;
mod tile;
pub mod transpose;
pub mod trees;
pub mod weights;
pub mod winograd;

pub use level::{Level, limit};

/// Channels of a block: those that stand next to each other in memory.
pub const BLOCK: usize = 16;

/// A share of the work of a kernel, for one of several threads.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub index: usize,
    pub count: usize,
}

impl Part {
    /// All of the work.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// This share of `count` things.
    pub fn of(self, count: usize) -> std::ops::Range<usize> {
        count * self.index / self.count..count * (self.index + 1) / self.count
    }
}

/// A kernel was given buffers that do not fit its sizes: a fault of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit(pub &'static str);
