//! Attention of every form, and what models compute just before it.

pub(super) mod core;
pub(super) mod linear;
pub(super) mod mask;
pub(super) mod rotary;
pub(super) mod scaled;
