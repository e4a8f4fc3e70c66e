//! Operators that put the elements of tensors in other places and change none.

pub(super) mod gather;
pub(super) mod join;
pub(crate) mod pad;
pub(crate) mod reshape;
pub(super) mod slice;
pub(super) mod transpose;
