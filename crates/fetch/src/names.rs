//! Names of files that stay in their directory.

use std::path::{Path, PathBuf};

use crate::error::{PullError, printable};

/// How deep a version's files may be.
const DEEPEST: usize = 8;

/// The longest part of a name, in bytes: that of the file systems of Linux.
const LONGEST_PART: usize = 255;

/// The name of a file below a version's directory. It can't lead out of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileName(String);

impl FileName {
    /// Checks a name whose parts are divided by `/`.
    pub(crate) fn parse(text: &str) -> Result<Self, PullError> {
        match reason_against(text) {
            None => Ok(Self(text.to_owned())),
            Some(reason) => Err(PullError::Name { name: printable(text), reason }),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the file is below this directory.
    pub(crate) fn below(&self, directory: &Path) -> PathBuf {
        directory.join(&self.0)
    }
}

/// Why this is no name for a file here.
fn reason_against(text: &str) -> Option<&'static str> {
    let parts: Vec<&str> = text.split('/').collect();
    if parts.len() > DEEPEST {
        return Some("it is more than 8 parts deep");
    }
    for part in parts {
        if part.is_empty() {
            return Some("a part of it is empty");
        }
        if part == "." || part == ".." {
            return Some("it could lead out of the directory");
        }
        if part.len() > LONGEST_PART {
            return Some("a part of it has more than 255 characters");
        }
        if !part.bytes().all(|byte| (byte == b' ' || byte.is_ascii_graphic()) && byte != b'\\') {
            return Some("it has characters other than printable ASCII, or a backslash");
        }
    }
    None
}

/// Files that tools leave behind, such as `.DS_Store`. No model has files with such names.
pub(crate) fn is_hidden(text: &str) -> bool {
    text.split('/').any(|part| part.starts_with('.') && part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_models_are_taken() {
        for name in
            ["model.seal", "model.onnx.age", "variables/variables.data-00000-of-00001", "assets/a b.txt"]
        {
            assert_eq!(FileName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_could_lead_out_are_refused() {
        let long = "x".repeat(256);
        let deep = ["a"; 9].join("/");
        for name in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../x",
            "a/./x",
            "a//x",
            "a/",
            "a\\..\\x",
            "a\0",
            "a\nb",
            "é",
            &long,
            &deep,
        ] {
            let error = FileName::parse(name).unwrap_err();
            assert_eq!(error.code(), "pull-name", "{name:?}");
        }
    }

    #[test]
    fn hidden_files_are_recognised() {
        assert!(is_hidden(".DS_Store") && is_hidden("assets/.keep") && is_hidden("..data/x"));
        assert!(!is_hidden("a.b") && !is_hidden("../x") && !is_hidden("./x"));
    }

    proptest! {
        #[test]
        fn a_name_that_is_taken_stays_inside(text in "(\\PC|/|\\.|\\\\|\0|\n){0,40}") {
            if let Ok(name) = FileName::parse(&text) {
                let path = name.below(Path::new("/base"));
                prop_assert!(path.starts_with("/base"));
                prop_assert!(path.components().skip(2).all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
