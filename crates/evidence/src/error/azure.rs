//! Why a token of Azure Attestation is no evidence.

use crate::{jwt::TokenError, measurement::ReportData};

/// Why a token of Microsoft Azure Attestation is no evidence.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaaError {
    /// The token does not count at all.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token does not name the key that signed it. Azure Attestation always does.
    ///
    /// Do: refuse the token.
    #[error("the token names no key (kid), and Azure Attestation always does; refuse it")]
    NoKeyId,
    /// The token is about a kind of TEE that is not supported.
    ///
    /// Do: ask for a token about the TEE's own evidence: at `/attest/SgxEnclave`,
    /// `/attest/TdxVm` or `/attest/SevSnpVm`.
    #[error(
        "the token is about {found:?}; expected \"sgx\", \"tdxvm\" or \"sevsnpvm\": ask for a token about the TEE's own \
         evidence"
    )]
    Kind { found: String },
    /// A claim of the token is missing, or has another form than Azure Attestation gives it.
    ///
    /// Do: refuse the token. If the service's policy leaves claims out, let it issue them all.
    #[error("the token's claim {name}: expected {expected}; let the service's policy issue it")]
    Claim { name: &'static str, expected: &'static str },
    /// The guest's host may take it to another machine by an agent of its own.
    ///
    /// Do: start the guest without a migration agent.
    #[error("the guest may be migrated by an agent of its host; start it without")]
    Migration,
    /// The evidence behind the token is bound to other data than expected: it is of another
    /// session, or of another key.
    ///
    /// Do: refuse the token.
    #[error("the token is bound to other data: expected report data {expected}, found {found}; refuse it")]
    NotBound { expected: Box<ReportData>, found: Box<ReportData> },
    /// The token is of an attestation service that is not trusted here.
    ///
    /// Do: refuse the peer; if the service is the expected one, name it with its keys in
    /// `azure` of the manifest's `[trust]`.
    #[error(
        "the token is of the attestation service {issuer:?}, which is not trusted here; refuse the peer, or name the \
         service with its keys in [[trust.azure]] of the manifest"
    )]
    ServiceNotTrusted { issuer: String },
}

impl MaaError {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Token(error) => error.code(),
            Self::NoKeyId => "maa-no-key-id",
            Self::Kind { .. } => "maa-kind",
            Self::Claim { .. } => "maa-claim",
            Self::Migration => "maa-migration",
            Self::NotBound { .. } => "maa-not-bound",
            Self::ServiceNotTrusted { .. } => "maa-service-not-trusted",
        }
    }
}
