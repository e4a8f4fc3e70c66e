//! What a KBS calls a secret.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// The repository where none is named.
const DEFAULT_REPOSITORY: &str = "default";

/// Why a text is no path of a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no resource: expected REPOSITORY/TYPE/TAG or TYPE/TAG, of letters, digits, '_', '-' and '.'"
)]
pub struct ResourceError(String);

/// Repository, type and tag of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct ResourcePath {
    repository: String,
    kind: String,
    tag: String,
}

impl FromStr for ResourcePath {
    type Err = ResourceError;

    fn from_str(text: &str) -> Result<Self, ResourceError> {
        let parts: Vec<&str> = text.split('/').collect();
        let (repository, kind, tag) = match parts.as_slice() {
            [repository, kind, tag] => (*repository, *kind, *tag),
            [kind, tag] => (DEFAULT_REPOSITORY, *kind, *tag),
            _ => return Err(ResourceError(text.to_owned())),
        };
        let is_part = |part: &str| {
            (1..129).contains(&part.len())
                && !part.bytes().all(|byte| byte == b'.')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        };
        if ![repository, kind, tag].into_iter().all(is_part) {
            return Err(ResourceError(text.to_owned()));
        }
        Ok(Self { repository: repository.to_owned(), kind: kind.to_owned(), tag: tag.to_owned() })
    }
}

impl fmt::Display for ResourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.repository, self.kind, self.tag)
    }
}

impl From<ResourcePath> for String {
    fn from(path: ResourcePath) -> Self {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_three_parts_or_two() {
        for (text, expected) in [("a/b/c", "a/b/c"), ("b/c", "default/b/c")] {
            assert_eq!(text.parse::<ResourcePath>().unwrap().to_string(), expected);
        }
        for text in ["", "a", "a/b/c/d", "a//c", "../b/c", "a/b/..", "a/b/c?x", "a b/c/d"] {
            assert!(text.parse::<ResourcePath>().is_err(), "{text:?}");
        }
    }
}
