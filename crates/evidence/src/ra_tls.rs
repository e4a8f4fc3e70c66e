//! Certificates of others that carry evidence (RA-TLS): of Gramine, Occlum, rats-tls,
//! Intel's SDK, Open Enclave and EGo.
//!
//! They are for peers that do not speak attested session v1. Their evidence is bound to a
//! key and to nothing else. The authors of the interoperable form call it open to replay
//! and to diversion. So what is verified here always says what it does not cover
//! ([`NotCovered`]).
//!
//! A certificate goes through three states, each a type:
//! 1. [`RaTlsCertificate`] is read: its form is accepted, its evidence and key are known.
//! 2. [`BoundCertificate`]: the evidence names the certificate's key.
//! 3. [`VerifiedCertificate`]: the evidence became claims, by the one [`Verifier`].
//!
//! None of them says that the peer has the key. A TLS handshake does: compare
//! [`BoundCertificate::public_key_info`] with the key that signed it.

mod carrier;
mod error;
mod form;
mod interoperable;
mod key;
mod not_covered;

use x509_parser::certificate::X509Certificate;

use self::{
    carrier::{Carrier, carrier},
    key::PublicKeyInfo,
};
pub use self::{
    error::RaTlsError,
    form::{AcceptedForms, CertificateForm, UnknownForm},
    key::KeyDigest,
    not_covered::NotCovered,
};
use crate::{
    certificate::{
        chain, printable,
        validity::{self, Part},
        x509,
    },
    claims::Claims,
    clock::UnixSeconds,
    evidence::{Evidence, EvidenceFormat},
    measurement::{ReportData, Sha256Digest},
    snp::parse_report,
    verifier::{Verifier, parse_dcap},
};

/// The largest certificate that is read, in bytes. Those of Intel's SDK have about 10 KiB:
/// they carry a quote twice.
pub const MAXIMUM_CERTIFICATE_LENGTH: usize = 64 * 1024;

/// A certificate that carries evidence, read and nothing more.
#[derive(Clone, Debug)]
pub struct RaTlsCertificate {
    form: CertificateForm,
    evidence: Evidence,
    report_data: ReportData,
    binding: Binding,
    key: PublicKeyInfo,
    subject: String,
    validity: Part,
}

/// What the report data of a certificate's evidence must be.
#[derive(Clone, Debug)]
enum Binding {
    /// The digest of claims, one of which has the key's digest.
    Claims(interoperable::Claims),
    /// One of these digests of the key.
    Key(&'static [KeyDigest]),
}

/// A certificate whose evidence names its key. The evidence itself is not verified.
#[derive(Clone, Debug)]
pub struct BoundCertificate {
    certificate: RaTlsCertificate,
    digest: KeyDigest,
}

/// A certificate whose evidence is verified and names its key.
#[derive(Clone, Debug)]
pub struct VerifiedCertificate {
    claims: Claims,
    form: CertificateForm,
    digest: KeyDigest,
}

impl RaTlsCertificate {
    /// Reads a certificate in DER or PEM. Its form must be accepted.
    ///
    /// Where the extension of the interoperable form is present, it alone counts: a bad one
    /// is an error, whatever other extensions there are.
    pub fn parse(bytes: &[u8], accepted: &AcceptedForms) -> Result<Self, RaTlsError> {
        let der = der(bytes)?;
        let certificate = read(&der)?;
        let Carrier { form, value } = carrier(&certificate)?
            .ok_or(RaTlsError::NoEvidence { subject: printable(certificate.subject()) })?;
        if !accepted.contains(form) {
            return Err(RaTlsError::FormNotAccepted { form, accepted: accepted.clone() });
        }
        let malformed = |reason| RaTlsError::Extension { form, reason };
        let (evidence, binding) = match form.key_digests() {
            None => {
                let (evidence, claims) = interoperable::read(value).map_err(malformed)?;
                (evidence, Binding::Claims(claims))
            }
            Some(digests) => {
                let quote = form.quote(value).map_err(malformed)?;
                (Evidence::dcap_quote(quote.to_vec()), Binding::Key(digests))
            }
        };
        let validity = validity::certificate("RA-TLS certificate", &der)
            .map_err(|(_, reason)| RaTlsError::Malformed { reason })?;
        Ok(Self {
            form,
            report_data: report_data(&evidence)?,
            evidence,
            binding,
            key: PublicKeyInfo::of(&certificate),
            subject: printable(certificate.subject()),
            validity,
        })
    }

    /// The form of a certificate in DER or PEM; none where it carries no evidence.
    pub fn recognise(bytes: &[u8]) -> Result<Option<CertificateForm>, RaTlsError> {
        let der = der(bytes)?;
        Ok(carrier(&read(&der)?)?.map(|carrier| carrier.form))
    }

    /// How it carries its evidence.
    pub fn form(&self) -> CertificateForm {
        self.form
    }

    /// Its evidence; not verified.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The name in it. Nothing confirms it.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The dates in it. Nothing confirms them.
    pub fn validity(&self) -> (UnixSeconds, UnixSeconds) {
        (self.validity.from, self.validity.until)
    }

    /// The nonce among its claims, if it has one. It means something to a peer that chose
    /// it.
    pub fn nonce(&self) -> Option<&[u8]> {
        match &self.binding {
            Binding::Claims(claims) => claims.nonce.as_deref(),
            Binding::Key(_) => None,
        }
    }

    /// Does its evidence name its key?
    pub fn bound(self) -> Result<BoundCertificate, RaTlsError> {
        let form = self.form;
        let digest = match &self.binding {
            Binding::Claims(claims) => {
                let expected = claims.digest;
                if self.report_data != padded(expected) {
                    return Err(RaTlsError::ClaimsNotBound { expected, found: Box::new(self.report_data) });
                }
                claims.key_hash.matches(&self.key).then_some(KeyDigest::PublicKeyInfo)
            }
            Binding::Key(digests) => {
                digests.iter().copied().find(|digest| self.report_data == padded(digest.of(&self.key)))
            }
        };
        match digest {
            Some(digest) => Ok(BoundCertificate { certificate: self, digest }),
            None => Err(RaTlsError::KeyNotBound { form }),
        }
    }
}

impl BoundCertificate {
    /// The certificate's key, as a SubjectPublicKeyInfo in DER (RFC 5280, section 4.1.2.7).
    pub fn public_key_info(&self) -> &[u8] {
        self.certificate.key.der()
    }

    /// The certificate as it was read.
    pub fn certificate(&self) -> &RaTlsCertificate {
        &self.certificate
    }

    /// Verifies the evidence, and the certificate's dates at the time `now`.
    pub async fn verify(
        self,
        verifier: &Verifier,
        now: UnixSeconds,
    ) -> Result<VerifiedCertificate, RaTlsError> {
        let Self { certificate, digest } = self;
        let Part { from, until, .. } = certificate.validity;
        if now < from || now > until {
            return Err(RaTlsError::OutsideValidity { from, until, now });
        }
        let claims = verifier.verify(&certificate.evidence).await?;
        if claims.report_data != certificate.report_data {
            return Err(RaTlsError::KeyNotBound { form: certificate.form });
        }
        Ok(VerifiedCertificate { claims, form: certificate.form, digest })
    }
}

impl VerifiedCertificate {
    /// What the evidence says. No policy has judged it.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// How the certificate carried its evidence.
    pub fn form(&self) -> CertificateForm {
        self.form
    }

    /// What of the key the evidence has the digest of.
    pub fn key_digest(&self) -> KeyDigest {
        self.digest
    }

    /// What nobody may conclude from it.
    pub fn not_covered(&self) -> &'static [NotCovered] {
        NotCovered::ALL
    }
}

/// Report data that begin with a digest.
fn padded(digest: Sha256Digest) -> ReportData {
    let mut report_data = ReportData([0; 64]);
    report_data.0[..32].copy_from_slice(&digest.0);
    report_data
}

/// The report data of evidence that is not verified.
fn report_data(evidence: &Evidence) -> Result<ReportData, RaTlsError> {
    match evidence.format {
        EvidenceFormat::DcapQuote => {
            let quote = parse_dcap(&evidence.bytes)?;
            quote.report_data(&evidence.bytes).ok_or_else(|| RaTlsError::Malformed {
                reason: "its quote ends before the report data".to_owned(),
            })
        }
        EvidenceFormat::SnpReport => Ok(parse_report(&evidence.bytes)?.report_data),
        EvidenceFormat::AzureToken => {
            Err(RaTlsError::Malformed { reason: "its evidence is a token".to_owned() })
        }
    }
}

/// The certificate in DER, from DER or PEM.
fn der(bytes: &[u8]) -> Result<Vec<u8>, RaTlsError> {
    let malformed = |reason| RaTlsError::Malformed { reason };
    if !bytes.trim_ascii_start().starts_with(b"-----BEGIN ") {
        if bytes.len() > MAXIMUM_CERTIFICATE_LENGTH {
            return Err(malformed(too_long(MAXIMUM_CERTIFICATE_LENGTH, bytes.len())));
        }
        return Ok(bytes.to_vec());
    }
    // Four letters for three bytes, and line feeds.
    let limit = MAXIMUM_CERTIFICATE_LENGTH * 3 / 2;
    if bytes.len() > limit {
        return Err(malformed(too_long(limit, bytes.len())));
    }
    let [der] = chain::parse::<1>(bytes).map_err(malformed)?;
    Ok(der)
}

fn too_long(limit: usize, found: usize) -> String {
    format!("expected at most {limit} bytes, found {found}")
}

fn read(der: &[u8]) -> Result<X509Certificate<'_>, RaTlsError> {
    x509(der).map_err(|reason| RaTlsError::Malformed { reason })
}
