//! What the unit tests of several modules share: an authority, and configurations.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa, Issuer,
    KeyPair,
};

use crate::configuration::MeasuredConfiguration;

/// Issues as a broker does.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(parameters, key).unwrap())
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, request: &[u8], not_before: u64, lifetime: Duration) -> String {
        let mut request = CertificateSigningRequestParams::from_der(&request.to_vec().into()).unwrap();
        let time = |seconds: u64| {
            time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap()).unwrap()
        };
        request.params.not_before = time(not_before);
        request.params.not_after = time(not_before + lifetime.as_secs());
        let issuer: &Issuer<'_, _> = &self.0;
        request.signed_by(issuer).unwrap().pem() + &self.0.pem()
    }
}

pub(crate) const GENESIS: &str = "1111111111111111111111111111111111111111111111111111111111111111";
pub(crate) const DIGEST: &str = "2222222222222222222222222222222222222222222222222222222222222222";

/// A broker that one enclave is, and nothing else.
pub(crate) fn minimal() -> String {
    format!(
        "format = \"adytum workload v1\"\n[broker]\ngenesis = \"{GENESIS}\"\n[broker.policy]\n\
         vendors = [\"intel\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{DIGEST}\"]\n"
    )
}

/// A workload with these secrets.
pub(crate) fn with_secrets(names: &[&str]) -> MeasuredConfiguration {
    let secrets: String = names.iter().map(|name| format!("[[secret]]\nname = \"{name}\"\n")).collect();
    MeasuredConfiguration::parse(&format!("{}{secrets}", minimal())).unwrap()
}
