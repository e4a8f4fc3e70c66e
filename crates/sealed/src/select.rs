//! Which of the models in a directory are genuine.

use std::path::{Path, PathBuf};

use crate::{
    directory::{Content, PlainFormat, RefusalReason, Refused, Scan},
    file::open_regular,
    keys::ModelIdentity,
    rule::{GenuineStatement, ModelRule},
    secret_bytes::SecretBytes,
    unseal::{MAXIMUM_HEADER_LENGTH, UnsealError, open_in_memory, payload_length},
};

/// The versions that may be served, and those that may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Models that may be served, the highest version first.
    pub models: Vec<SelectedModel>,
    /// Everything else in the directory; to be logged.
    pub refused: Vec<Refused>,
}

/// A model that may be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectedModel {
    /// Its statement was accepted; whether its plaintext is what that says shows
    /// when it is opened.
    Sealed(GenuineModel),
    /// Plain, and plain models are allowed.
    Plain { version: u64, file: PathBuf, format: PlainFormat },
}

/// A sealed model whose statement was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenuineModel {
    genuine: GenuineStatement,
    ciphertext: PathBuf,
}

/// Judges what a scan found. `rule` is the one the broker released for this
/// model's name; without one no sealed model is accepted. `allow_plain_models`
/// comes from the measured configuration.
pub fn select(scan: Scan, rule: Option<&ModelRule>, allow_plain_models: bool) -> Selection {
    let Scan { candidates, refused } = scan;
    let mut selection = Selection { models: Vec::new(), refused };
    for candidate in candidates {
        let outcome = match candidate.content {
            Content::Plain { file, format } if allow_plain_models => {
                Ok(SelectedModel::Plain { version: candidate.version, file, format })
            }
            Content::Plain { file, .. } => Err(Refused { path: file, reason: RefusalReason::Plain }),
            Content::Sealed { statement, ciphertext } => match rule {
                None => Err(Refused { path: ciphertext, reason: RefusalReason::NoRule }),
                Some(rule) => match rule.judge(&statement) {
                    Ok(genuine) => Ok(SelectedModel::Sealed(GenuineModel { genuine, ciphertext })),
                    Err(refusal) => Err(Refused { path: ciphertext, reason: refusal.into() }),
                },
            },
        };
        match outcome {
            Ok(model) => selection.models.push(model),
            Err(refused) => selection.refused.push(refused),
        }
    }
    selection
}

impl Selection {
    /// The model to serve: the highest version that may be.
    pub fn highest(&self) -> Option<&SelectedModel> {
        self.models.first()
    }
}

impl SelectedModel {
    /// Its version.
    pub fn version(&self) -> u64 {
        match self {
            Self::Sealed(model) => model.version(),
            Self::Plain { version, .. } => *version,
        }
    }
}

impl GenuineModel {
    /// Its version.
    pub fn version(&self) -> u64 {
        self.genuine.statement().version
    }

    /// The accepted statement about it.
    pub fn genuine_statement(&self) -> &GenuineStatement {
        &self.genuine
    }

    /// Where its ciphertext lies.
    pub fn ciphertext(&self) -> &Path {
        &self.ciphertext
    }

    /// Decrypts it into memory: see [`open_in_memory`]. A file that can't hold a
    /// plaintext of the stated size is refused before memory is taken.
    pub fn open(&self, identities: &[ModelIdentity], maximum_size: u64) -> Result<SecretBytes, UnsealError> {
        let (file, length) = open_regular(&self.ciphertext)
            .map_err(|source| UnsealError::File { path: self.ciphertext.clone(), source })?;
        let stated = self.genuine.statement().size;
        let payload = payload_length(stated);
        if length < payload {
            return Err(UnsealError::Truncated);
        }
        if length - payload > MAXIMUM_HEADER_LENGTH {
            return Err(UnsealError::Longer { stated });
        }
        open_in_memory(file, &self.genuine, identities, maximum_size)
    }
}
