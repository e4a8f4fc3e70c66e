//! Where secrets go, for programs that want them as files or descriptors.
//!
//! [`Places::prepare`] looks at every destination before the broker is asked: a
//! secret that has no safe place is not fetched. [`Places::deliver`] then puts
//! them there.

mod file;
mod memory;
mod storage;
mod tree;

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
};

use adytum_api::names::SecretName;

pub(crate) use self::storage::refuse_shared;
pub use self::{file::SecretFile, memory::SecretDescriptor, tree::BundlePlace};
use crate::{
    configuration::{MeasuredConfiguration, SecretDestination},
    platform::Platform,
    secret::{Released, SecretKind, SecretValue},
};

/// Why a secret can't go where the configuration says.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The directory for a secret may be read or kept by the host.
    ///
    /// Do: choose a directory in memory or in the encrypted file system, as
    /// docs/measured-configuration.md describes, and measure the configuration again.
    #[error("{} is no place for a secret: {reason}", directory.display())]
    Unsafe {
        directory: PathBuf,
        /// The facts and the next step: found, expected, what to do.
        reason: String,
    },
    /// The system refused an operation on the place of a secret.
    ///
    /// Do: read the system's reason in the message; check the directory and its
    /// permissions.
    #[error("{operation} {}: {source}", path.display())]
    System { operation: &'static str, path: PathBuf, source: io::Error },
    /// The file descriptor for a secret is open already.
    ///
    /// Do: start `adytum-init` without it, or choose another `fd:N` and measure the
    /// configuration again.
    #[error(
        "descriptor {number} is open already; start adytum-init without it, or choose another fd:N and measure \
         the configuration again"
    )]
    Taken { number: u32 },
    /// Something that init did not make is where a bundle is to go.
    ///
    /// Do: remove it, or choose another `path` for the bundle and measure the
    /// configuration again.
    #[error(
        "{} is there already, and is no bundle that init unpacked; remove it, or choose another path and measure the \
         configuration again",
        path.display()
    )]
    Occupied { path: PathBuf },
    /// A secret has no path, so a program that init starts can't reach it.
    ///
    /// Do: give the secret a `path` in the measured configuration, and measure it again.
    #[error(
        "secret {name} has no path: a program that init starts can't reach it; give it a path, or fd:N, and \
         measure the configuration again"
    )]
    NoPlace { name: SecretName },
    /// A secret has a `key_path`, and the broker's value has no key of its own.
    ///
    /// Do: remove `key_path` from the measured configuration, or give the secret the kind
    /// `tls-certificate` in the manifest.
    #[error(
        "the measured configuration has a key_path for {name}, but the broker gave a value of the kind {kind:?}: only \
         a tls-certificate is a certificate and a key; remove key_path, or change the kind in the manifest"
    )]
    NoKey { name: SecretName, kind: SecretKind },
}

impl DeliveryError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsafe { .. } => "storage-unsafe",
            Self::System { .. } => "storage-failed",
            Self::Taken { .. } => "descriptor-taken",
            Self::Occupied { .. } => "storage-occupied",
            Self::NoPlace { .. } => "secret-without-place",
            Self::NoKey { .. } => "secret-without-key",
        }
    }
}

/// One file, or two: a certificate chain and its key.
#[derive(Debug)]
struct FilePlace {
    file: SecretFile,
    key: Option<SecretFile>,
}

impl FilePlace {
    /// Each file is replaced atomically; of two, the key comes first, and the
    /// program that reads them is informed when both are there.
    fn replace(&mut self, name: &SecretName, secret: &SecretValue) -> Result<(), DeliveryError> {
        let Some(key_file) = &mut self.key else { return self.file.replace(secret.as_bytes()) };
        let (chain, key) = secret
            .chain_and_key()
            .ok_or_else(|| DeliveryError::NoKey { name: name.clone(), kind: secret.kind() })?;
        key_file.replace(key)?;
        self.file.replace(chain)
    }
}

/// The places of all secrets of a configuration, looked at and found fit. Files
/// that were delivered are removed when this is dropped.
#[derive(Debug)]
pub struct Places {
    files: BTreeMap<SecretName, FilePlace>,
    descriptors: BTreeMap<SecretName, SecretDescriptor>,
}

impl Places {
    /// Looks at every destination. Descriptors are reserved, so call this
    /// before anything else opens files.
    pub fn prepare(configuration: &MeasuredConfiguration, platform: Platform) -> Result<Self, DeliveryError> {
        let mut places = Self { files: BTreeMap::new(), descriptors: BTreeMap::new() };
        for (name, rule) in configuration.secrets() {
            match &rule.destination {
                // What init itself uses is its own business.
                SecretDestination::Memory if configuration.is_for_init(name) => {}
                SecretDestination::Memory => return Err(DeliveryError::NoPlace { name: name.clone() }),
                SecretDestination::Descriptor(number) => {
                    places.descriptors.insert(name.clone(), SecretDescriptor::reserve(*number)?);
                }
                SecretDestination::File(_) => {}
            }
        }
        // After the descriptors: opening directories takes the lowest free ones.
        for (name, rule) in configuration.secrets() {
            if let SecretDestination::File(path) = &rule.destination {
                let prepare = |path| SecretFile::prepare(path, rule.owner, platform, configuration.storage());
                let key = rule.key_path.as_ref().map(prepare).transpose()?;
                places.files.insert(name.clone(), FilePlace { file: prepare(path)?, key });
            }
        }
        Ok(places)
    }

    /// Puts every secret where it belongs. Called again after a renewal, it
    /// replaces the files atomically; descriptors keep what they have.
    pub fn deliver(&mut self, released: &Released) -> Result<(), DeliveryError> {
        for (name, place) in &mut self.files {
            if let Some(secret) = released.secrets.get(name) {
                place.replace(name, secret)?;
                let path = place.file.path();
                tracing::info!(secret = %name, version = secret.version(), "secret written to {path}");
            }
        }
        for (name, descriptor) in &mut self.descriptors {
            if let Some(secret) = released.secrets.get(name) {
                descriptor.fill(secret)?;
                tracing::info!(secret = %name, version = secret.version(), "secret in descriptor {}", descriptor.number());
            }
        }
        Ok(())
    }

    /// The descriptors that the program inherits, each already at its number.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.descriptors.values().map(SecretDescriptor::as_fd)
    }
}
