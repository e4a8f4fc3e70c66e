//! Writes the lists of operators into `docs/models.md`.
//!
//! ```text
//! cargo run -p adytum-engine --example operators
//! ```
#![allow(unreachable_pub, reason = "a test has the module, too")]

#[path = "../tests/operator_page/table.rs"]
mod table;

use std::{fs, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = engine.join("../../docs/models.md");
    let written = fs::read_to_string(&file)
        .map_err(|error| error.to_string())
        .and_then(|page| table::page(engine, &page))
        .and_then(|page| fs::write(&file, page).map_err(|error| error.to_string()));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}
