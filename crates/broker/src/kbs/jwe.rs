//! Secrets as JWE (RFC 7516), flattened, for the key of a TEE. The content is encrypted with
//! A256GCM, its key with the algorithm that the TEE's key names.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral},
    error::Unspecified,
    kdf::{SskdfDigestAlgorithmId, get_sskdf_digest_algorithm, sskdf_digest},
    key_wrap::{AES_256, AesKek, KeyWrap},
    rand,
    rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    error::KbsError,
    key::{Curve, ECDH_ES_A256KW, RSA_OAEP_256, TeePublicKey},
};

const A256GCM: &str = "A256GCM";
/// The length of a content encryption key, and of the key that wraps it.
const KEY: usize = 32;

/// The protected header. Clients of Confidential Containers write it out again from what they have
/// read and authenticate that, so this is the order and the form that they write: these two
/// members first, then the others by name.
#[derive(Serialize)]
struct Header {
    alg: &'static str,
    enc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    epk: Option<EphemeralKey>,
}

/// In the order of the names.
#[derive(Serialize)]
struct EphemeralKey {
    crv: &'static str,
    kty: &'static str,
    x: String,
    y: String,
}

/// A JWE in the flattened JSON form (RFC 7516 section 7.2.2).
#[derive(Debug, Serialize)]
pub struct Jwe {
    protected: String,
    encrypted_key: String,
    iv: String,
    ciphertext: String,
    tag: String,
}

/// Encrypts a secret to a TEE's key.
pub fn encrypt(key: &TeePublicKey, secret: &[u8]) -> Result<Jwe, KbsError> {
    seal(key, secret).map_err(|_| KbsError::Encryption)
}

fn seal(key: &TeePublicKey, secret: &[u8]) -> Result<Jwe, Unspecified> {
    let mut content_key = Zeroizing::new([0; KEY]);
    rand::fill(content_key.as_mut_slice())?;
    let (header, encrypted_key) = match key {
        TeePublicKey::Ec { curve, point } => agree(*curve, point, &content_key)?,
        TeePublicKey::Rsa { modulus, exponent } => {
            let header = Header { alg: RSA_OAEP_256, enc: A256GCM, epk: None };
            (header, encrypt_key(modulus, exponent, &content_key)?)
        }
    };
    let protected = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).map_err(|_| Unspecified)?);
    let mut iv = [0; NONCE_LEN];
    rand::fill(&mut iv)?;
    // Encrypted in its place.
    let mut content = Zeroizing::new(secret.to_vec());
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, content_key.as_slice())?);
    let additional = Aad::from(protected.as_bytes());
    let tag = cipher.seal_in_place_separate_tag(
        Nonce::assume_unique_for_key(iv),
        additional,
        content.as_mut_slice(),
    )?;
    Ok(Jwe {
        encrypted_key: URL_SAFE_NO_PAD.encode(encrypted_key),
        iv: URL_SAFE_NO_PAD.encode(iv),
        ciphertext: URL_SAFE_NO_PAD.encode(content.as_slice()),
        tag: URL_SAFE_NO_PAD.encode(tag.as_ref()),
        protected,
    })
}

/// ECDH-ES with a key of its own for each secret, and AES key wrap (RFC 3394).
fn agree(curve: Curve, point: &[u8], content_key: &[u8; KEY]) -> Result<(Header, Vec<u8>), Unspecified> {
    let algorithm = match curve {
        Curve::P256 => &agreement::ECDH_P256,
        Curve::P521 => &agreement::ECDH_P521,
    };
    let private = EphemeralPrivateKey::generate(algorithm, &rand::SystemRandom::new())?;
    let public = private.compute_public_key()?;
    let coordinates = public.as_ref().strip_prefix(&[4]).ok_or(Unspecified)?;
    let (x, y) = coordinates.split_at_checked(curve.coordinate()).ok_or(Unspecified)?;
    // Refuses a point that is not on the curve.
    let peer = UnparsedPublicKey::new(algorithm, point);
    let wrapping_key = agree_ephemeral(private, peer, Unspecified, derive)?;
    let mut wrapped = vec![0; KEY + 8];
    AesKek::new(&AES_256, wrapping_key.as_slice())?.wrap(content_key, &mut wrapped)?;
    let epk = EphemeralKey {
        crv: curve.name(),
        kty: "EC",
        x: URL_SAFE_NO_PAD.encode(x),
        y: URL_SAFE_NO_PAD.encode(y),
    };
    Ok((Header { alg: ECDH_ES_A256KW, enc: A256GCM, epk: Some(epk) }, wrapped))
}

/// The Concat KDF with SHA-256 (RFC 7518 section 4.6.2): the algorithm's name, no information of
/// either party, 256 bits.
fn derive(shared: &[u8]) -> Result<Zeroizing<[u8; KEY]>, Unspecified> {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let mut information = Vec::new();
    information.extend(length(ECDH_ES_A256KW.len()));
    information.extend(ECDH_ES_A256KW.as_bytes());
    for number in [0, 0, KEY * 8] {
        information.extend(length(number));
    }
    let digest = get_sskdf_digest_algorithm(SskdfDigestAlgorithmId::Sha256).ok_or(Unspecified)?;
    let mut key = Zeroizing::new([0; KEY]);
    sskdf_digest(digest, shared, &information, key.as_mut_slice())?;
    Ok(key)
}

fn encrypt_key(modulus: &[u8], exponent: &[u8], content_key: &[u8; KEY]) -> Result<Vec<u8>, Unspecified> {
    let key: PublicEncryptingKey = PublicKeyComponents { n: modulus, e: exponent }.try_into()?;
    let key = OaepPublicEncryptingKey::new(key)?;
    let mut encrypted = vec![0; key.ciphertext_size()];
    let length = key.encrypt(&OAEP_SHA256_MGF1SHA256, content_key, &mut encrypted, None)?.len();
    encrypted.truncate(length);
    Ok(encrypted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7518 appendix C is for the algorithm A128GCM and parties with names. The value here is
    /// of Python's `cryptography` (ConcatKDFHash) with Z = 32 bytes of 7.
    #[test]
    fn the_derived_key_is_another_implementations() {
        assert_eq!(
            hex::encode(derive(&[7; 32]).unwrap().as_slice()),
            "2a8bae57869c5fe83a3526da602e22b6b19ed8ee972247041d8eddea3f7ec7e8"
        );
    }

    #[test]
    fn a_point_that_is_not_on_the_curve_gets_nothing() {
        let point = [&[4][..], &[7; 64]].concat();
        let error = encrypt(&TeePublicKey::Ec { curve: Curve::P256, point }, b"secret").unwrap_err();
        assert_eq!(error.code(), "kbs-encryption-failed");
    }

    #[test]
    fn a_modulus_that_is_none_gets_nothing() {
        for (modulus, exponent) in [(vec![0xc2; 256], vec![1, 0, 1]), (vec![0xc1; 256], vec![2])] {
            let error = encrypt(&TeePublicKey::Rsa { modulus, exponent }, b"secret").unwrap_err();
            assert_eq!(error.code(), "kbs-encryption-failed");
        }
    }
}
