//! Names of secrets, workloads and models.
//!
//! One rule for all of them: 1 to 128 characters of `a-z A-Z 0-9 _ - .`, the
//! first a letter or digit. So a name is safe in a path, a log line and a
//! metric without escaping.

use std::{borrow::Borrow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest name, in bytes.
pub const MAXIMUM_NAME_LENGTH: usize = 128;

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text is empty.
    #[error("a {kind} name is empty")]
    Empty {
        /// The kind of thing that the name is for.
        kind: &'static str,
    },
    /// The text has more than [`MAXIMUM_NAME_LENGTH`] bytes.
    #[error("a {kind} name has {length} bytes; at most {MAXIMUM_NAME_LENGTH} are allowed")]
    TooLong {
        /// The kind of thing that the name is for.
        kind: &'static str,
        /// The length that was found, in bytes.
        length: usize,
    },
    /// The text has a character that names don't have.
    #[error(
        "a {kind} name has {found:?} at position {position}; allowed are letters, digits, '_', '-' and '.', \
         the first a letter or digit"
    )]
    Character {
        /// The kind of thing that the name is for.
        kind: &'static str,
        found: char,
        /// Its position in characters, from 0.
        position: usize,
    },
}

fn check(kind: &'static str, text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if text.len() > MAXIMUM_NAME_LENGTH {
        return Err(NameError::TooLong { kind, length: text.len() });
    }
    for (position, found) in text.chars().enumerate() {
        let allowed = found.is_ascii_alphanumeric() || (position > 0 && matches!(found, '_' | '-' | '.'));
        if !allowed {
            return Err(NameError::Character { kind, found, position });
        }
    }
    Ok(())
}

macro_rules! name {
    ($(#[$documentation:meta])* $type:ident, $kind:literal) => {
        $(#[$documentation])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check($kind, text).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                check($kind, &text).map(|()| Self(text))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// What a secret is called in the manifest and in requests.
    SecretName,
    "secret"
);
name!(
    /// What a workload is called in the manifest.
    WorkloadName,
    "workload"
);
name!(
    /// What a model is called in the manifest, in its seal and by clients.
    ModelName,
    "model"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_pass() {
        for text in ["ssl_config", "model_key", "resnet", "tf-demo.v2", "0", &"a".repeat(128)] {
            assert_eq!(text.parse::<SecretName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn others_say_why_not() {
        assert_eq!("".parse::<ModelName>(), Err(NameError::Empty { kind: "model" }));
        assert_eq!(
            "a".repeat(129).parse::<WorkloadName>(),
            Err(NameError::TooLong { kind: "workload", length: 129 })
        );
        for (text, found, position) in [
            ("../x", '.', 0),
            ("a/b", '/', 1),
            ("a b", ' ', 1),
            ("schlüssel", 'ü', 4),
            ("a\n", '\n', 1),
            ("-rf", '-', 0),
        ] {
            assert_eq!(
                text.parse::<SecretName>(),
                Err(NameError::Character { kind: "secret", found, position })
            );
        }
    }
}
