//! Kernels of decision trees: the leaf that a row of features reaches, for many rows or many trees at once.
//!
//! Both forms ask one question only, `feature <= threshold`; a missing feature (NaN) counts as true or as
//! false, as each branch says. Of small trees, [`masks`] asks all questions for 16 rows at a time, and strikes
//! out the leaves that each answer rules out; [`order`] does the same for one row along sorted thresholds.
//! [`walk`] goes from root to leaf in trees of any size, several rows or trees in turn, without a branch of
//! the processor that depends on the data.

mod lanes;
pub mod masks;
pub mod order;
pub mod walk;
