//! Kernels: the innermost loops of compiled regions, over blocks of 16 channels.
//!
//! Each kernel is written once over the operations of [`isa::Isa`], a set of vector instructions, and
//! compiled for each set: AVX-512, AVX2, and plain Rust for all other processors. The set is chosen
//! when the program runs ([`Level`]). A product of a convolution is summed in the same order at every
//! position and for every size of a batch, so an answer does not depend on its neighbours.
//!
//! `unsafe` is here for two reasons only: vector instructions, and tiles that several threads write
//! into one buffer. Every kernel checks the sizes of what it is given before it starts.

pub(crate) mod activation;
pub(crate) mod buffer;
pub(crate) mod convolution;
pub(crate) mod depthwise;
pub(crate) mod elementwise;
pub(crate) mod filters;
mod isa;
pub(crate) mod layout;
pub(crate) mod level;
pub(crate) mod nibbles;
pub(crate) mod planes;
pub(crate) mod pool;
#[cfg(test)]
mod tests;
mod tile;
pub(crate) mod trees;
pub(crate) mod winograd;

pub use level::{Level, limit};

/// Channels of a block: those that stand next to each other in memory.
pub(crate) const BLOCK: usize = 16;

/// A share of the work of a kernel, for one of several threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) index: usize,
    pub(crate) count: usize,
}

impl Part {
    /// All of the work.
    pub(crate) const WHOLE: Self = Self { index: 0, count: 1 };

    /// This share of `count` things.
    pub(crate) fn of(self, count: usize) -> std::ops::Range<usize> {
        count * self.index / self.count..count * (self.index + 1) / self.count
    }
}

/// A kernel was given buffers that do not fit its sizes: a fault of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unfit(pub(crate) &'static str);
