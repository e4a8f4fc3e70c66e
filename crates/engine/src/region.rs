//! Compiled regions: the convolutional parts of a graph, computed by kernels of our own.
//!
//! A region is a part of a graph in which images flow from one convolution to the next: convolutions,
//! their normalizations and activations, pools, sums, concatenations. It becomes one operator:
//!
//! 1. [`recognize`] says what each node is in a region ([`recognize::Form`]), or that it can't be in one.
//! 2. [`draft`] makes a list of steps of the nodes.
//! 3. [`fuse`] makes it shorter, in small passes: constants that scale channels go into the weights,
//!    activations and sums into the convolution before them.
//! 4. [`strides`] computes no pixels that nobody reads.
//! 5. [`winograd`] chooses convolutions that are computed with fewer multiplications, or [`narrow`] those that
//!    are computed in 16-bit floats.
//! 6. [`pack`] puts weights in the order in which kernels take them.
//! 7. [`schedule`] decides, for given sizes of the inputs, which steps are computed for how many images at once
//!    ([`stretches`]), and where each value is in one block of memory ([`places`]).
//! 8. [`run`] is the operator.
//!
//! Inside, images are in blocks of 16 channels ([`adytum_kernels::planes`]); they are put into that order
//! where they enter, and out of it where they leave.

pub(crate) mod byte_convolution;
pub(crate) mod draft;
mod dynamic;
pub(crate) mod fuse;
pub(crate) mod integer_convolution;
pub(crate) mod narrow;
pub(crate) mod orders;
pub(crate) mod pack;
mod places;
pub(crate) mod quantised;
pub(crate) mod recognize;
pub(crate) mod run;
mod schedule;
pub(crate) mod step;
mod stretches;
pub(crate) mod strides;
mod whole_pixels;
pub(crate) mod winograd;
