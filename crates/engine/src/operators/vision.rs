//! Operators on images that are resampled, and on boxes in images.

pub(super) mod boxes;
pub(super) mod deformable;
pub(super) mod grid;
pub(super) mod regions;
pub(super) mod resize;
pub(crate) mod taps;
