//! What the tests share.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use std::num::NonZeroUsize;

use adytum_engine::{
    engine::{Engine, LoadError, LoadedModel, Source},
    onnx::{Limits, files::NoFiles},
    static_engine::StaticEngine,
};
use adytum_serving::{limits::RunMemory, models::Resources};

pub mod fakes;
pub mod onnx;
pub mod server;

/// An ONNX file in the static engine.
pub fn load(file: Vec<u8>) -> Result<Box<dyn LoadedModel>, LoadError> {
    StaticEngine.load(Source { file, files: &NoFiles, limits: Limits::default() })
}

/// One core, and memory enough.
pub fn resources() -> Resources {
    Resources { cores: NonZeroUsize::MIN, run_memory: RunMemory::new(1 << 28, 1 << 28) }
}
