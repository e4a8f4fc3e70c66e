//! Runs ONNX's node tests and says of each: right, refused at load, failed at run, or wrong.
//!
//! ```text
//! python tests/conformance/export.py DIRECTORY
//! cargo run -p adytum-engine --example node_tests -- DIRECTORY [PART OF A NAME]
//! ```
//!
//! Floats may differ by 1e-3 of the expected value and 1e-5; all else must be equal.

mod judge;

use std::process::ExitCode;

use adytum_engine::static_engine::StaticEngine;

fn main() -> ExitCode {
    judge::judge(&StaticEngine)
}
