//! An owner's directory: keys, sealed models and documents. `adytum deployment` and `adytum up`
//! make it.
//!
//! ```text
//! deployment.toml  what is deployed: the workload, its models and names (`adytum deployment`)
//! public/          may be known: genesis, policies, measured configuration, manifest, server.crt
//! private/         may not: the owner's key, the recovery key, secrets/NAME for the broker,
//!                  platform/ of a simulation
//! models/          the sealed models, models/NAME/VERSION
//! manifest-more.toml, if it is there, is added to the manifest
//! ```

mod documents;
mod floor;
mod keys;
mod lock;
mod made;
mod manifest;
mod more;

use std::path::{Path, PathBuf};

pub(crate) use self::{
    documents::Service,
    keys::Keys,
    made::{read_if_there, remove, replace},
};

/// An owner's directory.
#[derive(Clone, Debug)]
pub(crate) struct OwnerDirectory(PathBuf);

impl OwnerDirectory {
    /// A directory that somebody names, as it is.
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
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

    /// The simulated platform.
    #[cfg(feature = "simulation")]
    pub(crate) fn platform(&self) -> PathBuf {
        self.private("platform")
    }

    /// The sealed models, each in a directory of its name.
    pub(crate) fn models(&self) -> PathBuf {
        self.0.join("models")
    }

    /// The versions of a model.
    pub(crate) fn model(&self, name: &str) -> PathBuf {
        self.models().join(name)
    }
}
