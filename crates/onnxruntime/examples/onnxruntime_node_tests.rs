//! Runs ONNX's node tests with ONNX Runtime, as the example `node_tests` of the crate `engine` does
//! with the static engine.
//!
//! ```text
//! ADYTUM_ONNXRUNTIME_LIBRARY=libonnxruntime.so.VERSION \
//!     cargo run -p adytum-onnxruntime --example onnxruntime_node_tests -- DIRECTORY [PART OF A NAME]
//! ```

#[path = "../../engine/examples/node_tests/judge.rs"]
mod judge;

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode};

use adytum_onnxruntime::{Library, OnnxRuntime, SharedObject};

fn main() -> ExitCode {
    let Some(path) = std::env::var_os("ADYTUM_ONNXRUNTIME_LIBRARY").map(PathBuf::from) else {
        eprintln!("set ADYTUM_ONNXRUNTIME_LIBRARY to libonnxruntime.so.VERSION");
        return ExitCode::FAILURE;
    };
    let object = SharedObject { name: String::new(), location: path.clone(), path };
    let started =
        Library::load(&[], &object).and_then(|library| OnnxRuntime::start(library, NonZeroUsize::MIN));
    match started {
        Ok(engine) => judge::judge(&engine),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
