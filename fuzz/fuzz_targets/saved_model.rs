//! SavedModels: an imported file is no larger than its constants allow, and
//! the same model gives the same file. An input is three files, each after
//! its length as four bytes: the definition, the index of variables, and their data.

#![no_main]

use adytum_import::{files::InMemory, limits::Limits, saved_model::import_files};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 3] =
    ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"];
const LIMITS: Limits = Limits {
    definition_bytes: 1 << 20,
    index_bytes: 1 << 16,
    constant_bytes: 4 << 20,
    records: 50_000,
    nodes: 5_000,
    depth: 8,
    asset_bytes: 1 << 16,
};

fuzz_target!(|input: &[u8]| {
    let mut files = InMemory::default();
    let mut rest = input;
    for name in NAMES {
        let Some((length, after)) = rest.split_first_chunk::<4>() else { break };
        let length = (u32::from_le_bytes(*length) as usize).min(after.len());
        let (file, after) = after.split_at(length);
        files.0.insert(name.to_owned(), file.to_vec().into());
        rest = after;
    }
    let Ok(first) = import_files(&files, LIMITS) else { return };
    // Weights are merged and reordered, at most once each.
    assert!(first.onnx.len() < 64 << 20);
    let second = import_files(&files, LIMITS).expect("it was imported before");
    assert_eq!(first.onnx, second.onnx);
});
