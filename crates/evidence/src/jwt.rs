//! Tokens that attestation services sign: JSON Web Tokens (RFC 7519), signed (RFC 7515) with
//! keys of a pinned JWK set (RFC 7517).
//!
//! A token chooses nothing. Its `kid` finds one of the pinned keys; without one it must be the
//! only pinned key. That key's type decides which algorithms may verify it, and only signatures with a key pair are known: no
//! `none`, no HMAC. The header's `jku`, `x5u`, `jwk` and `x5c` are not looked at.

mod algorithm;
mod error;
mod keys;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

pub use self::{
    algorithm::Algorithm,
    error::TokenError,
    keys::{MAXIMUM_KEYS_LENGTH, TokenKeys},
};
use crate::{clock::UnixSeconds, measurement::RootKeyId};

/// The longest token that is read, in bytes. Those of Azure have about 3 KiB.
pub const MAXIMUM_TOKEN_LENGTH: usize = 64 * 1024;
/// How far a token's dates of beginning may lie in the future, in seconds: the service's clock
/// is another one.
const CLOCK_DIFFERENCE: u64 = 60;

/// A token, read and nothing more.
#[derive(Clone, Debug)]
pub struct Token {
    algorithm: Algorithm,
    key_id: Option<String>,
    /// Header and payload as they were signed.
    signed: String,
    signature: Vec<u8>,
    payload: Map<String, Value>,
}

/// The part of a header that counts.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

/// What a token whose signature and dates were checked says.
#[derive(Clone, Debug)]
pub struct SignedClaims {
    issuer: String,
    key: RootKeyId,
    issued: Option<UnixSeconds>,
    expires: UnixSeconds,
    payload: Map<String, Value>,
}

impl Token {
    /// Does the text have the form of a token?
    pub fn recognise(text: &str) -> bool {
        let mut parts = text.split('.');
        let encoded =
            |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        // A header is an object, which begins with a brace and a quotation mark.
        text.starts_with("ey")
            && parts.by_ref().take(3).filter(|part| encoded(part)).count() == 3
            && parts.next().is_none()
    }

    /// Reads a token in its compact form: header, payload and signature in base64url, with
    /// dots between them.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let malformed = |reason: String| TokenError::Malformed { reason };
        if text.len() > MAXIMUM_TOKEN_LENGTH {
            return Err(malformed(format!(
                "expected at most {MAXIMUM_TOKEN_LENGTH} bytes, found {}",
                text.len()
            )));
        }
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed("expected three parts with dots between them".to_owned()));
        };
        let decoded = |what: &str, part: &str| {
            let decoded = URL_SAFE_NO_PAD.decode(part);
            decoded.map_err(|error| malformed(format!("the {what} is not base64url: {error}")))
        };
        let json = |what: &str, error: serde_json::Error| malformed(format!("the {what}: {error}"));
        let Header { alg, kid, crit } =
            serde_json::from_slice(&decoded("header", header)?).map_err(|error| json("header", error))?;
        if crit.is_some() {
            return Err(malformed("its header has extensions that must be understood (crit)".to_owned()));
        }
        let algorithm = alg.parse().map_err(|()| TokenError::Algorithm { found: shortened(&alg) })?;
        let key_id = kid.filter(|kid| !kid.is_empty());
        Ok(Self {
            algorithm,
            key_id,
            payload: serde_json::from_slice(&decoded("payload", payload)?)
                .map_err(|error| json("payload", error))?,
            signature: decoded("signature", signature)?,
            signed: format!("{header}.{payload}"),
        })
    }

    /// The algorithm that its header names.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key that its header names, if it names one.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The service that it names; empty if it names none. Nobody has verified it.
    pub(crate) fn issuer(&self) -> &str {
        self.payload.get("iss").and_then(Value::as_str).unwrap_or_default()
    }

    /// What it says. Nobody has verified it.
    pub fn unverified(&self) -> &Map<String, Value> {
        &self.payload
    }

    /// Verifies its signature by one of these keys and algorithms, and nothing else: neither issuer nor
    /// dates. Gives the key: SHA-384 of the modulus of RSA, or of the point.
    pub fn verify_signature(
        &self,
        keys: &TokenKeys,
        algorithms: &[Algorithm],
    ) -> Result<RootKeyId, TokenError> {
        if !algorithms.contains(&self.algorithm) {
            return Err(TokenError::Algorithm { found: self.algorithm.to_string() });
        }
        keys.verify(self.key_id(), self.algorithm, self.signed.as_bytes(), &self.signature)
    }

    /// Verifies that `issuer` signed it with one of these keys, by one of these algorithms,
    /// and that it is valid at the time `now`.
    pub fn verify(
        self,
        issuer: &str,
        keys: &TokenKeys,
        algorithms: &[Algorithm],
        now: UnixSeconds,
    ) -> Result<SignedClaims, TokenError> {
        let key = self.verify_signature(keys, algorithms)?;
        let found = self.issuer();
        if found != issuer {
            return Err(TokenError::Issuer { expected: issuer.to_owned(), found: shortened(found) });
        }
        let date = |name: &'static str| date(&self.payload, name);
        let expires = date("exp")?.ok_or(TokenError::Claim { name: "exp", expected: "a date" })?;
        if now >= expires {
            return Err(TokenError::Expired { until: expires, now });
        }
        let (begins, issued) = (date("nbf")?, date("iat")?);
        for from in [begins, issued].into_iter().flatten() {
            if from.0 > now.0.saturating_add(CLOCK_DIFFERENCE) {
                return Err(TokenError::NotYetValid { from, now });
            }
        }
        Ok(SignedClaims { issuer: issuer.to_owned(), key, issued, expires, payload: self.payload })
    }
}

impl SignedClaims {
    /// The service that signed.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The key that signed: SHA-384 of the modulus of RSA, or of the point.
    pub fn key(&self) -> RootKeyId {
        self.key
    }

    /// When, if the token says it.
    pub fn issued(&self) -> Option<UnixSeconds> {
        self.issued
    }

    /// From when on it does not count.
    pub fn expires(&self) -> UnixSeconds {
        self.expires
    }

    /// All claims.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.payload
    }
}

/// A date in seconds since 1970 (RFC 7519, NumericDate), if the claim is there.
fn date(payload: &Map<String, Value>, name: &'static str) -> Result<Option<UnixSeconds>, TokenError> {
    match payload.get(name) {
        None => Ok(None),
        Some(value) => match value.as_u64() {
            Some(seconds) => Ok(Some(UnixSeconds(seconds))),
            None => Err(TokenError::Claim { name, expected: "whole seconds since 1970" }),
        },
    }
}

/// A text of a stranger, for a message.
fn shortened(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).take(200).collect()
}
