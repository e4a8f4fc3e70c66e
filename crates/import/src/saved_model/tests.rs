//! Models that are damaged or hostile, and the structure of those that are not.

mod hostile;
mod structure;
