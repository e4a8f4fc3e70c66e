//! Imports a SavedModel: `import DIRECTORY [MODEL.onnx]`.

use std::{path::Path, process::ExitCode, time::Instant};

use adytum_import::{limits::Limits, saved_model};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(directory) = arguments.next() else {
        eprintln!("usage: import DIRECTORY [MODEL.onnx]");
        return ExitCode::FAILURE;
    };
    let start = Instant::now();
    let imported = match saved_model::import(Path::new(&directory), Limits::default()) {
        Ok(imported) => imported,
        Err(error) => {
            eprintln!("{}: {error}", error.code());
            return ExitCode::FAILURE;
        }
    };
    let milliseconds = start.elapsed().as_millis();
    println!("{} bytes in {milliseconds} ms", imported.onnx.len());
    for signature in &imported.signatures {
        println!("{signature:?}");
    }
    if let Some(path) = arguments.next()
        && let Err(error) = std::fs::write(&path, &imported.onnx)
    {
        eprintln!("{path}: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
