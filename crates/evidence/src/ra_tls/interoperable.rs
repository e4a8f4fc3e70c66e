//! The interoperable form: evidence and claims in CBOR (RFC 8949), as TCG's DICE tagged
//! evidence. (Confidential Computing Consortium, Interoperable RA-TLS.)
//!
//! `#6.60000([evidence: bstr, claims: bstr])`, where claims are in turn CBOR:
//! `{"pubkey-hash": bstr .cbor [algorithm, digest], ? "nonce": bstr, * tstr => any}`.
//! The evidence's report data are SHA-256 of the claims' bytes.

use std::fmt::Display;

use ciborium::Value;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::key::PublicKeyInfo;
use crate::{
    evidence::{Evidence, EvidenceFormat},
    measurement::Sha256Digest,
};

/// An Intel quote (IANA, CBOR Tags).
const INTEL_QUOTE: u64 = 60_000;
/// A SEV-SNP report, of rats-tls.
const SNP_REPORT: u64 = 0x1a_7504;
/// The claim that every certificate has.
const KEY_HASH: &str = "pubkey-hash";
const NONCE: &str = "nonce";
/// How deep values may lie in each other. The form itself needs 2.
const MAXIMUM_DEPTH: usize = 8;

/// What the evidence is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claims {
    /// SHA-256 of the claims' bytes.
    pub(super) digest: Sha256Digest,
    pub(super) key_hash: KeyHash,
    pub(super) nonce: Option<Vec<u8>>,
}

/// A digest of the SubjectPublicKeyInfo (IANA, Named Information Hash Algorithm Registry).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyHash {
    Sha256([u8; 32]),
    Sha384([u8; 48]),
    Sha512([u8; 64]),
}

impl KeyHash {
    pub(super) fn matches(&self, key: &PublicKeyInfo) -> bool {
        match self {
            Self::Sha256(digest) => *digest == <[u8; 32]>::from(Sha256::digest(key.der())),
            Self::Sha384(digest) => *digest == <[u8; 48]>::from(Sha384::digest(key.der())),
            Self::Sha512(digest) => *digest == <[u8; 64]>::from(Sha512::digest(key.der())),
        }
    }
}

/// Reads the extension's value.
pub(super) fn read(value: &[u8]) -> Result<(Evidence, Claims), String> {
    let Value::Tag(tag, content) = item("the extension", value)? else {
        return Err(format!("expected the CBOR tag {INTEL_QUOTE}, found another value"));
    };
    let [Value::Bytes(evidence), Value::Bytes(claims)] = array("the tag", *content)? else {
        return Err("the tag: expected evidence and claims, each a byte string".to_owned());
    };
    let evidence = match tag {
        INTEL_QUOTE => Evidence::dcap_quote(evidence),
        SNP_REPORT => snp_report(evidence)?,
        tag => {
            return Err(format!(
                "expected the CBOR tag {INTEL_QUOTE} (an Intel quote) or {SNP_REPORT} (a SEV-SNP report), found {tag}"
            ));
        }
    };
    Ok((evidence, read_claims(&claims)?))
}

fn snp_report(bytes: Vec<u8>) -> Result<Evidence, String> {
    let length = bytes.len();
    let evidence = Evidence::from_file(bytes);
    match evidence.format {
        EvidenceFormat::SnpReport => Ok(evidence),
        EvidenceFormat::DcapQuote | EvidenceFormat::AzureToken => {
            Err(format!("its {length} bytes of evidence are no SEV-SNP report"))
        }
    }
}

fn read_claims(bytes: &[u8]) -> Result<Claims, String> {
    let Value::Map(entries) = item("the claims", bytes)? else {
        return Err("the claims: expected a map".to_owned());
    };
    let (mut names, mut key_hash, mut nonce) = (Vec::with_capacity(entries.len()), None, None);
    for (name, value) in entries {
        let Value::Text(name) = name else {
            return Err("the claims: expected text as the name of each".to_owned());
        };
        if names.contains(&name) {
            return Err(format!("the claims: {:?} is there twice", shortened(&name)));
        }
        match (name.as_str(), value) {
            (KEY_HASH, Value::Bytes(bytes)) => key_hash = Some(read_key_hash(&bytes)?),
            (NONCE, Value::Bytes(bytes)) => nonce = Some(bytes),
            (KEY_HASH | NONCE, _) => return Err(format!("the claim {name:?}: expected a byte string")),
            // Others are the peer's own.
            _ => {}
        }
        names.push(name);
    }
    let key_hash = key_hash.ok_or_else(|| format!("the claims: {KEY_HASH:?} is missing"))?;
    Ok(Claims { digest: Sha256Digest::of_bytes(bytes), key_hash, nonce })
}

fn read_key_hash(bytes: &[u8]) -> Result<KeyHash, String> {
    let [Value::Integer(algorithm), Value::Bytes(digest)] = array(KEY_HASH, item(KEY_HASH, bytes)?)? else {
        return Err(format!("{KEY_HASH}: expected the number of an algorithm, and a digest"));
    };
    fn exact<const LENGTH: usize>(digest: &[u8]) -> Result<[u8; LENGTH], String> {
        digest
            .try_into()
            .map_err(|_| format!("{KEY_HASH}: expected a digest of {LENGTH} bytes, found {}", digest.len()))
    }
    match i128::from(algorithm) {
        1 => exact(&digest).map(KeyHash::Sha256),
        7 => exact(&digest).map(KeyHash::Sha384),
        8 => exact(&digest).map(KeyHash::Sha512),
        other => Err(format!(
            "{KEY_HASH}: expected the algorithm 1 (SHA-256), 7 (SHA-384) or 8 (SHA-512), found {other}"
        )),
    }
}

/// One item and nothing after it.
fn item(what: impl Display, bytes: &[u8]) -> Result<Value, String> {
    let mut rest = bytes;
    let value: Value = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAXIMUM_DEPTH)
        .map_err(|error| format!("{what}: not CBOR of at most {MAXIMUM_DEPTH} levels: {error}"))?;
    match rest.len() {
        0 => Ok(value),
        more => Err(format!("{what}: {more} bytes follow it")),
    }
}

fn array(what: &str, value: Value) -> Result<[Value; 2], String> {
    let values = value.into_array().map_err(|_| format!("{what}: expected an array"))?;
    let found = values.len();
    values.try_into().map_err(|_| format!("{what}: expected an array of 2, found {found}"))
}

fn shortened(name: &str) -> String {
    name.chars().take(40).collect()
}
