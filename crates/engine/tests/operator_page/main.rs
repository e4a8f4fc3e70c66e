//! The lists of operators in `docs/models.md` are those of the registry.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, missing_docs, reason = "tests")]

use std::{fs, path::Path};

mod table;

#[test]
fn the_page_lists_the_operators_that_there_are() {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(engine.join("../../docs/models.md")).unwrap();
    let expected = table::page(engine, &page).unwrap();
    assert!(page == expected, "run cargo run -p adytum-engine --example operators");
}
