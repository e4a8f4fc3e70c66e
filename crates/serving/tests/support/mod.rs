//! What the tests share.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

pub mod fakes;
pub mod onnx;
pub mod server;
