//! Which server is believed, and how its report is verified.

use std::sync::Arc;

use adytum_api::kubetee::{UnifiedAttestationAuthReport, UnifiedAttestationReport};
use adytum_evidence::{
    claims::Claims,
    collateral::QuoteCollateralV3,
    evidence::Evidence,
    measurement::Sha256Digest,
    policy::Policy,
    verifier::{VerificationError, Verifier},
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    AecsError, collateral,
    messages::{DcapReport, QveCollateral},
    passport::{SGX_DCAP, VERSION},
};
use crate::rsa_key;

/// Which server is believed.
#[derive(Clone)]
pub enum Server {
    /// One whose report this verifier and this policy accept.
    Verified {
        /// Knows the roots that may be trusted.
        verifier: Arc<Verifier>,
        /// What the report must say.
        policy: Arc<ServerPolicy>,
    },
    /// Anyone. An attacker on the way can give this client secrets of his own.
    Anyone,
}

/// What a server's report must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPolicy {
    /// Its code and platform.
    pub evidence: Policy,
    /// What the first 32 bytes of its report data must begin with; empty is any.
    pub user_data: Vec<u8>,
    /// SHA-256 of its public key's PEM text; `None` is any.
    pub public_key: Option<Sha256Digest>,
}

/// A server's report, read; nothing in it is verified.
pub struct ServerReport {
    evidence: Evidence,
    collateral: Option<QuoteCollateralV3>,
}

impl ServerReport {
    /// Reads the report of a server on SGX with DCAP.
    pub fn parse(report: &UnifiedAttestationReport) -> Result<Self, AecsError> {
        let malformed = |reason: String| AecsError::Report { reason };
        if report.str_report_version != VERSION {
            let found = &report.str_report_version;
            return Err(malformed(format!("expected version {VERSION:?}, found {found:?}")));
        }
        if report.str_tee_platform != SGX_DCAP {
            let found = &report.str_tee_platform;
            return Err(malformed(format!("expected the platform {SGX_DCAP:?}, found {found:?}")));
        }
        let json = |error: serde_json::Error| malformed(format!("json_report: {error}"));
        let DcapReport { b64_quote, json_collateral } =
            serde_json::from_str(&report.json_report).map_err(json)?;
        let quote = STANDARD.decode(b64_quote).map_err(|error| malformed(format!("b64_quote: {error}")))?;
        let collateral = if json_collateral.is_empty() {
            None
        } else {
            let read: QveCollateral = serde_json::from_str(&json_collateral)
                .map_err(|error| malformed(format!("json_collateral: {error}")))?;
            Some(collateral::read(read).map_err(|reason| malformed(format!("json_collateral: {reason}")))?)
        };
        Ok(Self { evidence: Evidence::dcap_quote(quote), collateral })
    }

    /// With the collateral of our own source; if that has none now, with what came.
    async fn claims(&self, verifier: &Verifier) -> Result<Claims, VerificationError> {
        let with_ours = verifier.verify(&self.evidence).await;
        match (&with_ours, &self.collateral) {
            (Err(VerificationError::Collateral(_)), Some(collateral)) => {
                verifier.verify_with(&self.evidence, collateral)
            }
            _ => with_ours,
        }
    }
}

impl Server {
    /// Judges a server by its report. Gives its public key in DER.
    pub(super) async fn judge(
        &self,
        shown: Option<&UnifiedAttestationAuthReport>,
    ) -> Result<Vec<u8>, AecsError> {
        let missing = || AecsError::Report { reason: "the answer has none".to_owned() };
        let shown = shown.ok_or_else(missing)?;
        if let Self::Verified { verifier, policy } = self {
            let report = ServerReport::parse(shown.report.as_ref().ok_or_else(missing)?)?;
            let claims = report.claims(verifier).await?;
            policy.judge(&claims, &shown.pem_public_key)?;
        }
        let found = |found| AecsError::ServerKey { found };
        rsa_key::public_key(&shown.pem_public_key).map_err(found)
    }
}

impl ServerPolicy {
    fn judge(&self, claims: &Claims, public_key_pem: &str) -> Result<(), AecsError> {
        self.evidence.judge(claims)?;
        let key = Sha256Digest::of_bytes(public_key_pem.as_bytes());
        let (user_data, bound) = claims.report_data.0.split_at(32);
        if bound != key.0 {
            return Err(AecsError::KeyNotBound { shown: key, bound: hex::encode(bound) });
        }
        if self.public_key.is_some_and(|wanted| wanted != key) {
            return Err(AecsError::OtherServerKey { found: key });
        }
        if !user_data.starts_with(&self.user_data) {
            let (wanted, found) = (hex::encode(&self.user_data), hex::encode(user_data));
            return Err(AecsError::UserData { wanted, found });
        }
        Ok(())
    }
}
