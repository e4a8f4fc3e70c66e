//! ONNX files: read and planned, or refused.

#![no_main]

use adytum_engine::{
    engine::{Engine, NoExamples, Source},
    onnx::{Limits, files::NoFiles},
    static_engine::StaticEngine,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let _ = StaticEngine.load(Source {
        file: file.to_vec(),
        files: &NoFiles,
        limits: Limits::default(),
        examples: &NoExamples,
    });
});
