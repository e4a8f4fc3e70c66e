//! What the tests of the engine share. Not each of them uses all of it.
#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod onnx;
pub mod runs;
