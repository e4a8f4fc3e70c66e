//! Paths of resources, as the KBS protocol of Confidential Containers has them:
//! `repository/type/tag`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The repository of a path that names none.
const DEFAULT_REPOSITORY: &str = "default";
/// The longest part of a path, in bytes.
pub const MAXIMUM_PART_LENGTH: usize = 128;

/// The path of one resource. Each of its three parts has 1 to [`MAXIMUM_PART_LENGTH`]
/// characters of `a-z A-Z 0-9 _ - .`, the first no dot. So a path needs no escape in a URL, and no
/// part of it leads to another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourcePath(String);

/// Why a text is not the path of a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResourcePathError {
    /// The text does not have three parts.
    #[error("expected repository/type/tag, found {found} part(s)")]
    Parts { found: usize },
    /// A part is empty.
    #[error("the {part} in the path of a resource is empty; expected repository/type/tag")]
    Empty { part: &'static str },
    /// A part is too long.
    #[error(
        "the {part} in the path of a resource has {length} bytes; at most {MAXIMUM_PART_LENGTH} are allowed"
    )]
    TooLong { part: &'static str, length: usize },
    /// A part has a character that paths don't have.
    #[error(
        "the {part} in the path of a resource has {found:?}; allowed are letters, digits, '_', '-' and '.', the \
         first no dot"
    )]
    Character { part: &'static str, found: char },
}

const PARTS: [&str; 3] = ["repository", "type", "tag"];

impl ResourcePath {
    /// The path as text, `repository/type/tag`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A path as a request has it: the repository may be left out.
    pub fn of_request(text: &str) -> Result<Self, ResourcePathError> {
        match text.split('/').count() {
            2 => format!("{DEFAULT_REPOSITORY}/{text}").parse(),
            _ => text.parse(),
        }
    }
}

fn check(text: &str) -> Result<(), ResourcePathError> {
    // At most one more is of interest.
    let found = text.split('/').take(PARTS.len() + 1).count();
    if found != PARTS.len() {
        return Err(ResourcePathError::Parts { found: text.split('/').count() });
    }
    for (part, value) in PARTS.into_iter().zip(text.split('/')) {
        if value.is_empty() {
            return Err(ResourcePathError::Empty { part });
        }
        if value.len() > MAXIMUM_PART_LENGTH {
            return Err(ResourcePathError::TooLong { part, length: value.len() });
        }
        for (position, found) in value.chars().enumerate() {
            let allowed =
                found.is_ascii_alphanumeric() || matches!(found, '_' | '-') || (position > 0 && found == '.');
            if !allowed {
                return Err(ResourcePathError::Character { part, found });
            }
        }
    }
    Ok(())
}

impl FromStr for ResourcePath {
    type Err = ResourcePathError;

    fn from_str(text: &str) -> Result<Self, ResourcePathError> {
        check(text).map(|()| Self(text.to_owned()))
    }
}

impl TryFrom<String> for ResourcePath {
    type Error = ResourcePathError;

    fn try_from(text: String) -> Result<Self, ResourcePathError> {
        check(&text).map(|()| Self(text))
    }
}

impl From<ResourcePath> for String {
    fn from(path: ResourcePath) -> Self {
        path.0
    }
}

impl fmt::Display for ResourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_paths_pass() {
        for text in ["default/key/model", "my-repo/keys/1.0", "_a/-b/c_", "default/kbs-tests/key..2"] {
            assert_eq!(text.parse::<ResourcePath>().unwrap().as_str(), text);
            assert_eq!(ResourcePath::of_request(text).unwrap().as_str(), text);
        }
        assert_eq!(ResourcePath::of_request("key/model").unwrap().as_str(), "default/key/model");
    }

    #[test]
    fn others_say_why_not() {
        let error = |text: &str| text.parse::<ResourcePath>().unwrap_err();
        assert_eq!(error("key/model"), ResourcePathError::Parts { found: 2 });
        assert_eq!(error(""), ResourcePathError::Parts { found: 1 });
        assert_eq!(error("a/b/c/d/e"), ResourcePathError::Parts { found: 5 });
        assert_eq!(error("a//c"), ResourcePathError::Empty { part: "type" });
        assert_eq!(
            error(&format!("a/b/{}", "c".repeat(129))),
            ResourcePathError::TooLong { part: "tag", length: 129 }
        );
        for (text, part, found) in [
            ("a/../c", "type", '.'),
            ("a/b/.c", "tag", '.'),
            ("a b/b/c", "repository", ' '),
            ("a/b/c%2f", "tag", '%'),
            ("a/b/c\n", "tag", '\n'),
            ("ä/b/c", "repository", 'ä'),
        ] {
            assert_eq!(error(text), ResourcePathError::Character { part, found }, "{text}");
        }
    }
}
