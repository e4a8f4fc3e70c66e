//! Files of keys: written once with mode 0600, read with a bound.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
};

use adytum_governance::recovery::sharing::{RecoveryIdentity, SharingError};
use adytum_sealed::keys::{ModelIdentity, ModelKeyError};
use adytum_signing::{KeyError, OwnerPublicKey, OwnerSigningKey};
use anyhow::Context;
use zeroize::Zeroizing;

use crate::output;

/// More than any key's file has, in bytes.
const MAXIMUM_LENGTH: u64 = 64 * 1024;

/// Creates a file that must not exist yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(|error| match error
            .kind()
        {
            io::ErrorKind::AlreadyExists => input_error!(
                "{} exists already and is never overwritten; name another file, or move that one away",
                path.display()
            ),
            _ => anyhow::Error::new(error).context(format!("{} can't be created", path.display())),
        })?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("{} can't be written", path.display()))
}

/// Reads a text of limited length.
pub(crate) fn read_text(path: &Path, limit: u64) -> anyhow::Result<Zeroizing<String>> {
    let bytes = read_bytes(path, limit)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => {
            bail_input!(
                "{} is not text (UTF-8); give the file that the command wrote or expects",
                path.display()
            )
        }
    }
}

/// Reads a file of limited length.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path).with_context(|| format!("{} can't be read", path.display()))?;
    read_limited(file, limit).with_context(|| format!("{} can't be read", path.display()))
}

/// Reads to the end, if that comes soon enough.
pub(crate) fn read_limited(reader: impl Read, limit: u64) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it at once, so that no piece is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(limit + 1)?));
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        bail_input!("it has more than {limit} bytes; give another file");
    }
    Ok(bytes)
}

/// Reads an owner's key.
pub(crate) fn owner_key(path: &Path) -> anyhow::Result<OwnerSigningKey> {
    let text = read_text(path, MAXIMUM_LENGTH).context("the owner's key")?;
    let key = OwnerSigningKey::from_pem(&text)
        .map_err(|error| input_error!("{}: {error}; make a key with `adytum owner new`", path.display()))?;
    warn_if_others_can_read(path);
    Ok(key)
}

/// Reads an age identity.
pub(crate) fn model_identity(path: &Path) -> anyhow::Result<ModelIdentity> {
    let text = read_text(path, MAXIMUM_LENGTH).context("the model key")?;
    let identity = text.parse().map_err(|error: ModelKeyError| {
        input_error!("{}: {error}; make a key with `adytum model-key new`", path.display())
    })?;
    warn_if_others_can_read(path);
    Ok(identity)
}

/// Reads a recovery key.
pub(crate) fn recovery_identity(path: &Path) -> anyhow::Result<RecoveryIdentity> {
    let text = read_text(path, MAXIMUM_LENGTH).context("the recovery key")?;
    let identity = text.parse().map_err(|error: SharingError| {
        input_error!("{}: {error}; make a key with `adytum recovery-key new`", path.display())
    })?;
    warn_if_others_can_read(path);
    Ok(identity)
}

fn warn_if_others_can_read(path: &Path) {
    if let Ok(metadata) = path.metadata()
        && metadata.permissions().mode() & 0o077 != 0
    {
        output::note(format_args!("adytum: warning: others can read {}; chmod 600 it", path.display()));
    }
}

/// An owner, as a flag names one: the public key, or the file of the key.
#[derive(Clone, Debug)]
pub(crate) enum OwnerReference {
    /// `ed25519:..`
    PublicKey(OwnerPublicKey),
    /// A file in PEM.
    File(PathBuf),
}

impl FromStr for OwnerReference {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.starts_with("ed25519:") {
            text.parse().map(Self::PublicKey)
        } else {
            Ok(Self::File(text.into()))
        }
    }
}

impl OwnerReference {
    /// The public key.
    pub(crate) fn public_key(&self) -> anyhow::Result<OwnerPublicKey> {
        match self {
            Self::PublicKey(key) => Ok(*key),
            Self::File(path) => Ok(owner_key(path)?.public_key()),
        }
    }
}
