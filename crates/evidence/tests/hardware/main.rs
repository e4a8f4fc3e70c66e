//! Verification of evidence from real hardware, at the time it was made.

mod genuine;
mod samples;
