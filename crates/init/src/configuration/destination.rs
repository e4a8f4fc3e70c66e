//! Where a secret goes and what follows.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// An absolute path in its one spelling: no `.`, no `..`, no empty component, no
/// control character, no slash at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AbsolutePath(String);

/// Why a text is not such a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is not a plain absolute path: {reason}")]
pub struct PathError {
    pub path: String,
    pub reason: &'static str,
}

impl AbsolutePath {
    /// For the system.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AbsolutePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let error = |reason| Err(PathError { path: text.to_owned(), reason });
        let Some(rest) = text.strip_prefix('/') else {
            return error("it does not start with a slash");
        };
        if text.chars().any(char::is_control) {
            return error("it has a control character");
        }
        if text.len() > 4095 {
            return error("it is longer than a path can be");
        }
        if !rest.is_empty() && rest.split('/').any(|component| matches!(component, "" | "." | "..")) {
            return error("it has an empty component, \".\" or \"..\"");
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for AbsolutePath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}

impl From<AbsolutePath> for String {
    fn from(path: AbsolutePath) -> Self {
        path.0
    }
}

impl From<AbsolutePath> for PathBuf {
    fn from(path: AbsolutePath) -> Self {
        path.0.into()
    }
}

impl fmt::Display for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Where a secret goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SecretDestination {
    /// It stays in init's memory: for programs that have init as a library.
    /// Written `memory`; also what a missing `path` means.
    Memory,
    /// A file of mode 0400 inside the TEE.
    File(AbsolutePath),
    /// This descriptor of the program: a sealed memfd with the secret in it.
    /// Written `fd:N`, N from 3 to [`SecretDestination::MAXIMUM_DESCRIPTOR`].
    Descriptor(u32),
}

impl SecretDestination {
    /// The highest descriptor that a secret may have. Above are init's own.
    pub const MAXIMUM_DESCRIPTOR: u32 = 63;
}

impl FromStr for SecretDestination {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let Some(number) = text.strip_prefix("fd:") else {
            return match text {
                "memory" => Ok(Self::Memory),
                "/" => Err(PathError { path: text.to_owned(), reason: "it is a directory" }),
                path => path.parse().map(Self::File),
            };
        };
        number
            .parse()
            .ok()
            .filter(|n| (3..=Self::MAXIMUM_DESCRIPTOR).contains(n) && n.to_string() == number)
            .map(Self::Descriptor)
            .ok_or_else(|| PathError {
                path: text.to_owned(),
                reason: "a descriptor is written fd:N with N from 3 to 63",
            })
    }
}

impl TryFrom<String> for SecretDestination {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}

impl From<SecretDestination> for String {
    fn from(destination: SecretDestination) -> Self {
        destination.to_string()
    }
}

impl fmt::Display for SecretDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.pad("memory"),
            Self::File(path) => path.fmt(f),
            Self::Descriptor(number) => write!(f, "fd:{number}"),
        }
    }
}

/// Whose a secret's file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// User id; init's own if absent.
    pub user: Option<u32>,
    /// Group id; init's own if absent.
    pub group: Option<u32>,
}

/// A signal that tells a program to read its files again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "signal(7)'s own names")]
pub enum ReloadSignal {
    Hup,
    Usr1,
    Usr2,
    Winch,
}

impl From<ReloadSignal> for Signal {
    fn from(signal: ReloadSignal) -> Self {
        match signal {
            ReloadSignal::Hup => Self::SIGHUP,
            ReloadSignal::Usr1 => Self::SIGUSR1,
            ReloadSignal::Usr2 => Self::SIGUSR2,
            ReloadSignal::Winch => Self::SIGWINCH,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        for text in ["/", "/a", "/run/adytum/key.pem", "/a b/ü"] {
            assert_eq!(text.parse::<AbsolutePath>().unwrap().as_str(), text);
        }
        for text in ["", "a", "./a", "/a/", "//a", "/a/../b", "/./a", "/a\n"] {
            assert!(text.parse::<AbsolutePath>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn destinations_print_as_they_parse() {
        for text in ["memory", "/run/key", "fd:3", "fd:63"] {
            assert_eq!(text.parse::<SecretDestination>().unwrap().to_string(), text);
        }
        for text in ["fd:2", "fd:64", "fd:+3", "fd:03", "fd:", "key", "/", ""] {
            assert!(text.parse::<SecretDestination>().is_err(), "{text:?}");
        }
    }
}
