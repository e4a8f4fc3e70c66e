//! Tokens of Microsoft Azure Attestation (MAA) as evidence.
//!
//! A service of Microsoft's verifies the evidence of the hardware and signs what it says. A
//! verifier that accepts its tokens trusts that service as it trusts a vendor's root. So the
//! service is pinned by its name and its keys ([`MaaTrust`]), its claims have a vendor of their
//! own ([`crate::trust::Vendor::Azure`]), and a policy must name that vendor.
//!
//! A token is accepted if
//! - a pinned key has signed it with RS256, and it is of the pinned service and valid now;
//! - it is about an SGX enclave, a TDX guest or a SEV-SNP guest, and not about a guest
//!   behind a virtual TPM: there the evidence is of the firmware, and binds another key;
//! - every claim that ours are made of is there, and of the right form.
//!
//! It says nothing of the platform's identity, of its family, and of the age of collateral.
//! Rules of a policy about these fail, each with its reason. Of an SGX enclave it does not say
//! how current the platform is: see [`crate::policy::Policy::tcb_status`].

mod claims;

use serde_json::{Map, Value};

pub use crate::error::MaaError;
use crate::{
    claims::{Claims, report_data_of_token},
    clock::UnixSeconds,
    jwt::{Algorithm, SignedClaims, Token, TokenError, TokenKeys},
    trust::TrustedRoots,
};

/// The one algorithm of the service.
const ALGORITHMS: [Algorithm; 1] = [Algorithm::Rs256];

/// A service that is trusted to verify evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaaTrust {
    /// Its name, as its tokens have it: `https://NAME.REGION.attest.azure.net`.
    pub issuer: String,
    /// Its JWK set, as it was when the service was trusted.
    pub keys: TokenKeys,
}

/// What a verified token says.
#[derive(Clone, Debug)]
pub struct MaaClaims {
    claims: Claims,
    signed: SignedClaims,
}

impl MaaTrust {
    /// Verifies a token at the time `now`.
    pub fn verify(&self, token: Token, now: UnixSeconds) -> Result<MaaClaims, MaaError> {
        verify(token, &self.issuer, &self.keys, now)
    }
}

fn verify(token: Token, issuer: &str, keys: &TokenKeys, now: UnixSeconds) -> Result<MaaClaims, MaaError> {
    if token.key_id().is_none() {
        return Err(MaaError::NoKeyId);
    }
    let signed = token.verify(issuer, keys, &ALGORITHMS, now)?;
    let claims = claims::of(signed.claims(), signed.key())?;
    Ok(MaaClaims { claims, signed })
}

/// Verifies a token as evidence: the service that it names must be among the roots.
pub(crate) fn verify_evidence(
    bytes: &[u8],
    roots: &TrustedRoots,
    now: UnixSeconds,
) -> Result<Claims, MaaError> {
    let text = str::from_utf8(bytes)
        .map_err(|error| TokenError::Malformed { reason: format!("it is not text: {error}") })?;
    let token = Token::parse(text)?;
    let issuer = token.issuer().to_owned();
    let Some(service) = roots.service(&issuer) else {
        return Err(MaaError::ServiceNotTrusted { issuer });
    };
    Ok(verify(token, &issuer, &service.keys, now)?.claims)
}

/// Does a token say that it is of Azure Attestation? Nothing is verified.
pub fn is_of_azure(payload: &Map<String, Value>) -> bool {
    payload.contains_key("x-ms-attestation-type") || payload.contains_key("sgx-mrenclave")
}

impl MaaClaims {
    /// The claims, in the form that they have for every kind of TEE.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Who signed, and when.
    pub fn signed(&self) -> &SignedClaims {
        &self.signed
    }

    /// Is the evidence behind the token bound to these bytes: does its report data begin with
    /// their SHA-256, and go on with zeros? The service answers only where it is.
    pub fn bound_to(&self, runtime_data: &[u8]) -> Result<(), MaaError> {
        let expected = report_data_of_token(runtime_data);
        if self.claims.report_data == expected {
            return Ok(());
        }
        Err(MaaError::NotBound { expected: Box::new(expected), found: Box::new(self.claims.report_data) })
    }
}
