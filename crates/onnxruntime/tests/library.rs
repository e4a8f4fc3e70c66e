//! Other files in the place of the library.

#![allow(unused_imports, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{fs, path::PathBuf};

use adytum_onnxruntime::{Library, RuntimeError, SharedObject};
use fixture::object;

fn refusal(path: PathBuf) -> RuntimeError {
    Library::load(&[], &object(path)).expect_err("it is not ONNX Runtime")
}

/// The C library, which this process has.
fn c_library() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .find(|path| path.contains("/libc.so") || path.contains("/ld-musl"))
        .expect("a C library")
        .into()
}

#[test]
fn what_is_no_library_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in
        [("text.so", &b"a text"[..]), ("empty.so", b""), ("elf.so", b"\x7fELF\x02\x01\x01")]
    {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        let error = refusal(path.clone());
        assert_eq!(error.code(), "onnxruntime-not-loaded", "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let error = refusal(directory.path().join("none.so"));
    assert_eq!(error.code(), "onnxruntime-not-loaded");
    assert_eq!(refusal(directory.path().to_owned()).code(), "onnxruntime-not-loaded");
}

#[test]
fn another_library_is_refused() {
    let error = refusal(c_library());
    assert_eq!(error.code(), "onnxruntime-other-library");
    assert!(error.to_string().contains("OrtGetApiBase"), "{error}");
}

/// One that ONNX Runtime needs can't be loaded.
#[test]
fn a_library_that_is_needed_must_load() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("libstdc++-of-somebody.so.6");
    fs::write(&path, "a text").unwrap();
    let needed = SharedObject { name: "libstdc++-of-somebody.so.6".to_owned(), location: path.clone(), path };
    let error = Library::load(&[needed], &object(c_library())).expect_err("it can't be loaded");
    assert_eq!(error.code(), "onnxruntime-not-loaded");
    assert!(error.to_string().contains("somebody"), "{error}");
}

#[test]
fn the_library_says_its_version() {
    let Some(path) = fixture::library() else { return };
    let library = Library::load(&[], &object(path)).unwrap();
    assert!(library.version().starts_with("1."), "{}", library.version());
}
