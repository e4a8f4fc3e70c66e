//! The index of a SavedModel's variables, a table as LevelDB writes it: each
//! variable lies in the file that the index names.

#![no_main]

use adytum_import::{files::InMemory, limits::Limits, variables};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|index: &[u8]| {
    let mut files = InMemory::default();
    files.0.insert("variables/variables.index".to_owned(), index.to_vec().into());
    files.0.insert("variables/variables.data-00000-of-00001".to_owned(), vec![0; 4096].into());
    let limits = Limits { index_bytes: 1 << 20, ..Limits::default() };
    let Ok(variables) = variables::read(&files, &limits) else { return };
    for variable in variables {
        assert!(variable.bytes <= 4096, "{} has {} bytes", variable.name, variable.bytes);
    }
});
