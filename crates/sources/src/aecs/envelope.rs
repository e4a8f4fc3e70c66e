//! The envelope that a secret comes in: AES-256-GCM under a fresh key, which is encrypted to
//! the reader (RSA-OAEP with SHA-1, as OpenSSL does it), and a signature over the hash.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    rsa::OAEP_SHA1_MGF1SHA1,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{AecsError, messages::DigitalEnvelope};
use crate::rsa_key::{RsaKey, is_signed};

/// The name of an envelope, which GCM authenticates. The server says it, too, and nothing
/// else is accepted.
const NAME: &[u8] = b"Enclave";

impl DigitalEnvelope {
    /// Decrypts the content with our key, and checks its hash and the server's signature.
    pub(super) fn open(&self, key: &RsaKey, server_key: &[u8]) -> Result<Zeroizing<Vec<u8>>, AecsError> {
        let plain = self.decrypt(key)?;
        // The hash is text in hexadecimal, and the signature is over that text, which is
        // hashed once more for it.
        let hash = hex::encode(Sha256::digest(&*plain));
        if self.plain_hash != hash.as_bytes() {
            return Err(AecsError::Hash);
        }
        if !is_signed(server_key, hash.as_bytes(), &self.plain_hash_sig) {
            return Err(AecsError::HashSignature);
        }
        Ok(plain)
    }

    fn decrypt(&self, key: &RsaKey) -> Result<Zeroizing<Vec<u8>>, AecsError> {
        let closed = |reason| AecsError::Envelope { reason };
        let cipher = &self.aes_cipher;
        if cipher.aad != NAME {
            return Err(closed("its additional data are not \"Enclave\""));
        }
        let content_key = key
            .decrypt(&OAEP_SHA1_MGF1SHA1, &self.encrypted_key)
            .ok_or_else(|| closed("its key is not encrypted to the key of this request"))?;
        let opening = UnboundKey::new(&AES_256_GCM, &content_key)
            .map(LessSafeKey::new)
            .map_err(|_| closed("its key has not 32 bytes"))?;
        let nonce =
            Nonce::try_assume_unique_for_key(&cipher.iv).map_err(|_| closed("its iv has not 12 bytes"))?;
        let mut plain = Zeroizing::new(vec![0; cipher.cipher.len()]);
        opening
            .open_separate_gather(nonce, Aad::from(NAME), &cipher.cipher, &cipher.mac, &mut plain)
            .map_err(|_| closed("its content was altered"))?;
        Ok(plain)
    }
}
