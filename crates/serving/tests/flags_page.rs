//! The table of flags in docs/flags.md is the one that the code has. With
//! `ADYTUM_WRITE_DOCS=1` it is written.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::PathBuf};

use adytum_serving::flags::table;

const BEGIN: &str = "<!-- flags -->\n";
const END: &str = "<!-- /flags -->\n";

#[test]
fn the_page_of_flags_is_complete() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/flags.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    let table = format!("\n{}\n", table::markdown());
    if std::env::var_os("ADYTUM_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    // Not `assert_eq`, which would print both tables.
    assert!(
        written == table,
        "docs/flags.md is not up to date; run this test with ADYTUM_WRITE_DOCS=1 to write it"
    );
}
