//! The key of one round, and what is encrypted to it: ECDH-ES on P-256 with AES key wrap, and
//! AES-256-GCM (RFC 7518, sections 4.6 and 5.3; RFC 7516, section 7.2.2).

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    key_wrap::{AES_256, AesKek, KeyWrap},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::KbsError;
use crate::rsa_key::KeyError;

const ALGORITHM: &str = "ECDH-ES+A256KW";
const ENCRYPTION: &str = "A256GCM";
const CURVE: &str = "P-256";
/// Bytes of a coordinate, and of each key.
const LENGTH: usize = 32;

/// A key that was made for one round.
pub(super) struct TeeKey {
    private: PrivateKey,
    x: String,
    y: String,
}

/// A JWE in the flattened JSON form, read; nothing is decrypted.
pub struct Jwe {
    header: Header,
    /// As it was authenticated.
    protected: String,
    encrypted_key: Vec<u8>,
    iv: Vec<u8>,
    ciphertext: Vec<u8>,
    tag: Vec<u8>,
}

#[derive(Deserialize)]
struct Flattened {
    protected: String,
    encrypted_key: String,
    iv: String,
    ciphertext: String,
    tag: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    enc: String,
    epk: Option<EphemeralKey>,
    #[serde(default)]
    crit: Option<serde_json::Value>,
    #[serde(default)]
    zip: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct EphemeralKey {
    kty: String,
    crv: String,
    x: String,
    y: String,
}

/// Reads a JWE.
pub fn read_jwe(bytes: &[u8]) -> Result<Jwe, KbsError> {
    let wrong = |_| malformed("it is no JWE in flattened JSON");
    let Flattened { protected, encrypted_key, iv, ciphertext, tag } =
        serde_json::from_slice(bytes).map_err(wrong)?;
    let header: Header = serde_json::from_slice(&decoded(&protected)?).map_err(wrong)?;
    if header.crit.is_some() || header.zip.is_some() {
        return Err(malformed("its header has extensions that must be understood (crit, zip)"));
    }
    if header.alg != ALGORITHM || header.enc != ENCRYPTION {
        let found: String = format!("{} with {}", header.alg, header.enc).chars().take(80).collect();
        return Err(KbsError::Algorithm { found });
    }
    Ok(Jwe {
        encrypted_key: decoded(&encrypted_key)?,
        iv: decoded(&iv)?,
        ciphertext: decoded(&ciphertext)?,
        tag: decoded(&tag)?,
        protected,
        header,
    })
}

fn malformed(reason: &'static str) -> KbsError {
    KbsError::Resource { reason }
}

fn decoded(text: &str) -> Result<Vec<u8>, KbsError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed("a part of it is not base64url"))
}

impl TeeKey {
    pub(super) fn generate() -> Result<Self, KeyError> {
        let private = PrivateKey::generate(&ECDH_P256).map_err(|_| KeyError)?;
        let public = private.compute_public_key().map_err(|_| KeyError)?;
        let point = public.as_ref().strip_prefix(&[4]).ok_or(KeyError)?;
        let (x, y) = point.split_at_checked(LENGTH).ok_or(KeyError)?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        Ok(Self { private, x, y })
    }

    /// The public half as a JWK, its members in the order of RFC 8785.
    pub(super) fn jwk(&self) -> String {
        jwk(&self.x, &self.y)
    }

    /// Decrypts what is encrypted to this key.
    pub(super) fn open(&self, jwe: &Jwe) -> Result<Zeroizing<Vec<u8>>, KbsError> {
        let epk = jwe.header.epk.as_ref().ok_or(malformed("it has no epk"))?;
        if epk.kty != "EC" || epk.crv != CURVE {
            return Err(malformed("its epk is not on P-256"));
        }
        let coordinates = [decoded(&epk.x)?, decoded(&epk.y)?];
        if coordinates.iter().any(|coordinate| coordinate.len() != LENGTH) {
            return Err(malformed("a coordinate of its epk has not 32 bytes"));
        }
        let point = [&[4], coordinates.concat().as_slice()].concat();
        // Refuses a point that is not on the curve.
        let wrapping = agree(
            &self.private,
            UnparsedPublicKey::new(&ECDH_P256, point),
            malformed("its epk is no point"),
            |shared| Ok(derived(shared)),
        )?;
        let mut content_key = Zeroizing::new([0; LENGTH]);
        let wrong_key = |_| KbsError::Open { reason: "its key is not encrypted to the key of this round" };
        if jwe.encrypted_key.len() != LENGTH + 8 {
            return Err(malformed("its key has not 40 bytes"));
        }
        AesKek::new(&AES_256, &*wrapping)
            .and_then(|kek| kek.unwrap(&jwe.encrypted_key, &mut *content_key).map(|_| ()))
            .map_err(wrong_key)?;
        let opening =
            UnboundKey::new(&AES_256_GCM, &*content_key).map(LessSafeKey::new).map_err(wrong_key)?;
        let nonce =
            Nonce::try_assume_unique_for_key(&jwe.iv).map_err(|_| malformed("its iv has not 12 bytes"))?;
        let mut plain = Zeroizing::new(vec![0; jwe.ciphertext.len()]);
        let authenticated = Aad::from(jwe.protected.as_bytes());
        opening
            .open_separate_gather(nonce, authenticated, &jwe.ciphertext, &jwe.tag, &mut plain)
            .map_err(|_| KbsError::Open { reason: "its content or its header was altered" })?;
        Ok(plain)
    }
}

fn jwk(x: &str, y: &str) -> String {
    format!(r#"{{"alg":"{ALGORITHM}","crv":"{CURVE}","kty":"EC","x":"{x}","y":"{y}"}}"#)
}

/// The text that evidence is bound to, in canonical JSON (RFC 8785). None of its parts has a
/// character that is escaped.
pub(super) fn bound(nonce: &str, jwk: &str) -> String {
    format!(r#"{{"additional-evidence":"","nonce":"{nonce}","tee-pubkey":{jwk}}}"#)
}

/// One round of the Concat KDF (RFC 7518, section 4.6.2): names of neither party.
fn derived(shared: &[u8]) -> Zeroizing<[u8; LENGTH]> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let mut hash = Sha256::new();
    hash.update(1u32.to_be_bytes());
    hash.update(shared);
    hash.update(length(ALGORITHM.len()));
    hash.update(ALGORITHM);
    hash.update([0; 8]);
    hash.update(length(8 * LENGTH));
    Zeroizing::new(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use adytum_evidence::measurement::Sha256Digest;

    use super::*;

    /// Made with Python: hashlib over json.dumps(sort_keys=True, separators=(",", ":")).
    #[test]
    fn the_bound_text_is_that_of_another_implementation() {
        let x = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
        let text = bound("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", &jwk(x, x));
        assert_eq!(
            Sha256Digest::of_bytes(text.as_bytes()).to_string(),
            "68d0eb6207bf34f1036289be0b7430d82bf0176d418d5700d3ae66f631957579"
        );
    }
}
