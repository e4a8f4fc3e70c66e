//! From a bundle's ciphertext to what is in its archive, in constant memory.

use std::io::Read;

use sha2::{Digest, Sha256};

use super::{
    BundleError, Progress,
    read::{Plaintext, Sink, Summary, read},
};
use crate::{
    keys::ModelIdentity,
    rule::GenuineStatement,
    unseal::{Payload, UnsealError, decryptor},
};

/// Decrypts and reads an archive: see [`super::GenuineBundle::unseal`].
pub(super) fn unseal_archive(
    ciphertext: impl Read,
    genuine: &GenuineStatement,
    identities: &[ModelIdentity],
    sink: &mut impl Sink,
    progress: Progress<'_>,
) -> Result<Summary, BundleError> {
    let payload = Payload::new(decryptor(ciphertext, identities)?, genuine);
    let mut archive = Archive { payload, digest: Sha256::new() };
    let summary = read(&mut archive, sink, progress)?;
    archive.payload.finish(archive.digest)?;
    Ok(summary)
}

/// The archive, hashed on the way out.
struct Archive<'a, R> {
    payload: Payload<'a, R>,
    digest: Sha256,
}

impl<R: Read> Plaintext for Archive<'_, R> {
    fn remaining(&self) -> u64 {
        self.payload.remaining()
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), UnsealError> {
        self.payload.fill(buffer)?;
        self.digest.update(&*buffer);
        Ok(())
    }
}
