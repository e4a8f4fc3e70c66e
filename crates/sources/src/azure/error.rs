//! Why Azure gave no key.

use std::time::Duration;

use adytum_evidence::{attester::AttesterError, collateral::CollateralError};

use crate::rsa_key::KeyError;

/// Why Azure gave no key. Everything from [`AzureError::Release`] on means that the vault's
/// answer was not believed.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AzureError {
    /// The URL of one of Azure's services can't be used.
    ///
    /// Do: correct the URL in the message: in the measured configuration, or in the variable
    /// that it comes from.
    #[error("{url:?} can't be used: {reason}; correct it")]
    Url { url: String, reason: String },
    /// The root certificates for Azure's services can't be used.
    ///
    /// Do: correct `roots` in `[key_vault]`, and measure the configuration again.
    #[error("the roots for Azure's services: {reason}")]
    Roots { reason: String },
    /// One of Azure's services can't be reached.
    ///
    /// Do: check the network and the name in the message; this side tries again.
    ///
    /// Retry: later
    #[error("{service} at {url} can't be reached: {reason}")]
    Unreachable { service: &'static str, url: String, reason: String },
    /// Azure's services took longer than a round may take.
    ///
    /// Do: check the network; this side tries again.
    ///
    /// Retry: later
    #[error("Azure's services gave not all answers within {limit:?}")]
    Slow { limit: Duration },
    /// One of Azure's services refused. Nothing of that is believed but that there is no key.
    ///
    /// Do: read the service's reason. Of Azure Attestation: SGX quotes are accepted with Azure's
    /// own collateral only, so from machines in Azure. Of Key Vault: compare the key's release
    /// policy with `adytum manifest azure-policy`, and check the identity's permission to
    /// release keys.
    #[error("{service} answered {status} {code}: {reason}")]
    Refused { service: &'static str, status: u16, code: String, reason: String },
    /// The answer of one of Azure's services has more bytes than any answer.
    ///
    /// Do: check which server it is that answers at this name.
    #[error("the answer of {service} is too large")]
    TooLarge { service: &'static str },
    /// The answer of one of Azure's services is not of its form.
    ///
    /// Do: check the URL of the service, and which version it has.
    #[error("the answer of {service} is not of its form")]
    Answer { service: &'static str },
    /// The token of the Kubernetes service account can't be read.
    ///
    /// Do: check the file in the variable `AZURE_FEDERATED_TOKEN_FILE`.
    #[error("{path}: {reason}")]
    Identity { path: String, reason: String },
    /// This program runs on a TEE that Azure Attestation does not take from us.
    ///
    /// Do: run it on SGX, TDX or SEV-SNP; with the version of 2020, on SGX.
    #[error("Azure Attestation takes evidence of SGX, TDX and SEV-SNP, and here is {found}")]
    Platform { found: String },
    /// The TEE's interface failed.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// The certificates above this program's report can't be had.
    #[error("the certificates above this program's report: {0}")]
    Collateral(#[from] CollateralError),
    /// The cryptographic library made no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The vault's answer is no signed statement of a released key.
    ///
    /// Do: check which server answers at the vault's name.
    #[error("the vault's answer is no released key: {reason}")]
    Release { reason: String },
    /// The vault's answer is signed by an algorithm that no vault uses, or by none.
    ///
    /// Do: refuse the answer; look for a proxy on the way.
    #[error("the vault's answer names the algorithm {found:?}; expected RS256 or another one of RSA")]
    Algorithm { found: String },
    /// The certificates in the vault's answer do not chain to a pinned root.
    ///
    /// Do: look for a proxy on the way; if Azure has a new root, give it in `roots` of
    /// `[key_vault]` and measure the configuration again.
    #[error("the certificates in the vault's answer: {reason}")]
    Chain { reason: String },
    /// The certificate in the answer is for another name than the vault's.
    ///
    /// Do: refuse the answer; look for a proxy on the way.
    #[error("the certificate in the vault's answer is not for {wanted}")]
    OtherVault { wanted: String },
    /// The signature of the vault's answer does not hold: it was altered on the way.
    ///
    /// Do: refuse the answer; look for a proxy on the way.
    #[error("the signature of the vault's answer does not hold")]
    Signature,
    /// The vault's answer is about another key.
    ///
    /// Do: check the name and the version of the key in the measured configuration.
    #[error("asked for {wanted}, the vault gave {found}")]
    OtherKey { wanted: String, found: String },
    /// The key is wrapped in another way than it was asked for.
    ///
    /// Do: check `wrapping` in `[key_vault]`; refuse the answer otherwise.
    #[error("asked for a key wrapped by {wanted}, the vault gave one by {found:?}")]
    Wrapping { wanted: &'static str, found: String },
    /// The vault's answer is to another question: it was recorded and played again.
    ///
    /// Do: look for a proxy on the way.
    #[error("the vault's answer has another nonce: it is to another question, or a recorded one")]
    Nonce,
    /// The key in the vault's answer does not unwrap.
    ///
    /// Do: look for a proxy on the way; the key may be wrapped to another request's key.
    #[error("the key in the vault's answer does not unwrap: {reason}")]
    Unwrap { reason: &'static str },
    /// The released key can't be given on in the form that the configuration asks for.
    ///
    /// Do: correct `encoding` of the secret, or make a key of the right kind in the vault.
    #[error("the key {key}: {reason}")]
    Form { key: String, reason: String },
}

impl AzureError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Url { .. } => "azure-url",
            Self::Roots { .. } => "azure-roots",
            Self::Unreachable { .. } => "azure-unreachable",
            Self::Slow { .. } => "azure-slow",
            Self::Refused { .. } => "azure-refused",
            Self::TooLarge { .. } => "azure-answer-too-large",
            Self::Answer { .. } => "azure-answer-malformed",
            Self::Identity { .. } => "azure-identity",
            Self::Platform { .. } => "azure-platform",
            Self::Attester(error) => error.code(),
            Self::Collateral(error) => error.code(),
            Self::Key(_) => "source-key-failed",
            Self::Release { .. } => "key-release-malformed",
            Self::Algorithm { .. } => "key-release-algorithm",
            Self::Chain { .. } => "key-release-chain",
            Self::OtherVault { .. } => "key-release-other-vault",
            Self::Signature => "key-release-signature",
            Self::OtherKey { .. } => "key-release-other-key",
            Self::Wrapping { .. } => "key-release-wrapping",
            Self::Nonce => "key-release-nonce",
            Self::Unwrap { .. } => "key-release-unwrap",
            Self::Form { .. } => "key-release-form",
        }
    }

    /// May the same attempt succeed later?
    pub fn retry(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Slow { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..=599),
            Self::Collateral(error) => error.retry(),
            Self::Attester(AttesterError::Interface { .. } | AttesterError::Overloaded) => true,
            _ => false,
        }
    }
}
