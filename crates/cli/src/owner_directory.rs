//! An owner's directory: keys, sealed models and documents, laid out as
//! `deploy/owner.sh` makes it.
//!
//! ```text
//! public/     may be known: genesis, policies, measured configuration, manifest, server.crt
//! private/    may not: the owner's key, the recovery key, secrets/NAME for the broker,
//!             platform/ of a simulation
//! models/     the sealed models, models/NAME/VERSION
//! ```

#[cfg(feature = "simulation")]
mod documents;
mod floor;
#[cfg(feature = "simulation")]
mod keys;
mod made;

use std::path::{Path, PathBuf};

pub(crate) use self::made::replace;
#[cfg(feature = "simulation")]
pub(crate) use self::{documents::Service, keys::Keys};

/// An owner's directory.
#[derive(Clone, Debug)]
pub(crate) struct OwnerDirectory(PathBuf);

impl OwnerDirectory {
    /// A directory that somebody names, as it is.
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// A file that may be known.
    pub(crate) fn public(&self, name: &str) -> PathBuf {
        self.0.join("public").join(name)
    }

    /// A file that may not.
    pub(crate) fn private(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join("private").join(name)
    }

    /// The value of a secret that the owner gives to the broker.
    pub(crate) fn secret(&self, name: &str) -> PathBuf {
        self.private("secrets").join(name)
    }
}
