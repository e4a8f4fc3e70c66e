//! Why a KBS gave no secret.

use std::time::Duration;

use adytum_evidence::{attester::AttesterError, kbs_evidence::KbsEvidenceError};

use crate::rsa_key::KeyError;

/// Why a KBS gave no secret.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KbsError {
    /// The URL of the KBS can't be used.
    ///
    /// Do: give `url` in `[kbs]` as https://HOST:PORT, and measure the configuration again.
    #[error("{url:?} is no URL of a KBS: {reason}; give https://HOST:PORT")]
    Url { url: String, reason: String },
    /// The pinned roots for the KBS can't be used.
    ///
    /// Do: correct `roots` in `[kbs]`, and measure the configuration again.
    #[error("the roots for the KBS: {reason}")]
    Roots { reason: String },
    /// The KBS can't be reached, or its certificate is not under the pinned roots.
    ///
    /// Do: check the address and that the KBS runs; compare its certificate with `roots`.
    ///
    /// Retry: later
    #[error("the KBS at {url} can't be reached: {reason}")]
    Unreachable { url: String, reason: String },
    /// The KBS took longer than a round may take.
    ///
    /// Do: check its load and the network; this side tries again.
    ///
    /// Retry: later
    #[error("the KBS gave not all answers within {limit:?}")]
    Slow { limit: Duration },
    /// The KBS refused this program, or the resource.
    ///
    /// Do: read the reason; check the policies at the KBS, and the resource's path in `location`.
    #[error("the KBS answered {status} to {step}: {reason}")]
    Refused { step: &'static str, status: u16, reason: String },
    /// The answer of the KBS has more bytes than any answer.
    ///
    /// Do: check which server it is that answers at this address.
    #[error("the answer of the KBS to {step} is too large")]
    TooLarge { step: &'static str },
    /// The answer of the KBS is not of its form.
    ///
    /// Do: check that it speaks version 0.4.0 of the protocol.
    #[error("the answer of the KBS to {step} is not of its form")]
    Answer { step: &'static str },
    /// The KBS chose a hash that was not offered.
    ///
    /// Do: check the version of the KBS.
    #[error("the KBS chose the hash {found:?}; offered were sha256, sha384 and sha512")]
    Hash { found: String },
    /// This program runs on a TEE whose evidence is not sent to a KBS.
    ///
    /// Do: run it on SGX, TDX or SEV-SNP.
    #[error("evidence of SGX, TDX and SEV-SNP is sent to a KBS, and here is {found}")]
    Platform { found: String },
    /// The evidence of this program's TEE has no form in the protocol.
    #[error(transparent)]
    Evidence(#[from] KbsEvidenceError),
    /// The TEE's interface failed.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// The cryptographic library made no key.
    ///
    /// See: AecsError::Key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The resource is no JWE that this program reads.
    ///
    /// Do: check the version of the KBS.
    #[error("the resource is malformed: {reason}")]
    Resource { reason: &'static str },
    /// The resource is encrypted by an algorithm that was not asked for.
    ///
    /// Do: check the version of the KBS; refuse the answer otherwise.
    #[error("the resource is encrypted by {found:?}; expected ECDH-ES+A256KW with A256GCM")]
    Algorithm { found: String },
    /// The resource does not open: it was altered, or it is of another round.
    ///
    /// Do: look for a proxy on the way.
    #[error("the resource does not open: {reason}")]
    Open { reason: &'static str },
}

impl KbsError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Url { .. } => "kbs-source-url",
            Self::Roots { .. } => "kbs-source-roots",
            Self::Unreachable { .. } => "kbs-source-unreachable",
            Self::Slow { .. } => "kbs-source-slow",
            Self::Refused { .. } => "kbs-source-refused",
            Self::TooLarge { .. } => "kbs-source-answer-too-large",
            Self::Answer { .. } => "kbs-source-answer-malformed",
            Self::Hash { .. } => "kbs-source-hash",
            Self::Platform { .. } => "kbs-source-platform",
            Self::Evidence(error) => error.code(),
            Self::Attester(error) => error.code(),
            Self::Key(_) => "source-key-failed",
            Self::Resource { .. } => "kbs-source-resource-malformed",
            Self::Algorithm { .. } => "kbs-source-algorithm",
            Self::Open { .. } => "kbs-source-resource-closed",
        }
    }

    /// May the same attempt succeed later?
    pub fn retry(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Slow { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..=599),
            Self::Attester(AttesterError::Interface { .. } | AttesterError::Overloaded) => true,
            _ => false,
        }
    }
}
