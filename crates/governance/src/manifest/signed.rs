//! A manifest's text with its owners' signatures, and their file form.

use adytum_evidence::measurement::Sha256Digest;
use adytum_signing::{OwnerPublicKey, OwnerSignature, OwnerSigningKey, Purpose};

use super::{Manifest, ManifestError};
use crate::approval::{ApprovalError, MAXIMUM_OWNERS, OwnerApproval};

/// The first line of a file of signatures.
pub const SIGNATURES_FORMAT: &str = "adytum manifest signatures v1";

/// The fields that a manifest's signatures are over: the genesis digest, the version
/// (eight bytes, big-endian) and SHA-256 of the exact text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestFields {
    genesis: [u8; 32],
    version: [u8; 8],
    text: [u8; 32],
}

impl ManifestFields {
    /// For a manifest and the text it was read from.
    pub fn new(manifest: &Manifest, text: &str) -> Self {
        Self {
            genesis: manifest.genesis.0.0,
            version: manifest.version.to_be_bytes(),
            text: Sha256Digest::of_bytes(text.as_bytes()).0,
        }
    }

    /// The fields in the order in which they are signed.
    pub fn fields(&self) -> [&[u8]; 3] {
        [&self.genesis, &self.version, &self.text]
    }
}

/// A manifest's text as its owners signed it. Nothing is verified yet: see
/// [`crate::rules::admit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedManifest {
    /// The text (TOML), exactly as signed.
    pub text: String,
    pub approvals: Vec<OwnerApproval>,
}

impl SignedManifest {
    /// A manifest that nobody has signed yet.
    pub fn unsigned(text: impl Into<String>) -> Self {
        Self { text: text.into(), approvals: Vec::new() }
    }

    /// The digest of the text.
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::of_bytes(self.text.as_bytes())
    }

    /// Reads the manifest and adds an owner's signature over it. An earlier
    /// signature of the same owner is replaced.
    pub fn sign(&mut self, key: &OwnerSigningKey) -> Result<(), ManifestError> {
        let manifest = Manifest::parse(&self.text)?;
        let fields = ManifestFields::new(&manifest, &self.text);
        self.approvals.retain(|approval| approval.owner != key.public_key());
        self.approvals.push(OwnerApproval::sign(key, Purpose::Manifest, &fields.fields()));
        Ok(())
    }

    /// The signatures as the text of a file next to the manifest: the line
    /// [`SIGNATURES_FORMAT`], then a line a signature, the owner's public key
    /// and the signature in hexadecimal.
    pub fn signatures_to_text(&self) -> String {
        let lines = self
            .approvals
            .iter()
            .map(|approval| format!("{} {}\n", approval.owner, hex::encode(approval.signature.0)));
        std::iter::once(format!("{SIGNATURES_FORMAT}\n")).chain(lines).collect()
    }

    /// Reads a manifest's text and the text of its file of signatures.
    pub fn from_texts(manifest: &str, signatures: &str) -> Result<Self, SignaturesError> {
        let mut lines = signatures.lines();
        match lines.next() {
            Some(SIGNATURES_FORMAT) => {}
            found => {
                return Err(SignaturesError::Format {
                    found: found.unwrap_or_default().chars().take(80).collect(),
                });
            }
        }
        let mut approvals = Vec::new();
        for (number, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            if approvals.len() == MAXIMUM_OWNERS {
                return Err(SignaturesError::Approval(ApprovalError::TooMany { found: approvals.len() + 1 }));
            }
            let malformed = || SignaturesError::Line { number: number + 2 };
            let (owner, signature) = line.trim().split_once(' ').ok_or_else(malformed)?;
            let owner: OwnerPublicKey = owner.parse().map_err(|_| malformed())?;
            let mut bytes = [0; 64];
            hex::decode_to_slice(signature, &mut bytes).map_err(|_| malformed())?;
            approvals.push(OwnerApproval { owner, signature: OwnerSignature(bytes) });
        }
        Ok(Self { text: manifest.to_owned(), approvals })
    }
}

/// Why a text is not a file of signatures.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignaturesError {
    /// The first line is not the first line of a file of signatures.
    ///
    /// Do: give the file that `adytum manifest sign` wrote (`--signatures`), by default the
    /// manifest's name and `.sig`.
    #[error(
        "the first line of the file of signatures is {found:?}, expected {SIGNATURES_FORMAT:?}; give the file \
         that `adytum manifest sign` wrote"
    )]
    Format {
        /// The beginning of the line found.
        found: String,
    },
    /// A line of the file of signatures is no public key and signature.
    ///
    /// Do: sign again into a new file: `adytum manifest sign MANIFEST --owner FILE --out FILE`.
    #[error(
        "line {number} of the file of signatures is not \"ed25519:PUBLICKEY SIGNATURE\" (64 and 128 \
         hexadecimal digits)"
    )]
    Line {
        /// The line, from 1.
        number: usize,
    },
    /// Too many.
    #[error(transparent)]
    Approval(ApprovalError),
}

impl SignaturesError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Format { .. } => "signatures-format",
            Self::Line { .. } => "signatures-line",
            Self::Approval(error) => error.code(),
        }
    }
}
