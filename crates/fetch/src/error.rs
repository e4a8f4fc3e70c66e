//! The reasons why a version does not get from its source into the directory.

use std::{fmt, io, path::PathBuf};

use adytum_sealed::statement::StatementError;

/// How many characters of a server's words a message repeats.
const LONGEST_REASON: usize = 400;

/// Why something was not fetched.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The address of the source is not one that the command knows.
    ///
    /// Do: give the address as in `s3://BUCKET/PATH`, `az://CONTAINER/PATH`, `gs://BUCKET/PATH`,
    /// `https://HOST/PATH/VERSION`, `https://HOST/PATH/` or `file:///PATH`. Credentials come from
    /// the environment, never from the address.
    #[error("the source {address} is not understood: {reason}")]
    Address {
        /// As it was given.
        address: String,
        reason: String,
    },
    /// The settings of the object store in the environment are incomplete or contradict each
    /// other.
    ///
    /// Do: set the variables of the store: `AWS_*`, `AZURE_*` or `GOOGLE_*`.
    #[error("the settings of the object store can't be used: {reason}")]
    Settings { reason: String },
    /// The bucket, the container or the object does not exist.
    ///
    /// Do: check the source's address, and `AWS_ENDPOINT_URL` or the like if the store is not
    /// its vendor's.
    #[error("{place} does not exist: {reason}")]
    NotFound {
        place: String,
        /// In the store's words.
        reason: String,
    },
    /// The object store refused the credentials, or what they allow is not enough.
    ///
    /// Do: check the credentials in the environment, and that they may list and read the
    /// source. A release also needs the rights to write and to delete.
    #[error("access to {place} was refused: {reason}")]
    Denied {
        place: String,
        /// In the store's words.
        reason: String,
    },
    /// The source did not answer, or answered with an error.
    ///
    /// Do: check that the source can be reached from here. An `http://` endpoint of a bucket
    /// needs `AWS_ALLOW_HTTP=true` or the like. If the transfer was interrupted, try again.
    ///
    /// Retry: later
    #[error("no usable answer from {place}: {reason}")]
    Unreachable { place: String, reason: String },
    /// The source has no version of a model.
    ///
    /// Do: check the source's path. It is the directory above the versions, which have
    /// numbers as names: `SOURCE/1/model.seal`.
    #[error("{place} holds no version of a model: expected {place}/NUMBER/model.seal with its ciphertext")]
    NoVersion { place: String },
    /// A version that was asked for by its number is not at the source.
    ///
    /// Do: correct `--versions`, or upload the version.
    #[error("the source has no version {version}")]
    VersionMissing { version: u64 },
    /// The name of an object could lead out of the directory, or has characters that file
    /// names here don't have.
    ///
    /// Do: give the object a name of printable ASCII letters, digits and signs, without `..`
    /// and backslashes, at most 255 characters in each part and at most 8 parts deep.
    #[error("the name {name} is refused: {reason}")]
    Name { name: String, reason: &'static str },
    /// A file of a `file://` source is a symbolic link that leads out of the source.
    ///
    /// Do: put the file itself into the source.
    #[error("{} is a symbolic link that leads out of the source", path.display())]
    Link { path: PathBuf },
    /// Two directories of the source are the same version, such as `1` and `001`.
    ///
    /// Do: remove one of them.
    #[error("version {version} is there twice, as {first} and as {second}")]
    SameVersion { version: u64, first: String, second: String },
    /// The version has more files than are fetched.
    ///
    /// Do: check that the source is the right one; if it is, raise `--max-files`.
    #[error("version {version} has more than {limit} files; raise --max-files if that is right")]
    TooManyFiles { version: u64, limit: usize },
    /// The source has more objects than are looked at.
    ///
    /// Do: name the directory of one model as the source, not one above it.
    #[error("{place} has more than {limit} objects; name the directory of one model")]
    TooManyObjects { place: String, limit: usize },
    /// The version has more bytes than are fetched.
    ///
    /// Do: check that the source is the right one; if it is, raise `--max-bytes`.
    #[error("version {version} has {size} bytes, the limit is {limit}; raise --max-bytes if that is right")]
    TooLarge { version: u64, size: u64, limit: u64 },
    /// The version has no model, or not all of it. It may be one that is being uploaded.
    ///
    /// Do: upload what is missing. Upload `model.seal` last, so that a version counts only when
    /// it is whole.
    ///
    /// Retry: later
    #[error("version {version} is not complete: {missing} is missing")]
    Incomplete { version: u64, missing: String },
    /// The statement about a sealed model can't be read.
    #[error("version {version}: {source}")]
    Statement { version: u64, source: StatementError },
    /// The ciphertext is shorter than the model that its statement describes.
    ///
    /// Do: upload the file again; it was cut.
    ///
    /// Retry: later
    #[error("{name} of version {version} was cut: it has {found} bytes, expected at least {expected}")]
    Truncated { version: u64, name: String, found: u64, expected: u64 },
    /// A file had another length than the source stated.
    ///
    /// Do: try again; if it happens again, upload the file again.
    ///
    /// Retry: yes
    #[error("{name} of version {version} has {found} bytes, the source stated {expected}")]
    Length { version: u64, name: String, found: u64, expected: u64 },
    /// The version changed at the source while it was fetched.
    ///
    /// Do: try again when the upload is finished.
    ///
    /// Retry: later
    #[error("version {version} changed while it was fetched")]
    Changed { version: u64 },
    /// Another `adytum model pull` fills the directory.
    ///
    /// Do: end the other one, or give each a directory of its own.
    ///
    /// Retry: later
    #[error("{} is in use by another adytum model pull", directory.display())]
    InUse { directory: PathBuf },
    /// A file or directory can't be written.
    ///
    /// Do: read the system's reason in the message; check the path, its permissions and the
    /// free space.
    #[error("{} can't be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl PullError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "pull-address",
            Self::Settings { .. } => "pull-settings",
            Self::NotFound { .. } => "pull-not-found",
            Self::Denied { .. } => "pull-denied",
            Self::Unreachable { .. } => "pull-unreachable",
            Self::NoVersion { .. } => "pull-no-version",
            Self::VersionMissing { .. } => "pull-version-missing",
            Self::Name { .. } => "pull-name",
            Self::Link { .. } => "pull-link",
            Self::SameVersion { .. } => "pull-same-version",
            Self::TooManyFiles { .. } => "pull-too-many-files",
            Self::TooManyObjects { .. } => "pull-too-many-objects",
            Self::TooLarge { .. } => "pull-too-large",
            Self::Incomplete { .. } => "pull-incomplete",
            Self::Statement { source, .. } => source.code(),
            Self::Truncated { .. } => "pull-truncated",
            Self::Length { .. } => "pull-length",
            Self::Changed { .. } => "pull-changed",
            Self::InUse { .. } => "pull-directory-in-use",
            Self::Write { .. } => "pull-write",
        }
    }

    /// What an object store's error means, by its kind.
    pub(crate) fn of_store(place: &str, error: &object_store::Error) -> Self {
        use object_store::Error;
        let (place, reason) = (place.to_owned(), printable(error));
        match error {
            Error::NotFound { .. } => Self::NotFound { place, reason },
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Self::Denied { place, reason },
            Error::InvalidPath { .. } => {
                Self::Name { name: reason, reason: "a part of it is empty, `.`, `..` or not text" }
            }
            Error::UnknownConfigurationKey { .. } => Self::Settings { reason },
            _ => Self::Unreachable { place, reason },
        }
    }
}

/// A text from outside, safe in a line of a log: escaped and cut.
pub(crate) fn printable(text: impl fmt::Display) -> String {
    let text = text.to_string();
    let mut safe: String = text.chars().take(LONGEST_REASON).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST_REASON).is_some() {
        safe.push('…');
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_server_stay_in_their_line() {
        let long = format!("a\nb\u{1b}[31m{}", "x".repeat(1000));
        let safe = printable(&long);
        assert!(safe.starts_with("a\\nb\\u{1b}[31mx") && safe.ends_with('…') && safe.len() < 500, "{safe}");
    }
}
