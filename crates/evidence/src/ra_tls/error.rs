//! Why a certificate of others proves nothing.

use super::form::{AcceptedForms, CertificateForm};
use crate::{
    clock::UnixSeconds,
    error::VerificationError,
    measurement::{ReportData, Sha256Digest},
};

/// Why a certificate that should carry evidence proves nothing.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RaTlsError {
    /// The bytes are not one X.509 certificate.
    ///
    /// Do: give one certificate in DER or PEM, with nothing before or after it.
    #[error(
        "malformed certificate: {reason}; give one certificate in DER or PEM, with nothing before or after it"
    )]
    Malformed { reason: String },
    /// The certificate has no extension with evidence, so it says nothing about code.
    ///
    /// Do: check the address or the file: the peer must be a TEE whose certificates carry
    /// evidence (RA-TLS).
    #[error(
        "the certificate of {subject} carries no evidence, so it says nothing about code; check the address or the file"
    )]
    NoEvidence {
        /// The name in the certificate; not authenticated.
        subject: String,
    },
    /// The certificate has two extensions with evidence, and no rule which one counts.
    ///
    /// Do: refuse the peer. If it is your own, let its certificates carry one extension, of
    /// the interoperable form.
    #[error(
        "the certificate carries evidence twice, as {first} and as {second}, and nothing says which counts; refuse the \
         peer"
    )]
    Ambiguous { first: CertificateForm, second: CertificateForm },
    /// The certificate carries its evidence in a form that is accepted by name only, and
    /// nobody named it.
    ///
    /// Do: let the peer use the interoperable form. If it can't, name its form, with
    /// `--certificate-form` of `adytum verify`.
    #[error(
        "the certificate carries its evidence in the form {form}, and accepted are {accepted}; let the peer use the \
         interoperable form, or accept this one by name"
    )]
    FormNotAccepted { form: CertificateForm, accepted: AcceptedForms },
    /// The extension with evidence can't be read. No other extension takes its place.
    ///
    /// Do: refuse the peer. If it is your own, make its certificate with the tool that the
    /// form is named after.
    #[error(
        "the extension of the form {form} is malformed: {reason}; refuse the peer, or make the certificate again"
    )]
    Extension { form: CertificateForm, reason: String },
    /// The evidence does not become claims.
    #[error(transparent)]
    Evidence(#[from] VerificationError),
    /// The evidence is of other claims than those in the certificate: somebody has put
    /// the two together.
    ///
    /// Do: refuse the peer.
    #[error(
        "the evidence is of other claims than the certificate's: expected report data of {expected} and zeros, found \
         {found}; refuse the peer"
    )]
    ClaimsNotBound {
        /// SHA-256 of the claims.
        expected: Sha256Digest,
        found: Box<ReportData>,
    },
    /// The evidence is of another key than the certificate's: somebody has put the two
    /// together.
    ///
    /// Do: refuse the peer.
    #[error(
        "the evidence is of another key than the certificate's, by the rule of the form {form}; refuse the peer"
    )]
    KeyNotBound { form: CertificateForm },
    /// The certificate is not valid at this time.
    ///
    /// Do: check the clock of this machine; if it is right, let the peer make a new
    /// certificate.
    #[error(
        "the certificate is valid from {from} to {until} and it is {now}; check this machine's clock, else the peer \
         needs a new certificate"
    )]
    OutsideValidity {
        from: UnixSeconds,
        until: UnixSeconds,
        /// The time of the injected clock.
        now: UnixSeconds,
    },
}

impl RaTlsError {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "ra-tls-certificate-malformed",
            Self::NoEvidence { .. } => "ra-tls-no-evidence",
            Self::Ambiguous { .. } => "ra-tls-ambiguous",
            Self::FormNotAccepted { .. } => "ra-tls-form-not-accepted",
            Self::Extension { .. } => "ra-tls-extension-malformed",
            Self::Evidence(error) => error.code(),
            Self::ClaimsNotBound { .. } => "ra-tls-claims-not-bound",
            Self::KeyNotBound { .. } => "ra-tls-key-not-bound",
            Self::OutsideValidity { .. } => "ra-tls-outside-validity",
        }
    }

    /// May the same certificate pass later without anything done about it here?
    pub fn retry(&self) -> bool {
        matches!(self, Self::Evidence(error) if error.retry())
    }
}
