//! Fused operators: several nodes of transformers as one, computed by kernels of our own.
//!
//! `plan/fusions` finds the nodes. A fused operator takes tensors as any operator does, of any batch and any
//! length; only what the nodes' constants decide is decided at load.

pub(crate) mod attention;
pub(crate) mod blocks;
pub(crate) mod function;
pub(crate) mod normalization;
pub(crate) mod product;
pub(crate) mod recurrent;
pub(crate) mod volume;
