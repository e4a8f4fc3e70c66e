//! The keys of an attestation service: a JWK set, pinned.

use std::fmt;

use aws_lc_rs::signature::{RsaPublicKeyComponents, UnparsedPublicKey};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::Deserialize;
use sha2::{Digest, Sha384};
use x509_parser::public_key::PublicKey;

use super::{
    algorithm::{Algorithm, Curve, Verification},
    error::TokenError,
    shortened,
};
use crate::{certificate::x509, measurement::RootKeyId};

/// The longest JWK set that is read, in bytes. Azure's certificates carry a quote each.
pub const MAXIMUM_KEYS_LENGTH: usize = 512 * 1024;
/// More than any service has.
const MAXIMUM_KEYS: usize = 100;
/// The shortest modulus of RSA that verifies anything, in bytes: 2048 bits.
const SHORTEST_MODULUS: usize = 256;

/// Keys that may sign tokens, by their names.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKeys(Vec<(String, Result<Key, String>)>);

/// A key, or why it can't be used.
#[derive(Clone, PartialEq, Eq)]
enum Key {
    /// Modulus and exponent, the most significant byte first.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    /// A point: uncompressed; of Ed25519 as RFC 8032 has it.
    Point(Curve, Vec<u8>),
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

/// A JWK (RFC 7517, section 4; RFC 7518, section 6). Azure's have a certificate in place of the
/// numbers.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
    #[serde(default)]
    x5c: Vec<String>,
}

impl TokenKeys {
    /// Reads a JWK set. Each key has a name of its own. A key that can't be used is kept
    /// with its reason: a token of another key does not depend on it.
    pub fn parse(json: &[u8]) -> Result<Self, TokenError> {
        let malformed = |reason: String| TokenError::Keys { reason };
        if json.len() > MAXIMUM_KEYS_LENGTH {
            return Err(malformed(format!(
                "expected at most {MAXIMUM_KEYS_LENGTH} bytes, found {}",
                json.len()
            )));
        }
        let JwkSet { keys } = serde_json::from_slice(json).map_err(|error| malformed(error.to_string()))?;
        if keys.is_empty() || keys.len() > MAXIMUM_KEYS {
            return Err(malformed(format!("expected 1 to {MAXIMUM_KEYS} keys, found {}", keys.len())));
        }
        let mut named: Vec<(String, Result<Key, String>)> = Vec::with_capacity(keys.len());
        for jwk in keys {
            let Some(kid) = jwk.kid.clone().filter(|kid| !kid.is_empty()) else {
                return Err(malformed("a key has no name (kid)".to_owned()));
            };
            if named.iter().any(|(name, _)| *name == kid) {
                return Err(malformed(format!("two keys are named {:?}", shortened(&kid))));
            }
            named.push((kid, Key::of(&jwk)));
        }
        Ok(Self(named))
    }

    /// The names of the keys.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Is there a key that can verify a token?
    pub fn verify_anything(&self) -> bool {
        self.digests().next().is_some()
    }

    /// SHA-384 of each key that can verify something: see [`super::SignedClaims::key`].
    pub(crate) fn digests(&self) -> impl Iterator<Item = RootKeyId> {
        self.0.iter().filter_map(|(_, key)| key.as_ref().ok().map(Key::digest))
    }

    /// Has the key of this name signed the message? Without a name, it is the only key. Gives
    /// SHA-384 of the key.
    pub(super) fn verify(
        &self,
        key_id: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<RootKeyId, TokenError> {
        let (name, key) = match (key_id, self.0.as_slice()) {
            (Some(wanted), keys) => keys
                .iter()
                .find(|(name, _)| name == wanted)
                .ok_or_else(|| TokenError::KeyUnknown { key_id: shortened(wanted), pinned: keys.len() })?,
            (None, [only]) => only,
            (None, _) => return Err(TokenError::NoKeyId),
        };
        let named = || shortened(name);
        let unfit = |reason: String| TokenError::KeyUnfit { key_id: named(), reason };
        let key = key.as_ref().map_err(|reason| unfit(reason.clone()))?;
        let verified = match (key, algorithm.verification()) {
            (Key::Rsa { modulus, exponent }, Verification::Rsa(parameters)) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(parameters, message, signature)
            }
            (Key::Point(of, point), Verification::Curve(curve, verification)) if *of == curve => {
                UnparsedPublicKey::new(verification, point).verify(message, signature)
            }
            _ => return Err(unfit(format!("its kind does not sign with {algorithm}"))),
        };
        verified.map_err(|_| TokenError::Signature { key_id: named() })?;
        Ok(key.digest())
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Key {
    fn of(jwk: &Jwk) -> Result<Self, String> {
        match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Self::rsa(jwk),
            ("EC", Some("P-256")) => Self::point(jwk, Curve::P256, 32),
            ("EC", Some("P-384")) => Self::point(jwk, Curve::P384, 48),
            ("OKP", Some("Ed25519")) => Ok(Self::Point(Curve::Ed25519, exact("x", &jwk.x, 32)?)),
            (kind, curve) => Err(format!(
                "its kind {:?} is not supported",
                shortened(&format!("{kind} {}", curve.unwrap_or_default()))
            )),
        }
    }

    /// SHA-384 of what is different between keys.
    fn digest(&self) -> RootKeyId {
        let (Self::Rsa { modulus: number, .. } | Self::Point(_, number)) = self;
        RootKeyId(Sha384::digest(number).into())
    }

    fn rsa(jwk: &Jwk) -> Result<Self, String> {
        let (modulus, exponent) = match (&jwk.n, &jwk.e, jwk.x5c.first()) {
            (Some(_), Some(_), _) => (number("n", &jwk.n)?, number("e", &jwk.e)?),
            (None, None, Some(certificate)) => {
                let der = STANDARD.decode(certificate).map_err(|error| format!("x5c: {error}"))?;
                let certificate = x509(&der).map_err(|reason| format!("x5c: {reason}"))?;
                match certificate.public_key().parsed() {
                    Ok(PublicKey::RSA(key)) => (significant(key.modulus), significant(key.exponent)),
                    _ => return Err("x5c: its certificate has no key of RSA".to_owned()),
                }
            }
            _ => return Err("it has neither n and e nor a certificate".to_owned()),
        };
        if modulus.len() < SHORTEST_MODULUS {
            return Err(format!(
                "its modulus has {} bits, and at least 2048 are accepted",
                modulus.len() * 8
            ));
        }
        Ok(Self::Rsa { modulus, exponent })
    }

    fn point(jwk: &Jwk, curve: Curve, length: usize) -> Result<Self, String> {
        let (x, y) = (exact("x", &jwk.x, length)?, exact("y", &jwk.y, length)?);
        Ok(Self::Point(curve, [&[4], x.as_slice(), &y].concat()))
    }
}

fn decoded(name: &str, value: &Option<String>) -> Result<Vec<u8>, String> {
    let value = value.as_deref().ok_or_else(|| format!("it has no {name}"))?;
    URL_SAFE_NO_PAD.decode(value).map_err(|error| format!("{name} is not base64url: {error}"))
}

fn number(name: &str, value: &Option<String>) -> Result<Vec<u8>, String> {
    Ok(significant(&decoded(name, value)?))
}

fn exact(name: &str, value: &Option<String>, length: usize) -> Result<Vec<u8>, String> {
    let decoded = decoded(name, value)?;
    if decoded.len() != length {
        return Err(format!("expected {length} bytes in {name}, found {}", decoded.len()));
    }
    Ok(decoded)
}

/// A number without zeros before it.
fn significant(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().skip_while(|&byte| byte == 0).collect()
}
