//! The broker's own certificate, in the form that Occlum's clients verify: a key of RSA with 2048 bits,
//! and a quote over its digest in an extension.

use std::sync::Arc;

use adytum_evidence::{
    attester::{Attester, TeePlatform},
    measurement::{ReportData, Sha256Digest},
};
use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeyPair, KeySize},
};
use rcgen::{PublicKeyData as _, SigningKey as _};
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};

use super::{certificate, error::OcclumListenError};

/// Makes a key and its certificate.
pub(super) async fn make(attester: &dyn Attester) -> Result<Arc<CertifiedKey>, OcclumListenError> {
    match attester.platform() {
        TeePlatform::Occlum | TeePlatform::Gramine | TeePlatform::Simulation => {}
        platform @ (TeePlatform::Tdx | TeePlatform::Snp) => {
            return Err(OcclumListenError::NotSgx { platform });
        }
    }
    let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| failed("the key"))?;
    // Wiped when it is dropped.
    let private = pair.as_der().map_err(|_| failed("the key's form"))?;
    let private = PrivatePkcs8KeyDer::from(private.as_ref());
    let signing = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&private, &rcgen::PKCS_RSA_SHA256)
        .map_err(|error| failed(error.to_string()))?;
    let mut data = ReportData([0; 64]);
    let key_info = signing.subject_public_key_info();
    let digest = Sha256Digest::of_bytes(&key_info);
    data.0.iter_mut().zip(digest.0).for_each(|(to, from)| *to = from);
    let quote = attester.evidence(data).await?;
    let sign = |message: &[u8]| signing.sign(message).map_err(|error| failed(error.to_string()));
    let certificate = CertificateDer::from(certificate::version_1(&key_info, &quote.bytes, sign)?);
    let key =
        any_supported_type(&PrivateKeyDer::Pkcs8(private)).map_err(|error| failed(error.to_string()))?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate], key)))
}

fn failed(reason: impl Into<String>) -> OcclumListenError {
    OcclumListenError::Identity { reason: reason.into() }
}
