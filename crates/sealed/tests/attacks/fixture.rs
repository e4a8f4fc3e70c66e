//! An owner, a host, and what either can make.

use std::path::PathBuf;

use adytum_sealed::{
    directory::scan,
    keys::ModelIdentity,
    rule::{GenuineStatement, ModelRule},
    seal::{SealOptions, seal, seal_to_directory},
    select::{SelectedModel, Selection, select},
    statement::{FileName, Statement},
    unseal::{UnsealError, open_in_memory},
};
use adytum_signing::OwnerSigningKey;

pub(crate) const CHUNK: usize = 64 * 1024;
pub(crate) const LIMIT: u64 = 64 << 20;

/// An owner, the key that the broker would release, and the host that has
/// neither but knows everything public.
pub(crate) struct Fixture {
    pub(crate) owner: OwnerSigningKey,
    pub(crate) host: OwnerSigningKey,
    pub(crate) identity: ModelIdentity,
    pub(crate) base: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self {
            owner: OwnerSigningKey::generate().unwrap(),
            host: OwnerSigningKey::generate().unwrap(),
            identity: ModelIdentity::generate(),
            base: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn rule(&self, minimum_version: u64) -> ModelRule {
        ModelRule {
            name: "digits".parse().unwrap(),
            signers: [self.owner.public_key()].into(),
            minimum_version,
            digests: [].into(),
        }
    }

    pub(crate) fn seal_bytes(&self, plaintext: &[u8], signer: &OwnerSigningKey) -> (Vec<u8>, Statement) {
        let mut ciphertext = Vec::new();
        let recipient = self.identity.recipient();
        let statement =
            seal(plaintext, &mut ciphertext, &recipient, signer, &options("digits", 1), &mut |_| {}).unwrap();
        (ciphertext, statement)
    }

    pub(crate) fn genuine(&self, plaintext: &[u8]) -> (Vec<u8>, GenuineStatement) {
        let (ciphertext, statement) = self.seal_bytes(plaintext, &self.owner);
        (ciphertext, self.rule(0).judge(&statement).unwrap())
    }

    pub(crate) fn open(&self, ciphertext: &[u8], genuine: &GenuineStatement) -> Result<Vec<u8>, UnsealError> {
        let identities = std::slice::from_ref(&self.identity);
        open_in_memory(ciphertext, genuine, identities, LIMIT).map(|secret| secret.into_vec())
    }

    /// Seals into the model directory.
    pub(crate) fn publish(
        &self,
        model: &str,
        version: u64,
        plaintext: &[u8],
        signer: &OwnerSigningKey,
    ) -> PathBuf {
        let recipient = self.identity.recipient();
        let options = options(model, version);
        seal_to_directory(plaintext, self.base.path(), &recipient, signer, &options, &mut |_| {}).unwrap().0
    }

    pub(crate) fn select(&self, minimum_version: u64, allow_plain: bool) -> Selection {
        select(scan(self.base.path()).unwrap(), Some(&self.rule(minimum_version)), allow_plain)
    }
}

pub(crate) fn options(model: &str, version: u64) -> SealOptions {
    SealOptions { model: model.parse().unwrap(), version, file_name: FileName::model_onnx() }
}

pub(crate) fn plaintext(length: usize) -> Vec<u8> {
    (0..length).map(|position| (position * 31 + position / 251) as u8).collect()
}

pub(crate) fn codes(selection: &Selection) -> Vec<&'static str> {
    selection.refused.iter().map(|refused| refused.code()).collect()
}

pub(crate) fn versions(selection: &Selection) -> Vec<u64> {
    selection.models.iter().map(SelectedModel::version).collect()
}

/// Where the header ends and the nonce begins.
pub(crate) fn header_length(ciphertext: &[u8]) -> usize {
    let mac = ciphertext.windows(5).position(|window| window == b"\n--- ").unwrap() + 1;
    mac + ciphertext[mac..].iter().position(|&byte| byte == b'\n').unwrap() + 1
}
