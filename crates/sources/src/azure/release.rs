//! A released key: a signed statement (JWS, RFC 7515) with the vault's certificates, in which
//! the key is wrapped (RSA-OAEP, then RFC 5649).

use adytum_evidence::clock::UnixSeconds;
use aws_lc_rs::{
    key_wrap::{AES_256, AesKek, KeyWrapPadded},
    rsa::{OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OaepAlgorithm},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rustls_pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use webpki::{EndEntityCert, KeyUsage, aws_lc_rs as algorithms};
use zeroize::Zeroizing;

use super::{AzureError, KeyName, VaultName};
use crate::rsa_key::RsaKey;

/// The most certificates in a chain.
const LONGEST_CHAIN: usize = 8;
/// An RSA block under a key of 2048 bits.
const BLOCK: usize = 256;

/// How a key is wrapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyWrapping {
    /// OAEP with SHA-1, as PKCS #11 defines it; what vaults use if nothing is asked for.
    #[serde(rename = "CKM_RSA_AES_KEY_WRAP")]
    Sha1,
    /// OAEP with SHA-256.
    #[default]
    #[serde(rename = "RSA_AES_KEY_WRAP_256")]
    Sha256,
    /// OAEP with SHA-384.
    #[serde(rename = "RSA_AES_KEY_WRAP_384")]
    Sha384,
}

impl KeyWrapping {
    /// Its name in requests.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "CKM_RSA_AES_KEY_WRAP",
            Self::Sha256 => "RSA_AES_KEY_WRAP_256",
            Self::Sha384 => "RSA_AES_KEY_WRAP_384",
        }
    }

    fn oaep(self) -> &'static OaepAlgorithm {
        match self {
            Self::Sha1 => &OAEP_SHA1_MGF1SHA1,
            Self::Sha256 => &OAEP_SHA256_MGF1SHA256,
            Self::Sha384 => &OAEP_SHA384_MGF1SHA384,
        }
    }
}

/// A statement, read; nothing in it is verified.
pub struct Release {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    /// The vault's certificate first.
    chain: Vec<CertificateDer<'static>>,
    /// Header and payload as they were signed.
    signed: String,
    signature: Vec<u8>,
    payload: Payload,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    x5c: Vec<String>,
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Payload {
    request: Asked,
    response: Answered,
}

#[derive(Deserialize)]
struct Asked {
    enc: String,
    nonce: Option<String>,
}

#[derive(Deserialize)]
struct Answered {
    key: Bundle,
}

#[derive(Deserialize)]
struct Bundle {
    key: WrappedKey,
}

#[derive(Deserialize)]
struct WrappedKey {
    kid: String,
    kty: String,
    key_hsm: String,
}

#[derive(Deserialize)]
struct KeyHsm {
    ciphertext: String,
}

/// What the statement must be about.
pub(super) struct Expected<'a> {
    pub(super) vault: &'a VaultName,
    pub(super) name: &'a KeyName,
    pub(super) wrapping: KeyWrapping,
    pub(super) nonce: &'a str,
    pub(super) roots: &'a [CertificateDer<'static>],
    pub(super) now: UnixSeconds,
}

/// A key that a vault gave.
pub(super) enum ReleasedKey {
    /// Its bytes.
    Symmetric(Zeroizing<Vec<u8>>),
    /// PKCS #8 in DER.
    Private(Zeroizing<Vec<u8>>),
}

/// Reads a statement in its compact form.
pub fn read_release(text: &str) -> Result<Release, AzureError> {
    let malformed = |reason: String| AzureError::Release { reason };
    let mut parts = text.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed("expected three parts with dots between them".to_owned()));
    };
    let signed = format!("{header}.{payload}");
    let Header { alg, x5c, crit } = part("header", header)?;
    if crit.is_some() {
        return Err(malformed("its header has extensions that must be understood (crit)".to_owned()));
    }
    if x5c.is_empty() || x5c.len() > LONGEST_CHAIN {
        return Err(malformed(format!("expected 1 to {LONGEST_CHAIN} certificates, found {}", x5c.len())));
    }
    let certificate = |text: String| {
        let der = STANDARD.decode(text).map_err(|error| malformed(format!("a certificate: {error}")))?;
        Ok(CertificateDer::from(der))
    };
    Ok(Release {
        algorithm: algorithm(&alg)?,
        chain: x5c.into_iter().map(certificate).collect::<Result<_, AzureError>>()?,
        signature: decoded("signature", signature)?,
        payload: part("payload", payload)?,
        signed,
    })
}

/// Vaults sign with RSA. There is no `none` here, and nothing with a shared secret.
fn algorithm(name: &str) -> Result<&'static dyn SignatureVerificationAlgorithm, AzureError> {
    Ok(match name {
        "RS256" => algorithms::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => algorithms::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => algorithms::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        "PS384" => algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        "PS512" => algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        other => return Err(AzureError::Algorithm { found: other.chars().take(40).collect() }),
    })
}

fn decoded(what: &str, text: &str) -> Result<Vec<u8>, AzureError> {
    let wrong = |error| AzureError::Release { reason: format!("the {what} is not base64url: {error}") };
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(wrong)
}

fn part<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, AzureError> {
    let wrong = |error| AzureError::Release { reason: format!("the {what}: {error}") };
    serde_json::from_slice(&decoded(what, text)?).map_err(wrong)
}

impl Release {
    /// Verifies the statement, and takes the key out of it.
    pub(super) fn open(&self, key: &RsaKey, expected: &Expected<'_>) -> Result<ReleasedKey, AzureError> {
        self.verify(expected)?;
        let WrappedKey { kid, kty, key_hsm } = &self.payload.response.key.key;
        if !expected.name.is(expected.vault, kid) {
            let wanted = format!("https://{}{}", expected.vault, expected.name.path());
            return Err(AzureError::OtherKey { wanted, found: kid.chars().take(300).collect() });
        }
        let Asked { enc, nonce } = &self.payload.request;
        if enc != expected.wrapping.name() {
            let found = enc.chars().take(60).collect();
            return Err(AzureError::Wrapping { wanted: expected.wrapping.name(), found });
        }
        if nonce.as_ref().is_some_and(|nonce| nonce != expected.nonce) {
            return Err(AzureError::Nonce);
        }
        let KeyHsm { ciphertext } = part("key_hsm", key_hsm)?;
        let plain = unwrap(key, expected.wrapping, &decoded("ciphertext", &ciphertext)?)?;
        match kty.as_str() {
            "oct" | "oct-HSM" => Ok(ReleasedKey::Symmetric(plain)),
            "RSA" | "RSA-HSM" | "EC" | "EC-HSM" => Ok(ReleasedKey::Private(plain)),
            other => Err(AzureError::Release {
                reason: format!(
                    "the key is of the unknown kind {:?}",
                    other.chars().take(40).collect::<String>()
                ),
            }),
        }
    }

    /// The chain up to a root, the vault's name, the signature.
    fn verify(&self, expected: &Expected<'_>) -> Result<(), AzureError> {
        let chain = |reason: String| AzureError::Chain { reason };
        let (first, above) = self.chain.split_first().ok_or_else(|| chain("there is none".to_owned()))?;
        let leaf = EndEntityCert::try_from(first).map_err(|error| chain(error.to_string()))?;
        let anchors: Vec<_> = expected
            .roots
            .iter()
            .map(webpki::anchor_from_trusted_cert)
            .collect::<Result<_, _>>()
            .map_err(|error| AzureError::Roots { reason: error.to_string() })?;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(expected.now.0));
        let known = webpki::ALL_VERIFICATION_ALGS;
        leaf.verify_for_usage(known, &anchors, above, now, KeyUsage::server_auth(), None, None)
            .map_err(|error| chain(error.to_string()))?;
        let other = || AzureError::OtherVault { wanted: expected.vault.to_string() };
        let name = ServerName::try_from(expected.vault.as_str()).map_err(|_| other())?;
        leaf.verify_is_valid_for_subject_name(&name).map_err(|_| other())?;
        leaf.verify_signature(self.algorithm, self.signed.as_bytes(), &self.signature)
            .map_err(|_| AzureError::Signature)
    }
}

/// A block under our RSA key with a key of AES, and what that key wraps.
fn unwrap(key: &RsaKey, wrapping: KeyWrapping, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, AzureError> {
    let closed = |reason| AzureError::Unwrap { reason };
    let (block, rest) = wrapped.split_at_checked(BLOCK).ok_or(closed("it is too short"))?;
    let inner =
        key.decrypt(wrapping.oaep(), block).ok_or(closed("it is not wrapped to the key of this request"))?;
    let kek = AesKek::new(&AES_256, &inner).map_err(|_| closed("its inner key has not 32 bytes"))?;
    let mut buffer = Zeroizing::new(vec![0; rest.len()]);
    let length =
        kek.unwrap_with_padding(rest, &mut buffer).map_err(|_| closed("its content was altered"))?.len();
    buffer.truncate(length);
    Ok(buffer)
}
