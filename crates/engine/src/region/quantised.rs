//! Compiled regions of quantised numbers: images stay bytes from one convolution to the next.
//!
//! The nodes of a region are `QLinearConv` and the like: those of the model, and those that
//! [`crate::plan`] puts in the place of `DequantizeLinear`, an operator of floats and `QuantizeLinear`. As in
//! regions of floats, [`recognize`] says what a node is, [`draft`] lists steps, [`fuse`] makes the list
//! shorter, [`pack`] orders weights, [`schedule`] gives each value a place, and [`run`] is the operator.
//!
//! Every step gives the bits of the operator that it stands for. Numbers of int8 are kept as bytes that are
//! 128 more, with a zero point that is 128 more.

pub(crate) mod draft;
pub(crate) mod fuse;
pub(crate) mod pack;
pub(crate) mod recognize;
pub(crate) mod run;
mod schedule;
pub(crate) mod step;
