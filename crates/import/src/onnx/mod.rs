//! The file that is written.

pub(crate) mod messages;
pub(crate) mod writer;
