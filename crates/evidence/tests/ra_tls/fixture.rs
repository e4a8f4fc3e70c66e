//! A peer on a simulated platform that puts its quotes into certificates.

use std::sync::Arc;

use adytum_evidence::{
    clock::{Clock, SystemClock},
    measurement::{ReportData, Sha256Digest, WorkloadIdentity},
    ra_tls::{AcceptedForms, RaTlsCertificate, RaTlsError, VerifiedCertificate},
    verifier::Verifier,
};
use adytum_sim::{Platform, Program};
use ciborium::Value;
use rcgen::{CertificateParams, CustomExtension, KeyPair, PublicKeyData as _};
use sha2::{Digest as _, Sha384, Sha512};

pub(crate) const IDENTITY: WorkloadIdentity = WorkloadIdentity([0x1a; 32]);
pub(crate) const INTEL_QUOTE: u64 = 60_000;
pub(crate) const SNP_REPORT: u64 = 0x1a_7504;

pub(crate) const INTEROPERABLE: &[u64] = &[2, 23, 133, 5, 4, 9];
pub(crate) const OCCLUM: &[u64] = &[1, 2, 840, 113_741, 1];
pub(crate) const GRAMINE: &[u64] = &[0, 6, 9, 42, 840, 113_741, 1337, 6];
pub(crate) const RATS_TLS: &[u64] = &[1, 2, 840, 113_741, 1337, 6];
pub(crate) const INTEL_SDK: &[u64] = &[1, 2, 840, 113_741, 1, 13, 1];
pub(crate) const OPEN_ENCLAVE: &[u64] = &[1, 3, 6, 1, 4, 1, 311, 105, 1];

pub(crate) struct Peer {
    pub(crate) key: KeyPair,
    pub(crate) platform: Arc<Platform>,
}

impl Peer {
    pub(crate) fn new() -> Self {
        Self { key: KeyPair::generate().unwrap(), platform: Platform::ephemeral().unwrap() }
    }

    pub(crate) fn public_key_info(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }

    /// A quote whose report data begin with the digest of these bytes.
    pub(crate) fn quote(&self, of: &[u8]) -> Vec<u8> {
        let mut report_data = ReportData([0; 64]);
        report_data.0[..32].copy_from_slice(&Sha256Digest::of_bytes(of).0);
        self.quote_of(report_data)
    }

    pub(crate) fn quote_of(&self, report_data: ReportData) -> Vec<u8> {
        self.platform.quote(&Program::of(IDENTITY), report_data).unwrap()
    }

    /// Its certificate in DER, with these extensions.
    pub(crate) fn certificate(&self, extensions: &[(&[u64], Vec<u8>)]) -> Vec<u8> {
        let mut parameters = CertificateParams::default();
        for (oid, value) in extensions {
            parameters.custom_extensions.push(CustomExtension::from_oid_content(oid, value.clone()));
        }
        parameters.self_signed(&self.key).unwrap().der().to_vec()
    }

    /// A certificate of anybody with one extension.
    pub(crate) fn certificate_with(oid: &[u64], value: Vec<u8>) -> Vec<u8> {
        let mut parameters = CertificateParams::default();
        parameters.custom_extensions.push(CustomExtension::from_oid_content(oid, value));
        parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    /// The extension of the interoperable form over these claims.
    pub(crate) fn interoperable(&self, claims: &[u8]) -> Vec<u8> {
        tagged(INTEL_QUOTE, &self.quote(claims), claims)
    }

    /// The claim that every certificate must have.
    pub(crate) fn key_claim(&self) -> (Value, Value) {
        key_claim(1, Sha256Digest::of_bytes(&self.public_key_info()).0.to_vec())
    }

    /// A sound certificate of the interoperable form.
    pub(crate) fn sound(&self) -> Vec<u8> {
        let value = self.interoperable(&claims([self.key_claim()]));
        self.certificate(&[(INTEROPERABLE, value)])
    }

    pub(crate) fn verifier(&self) -> Verifier {
        let roots = vec![self.platform.trust_root().unwrap()];
        Verifier::new(roots, Arc::new(self.platform.collateral_source()), Arc::new(SystemClock))
    }

    /// The certificate through all its states.
    pub(crate) async fn verify(
        &self,
        certificate: &[u8],
        accepted: &AcceptedForms,
    ) -> Result<VerifiedCertificate, RaTlsError> {
        let bound = RaTlsCertificate::parse(certificate, accepted)?.bound()?;
        bound.verify(&self.verifier(), SystemClock.now()).await
    }

    /// The code of the refusal of a certificate, of whatever form.
    pub(crate) async fn refused(&self, certificate: &[u8]) -> &'static str {
        self.verify(certificate, &AcceptedForms::all()).await.unwrap_err().code()
    }
}

pub(crate) fn cbor(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

pub(crate) fn claims(entries: impl IntoIterator<Item = (Value, Value)>) -> Vec<u8> {
    cbor(&Value::Map(entries.into_iter().collect()))
}

pub(crate) fn key_claim(algorithm: u64, digest: Vec<u8>) -> (Value, Value) {
    let hash = Value::Array(vec![algorithm.into(), Value::Bytes(digest)]);
    ("pubkey-hash".into(), Value::Bytes(cbor(&hash)))
}

pub(crate) fn tagged(tag: u64, evidence: &[u8], claims: &[u8]) -> Vec<u8> {
    let content = Value::Array(vec![Value::Bytes(evidence.to_vec()), Value::Bytes(claims.to_vec())]);
    cbor(&Value::Tag(tag, Box::new(content)))
}

/// The key's digests as the algorithms 7 and 8.
pub(crate) fn longer_digests(key: &[u8]) -> [(u64, Vec<u8>); 2] {
    [(7, Sha384::digest(key).to_vec()), (8, Sha512::digest(key).to_vec())]
}

/// Open Enclave's header before a quote.
pub(crate) fn with_header(quote: &[u8]) -> Vec<u8> {
    let length = u64::try_from(quote.len()).unwrap();
    [&1u32.to_le_bytes()[..], &2u32.to_le_bytes(), &length.to_le_bytes(), quote].concat()
}
